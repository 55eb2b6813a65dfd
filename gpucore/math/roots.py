"""``cbrt`` and ``hypot``, with floats and integers of one width only.

Method of ``cbrt``: a third of the exponent gives a first guess.  On f32 it is the inverse's; a polynomial gives the root to an
ulp or so, and Newton's step by products in full some 46 bits: rounded, the nearest f32, as all of them showed.  On f64 follow
steps of Halley's iteration, the last from 21 bits, of which products are exact, as in fdlibm (``s_cbrt.c``).  ``hypot``
scales by powers of two, and sums squares in parts whose products are exact, as in fdlibm (``e_hypot.c``).
"""

from functools import cache
from types import SimpleNamespace

from gpucore.lang import func
from gpucore.lang.builtins import abs, bitcast, fma, max, min, select
from gpucore.lang.math_builtins import sqrt
from gpucore.math import logarithm
from gpucore.math.formats import F32, Format


@cache
def functions(form: Format) -> SimpleNamespace:
    """The functions on a format."""
    real, integer, unsigned = form.real, form.integer, form.unsigned
    head = logarithm.functions(form).head
    INF, NAN = float("inf"), float("nan")
    THIRD_OF_BIAS = 3071306043382824960  # (bias - bias / 3 - 0.03306235651) * 2**fraction_bits
    INVERSE_GUESS, SIGN, INFINITE = 0x54A205F3, form.sign_bit, 0x7F800000
    SMALLEST_NORMAL = form.smallest_normal
    TINY_UP, TINY_BACK = 2.0**54, 2.0**-18
    BIG, DOWN = form.pick(2.0**60, 2.0**500), form.pick(2.0**-70, 2.0**-600)
    SMALL, UP = form.pick(2.0**-50, 2.0**-450), form.pick(2.0**90, 2.0**700)

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
            v = select(tiny, a * TINY_UP, a)
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
            t = select(tiny, t * TINY_BACK, t)
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
