"""``tgamma`` and ``lgamma``, ``erf`` and ``erfc``, with floats and integers of one width only.

The gamma functions: from ``z = 10`` on (on f32, 4) ``log2(gamma(z))`` is Stirling's series as a polynomial in ``1 / z**2``,
summed in two parts with the logarithm of ``pow``; smaller arguments are raised by as many steps, whose product is carried in
two parts (T. J. Dekker, *A floating-point technique for extending the available precision*, 1971) and divided off. Negative
arguments are reflected: ``gamma(-z) = -pi / (z sin(pi z) gamma(z))``. ``lgamma`` near its zeros 1 and 2 is a polynomial of
its own. The coefficients were computed for this library.

The error functions: for ``a >= 0``, ``(1 + 2 a) exp(a**2) erfc(a)`` is a smooth function of ``t = (a - 4) / (a + 4)``, one
polynomial for all ``a`` (M. M. Shepherd and J. G. Laframboise, *Chebyshev approximation of (1 + 2x) exp(x**2) erfc x*,
Mathematics of Computation 36, 1981); ``a**2`` is taken in two parts whose head is exact, and the quotient by ``1 + 2 a`` is
corrected by its remainder (T. J. Dekker, 1971). Near zero ``erf`` is an odd polynomial. The coefficients were computed for
this library.
"""

from functools import cache
from types import SimpleNamespace

from gpucore.lang import func
from gpucore.lang.builtins import abs, bitcast, floor, round, select, static_range
from gpucore.math import exponential, logarithm, power
from gpucore.math.formats import Format


@cache
def gamma_functions(form: Format) -> SimpleNamespace:
    """The gamma functions on a format."""
    real, integer = form.real, form.integer
    SHIFT, SHIFT_BITS = form.shift, form.shift_bits
    INF, NAN = float("inf"), float("nan")
    from_exponential, from_logarithm = exponential.functions(form), logarithm.functions(form)
    exp2m1_kernel, scale = from_exponential.exp2m1_kernel, from_exponential.scale
    head, split, log = from_logarithm.head, from_logarithm.split, from_logarithm.log
    log2_parts = power.functions(form).log2_parts
    STEPS = form.pick(4, 10)
    MOST = form.pick(44.0, 190.0)  # past it tgamma overflows, and underflows where it is reflected
    TINY, HUGE = form.pick(2.0**-30, 2.0**-60), form.pick(2.0**30, 2.0**60)
    # heads of 12 and 21 bits, and what is left
    LOG2E_HI, LOG2E_LO = form.pick(
        (1.4423828125, 0.00031222839606925845), (1.4426946640014648, 3.768874985636099e-07)
    )
    LN2_HI, LN2_LO = form.pick(
        (0.693115234375, 3.194618329871446e-05), (0.6931467056274414, 4.7493250390316726e-07)
    )
    LN2, LOG2E = 0.6931471805599453, 1.4426950408889634
    LOG2_PI, LOG2_PI_LO = form.pick(
        (1.651496171951294, -4.247897678055779e-08), (1.6514961294723187, 7.897633151647933e-17)
    )
    HALF_LOG2_2PI, HALF_LOG2_2PI_LO = form.pick(
        (1.325748085975647, -2.1239488390278893e-08), (1.3257480647361595, -7.153413670427599e-17)
    )
    PI, PI_LO = form.pick(
        (3.1415927410125732, -8.742277657347586e-08), (3.141592653589793, 1.2246467991473532e-16)
    )
    EULER, EULER_LO = form.pick(
        (0.5772156715393066, -6.637773886097875e-09), (0.5772156649015329, -4.942915152430645e-18)
    )
    AT_TWO, AT_TWO_LO = form.pick(
        (0.42278432846069336, 6.637773886097875e-09), (0.42278433509846713, 4.942915152430645e-18)
    )
    STIRLING = form.pick(
        (-0.00073101115, 0.0011402699, -0.0040074284, 0.12022459),
        (
            -0.0025109472963522573, 0.001211592528712915, -0.0008587327259218801, 0.0011449960308500492,
            -0.004007486224663072, 0.12022458674074694,
        ),
    )  # fmt: skip
    NEAR_ONE = form.pick(
        (-0.12358623, 0.13897778, -0.14356032, 0.16901919, -0.20739172, 0.2705876, -0.4006856, 0.822467),
        (
            -0.06828742940227805, 0.07198296711703481, -0.056896885077833304, 0.06047931883873459, -0.06679343630704222,
            0.07156378295603441, -0.07692785860773843, 0.0833489549978705, -0.09095411879095508, 0.10009956412404496,
            -0.11133426462742588, 0.12550966822194634, -0.1440498967764338, 0.1695571770053663, -0.20738555102865616,
            0.2705808084277659, -0.40068563438653143, 0.8224670334241132,
        ),
    )  # fmt: skip
    NEAR_TWO = form.pick(
        (-0.0012139748, 0.0029389563, -0.007385052, 0.020579668, -0.0673523, 0.32246703),
        (
            -2.140476950683231e-06, 4.590113462170465e-06, -9.430701391836227e-06, 2.04885360931396e-05,
            -4.492661291937837e-05, 9.945831233690223e-05, -0.00022315475020349824, 0.0005096695072081966,
            -0.0011927539117893246, 0.0028905103309244426, -0.007385551028673649, 0.02058080842778383, -0.0673523010531981,
            0.3224670334241132,
        ),
    )  # fmt: skip
    SINE = form.pick(
        (0.081229575, -0.5992288, 2.5501635, -5.1677127),
        (
            -2.1742067342478005e-05, 0.0004662879326147481, -0.0073704303122948235, 0.08214588659727676, -0.5992645293206478,
            2.550164039877345, -5.16771278004997,
        ),
    )  # fmt: skip
    COSINE = form.pick(
        (0.23212542, -1.3351378, 4.0587106, -4.934802),
        (
            -0.00010370082971594627, 0.001929493874894941, -0.025806887964701878, 0.23533063028399223, -1.3352627688538095,
            4.058712126416765, -4.934802200544679,
        ),
    )  # fmt: skip

    # numbers in two parts
    @func
    def added(a: real, b: real):
        """``a + b`` and what rounding lost of it."""
        s = a + b
        t = s - a
        return s, (a - (s - t)) + (b - t)

    @func
    def times(ah: real, al: real, bh: real, bl: real):
        """The product of ``ah + al`` and ``bh + bl``."""
        p = ah * bh
        x, y = head(ah), head(bh)
        u, v = ah - x, bh - y
        low = (((x * y - p) + x * v) + u * y) + u * v
        low = low + (ah * bl + al * bh)
        s = p + low
        return s, (p - s) + low

    @func
    def divided(ah: real, al: real, bh: real, bl: real) -> real:
        """The quotient of ``ah + al`` and ``bh + bl``."""
        v = 1.0 / bh
        w = ah * v
        x, y = head(w), head(bh)
        u, z = w - x, bh - y
        remainder = (((ah - x * y) - x * z) - u * y) - u * z
        return w + ((remainder + al) - w * bl) * v

    @func
    def raised(z: real):
        """``(z + 1) (z + 2) ...``, one factor less than there are steps."""
        high, low = added(z, real(1.0))
        for j in static_range(2, STEPS):
            s, e = added(z, real(j))
            high, low = times(high, low, s, e)
        return high, low

    @func
    def log2_of(high: real, low: real):
        """``log2`` of a positive normal number."""
        k, f = split(high)
        t1, t2 = log2_parts(k, f)
        return t1, t2 + (low / high) * LOG2E

    @func
    def log2_gamma(z: real, rest: real):
        """``log2(gamma(z + rest))`` for ``z >= STEPS`` and a ``rest`` below its last place."""
        t1, t2 = log2_of(z, real(0.0))
        b, half = added(z, real(-0.5))
        bh = head(b)
        zh = head(z)
        w = 1.0 / z
        z2 = w * w
        p = real(0.0)
        for c in STIRLING:
            p = p * z2 + c
        low = (((b - bh) + half) * t1 + b * t2) - ((z - zh) * LOG2E_HI + z * LOG2E_LO)
        low = low + (p * w + ((t1 - 0.72 * w) * rest + HALF_LOG2_2PI_LO))
        high, e = added(bh * t1 - zh * LOG2E_HI, real(HALF_LOG2_2PI))
        return high, low + e

    @func
    def sine(a: real):
        """``abs(sin(pi * a))``."""
        r = abs(a - round(a))
        z = r * r
        p = real(0.0)
        for c in SINE:
            p = p * z + c
        high, low = times(r, real(0.0), real(PI), real(PI_LO))
        low = low + (r * z) * p
        v = 0.5 - r
        z = v * v
        p = real(0.0)
        for c in COSINE:
            p = p * z + c
        c = z * p
        s = 1.0 + c
        near = r <= 0.25
        return select(near, high, s), select(near, low, (1.0 - s) + c)

    @func
    def tgamma(x: real) -> real:
        """The gamma function."""
        a = abs(x)
        v = select(a > MOST, MOST, a)
        small = v < STEPS
        z, rest = added(v, select(small, real(STEPS), real(0.0)))
        high, low = log2_gamma(z, rest)
        t = (high + low) + SHIFT
        n = bitcast(t, integer) - SHIFT_BITS
        q = exp2m1_kernel((high - (t - SHIFT)) + low)
        y = 1.0 + q
        rest = (1.0 - y) + q
        wh, wl = raised(v)
        ph, pl = times(wh, wl, v, real(0.0))
        result = scale(divided(y, rest, select(small, ph, real(1.0)), select(small, pl, real(0.0))), n)
        if x < 0.0:
            sh, sl = sine(a)
            ph, pl = times(y, rest, sh, sl)
            rh, rl = times(ph, pl, v, real(0.0))
            nh, nl = times(wh, wl, real(PI), real(PI_LO))
            whole = floor(a)
            half = 0.5 * whole
            w = divided(
                select(small, nh, real(PI)),
                select(small, nl, real(PI_LO)),
                select(small, ph, rh),
                select(small, pl, rl),
            )
            w = scale(select(floor(half) != half, w, -w), -n)
            result = select(whole == a, NAN, w)
        if a < TINY:
            result = 1.0 / x
        return select(x != x, x, result)

    @func
    def near(d: real, high: real, low: real, p: real) -> real:
        """``d * (high + low + d * p)``."""
        u = d * p
        s = high + u
        return d * s + d * (((high - s) + u) + low)

    @func
    def lgamma(x: real) -> real:
        """The logarithm of the magnitude of the gamma function."""
        a = abs(x)
        v = select(a > HUGE, HUGE, select(a < TINY, TINY, a))
        small = v < STEPS
        z, rest = added(v, select(small, real(STEPS), real(0.0)))
        high, low = log2_gamma(z, rest)
        wh, wl = raised(v)
        ph, pl = times(wh, wl, v, real(0.0))
        t1, t2 = log2_of(select(small, ph, real(1.0)), select(small, pl, real(0.0)))
        high, rest = added(high, -t1)
        low = (low - t2) + rest
        pole = False
        if x < 0.0:
            sh, sl = sine(v)
            pole = floor(a) == a
            ph, pl = times(select(pole, real(1.0), sh), sl, v, real(0.0))
            t1, t2 = log2_of(ph, pl)
            high, rest = added(-high, -t1)
            low = (rest - low) - t2
            high, rest = added(high, real(LOG2_PI))
            low = low + (rest + LOG2_PI_LO)
        hh = head(high)
        result = hh * LN2_HI + ((high - hh) * LN2_HI + (high * LN2_LO + low * LN2))
        if abs(x - 1.5) <= 0.75:
            d = x - 1.0
            p = real(0.0)
            for c in NEAR_ONE:
                p = p * d + c
            one = near(d, real(-EULER), real(-EULER_LO), p)
            e = x - 2.0
            p = real(0.0)
            for c in NEAR_TWO:
                p = p * e + c
            two = near(e, real(AT_TWO), real(AT_TWO_LO), p)
            result = select(d <= 0.25, one, select(e >= -0.25, two, result))
            result = select((d == 0.0) | (e == 0.0), 0.0, result)
        if (a < TINY) | (a > HUGE):
            result = select(a < TINY, -log(a), select(a == INF, INF, a * (log(a) - 1.0)))
        return select(x != x, x, select(pole, INF, result))

    return SimpleNamespace(**locals())


@cache
def error_functions(form: Format) -> SimpleNamespace:
    """The error functions on a format."""
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


def functions(form: Format) -> SimpleNamespace:
    """All of them on a format."""
    return SimpleNamespace(**{**vars(gamma_functions(form)), **vars(error_functions(form))})
