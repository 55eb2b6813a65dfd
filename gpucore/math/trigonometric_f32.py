"""``sin``, ``cos`` and ``tan`` on f32, with f32 and 32-bit integers only, for arguments of any size.

Method: subtract the nearest multiple of pi/2.  Below 2**13 quadrants pi/2 is held in five parts of 11 bits,
whose products with the quadrant are exact (W. J. Cody and W. Waite, *Software Manual for the Elementary
Functions*, 1980); beyond, the argument is multiplied by as many bits of 2/pi as matter, in integers (M.
Payne and R. Hanek, *Radian reduction for trigonometric functions*, SIGNUM Newsletter 18, 1983).  Both give
the remainder as an unevaluated sum of two.  Minimax polynomials on ``|r| <= pi / 4`` with the first-order
correction for the second part follow fdlibm (``k_sin.c``, ``k_cos.c``, ``k_tan.c``), the coefficients were
computed for f32 with the Remez exchange algorithm.
"""

from gpucore.ir.dtypes import f32, i32, u32
from gpucore.lang import func
from gpucore.lang.builtins import abs, bitcast, clz, select
from gpucore.math.logarithm_f32 import head

TWO_OVER_PI = 0.6366197466850281
SHIFT = 12582912.0  # 1.5 * 2**23: adding it rounds to an integer, kept in the low bits
SHIFT_BITS = 0x4B400000
LARGEST_DIRECT = 12800.0  # below 2**13 quadrants
PIO2_1 = 1.5703125  # pi/2 in parts of 11 bits, the last of 24
PIO2_2 = 0.0004837512969970703
PIO2_3 = 7.549533620476723e-08
PIO2_4 = 2.5632829192545614e-12
PIO2_5 = 6.123234262925839e-17
PIO2_REST = 7.549790126404332e-08  # pi/2 - PIO2_1 - PIO2_2
TWO_OVER_PI_WORDS = (0, 0xA2F9836E, 0x4E441529, 0xFC2757D1, 0xF534DDC0, 0xDB629599, 0x3C439041)
NEGLIGIBLE = 0.000244140625  # 2**-12: below it sin x and tan x round to x


@func
def high_product(a: u32, b: u32) -> u32:
    """The upper 32 bits of the 64-bit product."""
    low = (a & 0xFFFF) * (b & 0xFFFF)
    middle = (a >> 16) * (b & 0xFFFF) + (low >> 16)
    other = (a & 0xFFFF) * (b >> 16) + (middle & 0xFFFF)
    return (a >> 16) * (b >> 16) + (middle >> 16) + (other >> 16)


@func
def table_word(i: i32) -> u32:
    """Word ``i`` of 2/pi, most significant first, after one word of zeros."""
    return u32(TWO_OVER_PI_WORDS[i])


@func
def reduce(x: f32):
    """``(q, r, s)`` with ``x = q pi/2 + r + s`` modulo 2 pi, ``|r| <= pi/4``, ``s`` below an ulp of ``r``."""
    t = x * TWO_OVER_PI + SHIFT
    q = bitcast(t, i32) - SHIFT_BITS
    k = t - SHIFT
    # The first two subtractions are exact; the third is, or its error is recovered.
    a = (x - k * PIO2_1) - k * PIO2_2
    c = k * PIO2_3
    b = a - c
    low = (((a - b) - c) - k * PIO2_4) - k * PIO2_5
    r = b + low
    s = (b - r) + low
    if abs(x) > LARGEST_DIRECT:
        # x = significand * 2**(power - 31); of 2/pi the 96 bits that decide x * 2/pi modulo 4, to 62 places
        bits = bitcast(x, u32)
        significand = (bits << 8) | 0x80000000
        power = i32((bits >> 23) & 0xFF) - 127
        word = (power - 1) >> 5
        word = select(word > 3, 3, word)  # infinity and NaN
        shift = u32((power - 1) & 31)
        w0 = table_word(word)
        w1 = table_word(word + 1)
        w2 = table_word(word + 2)
        w3 = table_word(word + 3)
        p0 = (w0 << shift) | (w1 >> (32 - shift))
        p1 = (w1 << shift) | (w2 >> (32 - shift))
        p2 = (w2 << shift) | (w3 >> (32 - shift))
        middle = significand * p1
        lower = middle + high_product(significand, p2)
        upper = significand * p0 + high_product(significand, p1) + select(lower < middle, u32(1), u32(0))
        quadrant = (upper + 0x20000000) >> 30
        upper = upper - (quadrant << 30)
        negative = upper >= 0x80000000
        lower_negated = 0 - lower
        upper = select(negative, ~upper + select(lower == 0, u32(1), u32(0)), upper)
        lower = select(negative, lower_negated, lower)
        # Normalise; then (h + m + l) * 2**e with 12, 12 and 24 bits
        zeros = clz(upper)
        distance = u32(zeros)
        fraction = (upper << distance) | (lower >> (32 - distance))
        lower = lower << distance
        h = f32(fraction >> 20) * 4096.0
        m = f32((fraction >> 8) & 0xFFF)
        l = f32(((fraction & 0xFF) << 16) | (lower >> 16))
        e = bitcast((105 - zeros) << 23, f32)
        e = select(negative, -e, e)
        first = h * PIO2_1
        second = h * PIO2_2 + m * PIO2_1
        third = (m * PIO2_2 + (h + m) * PIO2_REST) + (l * 5.9604644775390625e-08) * PIO2_1
        total = first + second
        rest = ((first - total) + second) + third
        turned = x < 0.0
        q = select(turned, -i32(quadrant), i32(quadrant))
        e = select(turned, -e, e)
        e = select(abs(x) < float("inf"), e, x - x)
        r = (total + rest) * e
        s = ((total - (total + rest)) + rest) * e
    return q, r, s


@func
def sin_kernel(r: f32, s: f32) -> f32:
    """``sin(r + s)`` for ``|r| <= pi / 4``."""
    z = r * r
    z2 = z * z
    p = (-0.166666672 + 0.00833338033 * z) + (-0.000198535054 + 2.83739496e-06 * z) * z2
    return r + ((r * z) * p + s)


@func
def cos_kernel(r: f32, s: f32) -> f32:
    """``cos(r + s)`` for ``|r| <= pi / 4``."""
    z = r * r
    z2 = z * z
    p = (0.0416666456 + -0.00138873095 * z) + 2.44323273e-05 * z2
    half = 0.5 * z
    w = 1.0 - half
    return w + (((1.0 - w) - half) + ((z * z) * p - r * s))


@func
def sin(x: f32) -> f32:
    """Sine of ``x`` radians."""
    q, r, s = reduce(x)
    y = select((q & 1) == 0, sin_kernel(r, s), cos_kernel(r, s))
    y = select((q & 2) == 0, y, -y)
    return select(abs(x) < NEGLIGIBLE, x, y)


@func
def cos(x: f32) -> f32:
    """Cosine of ``x`` radians."""
    q, r, s = reduce(x)
    y = select((q & 1) == 0, cos_kernel(r, s), sin_kernel(r, s))
    return select(((q + 1) & 2) == 0, y, -y)


@func
def tan(x: f32) -> f32:
    """Tangent of ``x`` radians."""
    q, r, s = reduce(x)
    z = r * r
    z2 = z * z
    z4 = z2 * z2
    p0 = (0.333333492 + 0.133326739 * z) + (0.0540591776 + 0.0212845076 * z) * z2
    p1 = (0.0108325072 + 9.11543757e-05 * z) + 0.00437647663 * z2
    p = p0 + p1 * z4
    v = (r * z) * p + (s + s * z)
    w = r + v
    # In odd quadrants -1 / (r + v), corrected by the exact residual of its head
    wh = head(w)
    a = -1.0 / w
    ah = head(a)
    inverse = ah + a * ((1.0 + ah * wh) + ah * (v - (wh - r)))
    y = select((q & 1) == 0, w, inverse)
    return select(abs(x) < NEGLIGIBLE, x, y)
