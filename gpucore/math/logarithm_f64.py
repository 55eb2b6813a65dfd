"""``log``, ``log2`` and ``log10`` on f64, with f64 and 64-bit integers only.

Method: ``x = 2**k * m`` with ``m`` in ``[sqrt(1/2), sqrt(2))``, ``f = m - 1`` (exact), ``s = f / (2 + f)``
and ``log(1 + f) = f - (f**2 / 2 - s * (f**2 / 2 + R(s**2)))``, as fdlibm does (``e_log.c``); for the other
bases the product with ``1 / ln(base)`` is carried in two parts of which the head's product is exact, as in
FreeBSD's msun (``e_log2.c``, ``e_log10.c``).  The coefficients were computed for this library with the
Remez exchange algorithm.
"""

from gpucore.ir.dtypes import f64, i64, u64
from gpucore.lang import func
from gpucore.lang.builtins import bitcast, select

INF = float("inf")
NAN = float("nan")
SMALLEST_NORMAL = 2.2250738585072014e-308
TWO_54 = 18014398509481984.0
SQRT_HALF_BITS = 0x3FE6A09E667F3BCD
LN2_HI = 0.6931471805582987  # 38 bits: exact products with exponents
LN2_LO = 1.6465949582897082e-12
LOG2E_HI = 1.4426950407214463  # 32 bits: exact products with 21-bit heads
LOG2E_LO = 1.6751713164886512e-10
LOG10E_HI = 0.4342944818781689
LOG10E_LO = 2.5082946711645275e-11
LOG10_2_HI = 0.30102999566361177
LOG10_2_LO = 3.694239077158931e-13


@func
def head(x: f64) -> f64:
    """``x`` cut to 21 bits, so that products of two heads are exact."""
    return bitcast((bitcast(x, u64) >> 32) << 32, f64)


@func
def exponent(x: f64) -> i64:
    """``k`` with ``x = 2**k * m``, ``sqrt(1/2) <= m < sqrt(2)``, for ``0 < x < inf``."""
    tiny = x < SMALLEST_NORMAL
    bits = bitcast(select(tiny, x * TWO_54, x), i64)
    return ((bits - SQRT_HALF_BITS) >> 52) - i64(select(tiny, 54, 0))


@func
def reduced(x: f64) -> f64:
    """``m - 1`` of ``x = 2**k * m``."""
    bits = bitcast(select(x < SMALLEST_NORMAL, x * TWO_54, x), i64)
    return bitcast(bits - (((bits - SQRT_HALF_BITS) >> 52) << 52), f64) - 1.0


@func
def tail(f: f64, half: f64) -> f64:
    """``log(1 + f) - f + half`` with ``half = f * f / 2``."""
    s = f / (2.0 + f)
    z = s * s
    p = z * 0.13254357986650292 + 0.13249786491420312
    p = p * z + 0.15387105400162418
    p = p * z + 0.1818177533214981
    p = p * z + 0.22222222650943194
    p = p * z + 0.2857142856905849
    p = p * z + 0.4000000000000633
    p = p * z + 0.6666666666666666
    return s * (half + z * p)


@func
def with_specials(x: f64, y: f64) -> f64:
    """``y`` for positive finite ``x``, else the logarithm's limit."""
    return select(x > 0.0, select(x < INF, y, x), select(x == 0.0, f64(-INF), f64(NAN)))


@func
def log(x: f64) -> f64:
    """Natural logarithm."""
    k = f64(exponent(x))
    f = reduced(x)
    half = 0.5 * f * f
    r = (tail(f, half) + k * LN2_LO) - half
    return with_specials(x, k * LN2_HI + (f + r))


@func
def log2(x: f64) -> f64:
    """Logarithm to base 2; exact at powers of two."""
    k = f64(exponent(x))
    f = reduced(x)
    half = 0.5 * f * f
    hi = head(f - half)
    lo = ((f - hi) - half) + tail(f, half)
    a = hi * LOG2E_HI
    s = k + a
    return with_specials(x, s + (((k - s) + a) + ((lo + hi) * LOG2E_LO + lo * LOG2E_HI)))


@func
def log10(x: f64) -> f64:
    """Logarithm to base 10."""
    k = f64(exponent(x))
    f = reduced(x)
    half = 0.5 * f * f
    hi = head(f - half)
    lo = ((f - hi) - half) + tail(f, half)
    b = k * LOG10_2_HI
    a = hi * LOG10E_HI
    s = b + a
    small = (k * LOG10_2_LO + (lo + hi) * LOG10E_LO) + lo * LOG10E_HI
    return with_specials(x, s + (((b - s) + a) + small))
