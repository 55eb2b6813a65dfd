"""``log``, ``log2``, ``log10``, ``log1p`` and the inverse hyperbolic functions, with floats and integers of one width only.

Method: ``x = 2**k * m`` with ``m`` in ``[sqrt(1/2), sqrt(2))`` and ``f = m - 1`` (exact).  On f32 ``log(1 + f) = f
- f**2 / 2 + f**3 * P(f)`` with a minimax polynomial, as Cephes does (S. L. Moshier, ``single/logf.c``); on f64, with
``s = f / (2 + f)``, ``log(1 + f) = f - (f**2 / 2 - s * (f**2 / 2 + R(s**2)))``, as fdlibm does (``e_log.c``).
For the other bases the product with ``1 / ln(base)`` is carried in two parts of which the head's product is
exact, as in FreeBSD's msun (``e_log2f.c``, ``e_log10f.c``, ``e_log2.c``, ``e_log10.c``).  The coefficients were computed for this
library with the Remez exchange algorithm.

``log1p`` is the logarithm of the rounded sum, corrected by what rounding lost over the sum, as in fdlibm (``s_log1p.c``); where
the sum lies about 1 it is not formed.  The inverse hyperbolic functions are logarithms of ``1 + (hi + lo)``, as in fdlibm
(``s_asinh.c``, ``e_acosh.c``, ``e_atanh.c``), with ``lo`` what the last operations before lost (T. J. Dekker, *A
floating-point technique for extending the available precision*, 1971).
"""

from functools import cache
from types import SimpleNamespace

from gpucore.lang import func
from gpucore.lang.builtins import abs, bitcast, select
from gpucore.lang.math_builtins import sqrt
from gpucore.math.formats import F32, Format


@cache
def functions(form: Format) -> SimpleNamespace:
    """The functions on a format."""
    real, integer, unsigned = form.real, form.integer, form.unsigned
    INF = float("inf")
    BITS = form.fraction_bits
    SMALLEST_NORMAL_BITS = 1 << BITS
    NORMAL_BITS = form.pick(
        0x7F000000, 0x7FE0000000000000
    )  # how many bit patterns are those of positive normal numbers
    TINY_UP = form.pick(8388608.0, 18014398509481984.0)  # makes a denormal number normal
    TINY_DOUBLINGS = form.pick(23.0, 54.0)
    SQRT_HALF_BITS = form.pick(0x3F3504F3, 0x3FE6A09E667F3BCD)
    LN2_HI = form.pick(0.693145751953125, 0.6931471805582987)  # 15 and 38 bits: exact products with exponents
    LN2_LO = form.pick(1.428606765330187e-06, 1.6465949582897082e-12)
    LOG2E_HI = form.pick(1.4423828125, 1.4426950407214463)  # 12 and 32 bits: exact products with heads
    LOG2E_LO = form.pick(0.00031222839606925845, 1.6751713164886512e-10)
    LOG10E_HI = form.pick(0.4342041015625, 0.4342944818781689)
    LOG10E_LO = form.pick(9.038033749675378e-05, 2.5082946711645275e-11)
    LOG10_2_HI = form.pick(0.301025390625, 0.30102999566361177)
    LOG10_2_LO = form.pick(4.605039066518657e-06, 3.694239077158931e-13)

    if form is F32:

        @func
        def head(x: real) -> real:
            """``x`` cut to 12 bits, so that products of two heads are exact."""
            return bitcast(bitcast(x, unsigned) & 0xFFFFF000, real)

    else:

        @func
        def head(x: real) -> real:
            """``x`` cut to 21 bits, so that products of two heads are exact."""
            return bitcast((bitcast(x, unsigned) >> 32) << 32, real)

    @func
    def unusual(x: real):
        """Whether ``x`` is not a positive normal number: zero, denormal, negative, infinite or NaN."""
        return bitcast(x, unsigned) - SMALLEST_NORMAL_BITS >= NORMAL_BITS

    @func
    def split(x: real):
        """``(k, f)`` with ``x = 2**k * (1 + f)`` and ``sqrt(1/2) <= 1 + f < sqrt(2)``, for positive normal ``x``."""
        bits = bitcast(x, integer)
        k = (bits - SQRT_HALF_BITS) >> BITS
        return real(k), bitcast(bits - (k << BITS), real) - 1.0

    if form is F32:

        @func
        def tail(f: real, z: real, half: real) -> real:
            """``log(1 + f) - f + half`` with ``z = f * f`` and ``half = z / 2``."""
            f2 = f * f
            f4 = f2 * f2
            f8 = f4 * f4
            p0 = (0.333333105 + -0.249999866 * f) + (0.200021461 + -0.166692182 * f) * f2
            p1 = (0.142200246 + -0.12385533 * f) + (0.118650973 + -0.11780794 * f) * f2
            p2 = p0 + p1 * f4
            p = p2 + 0.0692122504 * f8
            return (f * z) * p

    else:

        @func
        def tail(f: real, z: real, half: real) -> real:
            """``log(1 + f) - f + half`` with ``z = f * f`` and ``half = z / 2``."""
            s = f / (2.0 + f)
            z = s * s
            z2 = z * z
            z4 = z2 * z2
            p0 = (0.6666666666666666 + 0.4000000000000633 * z) + (
                0.2857142856905849 + 0.22222222650943194 * z
            ) * z2
            p1 = (0.1818177533214981 + 0.15387105400162418 * z) + (
                0.13249786491420312 + 0.13254357986650292 * z
            ) * z2
            p = p0 + p1 * z4
            return s * (half + z * p)

    @func
    def with_specials(x: real, y: real) -> real:
        """``y`` for positive finite ``x``, else the logarithm's limit."""
        below = select(x == 0.0, real(0.0), real(INF)) - INF  # NVRTC branches on NAN
        return select(x > 0.0, select(x < INF, y, x), below)

    @func
    def log_value(k: real, f: real) -> real:
        """``log(2**k * (1 + f))``."""
        z = f * f
        half = 0.5 * z
        r = (tail(f, z, half) + k * LN2_LO) - half
        return k * LN2_HI + (f + r)

    @func
    def log(x: real) -> real:
        """Natural logarithm."""
        k, f = split(x)
        y = log_value(k, f)
        if unusual(x):
            k, f = split(x * TINY_UP)
            y = with_specials(x, log_value(k - TINY_DOUBLINGS, f))
        return y

    @func
    def parts(f: real):
        """``log(1 + f)`` as a head and what is left."""
        z = f * f
        half = 0.5 * z
        hi = head(f - half)
        return hi, ((f - hi) - half) + tail(f, z, half)

    @func
    def log2_value(k: real, f: real) -> real:
        """``log2(2**k * (1 + f))``."""
        hi, lo = parts(f)
        a = hi * LOG2E_HI
        s = k + a
        return s + (((k - s) + a) + ((lo + hi) * LOG2E_LO + lo * LOG2E_HI))

    @func
    def log2(x: real) -> real:
        """Logarithm to base 2; exact at powers of two."""
        k, f = split(x)
        y = log2_value(k, f)
        if unusual(x):
            k, f = split(x * TINY_UP)
            y = with_specials(x, log2_value(k - TINY_DOUBLINGS, f))
        return y

    @func
    def log10_value(k: real, f: real) -> real:
        """``log10(2**k * (1 + f))``."""
        hi, lo = parts(f)
        b = k * LOG10_2_HI
        a = hi * LOG10E_HI
        s = b + a
        small = (k * LOG10_2_LO + (lo + hi) * LOG10E_LO) + lo * LOG10E_HI
        return s + (((b - s) + a) + small)

    @func
    def log10(x: real) -> real:
        """Logarithm to base 10."""
        k, f = split(x)
        y = log10_value(k, f)
        if unusual(x):
            k, f = split(x * TINY_UP)
            y = with_specials(x, log10_value(k - TINY_DOUBLINGS, f))
        return y

    return SimpleNamespace(**locals())


@cache
def more(form: Format) -> SimpleNamespace:
    """The other functions on a format."""
    real, integer, unsigned = form.real, form.integer, form.unsigned
    basis = functions(form)
    head, log_value, split, tail = basis.head, basis.log_value, basis.split, basis.tail
    LN2_HI, LN2_LO = basis.LN2_HI, basis.LN2_LO
    INF, NAN = float("inf"), float("nan")
    LARGE = form.pick(4096.0, 134217728.0)  # past its square 1 adds nothing to a sum
    NEGLIGIBLE = form.pick(2.0**-12, 2.0**-27)  # below it asinh x and atanh x round to x

    @func
    def log1p_sum(hi: real, lo: real) -> real:
        """``log(1 + hi + lo)`` for finite ``hi > -1`` and ``lo`` below an ulp of it or so."""
        u = 1.0 + hi
        lost = select(hi < 1.0, hi - (u - 1.0), 1.0 - (u - hi))
        k, f = split(u)
        near = (hi > -0.292893) & (hi < 0.414213)
        k = select(near, 0.0, k)
        f = select(near, hi, f)
        lost = select(near, 0.0, lost)
        z = f * f
        half = 0.5 * z
        r = (tail(f, z, half) + (k * LN2_LO + (lost + lo) / u)) - half
        return k * LN2_HI + (f + r)

    @func
    def log1p(x: real) -> real:
        """``log(1 + x)``, exact to the last digits near zero."""
        y = log1p_sum(x, 0.0)
        y = select(x > -1.0, select(x < INF, y, x), select(x == -1.0, real(0.0), real(INF)) - INF)
        return select(x == 0.0, x, y)

    @func
    def root(x: real, lo: real):
        """``(s, rest)`` with ``s + rest`` the square root of ``x + lo``, for ``x > 0``."""
        s = sqrt(x)
        h = head(s)
        t = s - h
        return s, ((((x - h * h) - 2.0 * h * t) - t * t) + lo) / (s + s)

    @func
    def asinh(x: real) -> real:
        """Inverse hyperbolic sine."""
        a = abs(x)
        v = select(a < LARGE, a, LARGE)
        z = v * v
        q = z / (1.0 + sqrt(1.0 + z))
        hi = v + q
        y = log1p_sum(hi, q - (hi - v))
        if ~(a < LARGE):
            k, f = split(select(a < INF, a, 1.0))
            y = log_value(k + 1.0, f)
            y = select(a < INF, y, a)  # NaN too
        return select(x < 0.0, -y, select(a < NEGLIGIBLE, x, y))  # keeps the sign of zero

    @func
    def acosh(x: real) -> real:
        """Inverse hyperbolic cosine; NaN below 1."""
        v = select(x < LARGE, x, LARGE)
        t = v - 1.0
        z = t * t
        w = z + 2.0 * t
        s, rest = root(select(w > 0.0, w, 1.0), select(z > 2.0 * t, 2.0 * t - (w - z), z - (w - 2.0 * t)))
        hi = s + t
        y = log1p_sum(hi, (t - (hi - s)) + rest)
        if ~(x < LARGE):
            k, f = split(select(x < INF, x, 1.0))
            y = log_value(k + 1.0, f)
            y = select(x < INF, y, x)
        return select(x > 1.0, y, select(x == 1.0, real(0.0), real(NAN)))

    @func
    def atanh(x: real) -> real:
        """Inverse hyperbolic tangent; infinite at 1 and -1, NaN past them."""
        a = abs(x)
        v = select(a < 1.0, a, 0.0)
        d = 1.0 - v
        q = (v * v) / d
        small = v + q
        twice = small + small
        large = (v + v) / d
        below = v < 0.5
        hi = select(below, twice, large)
        lo = select(below, 2.0 * (q - (small - v)), 0.0)
        y = 0.5 * log1p_sum(hi, lo)
        y = select(a < 1.0, y, select(a == 1.0, real(INF), real(NAN)))
        return select(x < 0.0, -y, select(a < NEGLIGIBLE, x, y))

    return SimpleNamespace(**locals())
