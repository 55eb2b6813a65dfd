"""``log1p`` and the inverse hyperbolic functions, with floats and integers of one width only.

Method: ``log(1 + x)`` is the logarithm of the rounded sum, corrected by what rounding lost over the sum, as fdlibm does
(``s_log1p.c``); where the sum lies about 1 it is not formed.  The others are logarithms of ``1 + (hi + lo)``, as in fdlibm
(``s_asinh.c``, ``e_acosh.c``, ``e_atanh.c``), with ``lo`` what the last operations before lost (T. J. Dekker, *A
floating-point technique for extending the available precision*, 1971).
"""

from functools import cache
from types import SimpleNamespace

from gpucore.lang import func
from gpucore.lang.builtins import abs, select
from gpucore.lang.math_builtins import sqrt
from gpucore.math import logarithm
from gpucore.math.formats import Format


@cache
def functions(form: Format) -> SimpleNamespace:
    """The functions on a format."""
    real, integer, unsigned = form.real, form.integer, form.unsigned
    basis = logarithm.functions(form)
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
        y = select(x > -1.0, select(x < INF, y, x), select(x == -1.0, real(-INF), real(NAN)))
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
