"""``//`` and ``%`` on floats: CPython's ``float.__divmod__`` over an exact remainder.

The remainder is that of long division of the significands, several bits a step.
"""

from gpucore.ir.dtypes import f32, f64, i32, u32, u64
from gpucore.lang import func
from gpucore.lang.builtins import bitcast, clz, floor, max, min, select


@func
def fmod_f32(a: f32, b: f32) -> f32:
    """C's ``fmod``: exact, with the sign of ``a``."""
    ua = bitcast(a, u32)
    sign = ua & 0x80000000
    ma = ua & 0x7FFFFFFF
    mb = bitcast(b, u32) & 0x7FFFFFFF
    if ma >= 0x7F800000 or mb > 0x7F800000 or mb == 0:
        return bitcast(u32(0x7FC00000), f32)
    if ma < mb:
        return a
    exponent = max(i32(mb >> 23), 1)
    distance = max(i32(ma >> 23), 1) - exponent
    remainder = (ma & 0x007FFFFF) | select(ma >= 0x00800000, u32(0x00800000), u32(0))
    divisor = (mb & 0x007FFFFF) | select(mb >= 0x00800000, u32(0x00800000), u32(0))
    remainder = remainder % divisor
    while distance > 0:
        step = min(distance, 8)
        remainder = (remainder << u32(step)) % divisor
        distance = distance - step
    if remainder == 0:
        return bitcast(sign, f32)
    # up to the hidden bit, or as far as the exponent goes
    up = min(clz(remainder) - 8, exponent - 1)
    remainder = remainder << u32(up)
    return bitcast(sign | ((u32(exponent - up - 1) << 23) + remainder), f32)


@func
def fmod_f64(a: f64, b: f64) -> f64:
    """C's ``fmod``: exact, with the sign of ``a``."""
    ua = bitcast(a, u64)
    sign = ua & 0x8000000000000000
    ma = ua & 0x7FFFFFFFFFFFFFFF
    mb = bitcast(b, u64) & 0x7FFFFFFFFFFFFFFF
    if ma >= 0x7FF0000000000000 or mb > 0x7FF0000000000000 or mb == 0:
        return bitcast(u64(0x7FF8000000000000), f64)
    if ma < mb:
        return a
    one = u64(0x0010000000000000)
    exponent = max(i32(mb >> 52), 1)
    distance = max(i32(ma >> 52), 1) - exponent
    remainder = (ma & (one - 1)) | select(ma >= one, one, u64(0))
    divisor = (mb & (one - 1)) | select(mb >= one, one, u64(0))
    remainder = remainder % divisor
    while distance > 0:
        step = min(distance, 11)
        remainder = (remainder << u64(step)) % divisor
        distance = distance - step
    if remainder == 0:
        return bitcast(sign, f64)
    up = min(clz(remainder) - 11, exponent - 1)
    remainder = remainder << u64(up)
    return bitcast(sign | ((u64(exponent - up - 1) << 52) + remainder), f64)


@func
def zero_like_f32(x: f32) -> f32:
    """Zero with the sign of ``x``."""
    return bitcast(bitcast(x, u32) & 0x80000000, f32)


@func
def zero_like_f64(x: f64) -> f64:
    """Zero with the sign of ``x``."""
    return bitcast(bitcast(x, u64) & 0x8000000000000000, f64)


@func
def mod_f32(a: f32, b: f32) -> f32:
    """``a % b``."""
    remainder = fmod_f32(a, b)
    if remainder != 0.0:
        if (b < 0.0) != (remainder < 0.0):
            return remainder + b
        return remainder
    return zero_like_f32(b)


@func
def mod_f64(a: f64, b: f64) -> f64:
    """``a % b``."""
    remainder = fmod_f64(a, b)
    if remainder != 0.0:
        if (b < 0.0) != (remainder < 0.0):
            return remainder + b
        return remainder
    return zero_like_f64(b)


@func
def floordiv_f32(a: f32, b: f32) -> f32:
    """``a // b``."""
    if b == 0.0:
        return a / b
    remainder = fmod_f32(a, b)
    quotient = (a - remainder) / b
    if remainder != 0.0 and (b < 0.0) != (remainder < 0.0):
        quotient = quotient - 1.0
    if quotient != 0.0:
        whole = floor(quotient)
        if quotient - whole > 0.5:
            whole = whole + 1.0
        return whole
    return zero_like_f32(a / b)


@func
def floordiv_f64(a: f64, b: f64) -> f64:
    """``a // b``."""
    if b == 0.0:
        return a / b
    remainder = fmod_f64(a, b)
    quotient = (a - remainder) / b
    if remainder != 0.0 and (b < 0.0) != (remainder < 0.0):
        quotient = quotient - 1.0
    if quotient != 0.0:
        whole = floor(quotient)
        if quotient - whole > 0.5:
            whole = whole + 1.0
        return whole
    return zero_like_f64(a / b)
