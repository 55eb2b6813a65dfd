"""``exp``, ``exp2``, ``exp10``, ``expm1`` and the hyperbolic functions, with floats and integers of one width only.

Method: reduce to ``x = n ln 2 + r`` with ``ln 2`` in two parts (W. J. Cody and W. Waite, *Software Manual
for the Elementary Functions*, 1980), a minimax polynomial for ``exp(r)`` on ``|r| <= ln(2) / 2``, then
scale by ``2**n`` in two steps so that results below the normal range are rounded once.  The integer ``n``
is taken from the sum with ``1.5 * 2**23`` (on f64, ``1.5 * 2**52``), as in the ARM Optimized Routines (``math/expf.c``).
``sinh`` and ``tanh`` near zero use odd minimax polynomials, and away from zero the exponential, as Cephes does (S.
L. Moshier, ``single/sinhf.c``, ``tanhf.c``); on f32 that exponential is a quotient for ``tanh``, which divides in
any case.  The coefficients were computed for this library with the Remez exchange algorithm and rounded one
by one, those of ``tanh`` on f32 by trying the neighbours: its largest error over all f32 is 1.31 ulp.

Here and in the other files polynomials are evaluated in pairs (G. Estrin, *Organization of computer
systems*, 1960), which leaves short chains of operations that wait for one another; what is rare, such as
results near overflow, stands in a branch, so that vectors without such lanes pass by it.

``expm1`` adds ``2**n - 1`` and ``2**n`` times the reduced argument with the
error of that sum (T. J. Dekker, *A floating-point technique for extending the available precision*, 1971), so that nothing
cancels; what the reduction lost is carried as in fdlibm (``s_expm1.c``).
"""

from functools import cache
from types import SimpleNamespace

from gpucore.lang import func
from gpucore.lang.builtins import abs, bitcast, select
from gpucore.math import logarithm
from gpucore.math.formats import F32, Format


@cache
def functions(form: Format) -> SimpleNamespace:
    """The functions on a format."""
    real, integer, unsigned = form.real, form.integer, form.unsigned
    BITS, BIAS, SHIFT, SHIFT_BITS = form.fraction_bits, form.bias, form.shift, form.shift_bits
    LOG2E = form.pick(1.4426950216293335, 1.4426950408889634)
    # 15 and 38 bits, so that products with integers below 2**9 and 2**15 are exact
    LN2_HI = form.pick(0.693145751953125, 0.6931471805582987)
    LN2_LO = form.pick(1.428606765330187e-06, 1.6465949582897082e-12)
    NORMAL = form.pick(87.0, 708.0)  # up to it exp is a normal number
    LEAST, MOST = form.pick(-104.0, -746.0), form.pick(89.0, 710.0)  # past them it is 0 and infinity
    MOST_OF_HALF = form.pick(91.0, 712.0)
    NORMAL2, LEAST2, MOST2 = form.pick(126.0, 1022.0), form.pick(-151.0, -1076.0), form.pick(129.0, 1025.0)
    NEGLIGIBLE = form.pick(2.0**-12, 2.0**-27)  # below it sinh x and tanh x round to x
    TWICE_LOG2E = 2.885390043258667
    HALF_LN2 = 0.3465735912322998
    ONE_BITS = 0x3F800000  # of 1.0; SHIFT_BITS << 23 leaves nothing

    @func
    def power_of_two(n: integer) -> real:
        """``2**n`` for normal results."""
        return bitcast((n + BIAS) << BITS, real)

    @func
    def scale(y: real, n: integer) -> real:
        """``y * 2**n`` for ``|n| < 2 * bias``, rounded once where ``y * 2**(n / 2)`` is normal."""
        half = n >> 1
        return (y * power_of_two(half)) * power_of_two(n - half)

    @func
    def reduce(x: real):
        """``(n, r)`` with ``x = n ln 2 + r`` and ``|r| <= ln(2) / 2``."""
        t = x * LOG2E + SHIFT
        k = t - SHIFT
        return bitcast(t, integer) - SHIFT_BITS, (x - k * LN2_HI) - k * LN2_LO

    if form is F32:

        @func
        def expm1_tail(r: real) -> real:
            """``exp(r) - 1 - r`` for ``|r| <= ln(2) / 2``."""
            r2 = r * r
            r4 = r2 * r2
            p0 = (0.49999994 + 0.166665167 * r) + (0.0416681059 + 0.00836914126 * r) * r2
            p = p0 + 0.00138367398 * r4
            return (r * r) * p

    else:

        @func
        def expm1_tail(r: real) -> real:
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
    def expm1_kernel(r: real) -> real:
        """``exp(r) - 1`` for ``|r| <= ln(2) / 2``."""
        return r + expm1_tail(r)

    if form is F32:

        @func
        def exp2m1_kernel(r: real) -> real:
            """``2**r - 1`` for ``|r| <= 1/2``."""
            r2 = r * r
            r4 = r2 * r2
            p0 = (0.240226507 + 0.0555040501 * r) + (0.00961809792 + 0.00133381458 * r) * r2
            p1 = 0.000154276553 + 1.38641135e-05 * r
            p = 0.693147182 + r * (p0 + p1 * r4)
            return r * p

    else:

        @func
        def exp2m1_kernel(r: real) -> real:
            """``2**r - 1`` for ``|r| <= 1/2``."""
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
            return r * p

    @func
    def exp2_kernel(r: real) -> real:
        """``2**r`` for ``|r| <= 1/2``."""
        return 1.0 + exp2m1_kernel(r)

    @func
    def exp(x: real) -> real:
        """``e**x``."""
        n, r = reduce(x)
        y = (1.0 + expm1_kernel(r)) * power_of_two(n)
        if ~(abs(x) < NORMAL):
            # near overflow, or below the normal range, or NaN
            v = select(x > MOST, MOST, x)
            n, r = reduce(select(v < LEAST, LEAST, v))
            y = scale(1.0 + expm1_kernel(r), n)
        return y

    @func
    def exp2(x: real) -> real:
        """``2**x``."""
        t = x + SHIFT
        y = exp2_kernel(x - (t - SHIFT)) * power_of_two(bitcast(t, integer) - SHIFT_BITS)
        if ~(abs(x) < NORMAL2):
            v = select(x > MOST2, MOST2, x)
            v = select(v < LEAST2, LEAST2, v)
            t = v + SHIFT
            y = scale(exp2_kernel(v - (t - SHIFT)), bitcast(t, integer) - SHIFT_BITS)
        return y

    @func
    def half_exp(a: real) -> real:
        """``e**a / 2`` for ``a >= 0``, which does not overflow before ``sinh`` and ``cosh`` do."""
        n, r = reduce(a)
        y = (1.0 + expm1_kernel(r)) * power_of_two(n - 1)
        if ~(a < NORMAL):
            n, r = reduce(select(a > MOST_OF_HALF, MOST_OF_HALF, a))
            y = scale(1.0 + expm1_kernel(r), n - 1)
        return y

    if form is F32:

        @func
        def sinh(x: real) -> real:
            """Hyperbolic sine."""
            a = abs(x)
            h = half_exp(a)
            large = h - 0.25 / h
            z = x * x
            z2 = z * z
            p = (0.166666672 + 0.00833331142 * z) + (0.000198426351 + 2.78392577e-06 * z) * z2
            small = x + (x * z) * p
            y = select(a < 1.0, small, select(x < 0.0, -large, large))
            return select(a < NEGLIGIBLE, x, y)  # keeps the sign of zero

    else:

        @func
        def sinh(x: real) -> real:
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
            return select(a < NEGLIGIBLE, x, y)  # keeps the sign of zero

    @func
    def cosh(x: real) -> real:
        """Hyperbolic cosine."""
        h = half_exp(abs(x))
        return h + 0.25 / h

    if form is F32:

        @func
        def tanh(x: real) -> real:
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
            above = (1.0 + (r + c)) * bitcast((bitcast(t, integer) << 23) + ONE_BITS, real)
            large = 1.0 - (below + below) / (above + below)
            z = x * x
            z2 = z * z
            q = (0.133282021 + z * -0.0534961782) + z2 * (0.0199275371 + z * -0.00499140751)
            small = x * (1.0 + z * (-0.333331585 + z * q))  # as a product, which keeps the sign of zero
            y = select(a >= 0.7175, large, small)
            return select(x <= -0.7175, -y, y)

    else:

        @func
        def tanh(x: real) -> real:
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
            return select(a < NEGLIGIBLE, x, y)  # keeps the sign of zero

    return SimpleNamespace(**locals())


@cache
def more(form: Format) -> SimpleNamespace:
    """The other functions on a format."""
    real, integer, unsigned = form.real, form.integer, form.unsigned
    from_exponential, from_logarithm = functions(form), logarithm.functions(form)
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
