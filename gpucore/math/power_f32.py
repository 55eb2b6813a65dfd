"""``pow`` and ``rsqrt`` on f32, with f32 and 32-bit integers only.

Method of ``pow``: ``log2(x)`` to about 36 bits as a head of 12 bits and a tail, from ``log(m) = 2/3 * s *
(3 + s**2 + s**4 * L(s**2))`` with ``s = (m - 1) / (m + 1)``; the product with ``y`` in two parts; then
``2**z``.  The arrangement of heads whose products are exact is that of fdlibm (``e_pow.c``) and FreeBSD's
``e_powf.c``; special values follow ISO C, annex F.10.4.4.  The coefficients were computed for this library
with the Remez exchange algorithm.
"""

from gpucore.ir.dtypes import f32, i32
from gpucore.lang import func
from gpucore.lang.builtins import abs, bitcast, floor, select
from gpucore.lang.math_builtins import sqrt
from gpucore.math.exponential_f32 import exp2_kernel, scale
from gpucore.math.logarithm_f32 import head, split, unusual

INF = float("inf")
NAN = float("nan")
SMALLEST_NORMAL = 1.1754943508222875e-38
SHIFT = 12582912.0  # 1.5 * 2**23: adding it rounds to an integer, kept in the low bits
SHIFT_BITS = 0x4B400000
LARGEST_Y = 4294967296.0  # |y| beyond it overflows or underflows whatever x but 1
CP = 0.9617967009544373  # 2 / (3 ln 2)
CP_HI = 0.961669921875  # 12 bits
CP_LO = 0.00012677205086220056


@func
def power(k: f32, f: f32, b: f32) -> f32:
    """``(2**k * (1 + f))**b`` for finite ``|b| <= LARGEST_Y``."""
    # s = (m - 1) / (m + 1), its head exact to 12 bits
    d = f + 2.0
    v = 1.0 / d
    s = f * v
    sh = head(s)
    dh = head(d)
    sl = v * ((f - sh * dh) - sh * (f - (dh - 2.0)))
    z = s * s
    z2 = z * z
    r = (0.599999964 + 0.428579599 * z) + (0.332694232 + 0.293391943 * z) * z2
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
    over = abs(total) > 200.0
    high = select(over, select(total < 0.0, -200.0, 200.0), high)
    low = select(over, 0.0, low)
    t = (high + low) + SHIFT
    e = (high - (t - SHIFT)) + low
    return scale(exp2_kernel(e), bitcast(t, i32) - SHIFT_BITS)


@func
def pow(x: f32, y: f32) -> f32:
    """``x**y``."""
    k, f = split(x)
    result = power(k, f, y)
    if unusual(x) | ~(abs(y) <= LARGEST_Y):
        a = abs(x)
        tiny = a < SMALLEST_NORMAL
        k, f = split(select(tiny, a * 8388608.0, a))
        k = select(tiny, k - 23.0, k)
        b = select(y > LARGEST_Y, LARGEST_Y, y)
        result = power(k, f, select(b < -LARGEST_Y, -LARGEST_Y, b))
        # zero and infinite bases, the sign, and the powers that have none
        result = select(a == 0.0, select(y < 0.0, INF, 0.0), result)
        result = select(a == INF, select(y < 0.0, 0.0, INF), result)
        whole = floor(y) == y
        half = 0.5 * y
        odd = whole & (floor(half) != half)
        result = select((bitcast(x, i32) < 0) & odd, -result, result)
        result = select((x < 0.0) & (a < INF) & (abs(y) < INF) & ~whole, NAN, result)
        result = select((x != x) | (y != y), NAN, result)
        result = select((x == 1.0) | (y == 0.0), 1.0, result)
    return result


@func
def rsqrt(x: f32) -> f32:
    """``1 / sqrt(x)``."""
    return 1.0 / sqrt(x)
