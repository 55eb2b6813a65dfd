"""``exp``, ``exp2`` and the hyperbolic functions on f32, with f32 and 32-bit integers only.

Method: reduce to ``x = n ln 2 + r`` with ``ln 2`` in two parts (W. J. Cody and W. Waite, *Software Manual
for the Elementary Functions*, 1980), a minimax polynomial for ``exp(r)`` on ``|r| <= ln(2) / 2``, then
scale by ``2**n`` in two steps so that results below the normal range are rounded once.  The integer ``n``
is taken from the sum with ``1.5 * 2**23``, as in the ARM Optimized Routines (``math/expf.c``).  ``sinh``
and ``tanh`` near zero use odd minimax polynomials, and away from zero the exponential, as Cephes does (S.
L. Moshier, ``single/sinhf.c``, ``tanhf.c``). The coefficients were computed for this library with the Remez
exchange algorithm and rounded one by one.
"""

from gpucore.ir.dtypes import f32, i32
from gpucore.lang import func
from gpucore.lang.builtins import abs, bitcast, select

LOG2E = 1.4426950216293335
LN2_HI = 0.693145751953125  # 15 bits, so that its products with integers below 2**9 are exact
LN2_LO = 1.428606765330187e-06
SHIFT = 12582912.0  # 1.5 * 2**23: adding it rounds to an integer, kept in the low bits
SHIFT_BITS = 0x4B400000


@func
def power_of_two(n: i32) -> f32:
    """``2**n`` for ``-127 < n < 128``."""
    return bitcast((n + 127) << 23, f32)


@func
def scale(y: f32, n: i32) -> f32:
    """``y * 2**n`` for ``|n| < 254``, rounded once where ``y * 2**(n / 2)`` is normal."""
    half = n >> 1
    return (y * power_of_two(half)) * power_of_two(n - half)


@func
def scaled_exp(x: f32, doublings: i32) -> f32:
    """``exp(x) * 2**doublings`` for ``-104 <= x <= 91``."""
    t = x * LOG2E + SHIFT
    n = bitcast(t, i32) - SHIFT_BITS
    k = t - SHIFT
    r = (x - k * LN2_HI) - k * LN2_LO
    p = 0.00138367398
    p = p * r + 0.00836914126
    p = p * r + 0.0416681059
    p = p * r + 0.166665167
    p = p * r + 0.49999994
    return scale(1.0 + (r + (r * r) * p), n + doublings)


@func
def exp(x: f32) -> f32:
    """``e**x``."""
    v = select(x > 89.0, 89.0, x)
    return scaled_exp(select(v < -104.0, -104.0, v), 0)


@func
def exp2(x: f32) -> f32:
    """``2**x``."""
    v = select(x > 129.0, 129.0, x)
    v = select(v < -151.0, -151.0, v)
    t = v + SHIFT
    n = bitcast(t, i32) - SHIFT_BITS
    r = v - (t - SHIFT)
    p = 1.38641135e-05
    p = p * r + 0.000154276553
    p = p * r + 0.00133381458
    p = p * r + 0.00961809792
    p = p * r + 0.0555040501
    p = p * r + 0.240226507
    p = p * r + 0.693147182
    return scale(1.0 + r * p, n)


@func
def sinh(x: f32) -> f32:
    """Hyperbolic sine."""
    a = abs(x)
    h = scaled_exp(select(a > 91.0, 91.0, a), -1)  # e**a / 2: no overflow before the result's own
    large = h - 0.25 / h
    z = x * x
    p = 2.78392577e-06
    p = p * z + 0.000198426351
    p = p * z + 0.00833331142
    p = p * z + 0.166666672
    small = x + (x * z) * p
    y = select(a < 1.0, small, select(x < 0.0, -large, large))
    return select(a < 0.000244140625, x, y)  # 2**-12; keeps the sign of zero


@func
def cosh(x: f32) -> f32:
    """Hyperbolic cosine."""
    a = abs(x)
    h = scaled_exp(select(a > 91.0, 91.0, a), -1)
    return h + 0.25 / h


@func
def tanh(x: f32) -> f32:
    """Hyperbolic tangent."""
    a = abs(x)
    e = scaled_exp(select(a > 10.0, 20.0, a + a), 0)
    large = 1.0 - 2.0 / (e + 1.0)
    z = x * x
    p = 0.00215766998
    p = p * z + -0.00819509756
    p = p * z + 0.0217087511
    p = p * z + -0.053948462
    p = p * z + 0.133332223
    p = p * z + -0.333333313
    small = x + (x * z) * p
    y = select(a < 0.625, small, select(x < 0.0, -large, large))
    return select(a < 0.000244140625, x, y)
