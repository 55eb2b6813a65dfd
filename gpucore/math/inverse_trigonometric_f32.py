"""``asin``, ``acos``, ``atan`` and ``atan2`` on f32, with f32 only.

Method: minimax polynomials of odd form.  Above one half ``asin(x) = pi/2 - 2 asin(sqrt((1 - x) / 2))``, as
in Cephes and fdlibm (``e_asin.c``); ``atan`` takes the smaller of the argument and its inverse, so that one
division and one polynomial on ``[0, 1]`` serve both functions.  Special values follow ISO C, annex F.10.1.
The coefficients were computed for this library with the Remez exchange algorithm.
"""

from gpucore.ir.dtypes import f32, i32
from gpucore.lang import func
from gpucore.lang.builtins import abs, bitcast, select
from gpucore.lang.math_builtins import sqrt

INF = float("inf")
PI_HI = 3.1415927410125732
PI_LO = -8.742277657347586e-08
PIO2_HI = 1.5707963705062866
PIO2_LO = -4.371138828673793e-08


@func
def asin_tail(z: f32) -> f32:
    """``(asin(s) / s - 1) / z`` for ``z = s * s <= 1/4``."""
    z2 = z * z
    z4 = z2 * z2
    p0 = (0.166666597 + 0.0750052184 * z) + (0.0445137471 + 0.0318325721 * z) * z2
    p1 = 0.0143400058 + 0.037680082 * z
    p = p0 + p1 * z4
    return p


@func
def asin(x: f32) -> f32:
    """Inverse sine, in ``[-pi/2, pi/2]``; NaN outside ``[-1, 1]``."""
    a = abs(x)
    large = a > 0.5
    z = select(large, 0.5 * (1.0 - a), a * a)
    s = select(large, sqrt(z), a)
    t = (s * z) * asin_tail(z)
    far = PIO2_HI - (2.0 * s + (2.0 * t - PIO2_LO))
    y = select(large, far, s + t)
    y = select(x < 0.0, -y, y)
    return select(a < 0.000244140625, x, y)  # 2**-12; keeps the sign of zero


@func
def acos(x: f32) -> f32:
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
def atan_unit(q: f32) -> f32:
    """``atan(q)`` for ``0 <= q <= 1``."""
    z = q * q
    z2 = z * z
    z4 = z2 * z2
    p0 = (0.199985296 + -0.142640442 * z) + (0.10951291 + -0.0840152204 * z) * z2
    p1 = (0.0579394624 + -0.0311762355 * z) + (0.0109228473 + -0.0017974712 * z) * z2
    p = -0.333332986 + z * (p0 + p1 * z4)
    return q + (q * z) * p


@func
def atan(x: f32) -> f32:
    """Inverse tangent, in ``[-pi/2, pi/2]``."""
    a = abs(x)
    large = a > 1.0
    t = atan_unit(select(large, 1.0, a) / select(large, a, 1.0))
    y = select(large, PIO2_HI - (t - PIO2_LO), t)
    y = select(x < 0.0, -y, y)
    return select(a < 0.000244140625, x, y)  # 2**-12; keeps the sign of zero


@func
def atan2(y: f32, x: f32) -> f32:
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
    t = select(bitcast(x, i32) < 0, PI_HI - (t - PI_LO), t)
    t = select(bitcast(y, i32) < 0, -t, t)
    # A NaN in either argument; the sum of two numbers is never one unless both are infinite
    return select((x != x) | (y != y), x + y, t)
