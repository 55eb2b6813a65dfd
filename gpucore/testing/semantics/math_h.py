"""Rows of what came to the language later from C's ``math.h``.

Functions that round have stored values, see :mod:`gpucore.testing.semantics.functions`; those that are exact are computed here
with fractions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from functools import partial
from itertools import product

from gpucore.ir.dtypes import DType, dtype, i32
from gpucore.testing.semantics import values
from gpucore.testing.semantics.functions import TOLERANCE, cases_of
from gpucore.testing.semantics.model import Case, Group
from gpucore.testing.semantics.reference import FORMATS, NAN, Format, Real

__all__ = ["groups"]

ROUNDED = {"acosh": 1, "asinh": 1, "atanh": 1, "cbrt": 1, "exp10": 1, "expm1": 1, "hypot": 2, "log1p": 1}
"""Functions that round, and how many operands they take."""

Binary = Callable[[Real, Real], Real]


# --- exact functions ---------------------------------------------------------------------------------------
def _fmod(x: Real, y: Real) -> Real:
    if x.is_nan or y.is_nan or x.magnitude is None or y.is_zero:
        return NAN
    if y.magnitude is None:
        return x
    return Real(x.negative, x.magnitude % y.magnitude)


def _remainder(x: Real, y: Real) -> Real:
    if x.is_nan or y.is_nan or x.magnitude is None or y.is_zero:
        return NAN
    if y.magnitude is None:
        return x
    rest = x.magnitude - round(x.magnitude / y.magnitude) * y.magnitude  # Python rounds to even
    return Real(x.negative != (rest < 0), abs(rest))


def _copysign(x: Real, y: Real) -> Real:
    # the sign of NaN cannot be told: it counts as positive
    return x if x.is_nan else Real(y.negative and not y.is_nan, x.magnitude)


def _extreme(x: Real, y: Real, largest: bool) -> Real:
    if x.is_nan or y.is_nan:
        return y if x.is_nan else x
    pair = sorted((x, y), key=_order)
    return pair[1] if largest else pair[0]


def _order(x: Real) -> tuple[int, Fraction, bool]:
    if x.magnitude is None:
        return (-1 if x.negative else 1), Fraction(0), True
    return 0, x.value, not x.negative


def _next(form: Format, x: int, y: int) -> int:
    a, b = form.decode(x), form.decode(y)
    if a.is_nan or b.is_nan:
        return form.nan
    if _order(a)[:2] == _order(b)[:2]:
        return y
    if a.is_zero:
        return (form.sign if b.negative else 0) | 1
    up = _order(a) < _order(b)
    return x + 1 if up != a.negative else x - 1


def _scaled(form: Format, x: int, n: int) -> int:
    number = form.decode(x)
    if number.is_nan or number.magnitude is None or number.is_zero:
        return form.canonical(x)
    n = max(min(n, 5000), -5000)
    return form.encode(Real(number.negative, number.magnitude * Fraction(2) ** n))


def _parts(form: Format, x: int) -> tuple[int, int]:
    number = form.decode(x)
    if number.is_nan or number.magnitude is None or number.is_zero:
        return form.canonical(x), 0
    exponent = 0
    fraction = number.magnitude
    while fraction >= 1:
        fraction /= 2
        exponent += 1
    while fraction < Fraction(1, 2):
        fraction *= 2
        exponent -= 1
    return form.encode(Real(number.negative, fraction)), exponent


# --- groups -------------------------------------------------------------------------------------------------
def _pairs(form: Format) -> list[tuple[int, int]]:
    short = values.float_specials(form)
    short += [values.encode(form, v) for v in (Fraction(1, 2), -2, 3, Fraction(-5, 2), Fraction(7, 4), 10)]
    numbers = values.unique(short)
    return list(product(numbers, numbers))


def _binary_cases(function: Binary, form: Format) -> list[Case]:
    return [((x, y), (form.encode(function(form.decode(x), form.decode(y))),)) for x, y in _pairs(form)]


def _next_cases(form: Format) -> list[Case]:
    return [((x, y), (_next(form, x, y),)) for x, y in _pairs(form)]


def _ldexp_cases(form: Format) -> list[Case]:
    width = 1 << (form.exponent_bits - 1)
    steps = [
        0,
        1,
        -1,
        5,
        -7,
        2 * width,
        -2 * width,
        width - 1,
        -width,
        3 * width,
        -3 * width,
        2**31 - 1,
        -(2**31),
    ]
    steps += [-width - k for k in range(2, form.fraction_bits, 7)]
    odd = [
        values.encode(form, Fraction(3, 2)),
        values.encode(form, Fraction(-5, 3)),
        values.encode(form, 1) + 1,
    ]
    numbers = values.unique(values.float_specials(form) + odd)
    return [((x, n % (1 << 32)), (_scaled(form, x, n),)) for x in numbers for n in steps]


def _frexp_cases(form: Format, part: int) -> list[Case]:
    numbers = values.floats(form)
    if part == 0:
        return [((x,), (_parts(form, x)[0],)) for x in numbers]
    return [((x,), (_parts(form, x)[1] % (1 << 32),)) for x in numbers]


def _exact(form: Format, kind: DType) -> Iterable[Group]:
    binary: dict[str, Binary] = {
        "fmod": _fmod, "remainder": _remainder, "copysign": _copysign,
        "fmax": partial(_extreme, largest=True), "fmin": partial(_extreme, largest=False),
    }  # fmt: skip
    for name, function in binary.items():
        yield Group(f"{name}.{kind}", name, (kind, kind), (kind,), partial(_binary_cases, function, form))
    for part, result in (("fraction", kind), ("exponent", i32)):
        number = int(part == "exponent")
        template = f"gc.frexp({{}})[{number}]"
        cases = partial(_frexp_cases, form, number)
        yield Group(f"frexp.{part}.{kind}", "frexp", (kind,), (result,), cases, template=template)
    if kind.bits >= 32:
        yield Group(f"nextafter.{kind}", "nextafter", (kind, kind), (kind,), partial(_next_cases, form))
        yield Group(f"ldexp.{kind}", "ldexp", (kind, i32), (kind,), partial(_ldexp_cases, form))


def groups() -> Iterable[Group]:
    """The groups ``expm1.f32`` and so on."""
    for name, count in ROUNDED.items():
        for kind, ulp in TOLERANCE.items():
            key, float_type = f"{name}.{kind}", dtype(kind)
            cases = partial(cases_of, key)
            yield Group(key, name, (float_type,) * count, (float_type,), cases, ulp=ulp)
    for kind in TOLERANCE:
        yield from _exact(FORMATS[kind], dtype(kind))
