"""Casts and bitcasts, and the half formats.

Values of f16 and bf16 are held in f32, which represents them exactly: only memory has 16 bits.  Operations
are done in f32 and rounded back to the format.  Where the target converts a format itself, loads and stores
of it remain; else memory is seen as u16.
"""

from __future__ import annotations

from gpucore.ir.dtypes import DType, bf16, bool_, f16, f32, f64, u16, u32
from gpucore.ir.nodes import Value
from gpucore.ir.passes.legalise.expander import Expander, is_half
from gpucore.ir.passes.legalise.floats import CANONICAL_NAN, canonical_bits, to_integer


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
