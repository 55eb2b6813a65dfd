"""``pow`` and ``rsqrt`` on f32, with f32 and 32-bit integers only.

Method of ``pow``: ``log2(x)`` to about 36 bits as a head of 12 bits and a tail, from ``log(m) = 2/3 * s *
(3 + s**2 + s**4 * L(s**2))`` with ``s = (m - 1) / (m + 1)``; the product with ``y`` in two parts; then
``2**z``.  The arrangement of heads whose products are exact is that of fdlibm (``e_pow.c``) and FreeBSD's
``e_powf.c``; special values follow ISO C, annex F.10.4.4.  The coefficients were computed for this library
with the Remez exchange algorithm.
"""

from gpucore.ir.dtypes import f32, i32
from gpucore.lang import func
from gpucore.lang.builtins import abs, bitcast, floor, select, sqrt
from gpucore.math.exponential_f32 import scale
from gpucore.math.logarithm_f32 import exponent, head, reduced

INF = float("inf")
NAN = float("nan")
SHIFT = 12582912.0  # 1.5 * 2**23: adding it rounds to an integer, kept in the low bits
SHIFT_BITS = 0x4B400000
LARGEST_Y = 4294967296.0  # |y| beyond it overflows or underflows whatever x but 1
CP = 0.9617967009544373  # 2 / (3 ln 2)
CP_HI = 0.961669921875  # 12 bits
CP_LO = 0.00012677205086220056


@func
def pow(x: f32, y: f32) -> f32:
    """``x**y``."""
    a = abs(x)
    k = f32(exponent(a))
    f = reduced(a)
    # s = (m - 1) / (m + 1), its head exact to 12 bits
    d = f + 2.0
    v = 1.0 / d
    s = f * v
    sh = head(s)
    dh = head(d)
    sl = v * ((f - sh * dh) - sh * (f - (dh - 2.0)))
    z = s * s
    r = 0.293391943
    r = r * z + 0.332694232
    r = r * z + 0.428579599
    r = r * z + 0.599999964
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
    # y * (t1 + t2)
    b = select(y > LARGEST_Y, LARGEST_Y, y)
    b = select(b < -LARGEST_Y, -LARGEST_Y, b)
    bh = head(b)
    low = (b - bh) * t1 + b * t2
    high = bh * t1
    total = high + low
    over = abs(total) > 200.0
    high = select(over, select(total < 0.0, -200.0, 200.0), high)
    low = select(over, 0.0, low)
    t = (high + low) + SHIFT
    n = bitcast(t, i32) - SHIFT_BITS
    e = (high - (t - SHIFT)) + low
    p = 1.38641135e-05
    p = p * e + 0.000154276553
    p = p * e + 0.00133381458
    p = p * e + 0.00961809792
    p = p * e + 0.0555040501
    p = p * e + 0.240226507
    p = p * e + 0.693147182
    result = scale(1.0 + e * p, n)
    # zero and infinite bases, the sign, and the powers that have none
    result = select(a == 0.0, select(y < 0.0, INF, 0.0), result)
    result = select(a == INF, select(y < 0.0, 0.0, INF), result)
    whole = floor(y) == y
    half = 0.5 * y
    odd = whole & (floor(half) != half)
    result = select((bitcast(x, i32) < 0) & odd, -result, result)
    result = select((x < 0.0) & (a < INF) & (abs(y) < INF) & ~whole, NAN, result)
    result = select((x != x) | (y != y), NAN, result)
    return select((x == 1.0) | (y == 0.0), 1.0, result)


@func
def rsqrt(x: f32) -> f32:
    """``1 / sqrt(x)``."""
    return 1.0 / sqrt(x)
