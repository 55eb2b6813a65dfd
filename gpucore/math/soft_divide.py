"""Division, correctly rounded, denormals included.

The significands' quotient is estimated in floating point (Newton's iteration for the reciprocal) and made
exact by its integer remainder, which is small and so known from its low bits alone.  See M. D. Ercegovac and
T. Lang, *Digital Arithmetic*, 2004, chapter 7.  Nothing depends on how the estimate is rounded.
"""

from gpucore.ir.dtypes import f32, f64, i32, i64, u32, u64
from gpucore.lang import func
from gpucore.lang.builtins import bitcast, clz, select
from gpucore.math.soft_pack import pack_f32, pack_f64


@func
def div_f32(a: f32, b: f32) -> f32:
    """``a / b``."""
    ua = bitcast(a, u32)
    ub = bitcast(b, u32)
    sign = (ua ^ ub) & 0x80000000
    ma = ua & 0x7FFFFFFF
    mb = ub & 0x7FFFFFFF
    if ma >= 0x7F800000 or mb >= 0x7F800000 or ma == 0 or mb == 0:
        # NaN, inf / inf and 0 / 0 are NaN; what remains is zero or infinite
        if ma > 0x7F800000 or mb > 0x7F800000 or (ma == mb):
            return bitcast(u32(0x7FC00000), f32)
        return bitcast(select(ma >= 0x7F800000 or mb == 0, sign | 0x7F800000, sign), f32)
    shift_a = select(ma < 0x00800000, clz(ma) - 8, 0)
    shift_b = select(mb < 0x00800000, clz(mb) - 8, 0)
    exponent_a = select(ma < 0x00800000, 1 - shift_a, i32(ma >> 23))
    exponent_b = select(mb < 0x00800000, 1 - shift_b, i32(mb >> 23))
    p = ((ma << u32(shift_a)) & 0x007FFFFF) | 0x00800000
    q = ((mb << u32(shift_b)) & 0x007FFFFF) | 0x00800000
    exponent = exponent_a - exponent_b + 127
    if p < q:
        p = p << 1
        exponent = exponent - 1
    # d in [1/2, 1), y near 1 / d: an error of 1/17, squared three times
    d = f32(q) * 5.9604644775390625e-08
    y = 2.823529411764706 - 1.8823529411764706 * d
    y = y * (2.0 - d * y)
    y = y * (2.0 - d * y)
    y = y * (2.0 - d * y)
    quotient = i32(f32(p) * y * 2.0)
    divisor = i32(q)
    remainder = i32(p << 25) - quotient * divisor
    step = i32(f32(remainder) * y * 5.9604644775390625e-08)
    quotient = quotient + step
    remainder = remainder - step * divisor
    if remainder < 0:
        quotient = quotient - 1
        remainder = remainder + divisor
    if remainder < 0:
        quotient = quotient - 1
        remainder = remainder + divisor
    if remainder >= divisor:
        quotient = quotient + 1
        remainder = remainder - divisor
    sticky = select(remainder != 0, u32(1), u32(0))
    return pack_f32(sign, exponent, (u32(quotient) << 1) | sticky)


@func
def div_f64(a: f64, b: f64) -> f64:
    """``a / b``."""
    ua = bitcast(a, u64)
    ub = bitcast(b, u64)
    sign = (ua ^ ub) & 0x8000000000000000
    ma = ua & 0x7FFFFFFFFFFFFFFF
    mb = ub & 0x7FFFFFFFFFFFFFFF
    if ma >= 0x7FF0000000000000 or mb >= 0x7FF0000000000000 or ma == 0 or mb == 0:
        if ma > 0x7FF0000000000000 or mb > 0x7FF0000000000000 or (ma == mb):
            return bitcast(u64(0x7FF8000000000000), f64)
        return bitcast(select(ma >= 0x7FF0000000000000 or mb == 0, sign | 0x7FF0000000000000, sign), f64)
    shift_a = select(ma < 0x0010000000000000, clz(ma) - 11, 0)
    shift_b = select(mb < 0x0010000000000000, clz(mb) - 11, 0)
    exponent_a = select(ma < 0x0010000000000000, 1 - shift_a, i32(ma >> 52))
    exponent_b = select(mb < 0x0010000000000000, 1 - shift_b, i32(mb >> 52))
    p = ((ma << u64(shift_a)) & 0x000FFFFFFFFFFFFF) | 0x0010000000000000
    q = ((mb << u64(shift_b)) & 0x000FFFFFFFFFFFFF) | 0x0010000000000000
    exponent = exponent_a - exponent_b + 1023
    if p < q:
        p = p << 1
        exponent = exponent - 1
    d = f64(q) * 1.1102230246251565e-16
    y = 2.823529411764706 - 1.8823529411764706 * d
    y = y * (2.0 - d * y)
    y = y * (2.0 - d * y)
    y = y * (2.0 - d * y)
    y = y * (2.0 - d * y)
    quotient = i64(f64(p) * y * 2.0)
    divisor = i64(q)
    remainder = i64(p << 54) - quotient * divisor
    step = i64(f64(remainder) * y * 1.1102230246251565e-16)
    quotient = quotient + step
    remainder = remainder - step * divisor
    if remainder < 0:
        quotient = quotient - 1
        remainder = remainder + divisor
    if remainder < 0:
        quotient = quotient - 1
        remainder = remainder + divisor
    if remainder >= divisor:
        quotient = quotient + 1
        remainder = remainder - divisor
    sticky = select(remainder != 0, u64(1), u64(0))
    return pack_f64(sign, exponent, (u64(quotient) << 1) | sticky)
