"""Putting floats together from sign, exponent and a longer significand, rounding once."""

from gpucore.ir.dtypes import f32, f64, i32, u32, u64
from gpucore.lang import func
from gpucore.lang.builtins import bitcast, max, min, select


@func
def jam_u32(x: u32, amount: i32) -> u32:
    """``x >> amount`` for ``amount`` of at least 0, with the lowest bit set if any bit was lost."""
    n = u32(min(amount, 31))
    kept = x >> n
    return kept | select((kept << n) != x, u32(1), u32(0))


@func
def jam_u64(x: u64, amount: i32) -> u64:
    """``x >> amount`` for ``amount`` of at least 0, with the lowest bit set if any bit was lost."""
    n = u64(min(amount, 63))
    kept = x >> n
    return kept | select((kept << n) != x, u64(1), u64(0))


@func
def pack_f32(sign: u32, exponent: i32, significand: u32) -> f32:
    """An f32, rounded to nearest even.

    ``significand`` has 27 bits, the highest set: 24, two more, and one that says whether anything follows.
    ``exponent`` is biased, of the highest bit, and may lie out of range; ``sign`` is the sign bit in place.
    """
    if exponent >= 255:
        return bitcast(sign | 0x7F800000, f32)
    m = jam_u32(significand, max(1 - exponent, 0))
    up = ((m >> 2) & 1) & select((m & 0xB) != 0, u32(1), u32(0))
    high = u32(max(exponent, 1) - 1) << 23
    return bitcast(sign | (high + (m >> 3) + up), f32)


@func
def pack_odd_f32(sign: u32, exponent: i32, significand: u32) -> f32:
    """The same, rounded to odd: toward zero, and the last bit set if that was inexact; never to infinity."""
    if exponent >= 255:
        return bitcast(sign | 0x7F7FFFFF, f32)
    m = jam_u32(significand, max(1 - exponent, 0))
    inexact = select((m & 7) != 0, u32(1), u32(0))
    high = u32(max(exponent, 1) - 1) << 23
    return bitcast(sign | ((high + (m >> 3)) | inexact), f32)


@func
def pack_f64(sign: u64, exponent: i32, significand: u64) -> f64:
    """An f64, rounded to nearest even; ``significand`` has 56 bits, else as :func:`pack_f32`."""
    if exponent >= 2047:
        return bitcast(sign | 0x7FF0000000000000, f64)
    m = jam_u64(significand, max(1 - exponent, 0))
    up = ((m >> 2) & 1) & select((m & 0xB) != 0, u64(1), u64(0))
    high = u64(max(exponent, 1) - 1) << 52
    return bitcast(sign | (high + (m >> 3) + up), f64)
