"""``asin``, ``acos``, ``atan`` and ``atan2`` on f64, with f64 and 64-bit integers only.

Method: as in :mod:`gpucore.math.inverse_trigonometric_f32`, with polynomials of higher degree: above one
half ``asin(x) = pi/2 - 2 asin(sqrt((1 - x) / 2))`` (fdlibm, ``e_asin.c``); ``atan`` by one division and one
polynomial on ``[0, 1]``.  Special values follow ISO C, annex F.10.1.  The coefficients were computed for
this library with the Remez exchange algorithm.
"""

from gpucore.ir.dtypes import f64, i64
from gpucore.lang import func
from gpucore.lang.builtins import abs, bitcast, select
from gpucore.lang.math_builtins import sqrt

INF = float("inf")
PI_HI = 3.141592653589793
PI_LO = 1.2246467991473532e-16
PIO2_HI = 1.5707963267948966
PIO2_LO = 6.123233995736766e-17


@func
def asin_tail(z: f64) -> f64:
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
def asin(x: f64) -> f64:
    """Inverse sine, in ``[-pi/2, pi/2]``; NaN outside ``[-1, 1]``."""
    a = abs(x)
    large = a > 0.5
    z = select(large, 0.5 * (1.0 - a), a * a)
    s = select(large, sqrt(z), a)
    t = (s * z) * asin_tail(z)
    far = PIO2_HI - (2.0 * s + (2.0 * t - PIO2_LO))
    y = select(large, far, s + t)
    y = select(x < 0.0, -y, y)
    return select(a < 7.450580596923828e-09, x, y)  # 2**-27; keeps the sign of zero


@func
def acos(x: f64) -> f64:
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


@func
def atan_unit(q: f64) -> f64:
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
def atan(x: f64) -> f64:
    """Inverse tangent, in ``[-pi/2, pi/2]``."""
    a = abs(x)
    large = a > 1.0
    t = atan_unit(select(large, 1.0, a) / select(large, a, 1.0))
    y = select(large, PIO2_HI - (t - PIO2_LO), t)
    y = select(x < 0.0, -y, y)
    return select(a < 7.450580596923828e-09, x, y)  # 2**-27; keeps the sign of zero


@func
def atan2(y: f64, x: f64) -> f64:
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
    t = select(bitcast(x, i64) < 0, PI_HI - (t - PI_LO), t)
    t = select(bitcast(y, i64) < 0, -t, t)
    return select((x != x) | (y != y), x + y, t)
