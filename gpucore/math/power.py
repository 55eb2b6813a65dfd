"""``pow``, ``rsqrt``, ``cbrt`` and ``hypot``, with floats and integers of one width only.

Method of ``pow``: ``log2(x)`` to about 36 bits (on f64, 70) as a head of 12 bits (21) and a tail, from ``log(m) = 2/3 * s *
(3 + s**2 + s**4 * L(s**2))`` with ``s = (m - 1) / (m + 1)``; the product with ``y`` in two parts; then
``2**z``.  The arrangement of heads whose products are exact is that of fdlibm (``e_pow.c``) and FreeBSD's
``e_powf.c``; special values follow ISO C, annex F.10.4.4.  The coefficients were computed for this library
with the Remez exchange algorithm.

Method of ``cbrt``: a third of the exponent gives a first guess.  On f32 it is the inverse's; a polynomial gives the root to an
ulp or so, and Newton's step by products in full some 46 bits: rounded, the nearest f32, as all of them showed.  On f64 follow
steps of Halley's iteration, the last from 21 bits, of which products are exact, as in fdlibm (``s_cbrt.c``).  ``hypot``
scales by powers of two, and sums squares in parts whose products are exact, as in fdlibm (``e_hypot.c``).
"""

from functools import cache
from types import SimpleNamespace

from gpucore.lang import func
from gpucore.lang.builtins import abs, bitcast, floor, fma, max, min, select
from gpucore.lang.math_builtins import sqrt
from gpucore.math import exponential, logarithm
from gpucore.math.formats import F32, Format


@cache
def functions(form: Format) -> SimpleNamespace:
    """The functions on a format."""
    real, integer, unsigned = form.real, form.integer, form.unsigned
    from_exponential, from_logarithm = exponential.functions(form), logarithm.functions(form)
    exp2_kernel, scale = from_exponential.exp2_kernel, from_exponential.scale
    head, split, unusual = from_logarithm.head, from_logarithm.split, from_logarithm.unusual
    TINY_UP, TINY_DOUBLINGS = from_logarithm.TINY_UP, from_logarithm.TINY_DOUBLINGS
    INF, NAN = float("inf"), float("nan")
    SMALLEST_NORMAL, SHIFT, SHIFT_BITS = form.smallest_normal, form.shift, form.shift_bits
    LARGEST_Y = form.pick(2.0**32, 2.0**65)  # |y| beyond it overflows or underflows whatever x but 1
    OVERFLOW = form.pick(200.0, 1200.0)  # |log2 of the result| beyond it does
    CP = form.pick(0.9617967009544373, 0.9617966939259756)  # 2 / (3 ln 2)
    CP_HI = form.pick(0.961669921875, 0.9617962837219238)  # 12 and 21 bits
    CP_LO = form.pick(0.00012677205086220056, 4.102040517767816e-07)
    THIRD_OF_BIAS = 3071306043382824960  # (bias - bias / 3 - 0.03306235651) * 2**fraction_bits
    INVERSE_GUESS, SIGN, INFINITE = 0x54A205F3, form.sign_bit, 0x7F800000
    ROOT_UP, ROOT_BACK = 2.0**54, 2.0**-18
    BIG, DOWN = form.pick(2.0**60, 2.0**500), form.pick(2.0**-70, 2.0**-600)
    SMALL, UP = form.pick(2.0**-50, 2.0**-450), form.pick(2.0**90, 2.0**700)

    if form is F32:

        @func
        def series(z: real) -> real:
            """``L(z)`` of the method above."""
            z2 = z * z
            return (0.599999964 + 0.428579599 * z) + (0.332694232 + 0.293391943 * z) * z2

    else:

        @func
        def series(z: real) -> real:
            """``L(z)`` of the method above."""
            z2 = z * z
            z4 = z2 * z2
            z8 = z4 * z4
            p0 = (0.6 + 0.4285714285714256 * z) + (0.33333333333437337 + 0.2727272725364735 * z) * z2
            p1 = (0.23076925150930902 + 0.19999859503024564 * z) + (
                0.17653047803652308 + 0.15633703516069855 * z
            ) * z2
            p2 = p0 + p1 * z4
            return p2 + 0.16524791786398235 * z8

    @func
    def log2_parts(k: real, f: real):
        """``log2(2**k * (1 + f))`` as a head of 12 or 21 bits and a tail."""
        # s = (m - 1) / (m + 1), its head exact to 12 or 21 bits
        d = f + 2.0
        v = 1.0 / d
        s = f * v
        sh = head(s)
        dh = head(d)
        sl = v * ((f - sh * dh) - sh * (f - (dh - 2.0)))
        z = s * s
        r = series(z)
        r = (z * z) * r + sl * (sh + s)
        zh = sh * sh
        th = head((3.0 + zh) + r)
        tl = r - ((th - 3.0) - zh)
        u = sh * th
        w = sl * th + tl * s
        ph = head(u + w)
        pl = w - (ph - u)
        big = CP_HI * ph
        small = CP_LO * ph + pl * CP
        t1 = head((big + small) + k)
        return t1, small - ((t1 - k) - big)

    @func
    def power(k: real, f: real, b: real) -> real:
        """``(2**k * (1 + f))**b`` for finite ``|b| <= LARGEST_Y``."""
        t1, t2 = log2_parts(k, f)
        # b * (t1 + t2)
        bh = head(b)
        low = (b - bh) * t1 + b * t2
        high = bh * t1
        total = high + low
        over = abs(total) > OVERFLOW
        high = select(over, select(total < 0.0, real(-OVERFLOW), real(OVERFLOW)), high)
        low = select(over, 0.0, low)
        t = (high + low) + SHIFT
        e = (high - (t - SHIFT)) + low
        return scale(exp2_kernel(e), bitcast(t, integer) - SHIFT_BITS)

    @func
    def pow(x: real, y: real) -> real:
        """``x**y``."""
        k, f = split(x)
        result = power(k, f, y)
        if unusual(x) | ~(abs(y) <= LARGEST_Y):
            a = abs(x)
            tiny = a < SMALLEST_NORMAL
            k, f = split(select(tiny, a * TINY_UP, a))
            k = select(tiny, k - TINY_DOUBLINGS, k)
            b = select(y > LARGEST_Y, LARGEST_Y, y)
            result = power(k, f, select(b < -LARGEST_Y, -LARGEST_Y, b))
            # zero and infinite bases, the sign, and the powers that have none
            result = select(a == 0.0, select(y < 0.0, real(INF), real(0.0)), result)
            result = select(a == INF, select(y < 0.0, real(0.0), real(INF)), result)
            whole = floor(y) == y
            half = 0.5 * y
            odd = whole & (floor(half) != half)
            result = select((bitcast(x, integer) < 0) & odd, -result, result)
            result = select((x < 0.0) & (a < INF) & (abs(y) < INF) & ~whole, NAN, result)
            result = select((x != x) | (y != y), NAN, result)
            result = select((x == 1.0) | (y == 0.0), 1.0, result)
        return result

    @func
    def rsqrt(x: real) -> real:
        """``1 / sqrt(x)``."""
        return 1.0 / sqrt(x)

    if form is F32:

        @func
        def cbrt(x: real) -> real:
            """Cube root, correctly rounded."""
            a = abs(x)
            tiny = a < 2.0**-60
            v = select(tiny, a * 2.0**60, a)
            # with z near 1 / cbrt(v) the root is v * z * z * (1 - w)**(-2 / 3)
            z = bitcast(INVERSE_GUESS - bitcast(v, unsigned) // 3, real)
            t = v * z * z
            w = 1.0 - t * z
            w2 = w * w
            q = (0.6666667 + w * 0.55554014) + w2 * ((0.49380067 + w * 0.45824337) + w2 * 0.42886892)
            t = t + t * (w * q)
            # t**3 - v
            p = t * t
            e = fma(p, t, -v) + fma(t, t, -p) * t
            t = t - e / (3.0 * p)
            t = select(tiny, t * 2.0**-20, t)
            y = bitcast(bitcast(t, unsigned) | (bitcast(x, unsigned) & SIGN), real)
            return select(bitcast(a, unsigned) - 1 < INFINITE - 1, y, x + x)

    else:

        @func
        def cbrt(x: real) -> real:
            """Cube root."""
            a = abs(x)
            tiny = a < SMALLEST_NORMAL
            v = select(tiny, a * ROOT_UP, a)
            w = 0.25 * v  # of which the largest is no limit
            t = bitcast(bitcast(v, unsigned) // 3 + THIRD_OF_BIAS, real)
            # Halley's steps: the error is cubed each time, and 5 bits become 16, and those the 21 that head keeps
            r = (t * t) * (0.25 * t)
            t = t * ((w + w + r) / (w + r + r))
            r = (t * t) * (0.25 * t)
            t = t * ((w + w + r) / (w + r + r))
            t = head(t)
            r = v / (t * t)
            t = t + t * ((r - t) / (t + t + r))
            t = select(tiny, t * ROOT_BACK, t)
            y = select(x < 0.0, -t, t)
            return select((a > 0.0) & (a < INF), y, x + x)

    @func
    def hypot(x: real, y: real) -> real:
        """``sqrt(x * x + y * y)`` without overflow or underflow on the way; infinite where either is."""
        a = max(abs(x), abs(y))
        b = min(abs(x), abs(y))
        up = a < SMALL
        down = a > BIG
        scale = select(down, DOWN, select(up, real(UP), real(1.0)))
        back = select(down, 1.0 / DOWN, select(up, real(1.0 / UP), real(1.0)))
        a = a * scale
        b = b * scale
        d = a - b
        # far apart: a * a in two parts, the first exact
        h = head(a)
        apart = h * h - (b * -b - (a - h) * (a + h))
        # of one size: (a - b)**2 + 2ab
        twice = a + a
        u = head(b)
        v = head(twice)
        close = v * u - (d * -d - (v * (b - u) + (twice - v) * b))
        r = sqrt(select(d > b, apart, close)) * back
        r = select((x != x) | (y != y), NAN, r)
        return select((abs(x) == INF) | (abs(y) == INF), INF, r)

    return SimpleNamespace(**locals())
