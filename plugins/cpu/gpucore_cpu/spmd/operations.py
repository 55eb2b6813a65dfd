"""Elementwise operations: one LLVM expression each, on scalars and on vectors alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gpucore import ir
from gpucore.ir import DType, f16, f32, f64
from gpucore.ir.ops import op_key
from gpucore_cpu.spmd.analysis import Shape
from gpucore_cpu.spmd.small_integers import SmallIntegers
from gpucore_cpu.spmd.state import FunctionState
from gpucore_cpu.spmd.types import scalar_type

__all__ = ["Operations"]

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


@dataclass(frozen=True, slots=True)
class Operations:
    """Writes operations of the IR."""

    state: FunctionState
    small: SmallIntegers

    def emit(self, statement: ir.Op) -> str:
        """Emit one operation; the operand of its result, scalar or vector as its shape asks."""
        result, op, args = statement.result, statement.op, statement.args
        values = self.state.values
        vector = values.shape(result) == Shape.VARYING
        if op in ("quot.raw", "rem.raw"):
            return self._divide(statement, vector)
        if op == "select" and values.shape(args[0]) <= Shape.GANG:
            kind = self.state.types.of(result.dtype, vector)
            condition = values.scalar(args[0])
            a, b = values.operand(args[1], vector), values.operand(args[2], vector)
            flags = self._flags(result.dtype)
            return self.state.writer.tmp(f"select {flags}i1 {condition}, {kind} {a}, {kind} {b}")
        if op == "cast" and vector and (found := self.small.nibble_to_float(statement)) is not None:
            return found
        operands = [values.operand(a, vector) for a in args]
        return self.apply(op, result.dtype, [a.dtype for a in args], operands, vector)

    def _flags(self, dtype: DType) -> str:
        return self.state.flags if dtype in (f32, f64) else ""

    def apply(
        self, op: str, result: DType, dtypes: Sequence[DType], operands: Sequence[str], vector: bool
    ) -> str:
        """Emit an operation on operands that are already scalars or already vectors."""
        writer, types = self.state.writer, self.state.types
        dtype = dtypes[1] if op == "select" else dtypes[0]
        kind = types.of(dtype, vector)
        a = operands[0]
        flags = self._flags(dtype)
        mangled = types.suffix(scalar_type(dtype), vector)
        match op:
            case "add" | "sub" | "mul" | "div" if dtype.is_float:
                return writer.tmp(f"{_FLOAT_ARITHMETIC[op]} {flags}{kind} {a}, {operands[1]}")
            case "add" | "sub" | "mul" | "and" | "or" | "xor":
                return writer.tmp(f"{_INTEGER_ARITHMETIC[op]} {kind} {a}, {operands[1]}")
            case "add.raw" | "mul.raw":
                return writer.tmp(f"{op.removesuffix('.raw')} nsw {kind} {a}, {operands[1]}")
            case "neg" if dtype.is_float:
                return writer.tmp(f"fneg {flags}{kind} {a}")
            case "neg":
                return writer.tmp(f"sub {kind} {types.constant(dtype, 0, vector)}, {a}")
            case "sqrt" | "floor" | "ceil" | "trunc" | "round" | "fma":
                arguments = [(kind, o) for o in operands]
                return writer.intrinsic(f"{_FLOAT_INTRINSICS[op]}.{mangled}", kind, arguments, flags)
            case "abs" | "min" | "max" if dtype.is_float:
                arguments = [(kind, o) for o in operands]
                return writer.intrinsic(f"{_FLOAT_INTRINSICS[op]}.{mangled}", kind, arguments, flags)
            case "abs":
                if not dtype.is_signed:
                    return a
                return writer.intrinsic(f"llvm.abs.{mangled}", kind, [(kind, a), ("i1", "false")])
            case "min" | "max":
                name = ("s" if dtype.is_signed else "u") + op
                return writer.intrinsic(f"llvm.{name}.{mangled}", kind, [(kind, o) for o in operands])
            case "not":
                ones = types.constant(dtype, 1 if dtype.kind == "bool" else -1, vector)
                return writer.tmp(f"xor {kind} {a}, {ones}")
            case "shl.raw":
                return writer.tmp(f"shl {kind} {a}, {operands[1]}")
            case "shr.raw":
                return writer.tmp(f"{'ashr' if dtype.is_signed else 'lshr'} {kind} {a}, {operands[1]}")
            case "shl" | "shr":
                return self._total_shift(op, dtype, operands, vector)
            case "popcount" | "clz":
                return self._count(op, dtype, result, a, vector)
            case "dot4_signed" | "dot4_unsigned" | "dot4_mixed":
                return self.small.dot4(op, operands, vector)
            case "eq" | "ne" | "lt" | "le" | "gt" | "ge":
                return self._compare(op, dtype, kind, operands)
            case "isnan":
                return writer.tmp(f"fcmp uno {kind} {a}, {a}")
            case "isinf":
                size = writer.intrinsic(f"llvm.fabs.{mangled}", kind, [(kind, a)])
                return writer.tmp(f"fcmp oeq {kind} {size}, {types.constant(dtype, float('inf'), vector)}")
            case "select":
                condition = types.boolean(vector)
                return writer.tmp(
                    f"select {flags}{condition} {a}, {kind} {operands[1]}, {kind} {operands[2]}"
                )
            case "cast" | "bitcast" | "bitcast.raw" | "f2i.raw":
                return self._convert(op, dtype, result, a, vector)
            case _:
                raise NotImplementedError(
                    f"{op_key(op, tuple(dtypes), result)} is not an operation of this target"
                )

    def _compare(self, op: str, dtype: DType, kind: str, operands: Sequence[str]) -> str:
        if dtype.is_float:
            return self.state.writer.tmp(f"fcmp {_FLOAT_COMPARE[op]} {kind} {operands[0]}, {operands[1]}")
        predicate = op if op in ("eq", "ne") else ("s" if dtype.is_signed else "u") + op
        return self.state.writer.tmp(f"icmp {predicate} {kind} {operands[0]}, {operands[1]}")

    def _count(self, op: str, dtype: DType, result: DType, a: str, vector: bool) -> str:
        writer, types = self.state.writer, self.state.types
        kind, mangled = types.of(dtype, vector), types.suffix(scalar_type(dtype), vector)
        if op == "popcount":
            count = writer.intrinsic(f"llvm.ctpop.{mangled}", kind, [(kind, a)])
        else:
            count = writer.intrinsic(f"llvm.ctlz.{mangled}", kind, [(kind, a), ("i1", "false")])
        if dtype.bits == 32:
            return count
        return writer.tmp(
            f"{'zext' if dtype.bits < 32 else 'trunc'} {kind} {count} to {types.of(result, vector)}"
        )

    def _total_shift(self, op: str, dtype: DType, operands: Sequence[str], vector: bool) -> str:
        """Shifts by any amount; as unsigned, a negative amount is past the width too."""
        writer, types = self.state.writer, self.state.types
        kind = types.of(dtype, vector)
        a, amount = operands
        last = types.constant(dtype, dtype.bits - 1, vector)
        if op == "shr" and dtype.is_signed:
            name = f"llvm.umin.{types.suffix(scalar_type(dtype), vector)}"
            return writer.tmp(
                f"ashr {kind} {a}, {writer.intrinsic(name, kind, [(kind, amount), (kind, last)])}"
            )
        fits = writer.tmp(f"icmp ule {kind} {amount}, {last}")
        shifted = writer.tmp(f"{'shl' if op == 'shl' else 'lshr'} {kind} {a}, {amount}")
        zero = types.constant(dtype, 0, vector)
        return writer.tmp(f"select {types.boolean(vector)} {fits}, {kind} {shifted}, {kind} {zero}")

    # -- conversions
    def _convert(self, op: str, source: DType, target: DType, a: str, vector: bool) -> str:
        writer, types = self.state.writer, self.state.types
        old, new = types.of(source, vector), types.of(target, vector)
        if op.startswith("bitcast"):
            return self._bitcast(op, source, target, a, vector)
        if op == "f2i.raw":
            return writer.tmp(f"{'fptosi' if target.is_signed else 'fptoui'} {old} {a} to {new}")
        if target.kind == "bool":
            if source.kind == "bool":
                return a
            zero = types.constant(source, 0, vector)
            return writer.tmp(
                f"fcmp une {old} {a}, {zero}" if source.is_float else f"icmp ne {old} {a}, {zero}"
            )
        if source.is_float:
            if target.is_float:
                return self._between_floats(source, target, a, vector)
            name = "llvm.fptosi.sat" if target.is_signed else "llvm.fptoui.sat"
            mangled = (
                f"{types.suffix(scalar_type(target), vector)}.{types.suffix(scalar_type(source), vector)}"
            )
            return writer.intrinsic(f"{name}.{mangled}", new, [(old, a)])
        if target.is_float:
            return writer.tmp(f"{'sitofp' if source.is_signed else 'uitofp'} {old} {a} to {new}")
        width = 1 if source.kind == "bool" else source.bits
        if width == target.bits:
            return a
        if width > target.bits:
            return writer.tmp(f"trunc {old} {a} to {new}")
        return writer.tmp(f"{'sext' if source.is_signed else 'zext'} {old} {a} to {new}")

    def _bitcast(self, op: str, source: DType, target: DType, a: str, vector: bool) -> str:
        writer, types = self.state.writer, self.state.types
        old, new = types.of(source, vector), types.of(target, vector)
        if op == "bitcast" and source.is_float and target.is_integer:
            nan = types.constant(target, _CANONICAL_NAN[source.name], vector)
            is_nan = writer.tmp(f"fcmp uno {old} {a}, {a}")
            bits = writer.tmp(f"bitcast {old} {a} to {new}")
            return writer.tmp(f"select {types.boolean(vector)} {is_nan}, {new} {nan}, {new} {bits}")
        return a if old == new else writer.tmp(f"bitcast {old} {a} to {new}")

    def _between_floats(self, source: DType, target: DType, a: str, vector: bool) -> str:
        writer, types = self.state.writer, self.state.types
        old, new = types.of(source, vector), types.of(target, vector)
        if source.bits == target.bits:
            return a
        half = types.vec("half") if vector else "half"
        if source is f16:
            return writer.tmp(f"fpext {half} {writer.tmp(f'bitcast {old} {a} to {half}')} to {new}")
        if target is f16:
            return writer.tmp(f"bitcast {half} {writer.tmp(f'fptrunc {old} {a} to {half}')} to {new}")
        return writer.tmp(f"{'fpext' if source.bits < target.bits else 'fptrunc'} {old} {a} to {new}")

    # -- division
    def _divide(self, statement: ir.Op, vector: bool) -> str:
        """Truncated division whose preconditions hold in the active lanes; the others must not trap either."""
        writer, types, values = self.state.writer, self.state.types, self.state.values
        dtype = statement.result.dtype
        quotient = statement.op == "quot.raw"
        dividend, divisor = statement.args
        kind = types.of(dtype, vector)
        name = ("s" if dtype.is_signed else "u") + ("div" if quotient else "rem")
        if not vector:
            return writer.tmp(f"{name} {kind} {values.scalar(dividend)}, {values.scalar(divisor)}")
        a, b = values.vector(dividend), values.vector(divisor)
        if values.constant(divisor):
            return writer.tmp(f"{name} {kind} {a}, {b}")  # becomes a multiplication
        if dtype.bits <= 32:
            q = self._quotient_in_f64(dtype, a, b)
            if quotient:
                return q
            return writer.tmp(f"sub {kind} {a}, {writer.tmp(f'mul {kind} {q}, {b}')}")
        masks = self.state.masks
        if masks.current is not None:
            b = masks.where_active(kind, b, types.constant(dtype, 1, True))
        return writer.tmp(f"{name} {kind} {a}, {b}")

    def _quotient_in_f64(self, dtype: DType, a: str, b: str) -> str:
        """Exact: the quotient of two 32-bit integers, rounded to f64, truncates to the integer quotient."""
        writer, types = self.state.writer, self.state.types
        kind, wide, double = types.of(dtype, True), types.vec("i32"), types.vec("double")
        if dtype.bits < 32:
            extend = "sext" if dtype.is_signed else "zext"
            a = writer.tmp(f"{extend} {kind} {a} to {wide}")
            b = writer.tmp(f"{extend} {kind} {b} to {wide}")
        sign = "si" if dtype.is_signed else "ui"
        fa = writer.tmp(f"{sign}tofp {wide} {a} to {double}")
        fb = writer.tmp(f"{sign}tofp {wide} {b} to {double}")
        q = writer.tmp(f"fdiv {double} {fa}, {fb}")
        q = writer.tmp(f"fpto{sign} {double} {q} to {wide}")
        return writer.tmp(f"trunc {wide} {q} to {kind}") if dtype.bits < 32 else q
