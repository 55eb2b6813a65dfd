"""``pow`` and ``rsqrt`` on f64, with f64 and 64-bit integers only.

Method of ``pow``: as in :mod:`gpucore.math.power_f32`, after fdlibm's ``e_pow.c``: ``log2(x)`` as a head of
21 bits and a tail, the product with ``y`` in two parts, then ``2**z``.  Special values follow ISO C, annex
F.10.4.4.  The coefficients were computed for this library with the Remez exchange algorithm.
"""

from gpucore.ir.dtypes import f64, i64
from gpucore.lang import func
from gpucore.lang.builtins import abs, bitcast, floor, select
from gpucore.lang.math_builtins import sqrt
from gpucore.math.exponential_f64 import exp2_kernel, scale
from gpucore.math.logarithm_f64 import head, split, unusual

INF = float("inf")
NAN = float("nan")
SMALLEST_NORMAL = 2.2250738585072014e-308
TWO_54 = 18014398509481984.0
SHIFT = 6755399441055744.0  # 1.5 * 2**52: adding it rounds to an integer, kept in the low bits
SHIFT_BITS = 0x4338000000000000
LARGEST_Y = 36893488147419103232.0  # 2**65: |y| beyond it overflows or underflows whatever x but 1
CP = 0.9617966939259756  # 2 / (3 ln 2)
CP_HI = 0.9617962837219238  # 21 bits
CP_LO = 4.102040517767816e-07


@func
def power(k: f64, f: f64, b: f64) -> f64:
    """``(2**k * (1 + f))**b`` for finite ``|b| <= LARGEST_Y``."""
    # s = (m - 1) / (m + 1), its head exact to 21 bits
    d = f + 2.0
    v = 1.0 / d
    s = f * v
    sh = head(s)
    dh = head(d)
    sl = v * ((f - sh * dh) - sh * (f - (dh - 2.0)))
    z = s * s
    z2 = z * z
    z4 = z2 * z2
    z8 = z4 * z4
    p0 = (0.6 + 0.4285714285714256 * z) + (0.33333333333437337 + 0.2727272725364735 * z) * z2
    p1 = (0.23076925150930902 + 0.19999859503024564 * z) + (
        0.17653047803652308 + 0.15633703516069855 * z
    ) * z2
    p2 = p0 + p1 * z4
    r = p2 + 0.16524791786398235 * z8
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
    t2 = small - ((t1 - k) - big)
    # b * (t1 + t2)
    bh = head(b)
    low = (b - bh) * t1 + b * t2
    high = bh * t1
    total = high + low
    over = abs(total) > 1200.0
    high = select(over, select(total < 0.0, f64(-1200.0), f64(1200.0)), high)
    low = select(over, 0.0, low)
    t = (high + low) + SHIFT
    e = (high - (t - SHIFT)) + low
    return scale(exp2_kernel(e), bitcast(t, i64) - SHIFT_BITS)


@func
def pow(x: f64, y: f64) -> f64:
    """``x**y``."""
    k, f = split(x)
    result = power(k, f, y)
    if unusual(x) | ~(abs(y) <= LARGEST_Y):
        a = abs(x)
        tiny = a < SMALLEST_NORMAL
        k, f = split(select(tiny, a * TWO_54, a))
        k = select(tiny, k - 54.0, k)
        b = select(y > LARGEST_Y, LARGEST_Y, y)
        result = power(k, f, select(b < -LARGEST_Y, -LARGEST_Y, b))
        # zero and infinite bases, the sign, and the powers that have none
        result = select(a == 0.0, select(y < 0.0, f64(INF), f64(0.0)), result)
        result = select(a == INF, select(y < 0.0, f64(0.0), f64(INF)), result)
        whole = floor(y) == y
        half = 0.5 * y
        odd = whole & (floor(half) != half)
        result = select((bitcast(x, i64) < 0) & odd, -result, result)
        result = select((x < 0.0) & (a < INF) & (abs(y) < INF) & ~whole, NAN, result)
        result = select((x != x) | (y != y), NAN, result)
        result = select((x == 1.0) | (y == 0.0), 1.0, result)
    return result


@func
def rsqrt(x: f64) -> f64:
    """``1 / sqrt(x)``."""
    return 1.0 / sqrt(x)
