"""``a * b + c`` with one rounding.

``fma_f32`` is S. Boldo and G. Melquiond, *Emulation of FMA and correctly rounded sums: proved algorithms
using rounding to odd*, IEEE Transactions on Computers 57(4), 2008: the product is exact in f64, the sum is
rounded to odd with the help of Knuth's TwoSum, and the second rounding is then harmless.  ``fma_residual_f32`` adds
products of halves (T. J. Dekker, *A floating-point technique for extending the available precision*, 1971).  The others
align and add the exact product and the addend as integers, keeping what is shifted out in the lowest bit.
"""

from gpucore.ir.dtypes import f32, f64, i32, i64, u32, u64
from gpucore.lang import func
from gpucore.lang.builtins import bitcast, clz, max, min, select
from gpucore.math.soft_pack import jam_u64, pack_f32, pack_f64, pack_odd_f32


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
