"""``log``, ``log2`` and ``log10`` on f32, with f32 and 32-bit integers only.

Method: ``x = 2**k * m`` with ``m`` in ``[sqrt(1/2), sqrt(2))``, ``f = m - 1`` (exact) and ``log(1 + f) = f
- f**2 / 2 + f**3 * P(f)`` with a minimax polynomial, as Cephes does (S. L. Moshier, ``single/logf.c``).
For the other bases the product with ``1 / ln(base)`` is carried in two parts of which the head's product is
exact, as in FreeBSD's msun (``e_log2f.c``, ``e_log10f.c``).  The coefficients were computed for this
library with the Remez exchange algorithm.
"""

from gpucore.ir.dtypes import f32, i32, u32
from gpucore.lang import func
from gpucore.lang.builtins import bitcast, select

INF = float("inf")
NAN = float("nan")
SMALLEST_NORMAL = 1.1754943508222875e-38
SQRT_HALF_BITS = 0x3F3504F3
LN2_HI = 0.693145751953125  # 15 bits: exact products with exponents
LN2_LO = 1.428606765330187e-06
LOG2E_HI = 1.4423828125  # 12 bits: exact products with 12-bit heads
LOG2E_LO = 0.00031222839606925845
LOG10E_HI = 0.4342041015625
LOG10E_LO = 9.038033749675378e-05
LOG10_2_HI = 0.301025390625
LOG10_2_LO = 4.605039066518657e-06


@func
def head(x: f32) -> f32:
    """``x`` cut to 12 bits, so that products of two heads are exact."""
    return bitcast(bitcast(x, u32) & 0xFFFFF000, f32)


@func
def unusual(x: f32):
    """Whether ``x`` is not a positive normal number: zero, denormal, negative, infinite or NaN."""
    return bitcast(x, u32) - 0x00800000 >= 0x7F000000


@func
def split(x: f32):
    """``(k, f)`` with ``x = 2**k * (1 + f)`` and ``sqrt(1/2) <= 1 + f < sqrt(2)``, for positive normal ``x``."""
    bits = bitcast(x, i32)
    k = (bits - SQRT_HALF_BITS) >> 23
    return f32(k), bitcast(bits - (k << 23), f32) - 1.0


@func
def tail(f: f32, z: f32) -> f32:
    """``log(1 + f) - f + z / 2`` with ``z = f * f``."""
    f2 = f * f
    f4 = f2 * f2
    f8 = f4 * f4
    p0 = (0.333333105 + -0.249999866 * f) + (0.200021461 + -0.166692182 * f) * f2
    p1 = (0.142200246 + -0.12385533 * f) + (0.118650973 + -0.11780794 * f) * f2
    p2 = p0 + p1 * f4
    p = p2 + 0.0692122504 * f8
    return (f * z) * p


@func
def with_specials(x: f32, y: f32) -> f32:
    """``y`` for positive finite ``x``, else the logarithm's limit."""
    return select(x > 0.0, select(x < INF, y, x), select(x == 0.0, -INF, NAN))


@func
def log_value(k: f32, f: f32) -> f32:
    """``log(2**k * (1 + f))``."""
    z = f * f
    r = (tail(f, z) + k * LN2_LO) - 0.5 * z
    return k * LN2_HI + (f + r)


@func
def log(x: f32) -> f32:
    """Natural logarithm."""
    k, f = split(x)
    y = log_value(k, f)
    if unusual(x):
        k, f = split(x * 8388608.0)
        y = with_specials(x, log_value(k - 23.0, f))
    return y


@func
def log2_value(k: f32, f: f32) -> f32:
    """``log2(2**k * (1 + f))``."""
    z = f * f
    half = 0.5 * z
    hi = head(f - half)
    lo = ((f - hi) - half) + tail(f, z)
    a = hi * LOG2E_HI
    s = k + a
    return s + (((k - s) + a) + ((lo + hi) * LOG2E_LO + lo * LOG2E_HI))


@func
def log2(x: f32) -> f32:
    """Logarithm to base 2; exact at powers of two."""
    k, f = split(x)
    y = log2_value(k, f)
    if unusual(x):
        k, f = split(x * 8388608.0)
        y = with_specials(x, log2_value(k - 23.0, f))
    return y


@func
def log10_value(k: f32, f: f32) -> f32:
    """``log10(2**k * (1 + f))``."""
    z = f * f
    half = 0.5 * z
    hi = head(f - half)
    lo = ((f - hi) - half) + tail(f, z)
    b = k * LOG10_2_HI
    a = hi * LOG10E_HI
    s = b + a
    small = (k * LOG10_2_LO + (lo + hi) * LOG10E_LO) + lo * LOG10E_HI
    return s + (((b - s) + a) + small)


@func
def log10(x: f32) -> f32:
    """Logarithm to base 10."""
    k, f = split(x)
    y = log10_value(k, f)
    if unusual(x):
        k, f = split(x * 8388608.0)
        y = with_specials(x, log10_value(k - 23.0, f))
    return y
