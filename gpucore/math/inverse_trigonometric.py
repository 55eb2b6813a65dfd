"""``asin``, ``acos``, ``atan`` and ``atan2``, with floats and integers of one width only.

Method: minimax polynomials of odd form.  Above one half ``asin(x) = pi/2 - 2 asin(sqrt((1 - x) / 2))``, as
in Cephes and fdlibm (``e_asin.c``); ``atan`` takes the smaller of the argument and its inverse, so that one
division and one polynomial on ``[0, 1]`` serve both functions.  Special values follow ISO C, annex F.10.1.
The coefficients were computed for this library with the Remez exchange algorithm.
"""

from functools import cache
from types import SimpleNamespace

from gpucore.lang import func
from gpucore.lang.builtins import abs, bitcast, select
from gpucore.lang.math_builtins import sqrt
from gpucore.math.formats import F32, Format


@cache
def functions(form: Format) -> SimpleNamespace:
    """The functions on a format."""
    real, integer, unsigned = form.real, form.integer, form.unsigned
    INF = float("inf")
    PI_HI = form.pick(3.1415927410125732, 3.141592653589793)
    PI_LO = form.pick(-8.742277657347586e-08, 1.2246467991473532e-16)
    PIO2_HI = form.pick(1.5707963705062866, 1.5707963267948966)
    PIO2_LO = form.pick(-4.371138828673793e-08, 6.123233995736766e-17)
    NEGLIGIBLE = form.pick(2.0**-12, 2.0**-27)  # below it asin x and atan x round to x

    if form is F32:

        @func
        def asin_tail(z: real) -> real:
            """``(asin(s) / s - 1) / z`` for ``z = s * s <= 1/4``."""
            z2 = z * z
            z4 = z2 * z2
            p0 = (0.166666597 + 0.0750052184 * z) + (0.0445137471 + 0.0318325721 * z) * z2
            p1 = 0.0143400058 + 0.037680082 * z
            p = p0 + p1 * z4
            return p

    else:

        @func
        def asin_tail(z: real) -> real:
            """``(asin(s) / s - 1) / z`` for ``z = s * s <= 1/4``."""
            z2 = z * z
            z4 = z2 * z2
            z8 = z4 * z4
            p0 = (0.16666666666666763 + 0.07499999999970264 * z) + (
                0.04464285717512015 + 0.03038194268363769 * z
            ) * z2
            p1 = (0.02237221565990691 + 0.017351600097087843 * z) + (
                0.013980961400287444 + 0.011397776363663827 * z
            ) * z2
            p2 = (0.010786526988517826 + 0.003683050116985621 * z) + (
                0.02176347764717837 + -0.021077258433876724 * z
            ) * z2
            p3 = p0 + p1 * z4
            p4 = p2 + 0.03267686608143648 * z4
            p = p3 + p4 * z8
            return p

    @func
    def asin(x: real) -> real:
        """Inverse sine, in ``[-pi/2, pi/2]``; NaN outside ``[-1, 1]``."""
        a = abs(x)
        large = a > 0.5
        z = select(large, 0.5 * (1.0 - a), a * a)
        s = select(large, sqrt(z), a)
        t = (s * z) * asin_tail(z)
        far = PIO2_HI - (2.0 * s + (2.0 * t - PIO2_LO))
        y = select(large, far, s + t)
        y = select(x < 0.0, -y, y)
        return select(a < NEGLIGIBLE, x, y)  # keeps the sign of zero

    @func
    def acos(x: real) -> real:
        """Inverse cosine, in ``[0, pi]``; NaN outside ``[-1, 1]``."""
        a = abs(x)
        large = a > 0.5
        z = select(large, 0.5 * (1.0 - a), a * a)
        s = select(large, sqrt(z), x)
        t = (s * z) * asin_tail(z)
        near = PIO2_HI - (s + (t - PIO2_LO))
        twice = 2.0 * (s + t)
        far = select(x < 0.0, PI_HI - (2.0 * s + (2.0 * t - PI_LO)), twice)
        return select(large, far, near)

    if form is F32:

        @func
        def atan_unit(q: real) -> real:
            """``atan(q)`` for ``0 <= q <= 1``."""
            z = q * q
            z2 = z * z
            z4 = z2 * z2
            p0 = (0.199985296 + -0.142640442 * z) + (0.10951291 + -0.0840152204 * z) * z2
            p1 = (0.0579394624 + -0.0311762355 * z) + (0.0109228473 + -0.0017974712 * z) * z2
            p = -0.333332986 + z * (p0 + p1 * z4)
            return q + (q * z) * p

    else:

        @func
        def atan_unit(q: real) -> real:
            """``atan(q)`` for ``0 <= q <= 1``."""
            z = q * q
            z2 = z * z
            z4 = z2 * z2
            z8 = z4 * z4
            z16 = z8 * z8
            p0 = (0.19999999999955445 + -0.14285714282802758 * z) + (
                0.11111111013665372 + -0.09090907119490019 * z
            ) * z2
            p1 = (0.07692281189219294 + -0.0666641501548277 * z) + (
                0.05880592650995345 + -0.05253805943633238 * z
            ) * z2
            p2 = (0.047232945707721234 + -0.0422172069598065 * z) + (
                0.03669357943935558 + -0.029985642642050135 * z
            ) * z2
            p3 = (0.022085228034490912 + -0.013995051969191756 * z) + (
                0.007263400687615255 + -0.0029193634016293417 * z
            ) * z2
            p4 = p0 + p1 * z4
            p5 = p2 + p3 * z4
            p6 = p4 + p5 * z8
            p7 = (0.0008434921797846589 + -0.00015479872079606857 * z) + 1.3489451018699888e-05 * z2
            p = -0.33333333333333093 + z * (p6 + p7 * z16)
            return q + (q * z) * p

    @func
    def atan(x: real) -> real:
        """Inverse tangent, in ``[-pi/2, pi/2]``."""
        a = abs(x)
        large = a > 1.0
        t = atan_unit(select(large, 1.0, a) / select(large, a, 1.0))
        y = select(large, PIO2_HI - (t - PIO2_LO), t)
        y = select(x < 0.0, -y, y)
        return select(a < NEGLIGIBLE, x, y)  # keeps the sign of zero

    @func
    def atan2(y: real, x: real) -> real:
        """The angle of the point ``(x, y)``, in ``[-pi, pi]``."""
        ax = abs(x)
        ay = abs(y)
        steep = ay > ax
        top = select(steep, ax, ay)
        bottom = select(steep, ay, ax)
        q = top / select(bottom == 0.0, 1.0, bottom)
        q = select((ax == INF) & (ay == INF), 1.0, q)
        t = atan_unit(q)
        t = select(steep, PIO2_HI - (t - PIO2_LO), t)
        t = select(bitcast(x, integer) < 0, PI_HI - (t - PI_LO), t)
        t = select(bitcast(y, integer) < 0, -t, t)
        # A NaN in either argument; the sum of two numbers is never one unless both are infinite
        return select((x != x) | (y != y), x + y, t)

    return SimpleNamespace(**locals())
