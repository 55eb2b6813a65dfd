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
def unusual(x: f64):
    """Whether ``x`` is not a positive normal number: zero, denormal, negative, infinite or NaN."""
    return bitcast(x, u64) - 0x0010000000000000 >= 0x7FE0000000000000


@func
def split(x: f64):
    """``(k, f)`` with ``x = 2**k * (1 + f)`` and ``sqrt(1/2) <= 1 + f < sqrt(2)``, for positive normal ``x``."""
    bits = bitcast(x, i64)
    k = (bits - SQRT_HALF_BITS) >> 52
    return f64(k), bitcast(bits - (k << 52), f64) - 1.0


@func
def tail(f: f64, half: f64) -> f64:
    """``log(1 + f) - f + half`` with ``half = f * f / 2``."""
    s = f / (2.0 + f)
    z = s * s
    z2 = z * z
    z4 = z2 * z2
    p0 = (0.6666666666666666 + 0.4000000000000633 * z) + (0.2857142856905849 + 0.22222222650943194 * z) * z2
    p1 = (0.1818177533214981 + 0.15387105400162418 * z) + (0.13249786491420312 + 0.13254357986650292 * z) * z2
    p = p0 + p1 * z4
    return s * (half + z * p)


@func
def with_specials(x: f64, y: f64) -> f64:
    """``y`` for positive finite ``x``, else the logarithm's limit."""
    return select(x > 0.0, select(x < INF, y, x), select(x == 0.0, f64(-INF), f64(NAN)))


@func
def log_value(k: f64, f: f64) -> f64:
    """``log(2**k * (1 + f))``."""
    half = 0.5 * f * f
    r = (tail(f, half) + k * LN2_LO) - half
    return k * LN2_HI + (f + r)


@func
def log(x: f64) -> f64:
    """Natural logarithm."""
    k, f = split(x)
    y = log_value(k, f)
    if unusual(x):
        k, f = split(x * TWO_54)
        y = with_specials(x, log_value(k - 54.0, f))
    return y


@func
def log2_value(k: f64, f: f64) -> f64:
    """``log2(2**k * (1 + f))``."""
    half = 0.5 * f * f
    hi = head(f - half)
    lo = ((f - hi) - half) + tail(f, half)
    a = hi * LOG2E_HI
    s = k + a
    return s + (((k - s) + a) + ((lo + hi) * LOG2E_LO + lo * LOG2E_HI))


@func
def log2(x: f64) -> f64:
    """Logarithm to base 2; exact at powers of two."""
    k, f = split(x)
    y = log2_value(k, f)
    if unusual(x):
        k, f = split(x * TWO_54)
        y = with_specials(x, log2_value(k - 54.0, f))
    return y


@func
def log10_value(k: f64, f: f64) -> f64:
    """``log10(2**k * (1 + f))``."""
    half = 0.5 * f * f
    hi = head(f - half)
    lo = ((f - hi) - half) + tail(f, half)
    b = k * LOG10_2_HI
    a = hi * LOG10E_HI
    s = b + a
    small = (k * LOG10_2_LO + (lo + hi) * LOG10E_LO) + lo * LOG10E_HI
    return s + (((b - s) + a) + small)


@func
def log10(x: f64) -> f64:
    """Logarithm to base 10."""
    k, f = split(x)
    y = log10_value(k, f)
    if unusual(x):
        k, f = split(x * TWO_54)
        y = with_specials(x, log10_value(k - 54.0, f))
    return y
