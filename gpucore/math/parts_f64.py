"""Exact functions of the parts of an f64, and remainders, with 64-bit integers: ``fmod remainder nextafter ldexp frexp``.

Method: the remainder of ``fmod`` is that of long division (:mod:`gpucore.math.soft_mod`); ``remainder`` takes the nearest
multiple from it, as fdlibm does (``e_remainder.c``); ``ldexp`` multiplies by powers of two such that what lies below the normal
range is rounded once, as musl does (``scalbn.c``).
"""

from gpucore.ir.dtypes import f64, i32, i64, u64
from gpucore.lang import func
from gpucore.lang.builtins import abs, bitcast, clamp, max, select
from gpucore.math.soft_mod import fmod_f64

NAN = float("nan")
INF = float("inf")
SMALLEST_NORMAL = 2.2250738585072014e-308
HALF_BITS = 0x3FE0000000000000  # of 0.5
HALF_OF_MAX = 8.988465674311579e307


@func
def fmod(x: f64, y: f64) -> f64:
    """The remainder of ``x / y`` with the sign of ``x``, exact."""
    return fmod_f64(x, y)


@func
def remainder(x: f64, y: f64) -> f64:
    """``x - n * y`` with the integer ``n`` nearest ``x / y``, even of two, exact; a zero has the sign of ``x``."""
    p = abs(y)
    a = abs(x)
    if p <= HALF_OF_MAX:
        a = abs(fmod_f64(x, p + p))
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
    return bitcast(bitcast(a, u64) ^ (bitcast(x, u64) & 0x8000000000000000), f64)


@func
def nextafter(x: f64, y: f64) -> f64:
    """The number that follows ``x`` in the direction of ``y``; ``y`` where they are equal."""
    bits = bitcast(x, i64)
    away = (x < y) == (bits >= 0)
    moved = bitcast(select(away, bits + 1, bits - 1), f64)
    least = bitcast((bitcast(y, u64) & 0x8000000000000000) | 1, f64)
    result = select(x == 0.0, least, moved)
    result = select(x == y, y, result)
    return select((x != x) | (y != y), NAN, result)


@func
def ldexp(x: f64, n: i32) -> f64:
    """``x * 2**n``, rounded once."""
    if n > 1023:
        x = x * 8.98846567431158e307  # 2**1023
        n = n - 1023
        if n > 1023:
            x = x * 8.98846567431158e307
            n = clamp(n - 1023, 0, 1023)
    if n < -1022:
        x = x * 2.004168360008973e-292  # 2**-969
        n = n + 969
        if n < -1022:
            x = x * 2.004168360008973e-292
            n = max(n + 969, -1022)
    return x * bitcast((i64(n) + 1023) << 52, f64)


@func
def frexp_exponent(x: f64) -> i32:
    """``e`` of ``x = f * 2**e`` with ``1/2 <= |f| < 1``; 0 for zero, infinity and NaN."""
    a = abs(x)
    tiny = a < SMALLEST_NORMAL
    bits = bitcast(select(tiny, a * 18014398509481984.0, a), i64)
    e = i32(bits >> 52) - select(tiny, 1076, 1022)
    return select((a > 0.0) & (a < INF), e, 0)


@func
def frexp_fraction(x: f64) -> f64:
    """``f`` of ``x = f * 2**e`` with ``1/2 <= |f| < 1``; zero, infinity and NaN as they are."""
    a = abs(x)
    bits = bitcast(select(a < SMALLEST_NORMAL, a * 18014398509481984.0, a), u64)
    f = bitcast((bits & 0x000FFFFFFFFFFFFF) | HALF_BITS, f64)
    return select((a > 0.0) & (a < INF), select(x < 0.0, -f, f), x)
