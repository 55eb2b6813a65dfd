"""Bits: counts of them, integer powers, conversions to and from the 16-bit formats and to f32 rounded to odd; ``//`` and ``%``.

Counts are those of H. S. Warren, *Hacker's Delight*, sections 5-1 and 5-3.

A value rounded to odd (toward zero, the last bit set if that was inexact) can be rounded again to a format
with at least two bits less, and gives what rounding once would (S. Boldo and G. Melquiond, 2008).

``//`` and ``%`` on floats are CPython's ``float.__divmod__`` over an exact remainder, that of long division of the significands,
several bits a step.

``fmod`` of the library is that remainder; ``remainder`` takes the nearest
multiple from it, as fdlibm does (``e_remainder.c``); ``ldexp`` multiplies by powers of two such that what lies below the normal
range is rounded once, as musl does (``scalbn.c``).
"""

from functools import cache
from types import SimpleNamespace

from gpucore.ir.dtypes import f32, f64, i32, i64, u16, u32, u64
from gpucore.lang import func
from gpucore.lang.builtins import abs, bitcast, clamp, clz, floor, max, min, round, select
from gpucore.math.formats import Format


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


@func
def round_f32_f16(x: f32) -> f32:
    """``x`` rounded to a number that f16 represents."""
    bits = bitcast(x, u32)
    magnitude = bits & 0x7FFFFFFF
    sign = bits & 0x80000000
    if magnitude >= 0x477FF000:
        # from 65520 on to infinity; NaN stays NaN
        return bitcast(select(magnitude > 0x7F800000, u32(0x7FC00000), sign | 0x7F800000), f32)
    if magnitude < 0x38800000:
        # below 2**-14: multiples of 2**-24
        return round(x * 16777216.0) * 5.9604644775390625e-08
    return bitcast((bits + 0x0FFF + ((bits >> 13) & 1)) & 0xFFFFE000, f32)


@func
def cast_f32_f16(x: f32) -> u16:
    """The bits of ``x`` rounded to f16."""
    rounded = bitcast(round_f32_f16(x), u32)
    magnitude = rounded & 0x7FFFFFFF
    sign = (rounded >> 16) & 0x8000
    if magnitude >= 0x7F800000:
        return u16(select(magnitude > 0x7F800000, u32(0x7E00), sign | 0x7C00))
    if magnitude < 0x38800000:
        return u16(sign | u32(i32(bitcast(magnitude, f32) * 16777216.0)))
    return u16(sign | ((magnitude - 0x38000000) >> 13))


@func
def cast_f16_f32(h: u16) -> f32:
    """The number that these bits of f16 are."""
    bits = u32(h)
    sign = (bits & 0x8000) << 16
    rest = bits & 0x7FFF
    if rest >= 0x7C00:
        return bitcast(select(rest > 0x7C00, u32(0x7FC00000), sign | 0x7F800000), f32)
    if rest < 0x0400:
        return bitcast(sign | bitcast(f32(i32(rest)) * 5.9604644775390625e-08, u32), f32)
    return bitcast(sign | ((rest << 13) + 0x38000000), f32)


@func
def odd_f64_f32(x: f64) -> f32:
    """``x`` rounded to odd."""
    nearest = f32(x)
    back = f64(nearest)
    if x != x or back == x:
        return nearest
    bits = bitcast(nearest, u32)
    if abs(back) > abs(x):
        bits = bits - 1
    return bitcast(bits | 1, f32)


@func
def odd_u32_f32(x: u32) -> f32:
    """``x`` rounded to odd."""
    zeros = clz(x)
    top = x << u32(zeros)
    kept = (top >> 8) | select((top & 0xFF) != 0, u32(1), u32(0))
    return f32(i32(kept)) * bitcast((8 - zeros + 127) << 23, f32)


@func
def odd_u64_f32(x: u64) -> f32:
    """``x`` rounded to odd."""
    zeros = clz(x)
    top = x << u64(zeros)
    kept = u32(top >> 40) | select((top & 0xFFFFFFFFFF) != 0, u32(1), u32(0))
    return f32(i32(kept)) * bitcast((40 - zeros + 127) << 23, f32)


@func
def odd_i32_f32(x: i32) -> f32:
    """``x`` rounded to odd."""
    magnitude = odd_u32_f32(u32(abs(x)))
    return select(x < 0, -magnitude, magnitude)


@func
def odd_i64_f32(x: i64) -> f32:
    """``x`` rounded to odd."""
    magnitude = odd_u64_f32(u64(abs(x)))
    return select(x < 0, -magnitude, magnitude)


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


@cache
def functions(form: Format) -> SimpleNamespace:
    """The functions on a format."""
    real, integer, unsigned = form.real, form.integer, form.unsigned
    exact_fmod = form.pick(fmod_f32, fmod_f64)
    INF, NAN = float("inf"), float("nan")
    BITS, BIAS, SIGN = form.fraction_bits, form.bias, form.sign_bit
    SMALLEST_NORMAL = form.smallest_normal
    LOWEST = 1 - BIAS  # exponent of a normal number
    FRACTION_MASK = (1 << BITS) - 1
    HALF_BITS = (BIAS - 1) << BITS  # of 0.5
    HALF_OF_MAX = form.pick(1.7014117331926443e38, 8.988465674311579e307)
    UP = 2.0**BIAS
    DOWN, DOWN_HALVINGS = form.pick(2.0**-102, 2.0**-969), form.pick(102, 969)
    TINY_UP = form.pick(2.0**24, 2.0**54)
    TINY_BIAS = form.pick(150, 1076)  # with the doublings of TINY_UP

    @func
    def fmod(x: real, y: real) -> real:
        """The remainder of ``x / y`` with the sign of ``x``, exact."""
        return exact_fmod(x, y)

    @func
    def remainder(x: real, y: real) -> real:
        """``x - n * y`` with the integer ``n`` nearest ``x / y``, even of two, exact; a zero has the sign of ``x``."""
        p = abs(y)
        a = abs(x)
        if p <= HALF_OF_MAX:
            a = abs(exact_fmod(x, p + p))
        if p < SMALLEST_NORMAL + SMALLEST_NORMAL:
            # half of p need not be a number
            if a + a > p:
                a = a - p
                if a + a >= p:
                    a = a - p
        else:
            half = 0.5 * p
            if a > half:
                a = a - p
                if a >= half:
                    a = a - p
        if (p == 0.0) | (abs(x) == INF) | (x != x) | (y != y):
            a = NAN
        return bitcast(bitcast(a, unsigned) ^ (bitcast(x, unsigned) & SIGN), real)

    @func
    def nextafter(x: real, y: real) -> real:
        """The number that follows ``x`` in the direction of ``y``; ``y`` where they are equal."""
        bits = bitcast(x, integer)
        away = (x < y) == (bits >= 0)
        moved = bitcast(select(away, bits + 1, bits - 1), real)
        least = bitcast((bitcast(y, unsigned) & SIGN) | 1, real)
        result = select(x == 0.0, least, moved)
        result = select(x == y, y, result)
        return select((x != x) | (y != y), NAN, result)

    @func
    def ldexp(x: real, n: i32) -> real:
        """``x * 2**n``, rounded once."""
        if n > BIAS:
            x = x * UP
            n = n - BIAS
            if n > BIAS:
                x = x * UP
                n = clamp(n - BIAS, 0, BIAS)
        if n < LOWEST:
            x = x * DOWN
            n = n + DOWN_HALVINGS
            if n < LOWEST:
                x = x * DOWN
                n = max(n + DOWN_HALVINGS, LOWEST)
        return x * bitcast((integer(n) + BIAS) << BITS, real)

    @func
    def frexp_exponent(x: real) -> i32:
        """``e`` of ``x = f * 2**e`` with ``1/2 <= |f| < 1``; 0 for zero, infinity and NaN."""
        a = abs(x)
        tiny = a < SMALLEST_NORMAL
        bits = bitcast(select(tiny, a * TINY_UP, a), integer)
        e = i32(bits >> BITS) - select(tiny, TINY_BIAS, BIAS - 1)
        return select((a > 0.0) & (a < INF), e, 0)

    @func
    def frexp_fraction(x: real) -> real:
        """``f`` of ``x = f * 2**e`` with ``1/2 <= |f| < 1``; zero, infinity and NaN as they are."""
        a = abs(x)
        bits = bitcast(select(a < SMALLEST_NORMAL, a * TINY_UP, a), unsigned)
        f = bitcast((bits & FRACTION_MASK) | HALF_BITS, real)
        return select((a > 0.0) & (a < INF), select(x < 0.0, -f, f), x)

    return SimpleNamespace(**locals())
