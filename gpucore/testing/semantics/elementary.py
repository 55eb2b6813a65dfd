"""The functions of ``math.h`` at ordinary operands, to 60 decimal digits, by Python's decimal arithmetic.

:mod:`decimal` gives the exponential, the natural logarithm and square roots; everything else follows from these by identities
and by series (Abramowitz and Stegun, 1964: 4.3, 4.4, 6.1 and 7.1; the equations are named where they are not plain).
"""

from __future__ import annotations

import decimal
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from functools import cache
from math import comb

from gpucore.testing.semantics.reference import Real

__all__ = ["elementary"]

DIGITS, GUARD = 60, 20
"""Digits of a result, and how many more are computed.  An exact result of fewer digits comes out exact."""
PI_DIGITS = 420
"""The largest f64 has 309 digits before the point."""

HALF = Decimal("0.5")


# --- circular functions -------------------------------------------------------------------------------------
@cache
def _pi() -> Decimal:
    """By Machin's formula, 4.4.8."""
    with decimal.localcontext(prec=PI_DIGITS):
        return 16 * _arctangent_series(Decimal(1) / 5) - 4 * _arctangent_series(Decimal(1) / 239)


def _sum(term: Decimal, ratio: Callable[[int], Decimal]) -> Decimal:
    """A series whose term ``n`` is the one before times ``ratio(n)``, until terms no longer count."""
    total, before, n = term, None, 0
    while total != before:
        n += 1
        term *= ratio(n)
        total, before = total + term, total
    return total


def _arctangent_series(x: Decimal) -> Decimal:
    square = -x * x
    return _sum(x, lambda n: square * (2 * n - 1) / (2 * n + 1))


def _atan(x: Decimal) -> Decimal:
    if abs(x) > 1:
        return (_pi() / 2).copy_sign(x) - _atan(1 / x)
    for _ in range(8):
        x /= 1 + (1 + x * x).sqrt()
    return 256 * _arctangent_series(x)


def _sine_and_cosine(x: Decimal) -> tuple[Decimal, Decimal]:
    with decimal.localcontext(prec=PI_DIGITS):
        quarters = (x / (_pi() / 2)).to_integral_value()
        rest = x - quarters * _pi() / 2
        quadrant = int(quarters % 4)
    rest = +rest
    square = -rest * rest
    sine = _sum(rest, lambda n: square / (2 * n * (2 * n + 1)))
    cosine = _sum(Decimal(1), lambda n: square / (2 * n * (2 * n - 1)))
    return ((sine, cosine), (cosine, -sine), (-sine, -cosine), (-cosine, sine))[quadrant]


def _tan(x: Decimal) -> Decimal:
    sine, cosine = _sine_and_cosine(x)
    return sine / cosine


def _atan2(y: Decimal, x: Decimal) -> Decimal:
    return _atan(y / x) + (_pi().copy_sign(y) if x < 0 else 0)


# --- error and gamma functions ------------------------------------------------------------------------------
def _erf(x: Decimal) -> Decimal:
    """7.1.6."""
    if abs(x) > 30:  # the series takes long, and 1 is nearer than any format tells
        raise decimal.Overflow
    square = x * x
    return 2 / _pi().sqrt() * (-square).exp() * _sum(x, lambda n: 2 * square / (2 * n + 1))


@cache
def _bernoulli(count: int) -> list[Fraction]:
    numbers = [Fraction(1)]
    for m in range(1, count):
        numbers.append(-sum((comb(m + 1, k) * b for k, b in enumerate(numbers)), Fraction(0)) / (m + 1))
    return numbers


def _lgamma_above_0(x: Decimal) -> Decimal:
    """6.1.40, for an argument moved up by 6.1.15."""
    moved = Decimal(1)
    while x < 40:
        moved *= x
        x += 1
    tail = sum(
        (
            Decimal(b.numerator) / b.denominator / (2 * k * (2 * k - 1)) / x ** (2 * k - 1)
            for k, b in enumerate(_bernoulli(80)[2::2], 1)
        ),
        Decimal(0),
    )
    return (x - HALF) * x.ln() - x + (2 * _pi()).ln() / 2 + tail - moved.ln()


def _lgamma(x: Decimal) -> tuple[Decimal, bool]:
    """The logarithm of the gamma function's magnitude, and whether the function is negative: 6.1.17."""
    if x in (1, 2):
        return Decimal(0), False
    if x > 0:
        return _lgamma_above_0(x), False
    with decimal.localcontext(prec=PI_DIGITS):
        nearest = x.to_integral_value()
        rest = x - nearest
    sine = _sine_and_cosine(_pi() * rest)[0] * (-1 if nearest % 2 else 1)
    return (_pi() / abs(sine)).ln() - _lgamma_above_0(1 - x), sine < 0


def _tgamma(x: Decimal) -> Decimal:
    logarithm, negative = _lgamma(x)
    return -logarithm.exp() if negative else logarithm.exp()


def _pow(x: Decimal, y: Decimal) -> Decimal:
    result = (abs(x).ln() * y).exp()
    if x > 0:
        return result
    if y != y.to_integral_value():
        raise decimal.InvalidOperation
    return -result if y % 2 else result


def _area_tangent(x: Decimal) -> Decimal:
    return ((1 + x) / (1 - x)).ln() / 2


_FUNCTIONS: dict[str, Callable[..., Decimal]] = {
    "rsqrt": lambda x: 1 / x.sqrt(),
    "cbrt": lambda x: (abs(x).ln() / 3).exp().copy_sign(x),
    "hypot": lambda x, y: (x * x + y * y).sqrt(),
    "exp": Decimal.exp,
    "exp2": lambda x: (x * Decimal(2).ln()).exp(),
    "exp10": lambda x: (x * Decimal(10).ln()).exp(),
    "expm1": lambda x: x.exp() - 1,
    "log": Decimal.ln,
    "log2": lambda x: x.ln() / Decimal(2).ln(),
    "log10": Decimal.log10,
    "log1p": lambda x: (1 + x).ln(),
    "pow": _pow,
    "sin": lambda x: _sine_and_cosine(x)[0],
    "cos": lambda x: _sine_and_cosine(x)[1],
    "tan": _tan,
    "asin": lambda x: _atan(x / (1 - x * x).sqrt()),
    "acos": lambda x: 2 * _atan(((1 - x) / (1 + x)).sqrt()),
    "atan": _atan,
    "atan2": _atan2,
    "sinh": lambda x: (x.exp() - (-x).exp()) / 2,
    "cosh": lambda x: (x.exp() + (-x).exp()) / 2,
    "tanh": lambda x: 1 - 2 / ((2 * x).exp() + 1),
    "asinh": lambda x: (abs(x) + (x * x + 1).sqrt()).ln().copy_sign(x),
    "acosh": lambda x: (x + (x * x - 1).sqrt()).ln(),
    "atanh": _area_tangent,
    "erf": _erf,
    "erfc": lambda x: 1 - _erf(x),
    "lgamma": lambda x: _lgamma(x)[0],
    "tgamma": _tgamma,
}


def _decimal(number: Fraction) -> Decimal:
    """Exact: the denominator is a power of two."""
    with decimal.localcontext(prec=2000):
        return Decimal(number.numerator) / number.denominator


def elementary(name: str, *operands: Real) -> Real | None:
    """The value of a function, to 60 digits.

    Returns
    -------
    Real or None
        None where an operand is zero, infinite or NaN, at poles and outside the domain, where the result is zero, and where it
        is far outside every format.
    """
    if any(number.magnitude is None or number.is_zero for number in operands):
        return None
    exact = [_decimal(number.value) for number in operands]
    # what is tiny beside 1 still counts, in (1 + x).ln()
    lost = max(abs(x.adjusted()) for x in exact)
    if name == "erfc":
        lost += int(min(exact[0] ** 2, Decimal(900))) // 4  # as 1 less what is nearly 1
    arithmetic = decimal.Context(
        prec=DIGITS + GUARD + 2 * lost, Emax=9999, Emin=-9999, traps=[
            decimal.DivisionByZero, decimal.InvalidOperation, decimal.Overflow, decimal.Underflow,
        ],
    )  # fmt: skip
    with decimal.localcontext(arithmetic) as context:
        try:
            value = _FUNCTIONS[name](*exact)
            context.prec = DIGITS
            value = +value
        except ArithmeticError:
            return None
    return Real(value < 0, abs(Fraction(value))) if value and value.is_finite() else None
