"""f32 and f64: what is short is expanded in place, the rest calls the routines of ``gpucore.math.soft``."""

from __future__ import annotations

from gpucore.ir.dtypes import DType, f32, i32, i64
from gpucore.ir.nodes import Value
from gpucore.ir.passes.legalise.expander import Expander, Expansion, unsigned_bits

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
        if op == "fma" and to is f32 and not x.double:
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


__all__ = ["CANONICAL_NAN", "absolute", "canonical_bits", "ceil", "floor", "isinf", "isnan", "maximum",
           "minimum", "round_even", "routine", "to_integer", "trunc"]  # fmt: skip
