"""``exp10`` and ``expm1``, with floats and integers of one width only.

Method: as in :mod:`gpucore.math.exponential`; ``expm1`` adds ``2**n - 1`` and ``2**n`` times the reduced argument with the
error of that sum (T. J. Dekker, *A floating-point technique for extending the available precision*, 1971), so that nothing
cancels; what the reduction lost is carried as in fdlibm (``s_expm1.c``).
"""

from functools import cache
from types import SimpleNamespace

from gpucore.lang import func
from gpucore.lang.builtins import abs, bitcast, select
from gpucore.math import exponential, logarithm
from gpucore.math.formats import Format


@cache
def functions(form: Format) -> SimpleNamespace:
    """The functions on a format."""
    real, integer, unsigned = form.real, form.integer, form.unsigned
    from_exponential, from_logarithm = exponential.functions(form), logarithm.functions(form)
    exp, expm1_tail = from_exponential.exp, from_exponential.expm1_tail
    power_of_two, scale = from_exponential.power_of_two, from_exponential.scale
    LN2_HI, LN2_LO, LOG2E = from_exponential.LN2_HI, from_exponential.LN2_LO, from_exponential.LOG2E
    head, LOG10_2_HI, LOG10_2_LO = from_logarithm.head, from_logarithm.LOG10_2_HI, from_logarithm.LOG10_2_LO
    SHIFT, SHIFT_BITS = form.shift, form.shift_bits
    LOG2_10 = form.pick(3.321928024291992, 3.321928094887362)
    LN10_HI = form.pick(2.3017578125, 2.302583694458008)  # 12 and 21 bits
    LN10_LO = form.pick(0.0008272805134765804, 1.398536037871518e-06)
    NORMAL = form.pick(87.0, 708.0)  # up to it exp is a normal number
    NORMAL10, LEAST10, MOST10 = form.pick(37.5, 307.5), form.pick(-46.0, -325.0), form.pick(39.0, 309.0)

    @func
    def exp10_value(x: real, n: integer, k: real) -> real:
        """``10**x / 2**n``."""
        r = (x - k * LOG10_2_HI) - k * LOG10_2_LO
        # the head of r has 12 or 21 bits, and so its product with LN10_HI is exact
        h = head(r)
        a = h * LN10_HI
        b = (r - h) * LN10_HI + r * LN10_LO
        w = a + b
        return 1.0 + (w + (expm1_tail(w) + ((a - w) + b)))

    @func
    def exp10(x: real) -> real:
        """``10**x``."""
        t = x * LOG2_10 + SHIFT
        n = bitcast(t, integer) - SHIFT_BITS
        y = exp10_value(x, n, t - SHIFT) * power_of_two(n)
        if ~(abs(x) < NORMAL10):
            v = select(x > MOST10, MOST10, x)
            v = select(v < LEAST10, LEAST10, v)
            t = v * LOG2_10 + SHIFT
            n = bitcast(t, integer) - SHIFT_BITS
            y = scale(exp10_value(v, n, t - SHIFT), n)
        return y

    @func
    def expm1(x: real) -> real:
        """``e**x - 1``, exact to the last digits near zero."""
        t = x * LOG2E + SHIFT
        k = t - SHIFT
        p = power_of_two(bitcast(t, integer) - SHIFT_BITS)
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
        if ~(abs(x) < NORMAL):
            y = select(x < 0.0, -1.0, exp(x))
        return select(x == 0.0, x, y)

    return SimpleNamespace(**locals())
