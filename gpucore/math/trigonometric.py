"""``sin``, ``cos`` and ``tan`` for arguments of any size, and their inverses, with floats and integers of one width only.

Method: subtract the nearest multiple of pi/2.  Below 2**13 quadrants (on f64, 2**20) pi/2 is held in parts whose products with
the quadrant are exact: five of 11 bits, or three of 33 bits and a rest, those of fdlibm, ``e_rem_pio2.c`` (W. J. Cody and W.
Waite, *Software Manual for the Elementary Functions*, 1980); beyond, the argument is multiplied by as many bits of 2/pi as
matter, in integers (M. Payne and R. Hanek, *Radian reduction for trigonometric functions*, SIGNUM Newsletter 18, 1983).  Both
give the remainder as an unevaluated sum of two.  Minimax polynomials on ``|r| <= pi / 4`` with the first-order
correction for the second part follow fdlibm (``k_sin.c``, ``k_cos.c``, ``k_tan.c``), the coefficients were
computed for this library with the Remez exchange algorithm.

The inverses are minimax polynomials of odd form.  Above one half ``asin(x) = pi/2 - 2 asin(sqrt((1 - x) / 2))``, as
in Cephes and fdlibm (``e_asin.c``); ``atan`` takes the smaller of the argument and its inverse, so that one
division and one polynomial on ``[0, 1]`` serve both functions.  Special values follow ISO C, annex F.10.1.
"""

from functools import cache
from types import SimpleNamespace

from gpucore.ir.dtypes import i32
from gpucore.lang import func
from gpucore.lang.builtins import abs, bitcast, clz, select
from gpucore.lang.math_builtins import sqrt
from gpucore.math import logarithm
from gpucore.math.formats import F32, Format

TWO_OVER_PI_WORDS_32 = (0, 0xA2F9836E, 0x4E441529, 0xFC2757D1, 0xF534DDC0, 0xDB629599, 0x3C439041)
TWO_OVER_PI_WORDS_64 = (
    0x0000000000000000, 0xA2F9836E4E441529, 0xFC2757D1F534DDC0, 0xDB6295993C439041, 0xFE5163ABDEBBC561,
    0xB7246E3A424DD2E0, 0x06492EEA09D1921C, 0xFE1DEB1CB129A73E, 0xE88235F52EBB4484, 0xE99C7026B45F7E41,
    0x3991D639835339F4, 0x9C845F8BBDF9283B, 0x1FF897FFDE05980F, 0xEF2F118B5A0A6D1F, 0x6D367ECF27CB09B7,
    0x4F463F669E5FEA2D, 0x7527BAC7EBE5F17B, 0x3D0739F78A5292EA, 0x6BFB5FB11F8D5D08,
)  # fmt: skip


@cache
def functions(form: Format) -> SimpleNamespace:
    """The functions on a format."""
    real, integer, unsigned = form.real, form.integer, form.unsigned
    head = logarithm.functions(form).head
    SHIFT, SHIFT_BITS = form.shift, form.shift_bits
    HALF_WIDTH = form.real.bits // 2
    LOWER_HALF = (1 << HALF_WIDTH) - 1
    TWO_OVER_PI = form.pick(0.6366197466850281, 0.6366197723675814)
    TWO_OVER_PI_WORDS = form.pick(TWO_OVER_PI_WORDS_32, TWO_OVER_PI_WORDS_64)
    LARGEST_DIRECT = form.pick(12800.0, 1647000.0)  # below 2**13 and 2**20 quadrants
    NEGLIGIBLE = form.pick(2.0**-12, 2.0**-27)  # below it sin x and tan x round to x
    PIO2_1 = form.pick(
        1.5703125, 1.5707963267341256
    )  # pi/2 in parts of 11 bits, the last of 24; of 33 bits, the last of 53
    PIO2_2 = form.pick(0.0004837512969970703, 6.077100506303966e-11)
    PIO2_3 = form.pick(7.549533620476723e-08, 2.0222662487111665e-21)
    PIO2_4 = form.pick(2.5632829192545614e-12, 8.4784276603689e-32)
    PIO2_5 = 6.123234262925839e-17
    PIO2_HEAD, PIO2_MIDDLE = 1.5707963109016418, 1.5893254712295857e-08  # pi/2 in parts of 26, 26 and 53 bits
    PIO2_REST = form.pick(
        7.549790126404332e-08, 6.123233995736766e-17
    )  # what is left of pi/2 after two parts

    @func
    def high_product(a: unsigned, b: unsigned) -> unsigned:
        """The upper half of the bits of the product."""
        low = (a & LOWER_HALF) * (b & LOWER_HALF)
        middle = (a >> HALF_WIDTH) * (b & LOWER_HALF) + (low >> HALF_WIDTH)
        other = (a & LOWER_HALF) * (b >> HALF_WIDTH) + (middle & LOWER_HALF)
        return (a >> HALF_WIDTH) * (b >> HALF_WIDTH) + (middle >> HALF_WIDTH) + (other >> HALF_WIDTH)

    @func
    def table_word(i: i32) -> unsigned:
        """Word ``i`` of 2/pi, most significant first, after one word of zeros."""
        return unsigned(TWO_OVER_PI_WORDS[i])

    if form is F32:

        @func
        def reduce(x: real):
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
                bits = bitcast(x, unsigned)
                significand = (bits << 8) | 0x80000000
                power = i32((bits >> 23) & 0xFF) - 127
                word = (power - 1) >> 5
                word = select(word > 3, 3, word)  # infinity and NaN
                shift = unsigned((power - 1) & 31)
                w0 = table_word(word)
                w1 = table_word(word + 1)
                w2 = table_word(word + 2)
                w3 = table_word(word + 3)
                p0 = (w0 << shift) | (w1 >> (32 - shift))
                p1 = (w1 << shift) | (w2 >> (32 - shift))
                p2 = (w2 << shift) | (w3 >> (32 - shift))
                middle = significand * p1
                lower = middle + high_product(significand, p2)
                upper = (
                    significand * p0
                    + high_product(significand, p1)
                    + select(lower < middle, unsigned(1), unsigned(0))
                )
                quadrant = (upper + 0x20000000) >> 30
                upper = upper - (quadrant << 30)
                negative = upper >= 0x80000000
                lower_negated = 0 - lower
                upper = select(negative, ~upper + select(lower == 0, unsigned(1), unsigned(0)), upper)
                lower = select(negative, lower_negated, lower)
                # Normalise; then (h + m + l) * 2**e with 12, 12 and 24 bits
                zeros = clz(upper)
                distance = unsigned(zeros)
                fraction = (upper << distance) | (lower >> (32 - distance))
                lower = lower << distance
                h = real(fraction >> 20) * 4096.0
                m = real((fraction >> 8) & 0xFFF)
                l = real(((fraction & 0xFF) << 16) | (lower >> 16))
                e = bitcast((105 - zeros) << 23, real)
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

    else:

        @func
        def reduce(x: real):
            """``(q, r, s)`` with ``x = q pi/2 + r + s`` modulo 2 pi, ``|r| <= pi/4``, ``s`` below an ulp of ``r``."""
            t = x * TWO_OVER_PI + SHIFT
            q = i32(bitcast(t, integer) - SHIFT_BITS)
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
                bits = bitcast(x, unsigned)
                significand = (bits << 11) | 0x8000000000000000
                power = i32((bits >> 52) & 0x7FF) - 1023
                word = (power - 1) >> 6
                word = select(word > 15, 15, word)  # infinity and NaN
                shift = unsigned((power - 1) & 63)
                w0 = table_word(word)
                w1 = table_word(word + 1)
                w2 = table_word(word + 2)
                w3 = table_word(word + 3)
                p0 = (w0 << shift) | (w1 >> (64 - shift))
                p1 = (w1 << shift) | (w2 >> (64 - shift))
                p2 = (w2 << shift) | (w3 >> (64 - shift))
                middle = significand * p1
                lower = middle + high_product(significand, p2)
                upper = (
                    significand * p0
                    + high_product(significand, p1)
                    + select(lower < middle, unsigned(1), unsigned(0))
                )
                quadrant = (upper + 0x2000000000000000) >> 62
                upper = upper - (quadrant << 62)
                negative = upper >= 0x8000000000000000
                lower_negated = 0 - lower
                upper = select(negative, ~upper + select(lower == 0, unsigned(1), unsigned(0)), upper)
                lower = select(negative, lower_negated, lower)
                # Normalise; then (h + m + l) * 2**e with 26, 27 and 53 bits
                zeros = integer(clz(upper))
                distance = unsigned(zeros)
                fraction = (upper << distance) | (lower >> (64 - distance))
                lower = lower << distance
                h = real(fraction >> 38) * 134217728.0
                m = real((fraction >> 11) & 0x7FFFFFF)
                l = real(((fraction & 0x7FF) << 42) | (lower >> 22))
                unit = bitcast((972 - zeros) << 52, real)
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

    if form is F32:

        @func
        def sin_kernel(r: real, s: real) -> real:
            """``sin(r + s)`` for ``|r| <= pi / 4``."""
            z = r * r
            z2 = z * z
            p = (-0.166666672 + 0.00833338033 * z) + (-0.000198535054 + 2.83739496e-06 * z) * z2
            return r + ((r * z) * p + s)

    else:

        @func
        def sin_kernel(r: real, s: real) -> real:
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

    if form is F32:

        @func
        def cos_kernel(r: real, s: real) -> real:
            """``cos(r + s)`` for ``|r| <= pi / 4``."""
            z = r * r
            z2 = z * z
            p = (0.0416666456 + -0.00138873095 * z) + 2.44323273e-05 * z2
            half = 0.5 * z
            w = 1.0 - half
            return w + (((1.0 - w) - half) + ((z * z) * p - r * s))

    else:

        @func
        def cos_kernel(r: real, s: real) -> real:
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
    def sin(x: real) -> real:
        """Sine of ``x`` radians."""
        q, r, s = reduce(x)
        y = select((q & 1) == 0, sin_kernel(r, s), cos_kernel(r, s))
        y = select((q & 2) == 0, y, -y)
        return select(abs(x) < NEGLIGIBLE, x, y)

    @func
    def cos(x: real) -> real:
        """Cosine of ``x`` radians."""
        q, r, s = reduce(x)
        y = select((q & 1) == 0, cos_kernel(r, s), sin_kernel(r, s))
        return select(((q + 1) & 2) == 0, y, -y)

    if form is F32:

        @func
        def tan(x: real) -> real:
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

    else:

        @func
        def tan(x: real) -> real:
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

    return SimpleNamespace(**locals())


@cache
def inverse(form: Format) -> SimpleNamespace:
    """The inverse functions on a format."""
    real, integer, unsigned = form.real, form.integer, form.unsigned
    INF = float("inf")
    PI_HI = form.pick(3.1415927410125732, 3.141592653589793)
    PI_LO = form.pick(-8.742277657347586e-08, 1.2246467991473532e-16)
    PIO2_HI = form.pick(1.5707963705062866, 1.5707963267948966)
    PIO2_LO = form.pick(-4.371138828673793e-08, 6.123233995736766e-17)
    NEGLIGIBLE = form.pick(2.0**-12, 2.0**-27)  # below it asin x and atan x round to x

    if form is F32:

        @func
        def asin_tail(z: real) -> real:
            """``(asin(s) / s - 1) / z`` for ``z = s * s <= 1/4``."""
            z2 = z * z
            z4 = z2 * z2
            p0 = (0.166666597 + 0.0750052184 * z) + (0.0445137471 + 0.0318325721 * z) * z2
            p1 = 0.0143400058 + 0.037680082 * z
            p = p0 + p1 * z4
            return p

    else:

        @func
        def asin_tail(z: real) -> real:
            """``(asin(s) / s - 1) / z`` for ``z = s * s <= 1/4``."""
            z2 = z * z
            z4 = z2 * z2
            z8 = z4 * z4
            p0 = (0.16666666666666763 + 0.07499999999970264 * z) + (
                0.04464285717512015 + 0.03038194268363769 * z
            ) * z2
            p1 = (0.02237221565990691 + 0.017351600097087843 * z) + (
                0.013980961400287444 + 0.011397776363663827 * z
            ) * z2
            p2 = (0.010786526988517826 + 0.003683050116985621 * z) + (
                0.02176347764717837 + -0.021077258433876724 * z
            ) * z2
            p3 = p0 + p1 * z4
            p4 = p2 + 0.03267686608143648 * z4
            p = p3 + p4 * z8
            return p

    @func
    def asin(x: real) -> real:
        """Inverse sine, in ``[-pi/2, pi/2]``; NaN outside ``[-1, 1]``."""
        a = abs(x)
        large = a > 0.5
        z = select(large, 0.5 * (1.0 - a), a * a)
        s = select(large, sqrt(z), a)
        t = (s * z) * asin_tail(z)
        far = PIO2_HI - (2.0 * s + (2.0 * t - PIO2_LO))
        y = select(large, far, s + t)
        y = select(x < 0.0, -y, y)
        return select(a < NEGLIGIBLE, x, y)  # keeps the sign of zero

    @func
    def acos(x: real) -> real:
        """Inverse cosine, in ``[0, pi]``; NaN outside ``[-1, 1]``."""
        a = abs(x)
        large = a > 0.5
        z = select(large, 0.5 * (1.0 - a), a * a)
        s = select(large, sqrt(z), x)
        t = (s * z) * asin_tail(z)
        near = PIO2_HI - (s + (t - PIO2_LO))
        twice = 2.0 * (s + t)
        far = select(x < 0.0, PI_HI - (2.0 * s + (2.0 * t - PI_LO)), twice)
        return select(large, far, near)

    if form is F32:

        @func
        def atan_unit(q: real) -> real:
            """``atan(q)`` for ``0 <= q <= 1``."""
            z = q * q
            z2 = z * z
            z4 = z2 * z2
            p0 = (0.199985296 + -0.142640442 * z) + (0.10951291 + -0.0840152204 * z) * z2
            p1 = (0.0579394624 + -0.0311762355 * z) + (0.0109228473 + -0.0017974712 * z) * z2
            p = -0.333332986 + z * (p0 + p1 * z4)
            return q + (q * z) * p

    else:

        @func
        def atan_unit(q: real) -> real:
            """``atan(q)`` for ``0 <= q <= 1``."""
            z = q * q
            z2 = z * z
            z4 = z2 * z2
            z8 = z4 * z4
            z16 = z8 * z8
            p0 = (0.19999999999955445 + -0.14285714282802758 * z) + (
                0.11111111013665372 + -0.09090907119490019 * z
            ) * z2
            p1 = (0.07692281189219294 + -0.0666641501548277 * z) + (
                0.05880592650995345 + -0.05253805943633238 * z
            ) * z2
            p2 = (0.047232945707721234 + -0.0422172069598065 * z) + (
                0.03669357943935558 + -0.029985642642050135 * z
            ) * z2
            p3 = (0.022085228034490912 + -0.013995051969191756 * z) + (
                0.007263400687615255 + -0.0029193634016293417 * z
            ) * z2
            p4 = p0 + p1 * z4
            p5 = p2 + p3 * z4
            p6 = p4 + p5 * z8
            p7 = (0.0008434921797846589 + -0.00015479872079606857 * z) + 1.3489451018699888e-05 * z2
            p = -0.33333333333333093 + z * (p6 + p7 * z16)
            return q + (q * z) * p

    @func
    def atan(x: real) -> real:
        """Inverse tangent, in ``[-pi/2, pi/2]``."""
        a = abs(x)
        large = a > 1.0
        t = atan_unit(select(large, 1.0, a) / select(large, a, 1.0))
        y = select(large, PIO2_HI - (t - PIO2_LO), t)
        y = select(x < 0.0, -y, y)
        return select(a < NEGLIGIBLE, x, y)  # keeps the sign of zero

    @func
    def atan2(y: real, x: real) -> real:
        """The angle of the point ``(x, y)``, in ``[-pi, pi]``."""
        ax = abs(x)
        ay = abs(y)
        steep = ay > ax
        top = select(steep, ax, ay)
        bottom = select(steep, ay, ax)
        q = top / select(bottom == 0.0, 1.0, bottom)
        q = select((ax == INF) & (ay == INF), 1.0, q)
        t = atan_unit(q)
        t = select(steep, PIO2_HI - (t - PIO2_LO), t)
        t = select(bitcast(x, integer) < 0, PI_HI - (t - PI_LO), t)
        t = select(bitcast(y, integer) < 0, -t, t)
        # A NaN in either argument; the sum of two numbers is never one unless both are infinite
        return select((x != x) | (y != y), x + y, t)

    return SimpleNamespace(**locals())
