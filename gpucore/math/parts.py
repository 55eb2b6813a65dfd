"""Exact functions of the parts of a float, and remainders, with integers of its width: ``fmod remainder nextafter ldexp frexp``.

Method: the remainder of ``fmod`` is that of long division (:mod:`gpucore.math.soft_bits`); ``remainder`` takes the nearest
multiple from it, as fdlibm does (``e_remainder.c``); ``ldexp`` multiplies by powers of two such that what lies below the normal
range is rounded once, as musl does (``scalbn.c``).
"""

from functools import cache
from types import SimpleNamespace

from gpucore.ir.dtypes import i32
from gpucore.lang import func
from gpucore.lang.builtins import abs, bitcast, clamp, max, select
from gpucore.math.formats import Format
from gpucore.math.soft_bits import fmod_f32, fmod_f64


@cache
def functions(form: Format) -> SimpleNamespace:
    """The functions on a format."""
    real, integer, unsigned = form.real, form.integer, form.unsigned
    exact_fmod = form.pick(fmod_f32, fmod_f64)
    INF, NAN = float("inf"), float("nan")
    BITS, BIAS, SIGN = form.fraction_bits, form.bias, form.sign_bit
    SMALLEST_NORMAL = form.smallest_normal
    LOWEST = 1 - BIAS  # exponent of a normal number
    FRACTION_MASK = (1 << BITS) - 1
    HALF_BITS = (BIAS - 1) << BITS  # of 0.5
    HALF_OF_MAX = form.pick(1.7014117331926443e38, 8.988465674311579e307)
    UP = 2.0**BIAS
    DOWN, DOWN_HALVINGS = form.pick(2.0**-102, 2.0**-969), form.pick(102, 969)
    TINY_UP = form.pick(2.0**24, 2.0**54)
    TINY_BIAS = form.pick(150, 1076)  # with the doublings of TINY_UP

    @func
    def fmod(x: real, y: real) -> real:
        """The remainder of ``x / y`` with the sign of ``x``, exact."""
        return exact_fmod(x, y)

    @func
    def remainder(x: real, y: real) -> real:
        """``x - n * y`` with the integer ``n`` nearest ``x / y``, even of two, exact; a zero has the sign of ``x``."""
        p = abs(y)
        a = abs(x)
        if p <= HALF_OF_MAX:
            a = abs(exact_fmod(x, p + p))
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
        return bitcast(bitcast(a, unsigned) ^ (bitcast(x, unsigned) & SIGN), real)

    @func
    def nextafter(x: real, y: real) -> real:
        """The number that follows ``x`` in the direction of ``y``; ``y`` where they are equal."""
        bits = bitcast(x, integer)
        away = (x < y) == (bits >= 0)
        moved = bitcast(select(away, bits + 1, bits - 1), real)
        least = bitcast((bitcast(y, unsigned) & SIGN) | 1, real)
        result = select(x == 0.0, least, moved)
        result = select(x == y, y, result)
        return select((x != x) | (y != y), NAN, result)

    @func
    def ldexp(x: real, n: i32) -> real:
        """``x * 2**n``, rounded once."""
        if n > BIAS:
            x = x * UP
            n = n - BIAS
            if n > BIAS:
                x = x * UP
                n = clamp(n - BIAS, 0, BIAS)
        if n < LOWEST:
            x = x * DOWN
            n = n + DOWN_HALVINGS
            if n < LOWEST:
                x = x * DOWN
                n = max(n + DOWN_HALVINGS, LOWEST)
        return x * bitcast((integer(n) + BIAS) << BITS, real)

    @func
    def frexp_exponent(x: real) -> i32:
        """``e`` of ``x = f * 2**e`` with ``1/2 <= |f| < 1``; 0 for zero, infinity and NaN."""
        a = abs(x)
        tiny = a < SMALLEST_NORMAL
        bits = bitcast(select(tiny, a * TINY_UP, a), integer)
        e = i32(bits >> BITS) - select(tiny, TINY_BIAS, BIAS - 1)
        return select((a > 0.0) & (a < INF), e, 0)

    @func
    def frexp_fraction(x: real) -> real:
        """``f`` of ``x = f * 2**e`` with ``1/2 <= |f| < 1``; zero, infinity and NaN as they are."""
        a = abs(x)
        bits = bitcast(select(a < SMALLEST_NORMAL, a * TINY_UP, a), unsigned)
        f = bitcast((bits & FRACTION_MASK) | HALF_BITS, real)
        return select((a > 0.0) & (a < INF), select(x < 0.0, -f, f), x)

    return SimpleNamespace(**locals())
