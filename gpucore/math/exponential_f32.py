"""``exp``, ``exp2`` and the hyperbolic functions on f32, with f32 and 32-bit integers only.

Method: reduce to ``x = n ln 2 + r`` with ``ln 2`` in two parts (W. J. Cody and W. Waite, *Software Manual
for the Elementary Functions*, 1980), a minimax polynomial for ``exp(r)`` on ``|r| <= ln(2) / 2``, then
scale by ``2**n`` in two steps so that results below the normal range are rounded once.  The integer ``n``
is taken from the sum with ``1.5 * 2**23``, as in the ARM Optimized Routines (``math/expf.c``).  ``sinh``
and ``tanh`` near zero use odd minimax polynomials, and away from zero the exponential, as Cephes does (S.
L. Moshier, ``single/sinhf.c``, ``tanhf.c``); that exponential is a quotient for ``tanh``, which divides in
any case.  The coefficients were computed for this library with the Remez exchange algorithm and rounded one
by one, those of ``tanh`` by trying the neighbours: its largest error over all f32 is 1.31 ulp.

Here and in the other files polynomials are evaluated in pairs (G. Estrin, *Organization of computer
systems*, 1960), which leaves short chains of operations that wait for one another; what is rare, such as
results near overflow, stands in a branch, so that vectors without such lanes pass by it.
"""

from gpucore.ir.dtypes import f32, i32
from gpucore.lang import func
from gpucore.lang.builtins import abs, bitcast, select

LOG2E = 1.4426950216293335
LN2_HI = 0.693145751953125  # 15 bits, so that its products with integers below 2**9 are exact
LN2_LO = 1.428606765330187e-06
TWICE_LOG2E = 2.885390043258667
HALF_LN2 = 0.3465735912322998
SHIFT = 12582912.0  # 1.5 * 2**23: adding it rounds to an integer, kept in the low bits
SHIFT_BITS = 0x4B400000
ONE_BITS = 0x3F800000  # of 1.0; SHIFT_BITS << 23 leaves nothing


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
def reduce(x: f32):
    """``(n, r)`` with ``x = n ln 2 + r`` and ``|r| <= ln(2) / 2``."""
    t = x * LOG2E + SHIFT
    k = t - SHIFT
    return bitcast(t, i32) - SHIFT_BITS, (x - k * LN2_HI) - k * LN2_LO


@func
def expm1_tail(r: f32) -> f32:
    """``exp(r) - 1 - r`` for ``|r| <= ln(2) / 2``."""
    r2 = r * r
    r4 = r2 * r2
    p0 = (0.49999994 + 0.166665167 * r) + (0.0416681059 + 0.00836914126 * r) * r2
    p = p0 + 0.00138367398 * r4
    return (r * r) * p


@func
def expm1_kernel(r: f32) -> f32:
    """``exp(r) - 1`` for ``|r| <= ln(2) / 2``."""
    return r + expm1_tail(r)


@func
def exp2_kernel(r: f32) -> f32:
    """``2**r`` for ``|r| <= 1/2``."""
    r2 = r * r
    r4 = r2 * r2
    p0 = (0.240226507 + 0.0555040501 * r) + (0.00961809792 + 0.00133381458 * r) * r2
    p1 = 0.000154276553 + 1.38641135e-05 * r
    p = 0.693147182 + r * (p0 + p1 * r4)
    return 1.0 + r * p


@func
def exp(x: f32) -> f32:
    """``e**x``."""
    n, r = reduce(x)
    y = (1.0 + expm1_kernel(r)) * power_of_two(n)
    if ~(abs(x) < 87.0):
        # near overflow, or below the normal range, or NaN
        v = select(x > 89.0, 89.0, x)
        n, r = reduce(select(v < -104.0, -104.0, v))
        y = scale(1.0 + expm1_kernel(r), n)
    return y


@func
def exp2(x: f32) -> f32:
    """``2**x``."""
    t = x + SHIFT
    y = exp2_kernel(x - (t - SHIFT)) * power_of_two(bitcast(t, i32) - SHIFT_BITS)
    if ~(abs(x) < 126.0):
        v = select(x > 129.0, 129.0, x)
        v = select(v < -151.0, -151.0, v)
        t = v + SHIFT
        y = scale(exp2_kernel(v - (t - SHIFT)), bitcast(t, i32) - SHIFT_BITS)
    return y


@func
def half_exp(a: f32) -> f32:
    """``e**a / 2`` for ``a >= 0``, which does not overflow before ``sinh`` and ``cosh`` do."""
    n, r = reduce(a)
    y = (1.0 + expm1_kernel(r)) * power_of_two(n - 1)
    if ~(a < 87.0):
        n, r = reduce(select(a > 91.0, 91.0, a))
        y = scale(1.0 + expm1_kernel(r), n - 1)
    return y


@func
def sinh(x: f32) -> f32:
    """Hyperbolic sine."""
    a = abs(x)
    h = half_exp(a)
    large = h - 0.25 / h
    z = x * x
    z2 = z * z
    p = (0.166666672 + 0.00833331142 * z) + (0.000198426351 + 2.78392577e-06 * z) * z2
    small = x + (x * z) * p
    y = select(a < 1.0, small, select(x < 0.0, -large, large))
    return select(a < 0.000244140625, x, y)  # 2**-12; keeps the sign of zero


@func
def cosh(x: f32) -> f32:
    """Hyperbolic cosine."""
    h = half_exp(abs(x))
    return h + 0.25 / h


@func
def tanh(x: f32) -> f32:
    """Hyperbolic tangent."""
    a = abs(x)
    v = select(a < 9.02, a, 9.02)  # past it 1.0 is nearest; NaN is let go here, and comes by x below
    # v = n ln(2) / 2 + r: products of HALF_LN2 with integers up to 12 are exact; past them the rest weighs little
    t = v * TWICE_LOG2E + SHIFT
    r = v - (t - SHIFT) * HALF_LN2
    # exp(2v) = 2**n (r coth(r) + r) / (r coth(r) - r), so that one division is enough
    w = r * r
    c = w * (0.333333462 + w * -0.0221480224)
    below = 1.0 - (r - c)
    above = (1.0 + (r + c)) * bitcast((bitcast(t, i32) << 23) + ONE_BITS, f32)
    large = 1.0 - (below + below) / (above + below)
    z = x * x
    z2 = z * z
    q = (0.133282021 + z * -0.0534961782) + z2 * (0.0199275371 + z * -0.00499140751)
    small = x * (1.0 + z * (-0.333331585 + z * q))  # as a product, which keeps the sign of zero
    y = select(a >= 0.7175, large, small)
    return select(x <= -0.7175, -y, y)
