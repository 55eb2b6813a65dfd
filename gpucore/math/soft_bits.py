"""Counting bits and integer powers, for targets without instructions for them.

The counts are those of H. S. Warren, *Hacker's Delight*, sections 5-1 and 5-3.
"""

from gpucore.ir.dtypes import i32, i64, u32, u64
from gpucore.lang import func


@func
def popcount_u32(x: u32) -> i32:
    """How many bits are set."""
    v = x - ((x >> 1) & 0x55555555)
    v = (v & 0x33333333) + ((v >> 2) & 0x33333333)
    v = (v + (v >> 4)) & 0x0F0F0F0F
    return i32((v * 0x01010101) >> 24)


@func
def popcount_u64(x: u64) -> i32:
    """How many bits are set."""
    return popcount_u32(u32(x)) + popcount_u32(u32(x >> 32))


@func
def clz_u32(x: u32) -> i32:
    """Zeros above the highest bit; 32 for 0."""
    v = x | (x >> 1)
    v = v | (v >> 2)
    v = v | (v >> 4)
    v = v | (v >> 8)
    v = v | (v >> 16)
    return 32 - popcount_u32(v)


@func
def clz_u64(x: u64) -> i32:
    """Zeros above the highest bit; 64 for 0."""
    high = u32(x >> 32)
    if high == 0:
        return 32 + clz_u32(u32(x))
    return clz_u32(high)


@func
def pow_u32(base: u32, exponent: u32) -> u32:
    """By squaring; wraps."""
    result = u32(1)
    square = base
    rest = exponent
    while rest != 0:
        if (rest & 1) != 0:
            result = result * square
        square = square * square
        rest = rest >> 1
    return result


@func
def pow_u64(base: u64, exponent: u64) -> u64:
    """By squaring; wraps."""
    result = u64(1)
    square = base
    rest = exponent
    while rest != 0:
        if (rest & 1) != 0:
            result = result * square
        square = square * square
        rest = rest >> 1
    return result


@func
def pow_i32(base: i32, exponent: i32) -> i32:
    """By squaring; wraps; 0 for a negative exponent."""
    if exponent < 0:
        return i32(0)
    return i32(pow_u32(u32(base), u32(exponent)))


@func
def pow_i64(base: i64, exponent: i64) -> i64:
    """By squaring; wraps; 0 for a negative exponent."""
    if exponent < 0:
        return i64(0)
    return i64(pow_u64(u64(base), u64(exponent)))
