"""Elementwise operations as instructions.

Every integer type is unsigned in SPIR-V terms; where signs matter the instruction says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gpucore.errors import CompileError
from gpucore.ir import DType, Op, f32, u8, u16
from gpucore_vulkan.spirv import combinations, conversions, quotients, roots
from gpucore_vulkan.spirv.grammar import PACKED_4X8
from gpucore_vulkan.spirv.narrow import RING, WRAPPING
from gpucore_vulkan.spirv.widths import is_narrow, register_bits

if TYPE_CHECKING:
    from gpucore_vulkan.spirv.body import FunctionState

__all__ = ["emit_operation", "float_extremum", "hardware_fma", "integer_extremum"]

_ARITHMETIC: Final = {
    "add": ("OpIAdd", "OpFAdd"),
    "sub": ("OpISub", "OpFSub"),
    "mul": ("OpIMul", "OpFMul"),
    "add.raw": ("OpIAdd", ""),
    "mul.raw": ("OpIMul", ""),
}
_LOGIC: Final = {
    "and": ("OpBitwiseAnd", "OpLogicalAnd"),
    "or": ("OpBitwiseOr", "OpLogicalOr"),
    "xor": ("OpBitwiseXor", "OpLogicalNotEqual"),
}
_COMPARE: Final = {  # unsigned, signed, float
    "eq": ("OpIEqual", "OpIEqual", "OpFOrdEqual"),
    "ne": ("OpINotEqual", "OpINotEqual", "OpFUnordNotEqual"),
    "lt": ("OpULessThan", "OpSLessThan", "OpFOrdLessThan"),
    "le": ("OpULessThanEqual", "OpSLessThanEqual", "OpFOrdLessThanEqual"),
    "gt": ("OpUGreaterThan", "OpSGreaterThan", "OpFOrdGreaterThan"),
    "ge": ("OpUGreaterThanEqual", "OpSGreaterThanEqual", "OpFOrdGreaterThanEqual"),
}
_DOT: Final = {"dot4_signed": "OpSDot", "dot4_unsigned": "OpUDot", "dot4_mixed": "OpSUDot"}
_EXTENDED: Final = {
    "floor": "Floor",
    "ceil": "Ceil",
    "trunc": "Trunc",
    "round": "RoundEven",
    "sqrt": "Sqrt",
    "fma": "Fma",
    "rsqrt": "InverseSqrt",
    "exp": "Exp",
    "exp2": "Exp2",
    "log": "Log",
    "log2": "Log2",
    "sin": "Sin",
    "cos": "Cos",
    "tan": "Tan",
    "asin": "Asin",
    "acos": "Acos",
    "atan": "Atan",
    "sinh": "Sinh",
    "cosh": "Cosh",
    "tanh": "Tanh",
    "atan2": "Atan2",
    "pow": "Pow",
}


UNSIGNED: Final = {8: u8, 16: u16}


def integer_extremum(f: FunctionState, op: str, dtype: DType, a: int, b: int) -> int:
    """The smaller or larger of two integers."""
    compare = _COMPARE["lt" if op == "min" else "gt"][1 if dtype.is_signed else 0]
    first = f.result(compare, f.asm.bool_type(), combinations.compared(f, dtype, a), b)
    return f.result("OpSelect", f.type(dtype), first, a, b)


def float_extremum(f: FunctionState, op: str, dtype: DType, a: int, b: int) -> int:
    """The smaller or larger of two floats: NaN wins, -0 is below +0.

    By comparing the bits as integers that are ordered like the floats, so that no driver's idea of NaN
    matters.
    """
    bits = dtype.bits
    word, truth = f.asm.uint(bits), f.asm.bool_type()
    low = f.asm.integer((1 << (bits - 1)) - 1, bits)
    infinity = f.asm.integer({16: 0x7C00, 32: 0x7F800000, 64: 0x7FF0000000000000}[bits], bits)

    def key(x: int) -> tuple[int, int]:
        raw = f.result("OpBitcast", word, x)
        sign = f.result("OpShiftRightArithmetic", word, raw, f.asm.integer(bits - 1, bits))
        ordered = f.result("OpBitwiseXor", word, raw, f.result("OpBitwiseAnd", word, sign, low))
        magnitude = f.result("OpBitwiseAnd", word, raw, low)
        return ordered, f.result("OpUGreaterThan", truth, magnitude, infinity)

    (key_a, nan_a), (key_b, nan_b) = key(a), key(b)
    chosen = f.result("OpSLessThan" if op == "min" else "OpSGreaterThan", truth, key_a, key_b)
    first = f.result("OpLogicalOr", truth, nan_a, f.result(
        "OpLogicalAnd", truth, chosen, f.result("OpLogicalNot", truth, nan_b)))  # fmt: skip
    return f.result("OpSelect", f.type(dtype), first, a, b)


def _unsigned(f: FunctionState, dtype: DType, x: int) -> int:
    """The bits of a narrow integer, with zeros above them."""
    return f.narrow.wrapped(UNSIGNED[dtype.bits], x) if dtype.is_signed else x


def _popcount(f: FunctionState, dtype: DType, x: int) -> int:
    word = f.asm.uint(32)
    if is_narrow(dtype):
        return f.result("OpBitCount", word, _unsigned(f, dtype, x))
    if dtype.bits == 32:
        return f.result("OpBitCount", word, x)
    high, low = _halves(f, x)
    return f.result("OpIAdd", word, f.result("OpBitCount", word, high), f.result("OpBitCount", word, low))


def _halves(f: FunctionState, x: int) -> tuple[int, int]:
    word, long = f.asm.uint(32), f.asm.uint(64)
    high = f.result("OpShiftRightLogical", long, x, f.asm.integer(32, 64))
    return f.result("OpUConvert", word, high), f.result("OpUConvert", word, x)


def _clz(f: FunctionState, dtype: DType, x: int) -> int:
    word = f.asm.uint(32)

    def leading(value: int, width: int) -> int:
        # FindUMsb gives -1 for 0, hence the width
        top = f.extended("FindUMsb", word, value)
        return f.result("OpISub", word, f.asm.word(width - 1), top)

    if is_narrow(dtype):
        return leading(_unsigned(f, dtype, x), dtype.bits)
    if dtype.bits == 32:
        return leading(x, 32)
    high, low = _halves(f, x)
    empty = f.result("OpIEqual", f.asm.bool_type(), high, f.asm.word(0))
    return f.result("OpSelect", word, empty, leading(low, 64), leading(high, 32))


def hardware_fma(f: FunctionState, statement: Op) -> int:
    """The device's own fma."""
    out = statement.result.dtype
    # some compilers take an fma apart that may not be contracted; probing says where it is to be left plain
    rounded = out.bits not in f.unit.plain_fma
    return f.extended("Fma", f.type(out), *map(f.opaque, statement.args), rounded=rounded)


def emit_operation(f: FunctionState, statement: Op) -> int:
    """Emit one low-level operation; the id of its value."""
    op, out = statement.op, statement.result.dtype
    args = [f.values[a.name] for a in statement.args]
    if not is_narrow(out):
        return combinations.result_apart(f, statement, _emit(f, statement, args))
    fits = f.narrow.fits(statement)
    if fits or op not in WRAPPING:
        return combinations.result_apart(f, statement, _emit(f, statement, args))
    if op in RING:
        args = [f.narrow.low(a, out.bits) for a in args]
    elif op == "shl.raw":
        args[0] = f.narrow.low(args[0], out.bits)
    return f.narrow.wrapped(out, _emit(f, statement, args))


def _emit(f: FunctionState, statement: Op, args: list[int]) -> int:
    """The instructions of an operation, in the width in which its operands are held."""
    op, out = statement.op, statement.result.dtype
    dtype = statement.args[1 if op == "select" else 0].dtype
    if op in _ARITHMETIC:
        if dtype.is_float:
            return f.rounded(_ARITHMETIC[op][1], f.type(out), *map(f.opaque, statement.args))
        if op in ("mul", "mul.raw"):
            args = combinations.multiplied(f, statement, args)
        else:
            args = combinations.summed(f, statement, args)
        return f.result(_ARITHMETIC[op][0], f.type(out), *args)
    if op in _COMPARE:
        by_size = combinations.equality(f, statement, args)
        if by_size is not None:
            return by_size
        if dtype.kind == "bool":
            name = "OpLogicalEqual" if op == "eq" else "OpLogicalNotEqual"
        else:
            name = _COMPARE[op][2 if dtype.is_float else 1 if dtype.is_signed else 0]
        return f.result(name, f.asm.bool_type(), *combinations.apart(f, statement, args))
    if op in _LOGIC:
        if op == "and":
            args = combinations.masked(f, statement, args)
        return f.result(_LOGIC[op][1 if dtype.kind == "bool" else 0], f.type(out), *args)
    match op:
        case "not":
            return f.result("OpLogicalNot" if dtype.kind == "bool" else "OpNot", f.type(out), *args)
        case "neg":
            return (
                f.rounded("OpFNegate", f.type(out), *args)
                if dtype.is_float
                else f.result("OpSNegate", f.type(out), *args)
            )
        case "select":
            return f.result("OpSelect", f.type(out), *args)
        case "shl.raw":
            return f.result("OpShiftLeftLogical", f.type(out), *args)
        case "shr.raw":
            name = "OpShiftRightArithmetic" if dtype.is_signed else "OpShiftRightLogical"
            return f.result(name, f.type(out), *args)
        case "quot.raw":
            return quotients.emit_quotient(f, dtype, args[0], args[1], f.known.get(statement.args[1].name))
        case "rem.raw":
            return quotients.emit_remainder(f, dtype, args[0], args[1], f.known.get(statement.args[1].name))
        case "cast" | "f2i.raw":
            return conversions.emit_cast(f, statement.args[0], statement.result)
        case "bitcast.raw":
            return conversions.emit_bitcast(f, dtype, out, args[0])
        case "div":
            return f.rounded("OpFDiv", f.type(out), *combinations.divided(f, statement))
        case "min" | "max":
            pick = float_extremum if dtype.is_float else integer_extremum
            return pick(f, op, dtype, args[0], args[1])
        case "abs" if dtype.is_float:
            word = f.asm.uint(dtype.bits)
            mask = f.asm.integer((1 << (dtype.bits - 1)) - 1, dtype.bits)
            cleared = f.result("OpBitwiseAnd", word, f.result("OpBitcast", word, args[0]), mask)
            return f.result("OpBitcast", f.type(out), cleared)
        case "abs":
            if not dtype.is_signed:
                return args[0]
            negative = f.result("OpSLessThan", f.asm.bool_type(), args[0], f.integer(0, dtype))
            size = f.result(
                "OpSelect", f.type(out), negative, f.result("OpSNegate", f.type(out), args[0]), args[0]
            )
            # NVIDIA's compiler takes it for no less than 0, which the minimum's is
            return f.joined(size, f.type(out), register_bits(out)) if f.unit.hides_narrowing else size
        case "popcount":
            return _popcount(f, dtype, args[0])
        case "clz":
            return _clz(f, dtype, args[0])
        case "dot4_signed" | "dot4_unsigned" | "dot4_mixed":
            f.unit.use_dot_product()
            if op == "dot4_mixed":
                args[:2] = args[1], args[0]  # SPIR-V has the signed word first
            product = f.result(_DOT[op], f.type(out), args[0], args[1], PACKED_4X8)
            return f.result("OpIAdd", f.type(out), product, args[2])
        case "log10":
            scale = f.asm.floating(0.30102999566398120, 32)
            return f.result("OpFMul", f.type(out), f.extended("Log2", f.type(out), args[0]), scale)
        case _ if op in _EXTENDED:
            if op == "fma":
                return hardware_fma(f, statement)
            if op == "sqrt" and dtype is f32 and f.strict and f.unit.refines_sqrt:
                return f.result("OpFunctionCall", f.type(out), f.unit.helper(roots.refined_sqrt()), *args)
            return f.extended(_EXTENDED[op], f.type(out), *args, rounded=op == "sqrt")
    raise CompileError(f"the SPIR-V emitter has no instruction for {op} on {dtype.name}", log=repr(statement))
