"""``erf`` and ``erfc``, with floats and integers of one width only.

Method: for ``a >= 0``, ``(1 + 2 a) exp(a**2) erfc(a)`` is a smooth function of ``t = (a - 4) / (a + 4)``, one polynomial for
all ``a`` (M. M. Shepherd and J. G. Laframboise, *Chebyshev approximation of (1 + 2x) exp(x**2) erfc x*, Mathematics of
Computation 36, 1981); ``a**2`` is taken in two parts whose head is exact, and the quotient by ``1 + 2 a`` is corrected by its
remainder (T. J. Dekker, 1971).  Near zero ``erf`` is an odd polynomial.  The coefficients were computed for this library.
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
    real, integer = form.real, form.integer
    SHIFT, SHIFT_BITS = form.shift, form.shift_bits
    from_exponential, from_logarithm = exponential.functions(form), logarithm.functions(form)
    expm1_kernel, scale = from_exponential.expm1_kernel, from_exponential.scale
    LOG2E, LN2_HI, LN2_LO = from_exponential.LOG2E, from_exponential.LN2_HI, from_exponential.LN2_LO
    head = from_logarithm.head
    LARGEST = form.pick(10.5, 28.0)  # past it erfc rounds to zero
    # of the scaled function at t = 0, in two parts
    CENTER = form.pick(1.2329951524734497, 1.2329951186255526)
    CENTER_LO = form.pick(-3.3825344303295424e-08, -4.497011797204883e-17)
    SCALED = form.pick(
        (
            -0.00064377283, -0.0011386668, 0.0050492673, -0.01601293, 0.03722641, -0.0663571, 0.093719535, -0.10103775,
            0.068098, 0.015379637, -0.13962114,
        ),
        (
            1.263782858042137e-09, 1.868487385473519e-09, -1.4091982822555755e-08, -1.799947545903142e-08,
            1.1005996198640057e-07, 7.471952780500971e-08, -8.254699744871162e-07, 2.9377854943443786e-07,
            5.709784760966506e-06, -1.1222046316669005e-05, -2.439924428312988e-05, 0.00015062169704678355,
            -0.00019925668432389153, -0.0007577732973669146, 0.005031969975753176, -0.01619773405599449,
            0.03716751553777026, -0.0663303658124095, 0.09373283499833023, -0.10103906603629459, 0.06809705425469323,
            0.015379652102619558, -0.13962111684056253,
        ),
    )  # fmt: skip
    SMALL = form.pick(
        (0.0047190827, -0.026757732, 0.112828314, -0.37612608, 0.12837917),
        (
            1.4725865480556744e-06, -1.4845849259707869e-05, 0.00012053335124353741, -0.0008548297753674966,
            0.00522397737302147, -0.026866170632887928, 0.11283791670925353, -0.37612638903183476, 0.12837916709551256,
        ),
    )  # fmt: skip

    @func
    def erf_small(x: real) -> real:
        """``erf(x)`` for ``|x| <= 1/2``."""
        z = x * x
        p = real(0.0)
        for c in SMALL:
            p = p * z + c
        return x + x * p

    @func
    def erfc_positive(x: real) -> real:
        """``erfc(x)`` for ``x >= 0``."""
        a = select(x > LARGEST, LARGEST, x)
        # exp(-a**2) = 2**n (1 + q)
        ah = head(a)
        square = ah * ah
        rest = (a - ah) * (a + ah)
        t = -(square + rest) * LOG2E + SHIFT
        k = t - SHIFT
        q = expm1_kernel((-square - k * LN2_HI) - (rest + k * LN2_LO))
        n = bitcast(t, integer) - SHIFT_BITS
        # the scaled function, in two parts
        t = (a - 4.0) / (a + 4.0)
        p = real(0.0)
        for c in SCALED:
            p = p * t + c
        u = p * t
        s = CENTER + u
        low = ((CENTER - s) + u) + CENTER_LO
        low = low + s * q
        y = s + low
        low = (s - y) + low
        # divided by 1 + 2 a
        b = a + a
        d = 1.0 + b
        e = d - 1.0
        lost = (1.0 - (d - e)) + (b - e)
        v = 1.0 / d
        w = y * v
        wh = head(w)
        dh = head(d)
        wl = w - wh
        dl = d - dh
        remainder = (((y - wh * dh) - wh * dl) - wl * dh) - wl * dl
        return scale(w + ((remainder + low) - w * lost) * v, n)

    @func
    def erf(x: real) -> real:
        """The error function."""
        a = abs(x)
        large = 1.0 - erfc_positive(a)
        return select(a <= 0.5, erf_small(x), select(x < 0.0, -large, large))

    @func
    def erfc(x: real) -> real:
        """``1 - erf(x)``, exact to the last digits where it is small."""
        a = abs(x)
        y = erfc_positive(a)
        return select(a <= 0.25, 1.0 - erf_small(x), select(x < 0.0, 2.0 - y, y))

    return SimpleNamespace(**locals())
