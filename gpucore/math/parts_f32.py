"""Exact functions of the parts of an f32, and remainders, with 32-bit integers: ``fmod remainder nextafter ldexp frexp``.

Method: the remainder of ``fmod`` is that of long division (:mod:`gpucore.math.soft_mod`); ``remainder`` takes the nearest
multiple from it, as fdlibm does (``e_remainder.c``); ``ldexp`` multiplies by powers of two such that what lies below the normal
range is rounded once, as musl does (``scalbn.c``).
"""

from gpucore.ir.dtypes import f32, i32, u32
from gpucore.lang import func
from gpucore.lang.builtins import abs, bitcast, clamp, max, select
from gpucore.math.soft_mod import fmod_f32

NAN = float("nan")
INF = float("inf")
SMALLEST_NORMAL = 1.1754943508222875e-38
HALF_BITS = 0x3F000000  # of 0.5
HALF_OF_MAX = 1.7014117331926443e38


@func
def fmod(x: f32, y: f32) -> f32:
    """The remainder of ``x / y`` with the sign of ``x``, exact."""
    return fmod_f32(x, y)


@func
def remainder(x: f32, y: f32) -> f32:
    """``x - n * y`` with the integer ``n`` nearest ``x / y``, even of two, exact; a zero has the sign of ``x``."""
    p = abs(y)
    a = abs(x)
    if p <= HALF_OF_MAX:
        a = abs(fmod_f32(x, p + p))
    if p < SMALLEST_NORMAL + SMALLEST_NORMAL:
        # half of p need not be a number
        if a + a > p:
            a = a - p
            if a + a >= p:
                a = a - p
    else:
        half = 0.5 * p
        if a > half:
            a = a - p
            if a >= half:
                a = a - p
    if (p == 0.0) | (abs(x) == INF) | (x != x) | (y != y):
        a = NAN
    return bitcast(bitcast(a, u32) ^ (bitcast(x, u32) & 0x80000000), f32)


@func
def nextafter(x: f32, y: f32) -> f32:
    """The number that follows ``x`` in the direction of ``y``; ``y`` where they are equal."""
    bits = bitcast(x, i32)
    away = (x < y) == (bits >= 0)
    moved = bitcast(select(away, bits + 1, bits - 1), f32)
    least = bitcast((bitcast(y, u32) & 0x80000000) | 1, f32)
    result = select(x == 0.0, least, moved)
    result = select(x == y, y, result)
    return select((x != x) | (y != y), NAN, result)


@func
def ldexp(x: f32, n: i32) -> f32:
    """``x * 2**n``, rounded once."""
    if n > 127:
        x = x * 1.7014118346046923e38  # 2**127
        n = n - 127
        if n > 127:
            x = x * 1.7014118346046923e38
            n = clamp(n - 127, 0, 127)
    if n < -126:
        x = x * 1.9721522630525295e-31  # 2**-102
        n = n + 102
        if n < -126:
            x = x * 1.9721522630525295e-31
            n = max(n + 102, -126)
    return x * bitcast((n + 127) << 23, f32)


@func
def frexp_exponent(x: f32) -> i32:
    """``e`` of ``x = f * 2**e`` with ``1/2 <= |f| < 1``; 0 for zero, infinity and NaN."""
    a = abs(x)
    tiny = a < SMALLEST_NORMAL
    bits = bitcast(select(tiny, a * 16777216.0, a), i32)
    e = (bits >> 23) - select(tiny, 150, 126)
    return select((a > 0.0) & (a < INF), e, 0)


@func
def frexp_fraction(x: f32) -> f32:
    """``f`` of ``x = f * 2**e`` with ``1/2 <= |f| < 1``; zero, infinity and NaN as they are."""
    a = abs(x)
    bits = bitcast(select(a < SMALLEST_NORMAL, a * 16777216.0, a), u32)
    f = bitcast((bits & 0x007FFFFF) | HALF_BITS, f32)
    return select((a > 0.0) & (a < INF), select(x < 0.0, -f, f), x)
