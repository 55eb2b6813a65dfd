"""``exp``, ``exp2`` and the hyperbolic functions on f64, with f64 and 64-bit integers only.

Method: as in :mod:`gpucore.math.exponential_f32`, with polynomials of higher degree: Cody and Waite's
reduction, a minimax polynomial, scaling in two steps; ``sinh`` and ``tanh`` near zero use odd minimax
polynomials.  The coefficients were computed for this library with the Remez exchange algorithm.
"""

from gpucore.ir.dtypes import f64, i64
from gpucore.lang import func
from gpucore.lang.builtins import abs, bitcast, select

LOG2E = 1.4426950408889634
LN2_HI = 0.6931471805582987  # 38 bits, so that its products with integers below 2**15 are exact
LN2_LO = 1.6465949582897082e-12
SHIFT = 6755399441055744.0  # 1.5 * 2**52: adding it rounds to an integer, kept in the low bits
SHIFT_BITS = 0x4338000000000000


@func
def power_of_two(n: i64) -> f64:
    """``2**n`` for ``-1023 < n < 1024``."""
    return bitcast((n + 1023) << 52, f64)


@func
def scale(y: f64, n: i64) -> f64:
    """``y * 2**n`` for ``|n| < 2046``, rounded once where ``y * 2**(n / 2)`` is normal."""
    half = n >> 1
    return (y * power_of_two(half)) * power_of_two(n - half)


@func
def reduce(x: f64):
    """``(n, r)`` with ``x = n ln 2 + r`` and ``|r| <= ln(2) / 2``."""
    t = x * LOG2E + SHIFT
    k = t - SHIFT
    return bitcast(t, i64) - SHIFT_BITS, (x - k * LN2_HI) - k * LN2_LO


@func
def expm1_tail(r: f64) -> f64:
    """``exp(r) - 1 - r`` for ``|r| <= ln(2) / 2``."""
    r2 = r * r
    r4 = r2 * r2
    r8 = r4 * r4
    p0 = (0.5000000000000011 + 0.16666666666666413 * r) + (
        0.041666666666530155 + 0.008333333333494399 * r
    ) * r2
    p1 = (0.0013888888943631085 + 0.00019841269506688846 * r) + (
        2.4801493097828538e-05 + 2.755758629088442e-06 * r
    ) * r2
    p2 = p0 + p1 * r4
    p3 = 2.763024879588082e-07 + 2.500008442577437e-08 * r
    p = p2 + p3 * r8
    return (r * r) * p


@func
def expm1_kernel(r: f64) -> f64:
    """``exp(r) - 1`` for ``|r| <= ln(2) / 2``."""
    return r + expm1_tail(r)


@func
def exp2_kernel(r: f64) -> f64:
    """``2**r`` for ``|r| <= 1/2``."""
    r2 = r * r
    r4 = r2 * r2
    r8 = r4 * r4
    p0 = (0.24022650695910072 + 0.05550410866482169 * r) + (
        0.00961812910762833 + 0.001333355814639269 * r
    ) * r2
    p1 = (0.00015403530393640711 + 1.5252733854318367e-05 * r) + (
        1.3215486594925096e-06 + 1.0178051941868221e-07 * r
    ) * r2
    p2 = p0 + p1 * r4
    p3 = (7.054974472177218e-09 + 4.456570530518006e-10 * r) + 2.5625430346037336e-11 * r2
    p = 0.6931471805599453 + r * (p2 + p3 * r8)
    return 1.0 + r * p


@func
def exp(x: f64) -> f64:
    """``e**x``."""
    n, r = reduce(x)
    y = (1.0 + expm1_kernel(r)) * power_of_two(n)
    if ~(abs(x) < 708.0):
        # near overflow, or below the normal range, or NaN
        v = select(x > 710.0, 710.0, x)
        n, r = reduce(select(v < -746.0, -746.0, v))
        y = scale(1.0 + expm1_kernel(r), n)
    return y


@func
def exp2(x: f64) -> f64:
    """``2**x``."""
    t = x + SHIFT
    y = exp2_kernel(x - (t - SHIFT)) * power_of_two(bitcast(t, i64) - SHIFT_BITS)
    if ~(abs(x) < 1022.0):
        v = select(x > 1025.0, 1025.0, x)
        v = select(v < -1076.0, -1076.0, v)
        t = v + SHIFT
        y = scale(exp2_kernel(v - (t - SHIFT)), bitcast(t, i64) - SHIFT_BITS)
    return y


@func
def half_exp(a: f64) -> f64:
    """``e**a / 2`` for ``a >= 0``, which does not overflow before ``sinh`` and ``cosh`` do."""
    n, r = reduce(a)
    y = (1.0 + expm1_kernel(r)) * power_of_two(n - 1)
    if ~(a < 708.0):
        n, r = reduce(select(a > 712.0, 712.0, a))
        y = scale(1.0 + expm1_kernel(r), n - 1)
    return y


@func
def sinh(x: f64) -> f64:
    """Hyperbolic sine."""
    a = abs(x)
    h = half_exp(a)
    large = h - 0.25 / h
    z = x * x
    z2 = z * z
    z4 = z2 * z2
    p0 = (0.16666666666666669 + 0.008333333333333139 * z) + (
        0.00019841269841437684 + 2.7557319155335837e-06 * z
    ) * z2
    p1 = (2.5052123398745496e-08 + 1.6057240325212464e-10 * z) + 7.759312716045403e-13 * z2
    p = p0 + p1 * z4
    small = x + (x * z) * p
    y = select(a < 1.0, small, select(x < 0.0, -large, large))
    return select(a < 7.450580596923828e-09, x, y)  # 2**-27; keeps the sign of zero


@func
def cosh(x: f64) -> f64:
    """Hyperbolic cosine."""
    h = half_exp(abs(x))
    return h + 0.25 / h


@func
def tanh(x: f64) -> f64:
    """Hyperbolic tangent."""
    a = abs(x)
    v = select(a > 20.0, 20.0, a)
    n, r = reduce(v + v)
    e = (1.0 + expm1_kernel(r)) * power_of_two(n)
    large = 1.0 - 2.0 / (e + 1.0)
    z = x * x
    z2 = z * z
    z4 = z2 * z2
    z8 = z4 * z4
    p0 = (0.13333333333333164 + -0.053968253968132776 * z) + (
        0.021869488531783617 + -0.008863235436748848 * z
    ) * z2
    p1 = (0.0035921267583213907 + -0.0014558225019458242 * z) + (
        0.0005899503100508948 + -0.00023877466071510134 * z
    ) * z2
    p2 = p0 + p1 * z4
    p3 = (9.576022098106958e-05 + -3.6639558058386834e-05 * z) + (
        1.1807120672231495e-05 + -2.2767184899331264e-06 * z
    ) * z2
    p = -0.3333333333333333 + z * (p2 + p3 * z8)
    small = x + (x * z) * p
    y = select(a < 0.625, small, select(x < 0.0, -large, large))
    return select(a < 7.450580596923828e-09, x, y)  # 2**-27; keeps the sign of zero
