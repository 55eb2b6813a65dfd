"""Division, square roots and ``a * b + c``, each with one rounding, denormals included.

In division the significands' quotient is estimated in floating point (Newton's iteration for the reciprocal) and made
exact by its integer remainder, which is small and so known from its low bits alone.  See M. D. Ercegovac and
T. Lang, *Digital Arithmetic*, 2004, chapter 7.  Nothing depends on how the estimate is rounded.

Roots likewise: Newton's iteration for the reciprocal root estimates, the integer
remainder makes it exact.  The starting value is that of C. Lomont, *Fast Inverse Square Root*, 2003.  A root
never falls halfway between two floats, so one bit beyond the result decides.

``fma_f32`` is S. Boldo and G. Melquiond, *Emulation of FMA and correctly rounded sums: proved algorithms
using rounding to odd*, IEEE Transactions on Computers 57(4), 2008: the product is exact in f64, the sum is
rounded to odd with the help of Knuth's TwoSum, and the second rounding is then harmless.  ``fma_residual_f32`` adds
products of halves (T. J. Dekker, *A floating-point technique for extending the available precision*, 1971).  The others
align and add the exact product and the addend as integers, keeping what is shifted out in the lowest bit.

``FUNCTIONS`` are the routines for what a target cannot do exactly by itself: the keys that begin with ``soft.``.
``gpucore.ir.passes.legalise`` calls them.  ``soft.OP.DTYPE`` does the operation of that name;
``soft.cast.A.B`` converts, f16 as its bits in u16; ``soft.round.f32.f16`` rounds an f32 to a number of f16;
``soft.odd.A.f32`` and ``soft.fma_odd.f32`` round to odd, for a second rounding to follow.  Integers only,
save for the estimates in division and root, f64 in ``soft.fma.f32`` (``soft.fma.f32.integer`` does without)
and exact steps elsewhere.  The library itself uses ``soft.fma.f32.residual``.
"""

from collections.abc import Callable
from typing import Any

from gpucore.ir.dtypes import DType, f32, f64, i32, i64, u16, u32, u64
from gpucore.lang import func
from gpucore.lang.builtins import bitcast, clz, max, min, select
from gpucore.math import soft_bits


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


@func
def fma_f32(a: f32, b: f32, c: f32) -> f32:
    """By way of f64."""
    p = f64(a) * f64(b)
    q = f64(c)
    s = p + q
    back = s - p
    error = (p - (s - back)) + (q - back)
    bits = bitcast(s, i64)
    # not for a NaN, which comes from infinite sums
    if (error > 0.0 or error < 0.0) and (bits & 1) == 0:
        # away from zero where the error has the sign of the sum
        bits = bits + select((error > 0.0) == (s > 0.0), i64(1), i64(-1))
    return f32(bitcast(bits, f64))


@func
def fma_residual_f32(a: f32, b: f32, c: f32) -> f32:
    """For a ``c`` within some ulp of ``-a * b``, where no product of halves is too small or too large."""
    x, y = bitcast(bitcast(a, u32) & 0xFFFFF000, f32), bitcast(bitcast(b, u32) & 0xFFFFF000, f32)
    u, v = a - x, b - y
    return (((x * y + c) + x * v) + u * y) + u * v


@func
def fma_special_f32(a: f32, b: f32, c: f32) -> f32:
    """Where an operand is NaN or infinite, or the product is zero."""
    if (bitcast(a, u32) & 0x7F800000) != 0x7F800000 and (bitcast(b, u32) & 0x7F800000) != 0x7F800000:
        # a finite product cannot change an infinite addend, though it might overflow here
        if (bitcast(c, u32) & 0x7F800000) == 0x7F800000:
            return c
    return a * b + c


@func
def fma_parts_f32(a: f32, b: f32, c: f32, to_odd: i32) -> f32:
    """With integers; ``to_odd`` is 1 to round to odd."""
    ua = bitcast(a, u32)
    ub = bitcast(b, u32)
    uc = bitcast(c, u32)
    ma = ua & 0x7FFFFFFF
    mb = ub & 0x7FFFFFFF
    mc = uc & 0x7FFFFFFF
    if ma >= 0x7F800000 or mb >= 0x7F800000 or mc >= 0x7F800000 or ma == 0 or mb == 0:
        return fma_special_f32(a, b, c)
    # each is an integer times 2**(exponent - 150)
    exponent_a = max(i32(ma >> 23), 1)
    exponent_b = max(i32(mb >> 23), 1)
    exponent_c = max(i32(mc >> 23), 1)
    pa = (ma & 0x007FFFFF) | select(ma >= 0x00800000, u32(0x00800000), u32(0))
    pb = (mb & 0x007FFFFF) | select(mb >= 0x00800000, u32(0x00800000), u32(0))
    pc = (mc & 0x007FFFFF) | select(mc >= 0x00800000, u32(0x00800000), u32(0))
    product = u64(pa) * u64(pb)
    # both with the highest bit at 61
    up = clz(product) - 2
    product = product << u64(up)
    exponent_p = exponent_a + exponent_b - 300 - up
    addend = u64(pc)
    exponent_s = exponent_p
    if pc != 0:
        lift = clz(addend) - 2
        addend = addend << u64(lift)
        exponent_s = exponent_c - 150 - lift
    exponent = max(exponent_p, exponent_s)
    product = jam_u64(product, exponent - exponent_p)
    addend = jam_u64(addend, exponent - exponent_s)
    total = select(((ua ^ ub) >> 31) != 0, -i64(product), i64(product))
    total = total + select((uc >> 31) != 0, -i64(addend), i64(addend))
    if total == 0:
        return bitcast(u32(0), f32)
    sign = select(total < 0, u32(0x80000000), u32(0))
    magnitude = u64(select(total < 0, -total, total))
    zeros = clz(magnitude)
    significand = u32(jam_u64(magnitude << u64(zeros), 37))
    biased = exponent + 63 - zeros + 127
    if to_odd != 0:
        return pack_odd_f32(sign, biased, significand)
    return pack_f32(sign, biased, significand)


@func
def fma_integer_f32(a: f32, b: f32, c: f32) -> f32:
    """Without f64."""
    return fma_parts_f32(a, b, c, 0)


@func
def fma_odd_f32(a: f32, b: f32, c: f32) -> f32:
    """Rounded to odd, for a second rounding to follow."""
    return fma_parts_f32(a, b, c, 1)


@func
def multiply_high(a: u64, b: u64) -> u64:
    """The upper half of the product."""
    a0 = a & 0xFFFFFFFF
    a1 = a >> 32
    b0 = b & 0xFFFFFFFF
    b1 = b >> 32
    middle = a1 * b0 + ((a0 * b0) >> 32)
    other = a0 * b1 + (middle & 0xFFFFFFFF)
    return a1 * b1 + (middle >> 32) + (other >> 32)


@func
def fma_special_f64(a: f64, b: f64, c: f64) -> f64:
    """Where an operand is NaN or infinite, or the product is zero."""
    infinity = u64(0x7FF0000000000000)
    if (bitcast(a, u64) & infinity) != infinity and (bitcast(b, u64) & infinity) != infinity:
        if (bitcast(c, u64) & infinity) == infinity:
            return c
    return a * b + c


@func
def fma_f64(a: f64, b: f64, c: f64) -> f64:
    """With integers of two words, the highest bit of either operand at 125."""
    ua = bitcast(a, u64)
    ub = bitcast(b, u64)
    uc = bitcast(c, u64)
    ma = ua & 0x7FFFFFFFFFFFFFFF
    mb = ub & 0x7FFFFFFFFFFFFFFF
    mc = uc & 0x7FFFFFFFFFFFFFFF
    infinity = u64(0x7FF0000000000000)
    if ma >= infinity or mb >= infinity or mc >= infinity or ma == 0 or mb == 0:
        return fma_special_f64(a, b, c)
    one = u64(0x0010000000000000)
    # each is an integer times 2**(exponent - 1075)
    exponent_a = max(i32(ma >> 52), 1)
    exponent_b = max(i32(mb >> 52), 1)
    exponent_c = max(i32(mc >> 52), 1)
    pa = (ma & (one - 1)) | select(ma >= one, one, u64(0))
    pb = (mb & (one - 1)) | select(mb >= one, one, u64(0))
    pc = (mc & (one - 1)) | select(mc >= one, one, u64(0))
    # the factors' highest bits at 62 and 63 put the product's at 125 or 126; one place back leaves room for a
    # carry, and loses nothing: the lowest bits are zero
    lift_a = clz(pa) - 1
    lift_b = clz(pb)
    pa = pa << u64(lift_a)
    pb = pb << u64(lift_b)
    xh = multiply_high(pa, pb)
    xl = pa * pb
    xl = (xl >> 1) | (xh << 63)
    xh = xh >> 1
    exponent_p = exponent_a + exponent_b - 2150 - lift_a - lift_b + 1
    yh = u64(0)
    exponent_s = exponent_p
    if pc != 0:
        lift_c = clz(pc) - 2
        yh = pc << u64(lift_c)
        exponent_s = exponent_c - 1075 - lift_c - 64
    yl = u64(0)
    sign_x = (ua ^ ub) >> 63
    sign_y = uc >> 63
    exponent = exponent_p
    if exponent_s > exponent_p:
        # x is the one with the larger exponent
        exponent = exponent_s
        th = xh
        tl = xl
        xh = yh
        xl = yl
        yh = th
        yl = tl
        ts = sign_x
        sign_x = sign_y
        sign_y = ts
    amount = min(max(exponent_p, exponent_s) - min(exponent_p, exponent_s), 128)
    if amount < 64:
        lost = yl << u64(64 - amount)
        yl = (yl >> u64(amount)) | (yh << u64(64 - amount))
        yh = yh >> u64(amount)
    else:
        lost = yl | (yh << u64(128 - amount))
        yl = yh >> u64(amount - 64)
        yh = u64(0)
    yl = yl | select(lost != 0, u64(1), u64(0))
    sign = sign_x
    if sign_x == sign_y:
        low = xl + yl
        high = xh + yh + select(low < xl, u64(1), u64(0))
    else:
        if yh > xh or (yh == xh and yl > xl):
            sign = sign_y
            low = yl - xl
            high = yh - xh - select(yl < xl, u64(1), u64(0))
        else:
            low = xl - yl
            high = xh - yh - select(xl < yl, u64(1), u64(0))
    if high == 0:
        if low == 0:
            return bitcast(u64(0), f64)
        high = low
        low = u64(0)
        exponent = exponent - 64
    zeros = clz(high)
    high = (high << u64(zeros)) | (low >> u64(64 - zeros))
    low = low << u64(zeros)
    significand = jam_u64(high, 8) | select(low != 0, u64(1), u64(0))
    return pack_f64(sign << 63, exponent + 127 - zeros + 1023, significand)


Routine = tuple[Callable[..., Any], tuple[DType, ...]]

FUNCTIONS: dict[str, Routine] = {
    "soft.popcount.u32": (soft_bits.popcount_u32, (u32,)),
    "soft.popcount.u64": (soft_bits.popcount_u64, (u64,)),
    "soft.clz.u32": (soft_bits.clz_u32, (u32,)),
    "soft.clz.u64": (soft_bits.clz_u64, (u64,)),
    "soft.pow.i32": (soft_bits.pow_i32, (i32, i32)),
    "soft.pow.u32": (soft_bits.pow_u32, (u32, u32)),
    "soft.pow.i64": (soft_bits.pow_i64, (i64, i64)),
    "soft.pow.u64": (soft_bits.pow_u64, (u64, u64)),
    "soft.div.f32": (div_f32, (f32, f32)),
    "soft.div.f64": (div_f64, (f64, f64)),
    "soft.sqrt.f32": (sqrt_f32, (f32,)),
    "soft.sqrt.f64": (sqrt_f64, (f64,)),
    "soft.fma.f32": (fma_f32, (f32, f32, f32)),
    "soft.fma.f32.integer": (fma_integer_f32, (f32, f32, f32)),
    "soft.fma.f32.residual": (fma_residual_f32, (f32, f32, f32)),
    "soft.fma.f64": (fma_f64, (f64, f64, f64)),
    "soft.fma_odd.f32": (fma_odd_f32, (f32, f32, f32)),
    "soft.floordiv.f32": (soft_bits.floordiv_f32, (f32, f32)),
    "soft.floordiv.f64": (soft_bits.floordiv_f64, (f64, f64)),
    "soft.mod.f32": (soft_bits.mod_f32, (f32, f32)),
    "soft.mod.f64": (soft_bits.mod_f64, (f64, f64)),
    "soft.round.f32.f16": (soft_bits.round_f32_f16, (f32,)),
    "soft.cast.f32.f16": (soft_bits.cast_f32_f16, (f32,)),
    "soft.cast.f16.f32": (soft_bits.cast_f16_f32, (u16,)),
    "soft.odd.f64.f32": (soft_bits.odd_f64_f32, (f64,)),
    "soft.odd.i32.f32": (soft_bits.odd_i32_f32, (i32,)),
    "soft.odd.u32.f32": (soft_bits.odd_u32_f32, (u32,)),
    "soft.odd.i64.f32": (soft_bits.odd_i64_f32, (i64,)),
    "soft.odd.u64.f32": (soft_bits.odd_u64_f32, (u64,)),
}


def routine(key: str) -> Routine:
    """The device function for a key, and the dtypes of its arguments; a KeyError where there is none."""
    return FUNCTIONS[key]
