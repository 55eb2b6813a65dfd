"""``cbrt`` and ``hypot`` on f32, with f32 and 32-bit integers only.

Method of ``cbrt``: a third of the exponent gives a first guess, a step of Halley's iteration the 12 bits of which products are
exact, and another one the root, as in fdlibm (``s_cbrt.c``).  ``hypot`` scales by powers of two, and sums squares in parts whose
products are exact, as in fdlibm (``e_hypot.c``).
"""

from gpucore.ir.dtypes import f32, u32
from gpucore.lang import func
from gpucore.lang.builtins import abs, bitcast, max, min, select
from gpucore.lang.math_builtins import sqrt
from gpucore.math.logarithm_f32 import head

INF = float("inf")
NAN = float("nan")
THIRD_OF_BIAS = 709958130  # (127 - 127 / 3 - 0.03306235651) * 2**23
SMALLEST_NORMAL = 1.1754943508222875e-38
TINY_UP = 16777216.0  # 2**24
TINY_BACK = 0.00390625  # 2**-8
BIG = 1.152921504606846976e18  # 2**60
DOWN = 8.470329472543003e-22  # 2**-70
SMALL = 8.881784197001252e-16  # 2**-50
UP = 1.2379400392853803e27  # 2**90


@func
def cbrt(x: f32) -> f32:
    """Cube root."""
    a = abs(x)
    tiny = a < SMALLEST_NORMAL
    v = select(tiny, a * TINY_UP, a)
    w = 0.25 * v  # of which the largest is no limit
    t = bitcast(bitcast(v, u32) // 3 + THIRD_OF_BIAS, f32)
    # Halley's step: the error is cubed, and 5 bits become 16
    r = (t * t) * (0.25 * t)
    t = t * ((w + w + r) / (w + r + r))
    t = head(t)
    r = v / (t * t)
    t = t + t * ((r - t) / (t + t + r))
    t = select(tiny, t * TINY_BACK, t)
    y = select(x < 0.0, -t, t)
    return select((a > 0.0) & (a < INF), y, x + x)


@func
def hypot(x: f32, y: f32) -> f32:
    """``sqrt(x * x + y * y)`` without overflow or underflow on the way; infinite where either is."""
    a = max(abs(x), abs(y))
    b = min(abs(x), abs(y))
    up = a < SMALL
    down = a > BIG
    scale = select(down, DOWN, select(up, UP, 1.0))
    back = select(down, 1.0 / DOWN, select(up, 1.0 / UP, 1.0))
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
