"""``cbrt`` and ``hypot`` on f64, with f64 and 64-bit integers only.

Method of ``cbrt``: a third of the exponent gives a first guess, two steps of Halley's iteration the 21 bits of which products are
exact, and another one the root, as in fdlibm (``s_cbrt.c``).  ``hypot`` scales by powers of two, and sums squares in parts whose
products are exact, as in fdlibm (``e_hypot.c``).
"""

from gpucore.ir.dtypes import f64, u64
from gpucore.lang import func
from gpucore.lang.builtins import abs, bitcast, max, min, select
from gpucore.lang.math_builtins import sqrt
from gpucore.math.logarithm_f64 import head

INF = float("inf")
NAN = float("nan")
THIRD_OF_BIAS = 3071306043382824960  # (1023 - 1023 / 3 - 0.03306235651) * 2**52
SMALLEST_NORMAL = 2.2250738585072014e-308
TINY_UP = 18014398509481984.0  # 2**54
TINY_BACK = 3.814697265625e-06  # 2**-18
BIG = 3.273390607896142e150  # 2**500
DOWN = 2.409919865102884e-181  # 2**-600
SMALL = 3.4395525670743494e-136  # 2**-450
UP = 5.260135901548374e210  # 2**700


@func
def cbrt(x: f64) -> f64:
    """Cube root."""
    a = abs(x)
    tiny = a < SMALLEST_NORMAL
    v = select(tiny, a * TINY_UP, a)
    w = 0.25 * v  # of which the largest is no limit
    t = bitcast(bitcast(v, u64) // 3 + THIRD_OF_BIAS, f64)
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
def hypot(x: f64, y: f64) -> f64:
    """``sqrt(x * x + y * y)`` without overflow or underflow on the way; infinite where either is."""
    a = max(abs(x), abs(y))
    b = min(abs(x), abs(y))
    up = a < SMALL
    down = a > BIG
    scale = select(down, DOWN, select(up, f64(UP), f64(1.0)))
    back = select(down, 1.0 / DOWN, select(up, f64(1.0 / UP), f64(1.0)))
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
