"""``exp10`` and ``expm1`` on f64, with f64 and 64-bit integers only.

Method: as in :mod:`gpucore.math.exponential_f64`; ``expm1`` adds ``2**n - 1`` and ``2**n`` times the reduced argument with the
error of that sum (T. J. Dekker, *A floating-point technique for extending the available precision*, 1971), so that nothing
cancels; what the reduction lost is carried as in fdlibm (``s_expm1.c``).
"""

from gpucore.ir.dtypes import f64, i64
from gpucore.lang import func
from gpucore.lang.builtins import abs, bitcast, select
from gpucore.math.exponential_f64 import (
    LN2_HI,
    LN2_LO,
    LOG2E,
    SHIFT,
    SHIFT_BITS,
    exp,
    expm1_tail,
    power_of_two,
    scale,
)
from gpucore.math.logarithm_f64 import LOG10_2_HI, LOG10_2_LO, head

LOG2_10 = 3.321928094887362
LN10_HI = 2.302583694458008  # 21 bits
LN10_LO = 1.398536037871518e-06


@func
def exp10_value(x: f64, n: i64, k: f64) -> f64:
    """``10**x / 2**n``."""
    r = (x - k * LOG10_2_HI) - k * LOG10_2_LO
    # the head of r has 21 bits, and so its product with LN10_HI is exact
    h = head(r)
    a = h * LN10_HI
    b = (r - h) * LN10_HI + r * LN10_LO
    w = a + b
    return 1.0 + (w + (expm1_tail(w) + ((a - w) + b)))


@func
def exp10(x: f64) -> f64:
    """``10**x``."""
    t = x * LOG2_10 + SHIFT
    n = bitcast(t, i64) - SHIFT_BITS
    y = exp10_value(x, n, t - SHIFT) * power_of_two(n)
    if ~(abs(x) < 307.5):
        v = select(x > 309.0, 309.0, x)
        v = select(v < -325.0, -325.0, v)
        t = v * LOG2_10 + SHIFT
        n = bitcast(t, i64) - SHIFT_BITS
        y = scale(exp10_value(v, n, t - SHIFT), n)
    return y


@func
def expm1(x: f64) -> f64:
    """``e**x - 1``, exact to the last digits near zero."""
    t = x * LOG2E + SHIFT
    k = t - SHIFT
    p = power_of_two(bitcast(t, i64) - SHIFT_BITS)
    hi = x - k * LN2_HI
    lo = k * LN2_LO
    r = hi - lo
    rest = (hi - r) - lo
    whole = p - 1.0
    lost = (p - whole) - 1.0
    scaled = p * r
    s = whole + scaled
    error = (whole - s) + scaled
    y = s + (error + (p * (expm1_tail(r) + rest) + lost))
    if ~(abs(x) < 708.0):
        y = select(x < 0.0, -1.0, exp(x))
    return select(x == 0.0, x, y)
