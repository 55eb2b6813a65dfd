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
def scaled_exp(x: f64, doublings: i64) -> f64:
    """``exp(x) * 2**doublings`` for ``-746 <= x <= 712``."""
    t = x * LOG2E + SHIFT
    n = bitcast(t, i64) - SHIFT_BITS
    k = t - SHIFT
    r = (x - k * LN2_HI) - k * LN2_LO
    p = r * 2.500008442577437e-08 + 2.763024879588082e-07
    p = p * r + 2.755758629088442e-06
    p = p * r + 2.4801493097828538e-05
    p = p * r + 0.00019841269506688846
    p = p * r + 0.0013888888943631085
    p = p * r + 0.008333333333494399
    p = p * r + 0.041666666666530155
    p = p * r + 0.16666666666666413
    p = p * r + 0.5000000000000011
    return scale(1.0 + (r + (r * r) * p), n + doublings)


@func
def exp(x: f64) -> f64:
    """``e**x``."""
    v = select(x > 710.0, 710.0, x)
    return scaled_exp(select(v < -746.0, -746.0, v), 0)


@func
def exp2(x: f64) -> f64:
    """``2**x``."""
    v = select(x > 1025.0, 1025.0, x)
    v = select(v < -1076.0, -1076.0, v)
    t = v + SHIFT
    n = bitcast(t, i64) - SHIFT_BITS
    r = v - (t - SHIFT)
    return scale(1.0 + r * exp2_tail(r), n)


@func
def exp2_tail(r: f64) -> f64:
    """``(2**r - 1) / r`` for ``|r| <= 1/2``."""
    p = r * 2.5625430346037336e-11 + 4.456570530518006e-10
    p = p * r + 7.054974472177218e-09
    p = p * r + 1.0178051941868221e-07
    p = p * r + 1.3215486594925096e-06
    p = p * r + 1.5252733854318367e-05
    p = p * r + 0.00015403530393640711
    p = p * r + 0.001333355814639269
    p = p * r + 0.00961812910762833
    p = p * r + 0.05550410866482169
    p = p * r + 0.24022650695910072
    p = p * r + 0.6931471805599453
    return p


@func
def sinh(x: f64) -> f64:
    """Hyperbolic sine."""
    a = abs(x)
    h = scaled_exp(select(a > 712.0, 712.0, a), -1)  # e**a / 2: no overflow before the result's own
    large = h - 0.25 / h
    z = x * x
    p = z * 7.759312716045403e-13 + 1.6057240325212464e-10
    p = p * z + 2.5052123398745496e-08
    p = p * z + 2.7557319155335837e-06
    p = p * z + 0.00019841269841437684
    p = p * z + 0.008333333333333139
    p = p * z + 0.16666666666666669
    small = x + (x * z) * p
    y = select(a < 1.0, small, select(x < 0.0, -large, large))
    return select(a < 7.450580596923828e-09, x, y)  # 2**-27; keeps the sign of zero


@func
def cosh(x: f64) -> f64:
    """Hyperbolic cosine."""
    a = abs(x)
    h = scaled_exp(select(a > 712.0, 712.0, a), -1)
    return h + 0.25 / h


@func
def tanh(x: f64) -> f64:
    """Hyperbolic tangent."""
    a = abs(x)
    e = scaled_exp(select(a > 20.0, 40.0, a + a), 0)
    large = 1.0 - 2.0 / (e + 1.0)
    z = x * x
    p = z * -2.2767184899331264e-06 + 1.1807120672231495e-05
    p = p * z + -3.6639558058386834e-05
    p = p * z + 9.576022098106958e-05
    p = p * z + -0.00023877466071510134
    p = p * z + 0.0005899503100508948
    p = p * z + -0.0014558225019458242
    p = p * z + 0.0035921267583213907
    p = p * z + -0.008863235436748848
    p = p * z + 0.021869488531783617
    p = p * z + -0.053968253968132776
    p = p * z + 0.13333333333333164
    p = p * z + -0.3333333333333333
    small = x + (x * z) * p
    y = select(a < 0.625, small, select(x < 0.0, -large, large))
    return select(a < 7.450580596923828e-09, x, y)
