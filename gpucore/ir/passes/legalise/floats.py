"""Floats: what is short is expanded in place, the rest calls ``math.soft_arithmetic``; casts, bitcasts and the half formats.

Values of f16 and bf16 are held in f32, which represents them exactly: only memory has 16 bits.  Operations
are done in f32 and rounded back to the format.  Where the target converts a format itself, loads and stores
of it remain; else memory is seen as u16.
"""

from __future__ import annotations

from gpucore.ir.dtypes import DType, bf16, bool_, f16, f32, f64, i32, i64, u16, u32, u64
from gpucore.ir.nodes import Op, Subgroup, Value, While
from gpucore.ir.ops import COMPARISONS
from gpucore.ir.passes.legalise.expander import Expander, Expansion, is_half, unsigned_bits


def cast(x: Expander, args: tuple[Value, ...], to: DType) -> Value:
    """A cast between dtypes that are not halves."""
    (a,) = args
    source = a.dtype
    if source is to:
        return a
    if to is bool_:
        return x.op("ne", a, x.like(0.0 if source.is_float else 0, a))
    if source is bool_:
        if to.is_float:
            return x.select(a, x.const(1.0, to), x.const(0.0, to))
        return x.convert("cast", a, to)
    if source.is_float and to.is_integer:
        return to_integer(x, a, to)
    return x.convert("cast", a, to)


def bitcast(x: Expander, args: tuple[Value, ...], to: DType) -> Value:
    """A bitcast between dtypes that are not halves."""
    (a,) = args
    source = a.dtype
    if source is to:
        return a
    if source is bool_ or to is bool_:
        return cast(x, args, to)
    if source.is_float:
        return x.bits(canonical_bits(x, a), to)
    return x.bits(a, to)


# --- f16 and bf16, held in f32
def converts(x: Expander, half: DType) -> bool:
    """Whether the target converts the format itself."""
    return f"cast.{half.name}.f32" in x.allowed and f"cast.f32.{half.name}" in x.allowed


def storage(x: Expander, half: DType) -> DType:
    """The dtype that memory of the format has at the low level."""
    return half if converts(x, half) else u16


def round_to(x: Expander, half: DType, a: Value) -> Value:
    """An f32 rounded once to the format."""
    if converts(x, half):
        return x.convert("cast", x.convert("cast", a, half), f32)
    if half is f16:
        return x.routine("soft.round.f32.f16", f32, a)
    return x.bits(_round_bf16(x, a), f32)


def _round_bf16(x: Expander, a: Value) -> Value:
    """The bits of an f32 rounded to bf16; the low half is zero."""
    bits = x.bits(a, u32)
    sixteen, one = x.const(16, u32), x.const(1, u32)
    odd = x.op("and", x.op("shr.raw", bits, sixteen), one)
    nudge = x.op("add", odd, x.const(0x7FFF, u32))
    rounded = x.op("and", x.op("add", bits, nudge), x.const(0xFFFF0000, u32))
    return x.select(x.op("ne", a, a), x.const(CANONICAL_NAN[32], u32), rounded)


def to_memory(x: Expander, half: DType, a: Value) -> Value:
    """What is stored for a value of the format."""
    return x.convert("cast", a, half) if converts(x, half) else half_bits(x, half, a)


def from_memory(x: Expander, half: DType, a: Value) -> Value:
    """The value that was loaded."""
    return x.convert("cast", a, f32) if converts(x, half) else from_bits(x, half, a)


def half_bits(x: Expander, half: DType, a: Value) -> Value:
    """The 16 bits of a value of the format, with one NaN."""
    if half is f16:
        return x.routine("soft.cast.f32.f16", u16, a)
    bits = x.select(x.op("ne", a, a), x.const(CANONICAL_NAN[32], u32), x.bits(a, u32))
    return x.cast(x.op("shr.raw", bits, x.const(16, u32)), u16)


def from_bits(x: Expander, half: DType, bits: Value) -> Value:
    """The value with these 16 bits."""
    if half is f16:
        return x.routine("soft.cast.f16.f32", f32, bits)
    return x.bits(x.op("shl.raw", x.cast(bits, u32), x.const(16, u32)), f32)


def cast_from_half(x: Expander, source: DType, a: Value, to: DType) -> Value:
    """A cast of a value of the format, held in f32, to any dtype."""
    if is_half(to):
        return a if source is to else round_to(x, to, a)
    return x.apply("cast", a, to=to)


def cast_to_half(x: Expander, a: Value, half: DType) -> Value:
    """A cast of a bool, integer, f32 or f64 to the format, rounding once."""
    source = a.dtype
    if source is bool_:
        return cast(x, (a,), f32)
    if source is f64:
        # rounding to odd keeps the second rounding right
        return round_to(x, half, x.routine("soft.odd.f64.f32", f32, a))
    if source.is_integer:
        if half is bf16 and source.bits >= 32:
            key = f"soft.odd.{source.name}.f32"
            return round_to(x, half, x.routine(key, f32, a))
        # up to 16 bits f32 is exact; past 2**24 every f16 is infinite, however f32 rounds
        a = x.convert("cast", a, f32)
    return round_to(x, half, a)


def bitcast_half(x: Expander, source: DType, a: Value, to: DType) -> Value:
    """A bitcast from or to a format (the value of which is held in f32)."""
    bits = half_bits(x, source, a) if is_half(source) else x.cast(a, u16)
    return from_bits(x, to, bits) if is_half(to) else x.cast(bits, to)


_EXACT = COMPARISONS | {
    "neg", "abs", "min", "max", "select", "floor", "ceil", "trunc", "round", "isnan", "isinf",
}  # fmt: skip
"""Operations whose results the format represents whenever it represents the operands."""


def expand(x: Expander, s: Op, args: tuple[Value, ...]) -> Value:
    """The result of an operation one of whose dtypes is a half; ``args`` are the operands as held."""
    source, to = s.args[0].dtype, s.result.dtype
    if s.op == "cast":
        return cast_from_half(x, source, args[0], to) if is_half(source) else cast_to_half(x, args[0], to)
    if s.op == "bitcast":
        return bitcast_half(x, source, args[0], to)
    if s.op in _EXACT:
        return x.apply(s.op, *args)
    if s.op == "fma":
        # rounding to odd keeps the second rounding right
        return round_to(x, to, x.routine("soft.fma_odd.f32", f32, *args))
    return round_to(x, to, x.apply(s.op, *args))


def subgroup_sum(x: Expander, half: DType, op: str, a: Value) -> Value:
    """Sums over a subgroup in the order that :data:`gpucore.ir.ops.SUBGROUP_OPS` fixes, rounded at each
    step.
    """

    def subgroup(name: str, dtype: DType, *args: Value) -> Value:
        result = x.value(dtype)
        x.out.append(Subgroup(result, name, args, x.loc))
        return result

    lane, size = subgroup("lane", i32), subgroup("size", i32)
    present = subgroup("ballot", u64, x.const(True, bool_))
    total, distance = x.variable(f32), x.variable(i32)
    x.set(total, a)
    x.set(distance, x.const(1, i32))
    header: list[Value] = []

    def head() -> None:
        header.append(x.get(distance))
        header.append(x.op("lt", header[0], size))

    def body() -> None:
        step, mine = header[0], x.get(total)
        zero = x.const(0, i32)
        if op == "sum":
            below = x.op("sub", step, x.const(1, i32))
            partner = x.op("and", x.op("xor", lane, step), x.op("not", below))
            shifted = x.op("shr.raw", present, x.cast(partner, u64))
            there = x.op("ne", x.op("and", shifted, x.const(1, u64)), x.const(0, u64))
        else:
            partner = x.op("sub", lane, step)
            there = x.op("ge", partner, zero)
        other = subgroup("shuffle", f32, mine, x.select(there, partner, lane))
        first, second = (mine, other) if op == "sum" else (other, mine)
        x.set(total, x.select(there, round_to(x, half, x.op("add", first, second)), mine))
        x.set(distance, x.op("shl.raw", step, x.const(1, i32)))

    block = x.capture(head)
    x.out.append(While(block, header[1], x.capture(body), x.loc))
    result = x.get(total)
    if op != "exclusive_sum":
        return result
    before = x.op("sub", lane, x.const(1, i32))
    first = x.op("lt", before, x.const(0, i32))
    shifted = subgroup("shuffle", f32, result, x.select(first, lane, before))
    return x.select(first, x.const(0.0, f32), shifted)


_SIGN = {32: 0x80000000, 64: 0x8000000000000000}
_INFINITY = {32: 0x7F800000, 64: 0x7FF0000000000000}
CANONICAL_NAN = {16: 0x7E00, 32: 0x7FC00000, 64: 0x7FF8000000000000}


def absolute(x: Expander, args: tuple[Value, ...], to: DType) -> Value:
    """Clears the sign bit."""
    return x.bits(_magnitude(x, args[0]), to)


def _magnitude(x: Expander, a: Value) -> Value:
    bits = unsigned_bits(a.dtype)
    return x.op("and", x.bits(a, bits), x.const(_SIGN[bits.bits] - 1, bits))


def _signed_like(x: Expander, magnitude: Value, sign: Value) -> Value:
    """A number without sign bit, given the sign of another."""
    bits = unsigned_bits(sign.dtype)
    sign_bit = x.op("and", x.bits(sign, bits), x.const(_SIGN[bits.bits], bits))
    return x.bits(x.op("or", x.bits(magnitude, bits), sign_bit), sign.dtype)


def isnan(x: Expander, args: tuple[Value, ...], to: DType) -> Value:
    """Whether a float is NaN."""
    return x.op("ne", args[0], args[0])


def isinf(x: Expander, args: tuple[Value, ...], to: DType) -> Value:
    """Whether a float is infinite."""
    bits = unsigned_bits(args[0].dtype)
    return x.op("eq", _magnitude(x, args[0]), x.const(_INFINITY[bits.bits], bits))


def _extremum(less: str, zeros: str) -> Expansion:
    def expand(x: Expander, args: tuple[Value, ...], to: DType) -> Value:
        a, b = args
        bits = unsigned_bits(to)
        # equal numbers have equal bits, save for zeros, where the sign bits decide
        equal = x.bits(x.op(zeros, x.bits(a, bits), x.bits(b, bits)), to)
        chosen = x.select(x.op(less, a, b), a, b)
        chosen = x.select(x.op("eq", a, b), equal, chosen)
        # a NaN in b came through the first choice already
        return x.select(x.op("ne", a, a), a, chosen)

    return expand


minimum = _extremum("lt", "or")
maximum = _extremum("gt", "and")


def _rounding(kind: str) -> Expansion:
    def expand(x: Expander, args: tuple[Value, ...], to: DType) -> Value:
        (a,) = args
        integer = i32 if to is f32 else i64
        # from 2**23 (2**52) on every float is integral; NaN and infinities pass as well
        limit = x.const(2.0**23 if to is f32 else 2.0**52, to)
        magnitude = x.bits(_magnitude(x, a), to)
        small = x.op("lt", magnitude, limit)
        safe = x.select(small, magnitude, x.const(0.0, to))
        whole = x.convert("f2i.raw", safe, integer)
        truncated = x.convert("cast", whole, to)
        zero, one = x.const(0, integer), x.const(1, integer)
        if kind == "trunc":
            result = truncated
        else:
            if kind == "round":
                fraction, half = x.op("sub", safe, truncated), x.const(0.5, to)
                odd = x.op("ne", x.op("and", whole, one), zero)
                tie = x.op("and", x.op("eq", fraction, half), odd)
                away = x.op("or", x.op("gt", fraction, half), tie)
            else:
                # floor moves negative numbers away from zero, ceil positive ones
                inexact = x.op("lt", truncated, safe)
                side = x.op("lt" if kind == "floor" else "gt", a, x.const(0.0, to))
                away = x.op("and", inexact, side)
            result = x.convert("cast", x.select(away, x.op("add", whole, one), whole), to)
        return x.select(small, _signed_like(x, result, a), a)

    return expand


floor = _rounding("floor")
ceil = _rounding("ceil")
trunc = _rounding("trunc")
round_even = _rounding("round")


def routine(op: str) -> Expansion:
    """An operation that is a routine of the library."""

    def expand(x: Expander, args: tuple[Value, ...], to: DType) -> Value:
        key = f"soft.{op}.{to.name}"
        if op == "fma" and to is f32:
            if x.library:
                key = "soft.fma.f32.residual"
            elif not x.double:
                key = "soft.fma.f32.integer"
        return x.routine(key, to, *args)

    return expand


def to_integer(x: Expander, a: Value, to: DType) -> Value:
    """Truncates, saturates; NaN gives 0."""
    signed = to.is_signed
    high = 2.0 ** (to.bits - 1 if signed else to.bits)
    low = -high if signed else 0.0
    least = -(1 << (to.bits - 1)) if signed else 0
    most = (1 << (to.bits - 1 if signed else to.bits)) - 1
    low_value, high_value = x.like(low, a), x.like(high, a)
    inside = x.op("and", x.op("ge", a, low_value), x.op("lt", a, high_value))
    safe = x.select(inside, a, x.like(0.0, a))
    result = x.convert("f2i.raw", safe, to)
    result = x.select(x.op("ge", a, high_value), x.const(most, to), result)
    if signed:
        result = x.select(x.op("lt", a, low_value), x.const(least, to), result)
    return result


def canonical_bits(x: Expander, a: Value) -> Value:
    """The bits of a float, with one NaN."""
    bits = unsigned_bits(a.dtype)
    nan = x.const(CANONICAL_NAN[bits.bits], bits)
    return x.select(x.op("ne", a, a), nan, x.bits(a, bits))
