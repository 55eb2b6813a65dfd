"""Square roots, correctly rounded.

As in :mod:`gpucore.math.soft_divide`: Newton's iteration for the reciprocal root estimates, the integer
remainder makes it exact.  The starting value is that of C. Lomont, *Fast Inverse Square Root*, 2003.  A root
never falls halfway between two floats, so one bit beyond the result decides.
"""

from gpucore.ir.dtypes import f32, f64, i32, i64, u32, u64
from gpucore.lang import func
from gpucore.lang.builtins import bitcast, clz, select


@func
def sqrt_f32(x: f32) -> f32:
    """Square root; NaN below zero, -0 for -0."""
    bits = bitcast(x, u32)
    if (bits & 0x7FFFFFFF) == 0 or bits == 0x7F800000:
        return x
    if bits > 0x7F800000:
        return bitcast(u32(0x7FC00000), f32)
    shift = select(bits < 0x00800000, clz(bits) - 8, 0)
    exponent = select(bits < 0x00800000, 1 - shift, i32(bits >> 23)) - 127
    m = ((bits << u32(shift)) & 0x007FFFFF) | 0x00800000
    # x = m * 2**(exponent - odd) * 2**-24 (odd: 2**-25), the exponent even: m in [2**24, 2**26)
    odd = exponent & 1
    m = m << u32(1 + odd)
    value = f32(m)
    y = bitcast(0x5F375A86 - (bitcast(value, i32) >> 1), f32)
    half = 0.5 * value
    y = y * (1.5 - half * y * y)
    y = y * (1.5 - half * y * y)
    y = y * (1.5 - half * y * y)
    root = i32(value * y * 4096.0)
    remainder = i32(m << 24) - root * root
    step = i32(f32(remainder) * (y * 0.0001220703125))
    root = root + step
    remainder = i32(m << 24) - root * root
    if remainder < 0:
        root = root - 1
        remainder = remainder + 2 * root + 1
    if remainder < 0:
        root = root - 1
        remainder = remainder + 2 * root + 1
    if remainder > 2 * root:
        root = root + 1
    # 25 bits: the 24 of the result, and the one that rounds
    rounded = u32(root >> 1) + u32(root & 1)
    return bitcast((u32((exponent >> 1) + 126) << 23) + rounded, f32)


@func
def sqrt_f64(x: f64) -> f64:
    """Square root; NaN below zero, -0 for -0."""
    bits = bitcast(x, u64)
    if (bits & 0x7FFFFFFFFFFFFFFF) == 0 or bits == 0x7FF0000000000000:
        return x
    if bits > 0x7FF0000000000000:
        return bitcast(u64(0x7FF8000000000000), f64)
    shift = select(bits < 0x0010000000000000, clz(bits) - 11, 0)
    exponent = select(bits < 0x0010000000000000, 1 - shift, i32(bits >> 52)) - 1023
    m = ((bits << u64(shift)) & 0x000FFFFFFFFFFFFF) | 0x0010000000000000
    odd = exponent & 1
    m = m << u64(2 + odd)
    value = f64(m)
    y = bitcast(0x5FE6EB50C7B537A9 - (bitcast(value, i64) >> 1), f64)
    half = 0.5 * value
    y = y * (1.5 - half * y * y)
    y = y * (1.5 - half * y * y)
    y = y * (1.5 - half * y * y)
    y = y * (1.5 - half * y * y)
    root = i64(value * y * 67108864.0)
    remainder = i64(m << 52) - root * root
    step = i64(f64(remainder) * (y * 7.450580596923828e-09))
    root = root + step
    remainder = i64(m << 52) - root * root
    if remainder < 0:
        root = root - 1
        remainder = remainder + 2 * root + 1
    if remainder < 0:
        root = root - 1
        remainder = remainder + 2 * root + 1
    if remainder > 2 * root:
        root = root + 1
    rounded = u64(root >> 1) + u64(root & 1)
    return bitcast((u64((exponent >> 1) + 1022) << 52) + rounded, f64)
