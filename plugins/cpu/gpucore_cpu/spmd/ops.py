"""Elementwise operations: one LLVM expression each, on scalars and on vectors alike."""

from __future__ import annotations

from gpucore import ir
from gpucore.ir import DType, f16, f32, f64
from gpucore.ir.ops import op_key
from gpucore_cpu.spmd.analysis import Shape
from gpucore_cpu.spmd.emitter import Emitter
from gpucore_cpu.spmd.types import literal, scalar_type

__all__ = ["emit_op"]

_FLOAT_ARITHMETIC = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv"}
_INTEGER_ARITHMETIC = {"add": "add", "sub": "sub", "mul": "mul", "and": "and", "or": "or", "xor": "xor"}
_FLOAT_INTRINSICS = {
    "sqrt": "llvm.sqrt",
    "floor": "llvm.floor",
    "ceil": "llvm.ceil",
    "trunc": "llvm.trunc",
    "round": "llvm.roundeven",
    "abs": "llvm.fabs",
    "fma": "llvm.fma",
    "min": "llvm.minimum",
    "max": "llvm.maximum",
}
_FLOAT_COMPARE = {"eq": "oeq", "ne": "une", "lt": "olt", "le": "ole", "gt": "ogt", "ge": "oge"}
_CANONICAL_NAN = {"f16": 0x7E00, "bf16": 0x7FC0, "f32": 0x7FC00000, "f64": 0x7FF8000000000000}
_ORDER = {"lt": "lt", "le": "le", "gt": "gt", "ge": "ge"}


def emit_op(e: Emitter, statement: ir.Op) -> str:
    """Emit one operation; the operand of its result, scalar or vector as its shape asks."""
    result, op, args = statement.result, statement.op, statement.args
    vector = e.shape(result) == Shape.VARYING
    if op in ("quot.raw", "rem.raw"):
        return _divide(e, statement, vector)
    if op == "select" and e.shape(args[0]) <= Shape.GANG:
        kind = _type(e, result.dtype, vector)
        condition = e.scalar(args[0])
        a, b = e.operand(args[1], vector), e.operand(args[2], vector)
        return e.tmp(
            f"select {e.flags if result.dtype in (f32, f64) else ''}i1 {condition}, {kind} {a}, {kind} {b}"
        )
    operands = [e.operand(a, vector) for a in args]
    return apply(e, op, result.dtype, [a.dtype for a in args], operands, vector)


def _type(e: Emitter, dtype: DType, vector: bool) -> str:
    kind = scalar_type(dtype)
    return e.vec(kind) if vector else kind


def _constant(dtype: DType, value: int | float, vector: bool) -> str:
    text = literal(dtype, value)
    return f"splat ({scalar_type(dtype)} {text})" if vector else text


def apply(e: Emitter, op: str, result: DType, dtypes: list[DType], operands: list[str], vector: bool) -> str:
    """Emit an operation on operands that are already scalars or already vectors."""
    dtype = dtypes[1] if op == "select" else dtypes[0]
    kind = _type(e, dtype, vector)
    scalar = scalar_type(dtype)
    a = operands[0]
    flags = e.flags if dtype in (f32, f64) else ""
    mangled = e.suffix(scalar, vector)
    match op:
        case "add" | "sub" | "mul" | "div" if dtype.is_float:
            return e.tmp(f"{_FLOAT_ARITHMETIC[op]} {flags}{kind} {a}, {operands[1]}")
        case "add" | "sub" | "mul" | "and" | "or" | "xor":
            return e.tmp(f"{_INTEGER_ARITHMETIC[op]} {kind} {a}, {operands[1]}")
        case "add.raw" | "mul.raw":
            return e.tmp(f"{op.removesuffix('.raw')} nsw {kind} {a}, {operands[1]}")
        case "neg" if dtype.is_float:
            return e.tmp(f"fneg {flags}{kind} {a}")
        case "neg":
            return e.tmp(f"sub {kind} {_constant(dtype, 0, vector)}, {a}")
        case "sqrt" | "floor" | "ceil" | "trunc" | "round" | "fma":
            return e.intrinsic(
                f"{_FLOAT_INTRINSICS[op]}.{mangled}", kind, [(kind, o) for o in operands], flags
            )
        case "abs" | "min" | "max" if dtype.is_float:
            return e.intrinsic(
                f"{_FLOAT_INTRINSICS[op]}.{mangled}", kind, [(kind, o) for o in operands], flags
            )
        case "abs":
            if not dtype.is_signed:
                return a
            return e.intrinsic(f"llvm.abs.{mangled}", kind, [(kind, a), ("i1", "false")])
        case "min" | "max":
            name = ("s" if dtype.is_signed else "u") + op
            return e.intrinsic(f"llvm.{name}.{mangled}", kind, [(kind, o) for o in operands])
        case "not":
            return e.tmp(f"xor {kind} {a}, {_constant(dtype, 1 if dtype.kind == 'bool' else -1, vector)}")
        case "shl.raw":
            return e.tmp(f"shl {kind} {a}, {operands[1]}")
        case "shr.raw":
            return e.tmp(f"{'ashr' if dtype.is_signed else 'lshr'} {kind} {a}, {operands[1]}")
        case "shl" | "shr":
            return _total_shift(e, op, dtype, kind, operands, vector)
        case "popcount" | "clz":
            if op == "popcount":
                count = e.intrinsic(f"llvm.ctpop.{mangled}", kind, [(kind, a)])
            else:
                count = e.intrinsic(f"llvm.ctlz.{mangled}", kind, [(kind, a), ("i1", "false")])
            to = _type(e, result, vector)
            if dtype.bits == 32:
                return count
            return e.tmp(f"{'zext' if dtype.bits < 32 else 'trunc'} {kind} {count} to {to}")
        case "eq" | "ne" | "lt" | "le" | "gt" | "ge":
            return _compare(e, op, dtype, kind, operands)
        case "isnan":
            return e.tmp(f"fcmp uno {kind} {a}, {a}")
        case "isinf":
            size = e.intrinsic(f"llvm.fabs.{mangled}", kind, [(kind, a)])
            return e.tmp(f"fcmp oeq {kind} {size}, {_constant(dtype, float('inf'), vector)}")
        case "select":
            condition = e.mask_type if vector else "i1"
            return e.tmp(f"select {flags}{condition} {a}, {kind} {operands[1]}, {kind} {operands[2]}")
        case "cast" | "bitcast" | "bitcast.raw" | "f2i.raw":
            return _convert(e, op, dtype, result, a, vector)
        case _:
            raise NotImplementedError(
                f"{op_key(op, tuple(dtypes), result)} is not an operation of this target"
            )


def _compare(e: Emitter, op: str, dtype: DType, kind: str, operands: list[str]) -> str:
    if dtype.is_float:
        return e.tmp(f"fcmp {_FLOAT_COMPARE[op]} {kind} {operands[0]}, {operands[1]}")
    if op in ("eq", "ne"):
        predicate = op
    else:
        predicate = ("s" if dtype.is_signed else "u") + _ORDER[op]
    return e.tmp(f"icmp {predicate} {kind} {operands[0]}, {operands[1]}")


def _total_shift(e: Emitter, op: str, dtype: DType, kind: str, operands: list[str], vector: bool) -> str:
    """Shifts by any amount; as unsigned, a negative amount is past the width too."""
    condition = e.mask_type if vector else "i1"
    a, amount = operands
    last = _constant(dtype, dtype.bits - 1, vector)
    if op == "shr" and dtype.is_signed:
        name = f"llvm.umin.{e.suffix(scalar_type(dtype), vector)}"
        return e.tmp(f"ashr {kind} {a}, {e.intrinsic(name, kind, [(kind, amount), (kind, last)])}")
    fits = e.tmp(f"icmp ule {kind} {amount}, {last}")
    shifted = e.tmp(f"{'shl' if op == 'shl' else 'lshr'} {kind} {a}, {amount}")
    return e.tmp(f"select {condition} {fits}, {kind} {shifted}, {kind} {_constant(dtype, 0, vector)}")


def _convert(e: Emitter, op: str, source: DType, target: DType, a: str, vector: bool) -> str:
    old, new = _type(e, source, vector), _type(e, target, vector)
    condition = e.mask_type if vector else "i1"
    if op.startswith("bitcast"):
        if op == "bitcast" and source.is_float and target.is_integer:
            nan = _CANONICAL_NAN[source.name]
            is_nan = e.tmp(f"fcmp uno {old} {a}, {a}")
            bits = e.tmp(f"bitcast {old} {a} to {new}")
            return e.tmp(f"select {condition} {is_nan}, {new} {_constant(target, nan, vector)}, {new} {bits}")
        return a if old == new else e.tmp(f"bitcast {old} {a} to {new}")
    if op == "f2i.raw":
        return e.tmp(f"{'fptosi' if target.is_signed else 'fptoui'} {old} {a} to {new}")
    if target.kind == "bool":
        if source.kind == "bool":
            return a
        zero = _constant(source, 0, vector)
        return e.tmp(f"fcmp une {old} {a}, {zero}" if source.is_float else f"icmp ne {old} {a}, {zero}")
    if source.is_float:
        if target.is_float:
            if source.bits == target.bits:
                return a
            half = e.vec("half") if vector else "half"
            if source is f16:
                return e.tmp(f"fpext {half} {e.tmp(f'bitcast {old} {a} to {half}')} to {new}")
            if target is f16:
                return e.tmp(f"bitcast {half} {e.tmp(f'fptrunc {old} {a} to {half}')} to {new}")
            return e.tmp(f"{'fpext' if source.bits < target.bits else 'fptrunc'} {old} {a} to {new}")
        name = "llvm.fptosi.sat" if target.is_signed else "llvm.fptoui.sat"
        mangled = f"{e.suffix(scalar_type(target), vector)}.{e.suffix(scalar_type(source), vector)}"
        return e.intrinsic(f"{name}.{mangled}", new, [(old, a)])
    if target.is_float:
        return e.tmp(f"{'sitofp' if source.is_signed else 'uitofp'} {old} {a} to {new}")
    width = 1 if source.kind == "bool" else source.bits
    if width == target.bits:
        return a
    if width > target.bits:
        return e.tmp(f"trunc {old} {a} to {new}")
    return e.tmp(f"{'sext' if source.is_signed else 'zext'} {old} {a} to {new}")


def _divide(e: Emitter, statement: ir.Op, vector: bool) -> str:
    """Truncated division whose preconditions hold in the active lanes; the others must not trap either."""
    dtype = statement.result.dtype
    quotient = statement.op == "quot.raw"
    dividend, divisor = statement.args
    kind = _type(e, dtype, vector)
    name = ("s" if dtype.is_signed else "u") + ("div" if quotient else "rem")
    if not vector:
        return e.tmp(f"{name} {kind} {e.scalar(dividend)}, {e.scalar(divisor)}")
    a, b = e.vector(dividend), e.vector(divisor)
    defined = e.analysis.definitions.get(divisor.name)
    if isinstance(defined, ir.Const) and defined.value != 0:
        return e.tmp(f"{name} {kind} {a}, {b}")  # becomes a multiplication
    if dtype.bits <= 32:
        # exact: the quotient of two 32-bit integers, rounded to f64, truncates to the integer quotient
        wide = "i32"
        if dtype.bits < 32:
            extend = "sext" if dtype.is_signed else "zext"
            a32 = e.tmp(f"{extend} {kind} {a} to {e.vec(wide)}")
            b32 = e.tmp(f"{extend} {kind} {b} to {e.vec(wide)}")
        else:
            a32, b32 = a, b
        sign = "si" if dtype.is_signed else "ui"
        double = e.vec("double")
        fa = e.tmp(f"{sign}tofp {e.vec(wide)} {a32} to {double}")
        fb = e.tmp(f"{sign}tofp {e.vec(wide)} {b32} to {double}")
        q = e.tmp(f"fdiv {double} {fa}, {fb}")
        q = e.tmp(f"fpto{sign} {double} {q} to {e.vec(wide)}")
        if dtype.bits < 32:
            q = e.tmp(f"trunc {e.vec(wide)} {q} to {kind}")
        if quotient:
            return q
        return e.tmp(f"sub {kind} {a}, {e.tmp(f'mul {kind} {q}, {b}')}")
    if e.mask is not None:
        b = e.tmp(f"select {e.mask_type} {e.mask}, {kind} {b}, {kind} {_constant(dtype, 1, True)}")
    return e.tmp(f"{name} {kind} {a}, {b}")
