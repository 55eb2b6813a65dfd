"""``sin``, ``cos`` and ``tan`` on f64, with f64 and 64-bit integers only, for arguments of any size.

Method: as in :mod:`gpucore.math.trigonometric_f32`: below 2**20 quadrants pi/2 in three parts of 33 bits
and a rest (Cody and Waite; the parts are fdlibm's, ``e_rem_pio2.c``), beyond by Payne and Hanek's product
with 192 bits of 2/pi; kernels with a first-order correction as in fdlibm.  The coefficients were computed
for this library with the Remez exchange algorithm.
"""

from gpucore.ir.dtypes import f64, i32, i64, u64
from gpucore.lang import func
from gpucore.lang.builtins import abs, bitcast, clz, select
from gpucore.math.logarithm_f64 import head

TWO_OVER_PI = 0.6366197723675814
SHIFT = 6755399441055744.0  # 1.5 * 2**52: adding it rounds to an integer, kept in the low bits
SHIFT_BITS = 0x4338000000000000
LARGEST_DIRECT = 1647000.0  # below 2**20 quadrants
PIO2_1 = 1.5707963267341256  # pi/2 in parts of 33 bits, the last of 53
PIO2_2 = 6.077100506303966e-11
PIO2_3 = 2.0222662487111665e-21
PIO2_4 = 8.4784276603689e-32
PIO2_HEAD = 1.5707963109016418  # pi/2 in parts of 26, 26 and 53 bits
PIO2_MIDDLE = 1.5893254712295857e-08
PIO2_REST = 6.123233995736766e-17
TWO_OVER_PI_WORDS = (
    0x0000000000000000, 0xA2F9836E4E441529, 0xFC2757D1F534DDC0, 0xDB6295993C439041, 0xFE5163ABDEBBC561,
    0xB7246E3A424DD2E0, 0x06492EEA09D1921C, 0xFE1DEB1CB129A73E, 0xE88235F52EBB4484, 0xE99C7026B45F7E41,
    0x3991D639835339F4, 0x9C845F8BBDF9283B, 0x1FF897FFDE05980F, 0xEF2F118B5A0A6D1F, 0x6D367ECF27CB09B7,
    0x4F463F669E5FEA2D, 0x7527BAC7EBE5F17B, 0x3D0739F78A5292EA, 0x6BFB5FB11F8D5D08,
)  # fmt: skip
NEGLIGIBLE = 7.450580596923828e-09  # 2**-27: below it sin x and tan x round to x


@func
def high_product(a: u64, b: u64) -> u64:
    """The upper 64 bits of the 128-bit product."""
    low = (a & 0xFFFFFFFF) * (b & 0xFFFFFFFF)
    middle = (a >> 32) * (b & 0xFFFFFFFF) + (low >> 32)
    other = (a & 0xFFFFFFFF) * (b >> 32) + (middle & 0xFFFFFFFF)
    return (a >> 32) * (b >> 32) + (middle >> 32) + (other >> 32)


@func
def table_word(i: i32) -> u64:
    """Word ``i`` of 2/pi, most significant first, after one word of zeros."""
    return u64(TWO_OVER_PI_WORDS[i])


@func
def reduce(x: f64):
    """``(q, r, s)`` with ``x = q pi/2 + r + s`` modulo 2 pi, ``|r| <= pi/4``, ``s`` below an ulp of ``r``."""
    t = x * TWO_OVER_PI + SHIFT
    q = i32(bitcast(t, i64) - SHIFT_BITS)
    k = t - SHIFT
    # The first subtraction is exact; of the next two the errors are recovered, and are not both wanted
    a = x - k * PIO2_1
    c = k * PIO2_2
    b = a - c
    low = (a - b) - c
    d = k * PIO2_3
    e = b - d
    low = (low + ((b - e) - d)) - k * PIO2_4
    r = e + low
    s = (e - r) + low
    if abs(x) > LARGEST_DIRECT:
        # x = significand * 2**(power - 63); of 2/pi the 192 bits that decide x * 2/pi modulo 4, to 126 places
        bits = bitcast(x, u64)
        significand = (bits << 11) | 0x8000000000000000
        power = i32((bits >> 52) & 0x7FF) - 1023
        word = (power - 1) >> 6
        word = select(word > 15, 15, word)  # infinity and NaN
        shift = u64((power - 1) & 63)
        w0 = table_word(word)
        w1 = table_word(word + 1)
        w2 = table_word(word + 2)
        w3 = table_word(word + 3)
        p0 = (w0 << shift) | (w1 >> (64 - shift))
        p1 = (w1 << shift) | (w2 >> (64 - shift))
        p2 = (w2 << shift) | (w3 >> (64 - shift))
        middle = significand * p1
        lower = middle + high_product(significand, p2)
        upper = significand * p0 + high_product(significand, p1) + select(lower < middle, u64(1), u64(0))
        quadrant = (upper + 0x2000000000000000) >> 62
        upper = upper - (quadrant << 62)
        negative = upper >= 0x8000000000000000
        lower_negated = 0 - lower
        upper = select(negative, ~upper + select(lower == 0, u64(1), u64(0)), upper)
        lower = select(negative, lower_negated, lower)
        # Normalise; then (h + m + l) * 2**e with 26, 27 and 53 bits
        zeros = i64(clz(upper))
        distance = u64(zeros)
        fraction = (upper << distance) | (lower >> (64 - distance))
        lower = lower << distance
        h = f64(fraction >> 38) * 134217728.0
        m = f64((fraction >> 11) & 0x7FFFFFF)
        l = f64(((fraction & 0x7FF) << 42) | (lower >> 22))
        unit = bitcast((972 - zeros) << 52, f64)
        unit = select(negative != (x < 0.0), -unit, unit)
        unit = select(abs(x) < float("inf"), unit, x - x)
        first = h * PIO2_HEAD
        second = h * PIO2_MIDDLE + m * PIO2_HEAD
        third = (m * PIO2_MIDDLE + (h + m) * PIO2_REST) + (l * 1.1102230246251565e-16) * PIO2_HEAD
        total = first + second
        rest = ((first - total) + second) + third
        q = select(x < 0.0, -i32(quadrant), i32(quadrant))
        r = (total + rest) * unit
        s = ((total - (total + rest)) + rest) * unit
    return q, r, s


@func
def sin_kernel(r: f64, s: f64) -> f64:
    """``sin(r + s)`` for ``|r| <= pi / 4``."""
    z = r * r
    z2 = z * z
    z4 = z2 * z2
    p0 = (-0.16666666666666632 + 0.00833333333332242 * z) + (
        -0.0001984126982981273 + 2.7557313693673954e-06 * z
    ) * z2
    p1 = -2.5050758397056464e-08 + 1.58968123667565e-10 * z
    p = p0 + p1 * z4
    return r + ((r * z) * p + s)


@func
def cos_kernel(r: f64, s: f64) -> f64:
    """``cos(r + s)`` for ``|r| <= pi / 4``."""
    z = r * r
    z2 = z * z
    z4 = z2 * z2
    p0 = (0.0416666666666666 + -0.0013888888888874133 * z) + (
        2.4801587289487676e-05 + -2.7557314353963314e-07 * z
    ) * z2
    p1 = 2.0875723500915536e-09 + -1.1359659905577487e-11 * z
    p = p0 + p1 * z4
    half = 0.5 * z
    w = 1.0 - half
    return w + (((1.0 - w) - half) + ((z * z) * p - r * s))


@func
def sin(x: f64) -> f64:
    """Sine of ``x`` radians."""
    q, r, s = reduce(x)
    y = select((q & 1) == 0, sin_kernel(r, s), cos_kernel(r, s))
    y = select((q & 2) == 0, y, -y)
    return select(abs(x) < NEGLIGIBLE, x, y)


@func
def cos(x: f64) -> f64:
    """Cosine of ``x`` radians."""
    q, r, s = reduce(x)
    y = select((q & 1) == 0, cos_kernel(r, s), sin_kernel(r, s))
    return select(((q + 1) & 2) == 0, y, -y)


@func
def tan(x: f64) -> f64:
    """Tangent of ``x`` radians."""
    q, r, s = reduce(x)
    z = r * r
    z2 = z * z
    z4 = z2 * z2
    z8 = z4 * z4
    p0 = (0.3333333333333333 + 0.13333333333334021 * z) + (
        0.053968253967799036 + 0.021869488551401913 * z
    ) * z2
    p1 = (0.008863235225220912 + 0.003592132009575949 * z) + (
        0.0014557986496271057 + 0.0005902571804843476 * z
    ) * z2
    p2 = (0.00023805026236164216 + 0.00010065889570960224 * z) + (
        2.966030636551907e-05 + 3.406862033247644e-05 * z
    ) * z2
    p3 = (-1.8171456735892453e-05 + 2.5624719862080953e-05 * z) + (
        -1.2525074933129977e-05 + 4.523779247240221e-06 * z
    ) * z2
    p4 = p0 + p1 * z4
    p5 = p2 + p3 * z4
    p = p4 + p5 * z8
    v = (r * z) * p + (s + s * z)
    w = r + v
    # In odd quadrants -1 / (r + v), corrected by the exact residual of its head
    wh = head(w)
    a = -1.0 / w
    ah = head(a)
    inverse = ah + a * ((1.0 + ah * wh) + ah * (v - (wh - r)))
    y = select((q & 1) == 0, w, inverse)
    return select(abs(x) < NEGLIGIBLE, x, y)
