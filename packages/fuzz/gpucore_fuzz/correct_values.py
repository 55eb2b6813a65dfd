"""Correctly rounded values of the math functions; ``python -m gpucore_fuzz.correct_values`` writes those that the table of
semantics holds as data, into the checkout of gpucore.

Special values are those of ISO C, annex F.10 (``rsqrt`` and ``exp2`` as IEEE 754-2019, 9.2.1 has them);
everything else is computed by mpmath to 1,400 bits, which is enough for the reduction of the largest f64,
and rounded once.
"""

from __future__ import annotations

import lzma
from collections.abc import Callable
from fractions import Fraction
from itertools import product
from typing import Any

from mpmath import mp

from gpucore.testing.semantics import values
from gpucore.testing.semantics.functions import PATH, ROUNDED, computed, operands
from gpucore.testing.semantics.reference import FORMATS, NAN, Format, Real

_EXACT: dict[str, Callable[..., Any]] = {
    "rsqrt": lambda x: 1 / mp.sqrt(x), "exp": mp.exp, "exp2": lambda x: mp.power(2, x),
    "log": mp.log, "log2": lambda x: mp.log(x, 2), "log10": mp.log10,
    "sin": mp.sin, "cos": mp.cos, "tan": mp.tan, "asin": mp.asin, "acos": mp.acos, "atan": mp.atan,
    "sinh": mp.sinh, "cosh": mp.cosh, "tanh": mp.tanh, "atan2": mp.atan2, "pow": mp.power,
}  # fmt: skip

_ZERO, _ONE, _INF = Real(False, Fraction(0)), Real(False, Fraction(1)), Real(False, None)

# The value at +0 and at +inf; odd functions are mirrored, None asks for the sign rule below
_AT_ZERO = {
    "rsqrt": _INF, "exp": _ONE, "exp2": _ONE, "log": -_INF, "log2": -_INF, "log10": -_INF, "sin": _ZERO,
    "cos": _ONE, "tan": _ZERO, "asin": _ZERO, "atan": _ZERO, "sinh": _ZERO, "cosh": _ONE, "tanh": _ZERO,
}  # fmt: skip
_AT_INF = {
    "rsqrt": _ZERO, "exp": _INF, "exp2": _INF, "log": _INF, "log2": _INF, "log10": _INF, "sin": NAN,
    "cos": NAN, "tan": NAN, "asin": NAN, "acos": NAN, "sinh": _INF, "cosh": _INF, "tanh": _ONE,
}  # fmt: skip
_AT_MINUS_INF = {
    "rsqrt": NAN, "exp": _ZERO, "exp2": _ZERO, "log": NAN, "log2": NAN, "log10": NAN, "sin": NAN, "cos": NAN,
    "tan": NAN, "asin": NAN, "acos": NAN, "sinh": -_INF, "cosh": _INF, "tanh": -_ONE,
}  # fmt: skip
_ODD = ("sin", "tan", "asin", "atan", "sinh", "tanh")


def _from_mp(number: Any) -> Real:
    """An mpmath number as a fraction; far outside every format, a stand-in that over- or underflows."""
    negative = number < 0  # mpmath has no zero below 0
    if not mp.isfinite(number):
        return Real(negative, None)
    mantissa, exponent = number.man_exp
    if mantissa == 0:
        return Real(negative, Fraction(0))
    size = int(mantissa).bit_length()
    if exponent + size > 2000:
        return Real(negative, None)
    if exponent + size < -2000:
        return Real(negative, values.power(-2000))
    return Real(negative, int(mantissa) * values.power(int(exponent)))


def _to_mp(number: Real) -> Any:
    return mp.mpf(number.value.numerator) / number.value.denominator


def _unary(name: str, x: Real) -> Real:
    if x.is_nan:
        return NAN
    if x.is_inf and name != "atan":
        return (_AT_MINUS_INF if x.negative else _AT_INF)[name]
    if x.is_inf:
        return _from_mp(-mp.pi / 2 if x.negative else mp.pi / 2)
    if x.is_zero and name in _AT_ZERO:
        value = _AT_ZERO[name]
        return -value if x.negative and (name in _ODD or name == "rsqrt") else value
    if name in ("rsqrt", "log", "log2", "log10") and x.negative:
        return NAN
    if name in ("asin", "acos") and abs(x.value) > 1:
        return NAN
    if name in ("exp", "exp2", "sinh", "cosh", "tanh") and abs(x.value) > 10000:
        limit = _AT_MINUS_INF if x.negative else _AT_INF
        if name in ("exp", "exp2") and x.negative:
            return Real(False, values.power(-2000))
        return limit[name]
    if name in _ODD and abs(x.value) < values.power(-600):
        return x
    return _from_mp(_EXACT[name](_to_mp(x)))


def _pow(x: Real, y: Real) -> Real:
    """ISO C, F.10.4.4, case by case."""
    if (y.is_zero) or (x.magnitude == 1 and not x.negative and not x.is_nan):
        return _ONE
    if x.is_nan or y.is_nan:
        return NAN
    integral = not y.is_inf and y.value.denominator == 1
    odd = integral and y.value.numerator % 2 == 1
    if x.is_zero:
        value = _INF if y.negative else _ZERO
        return -value if x.negative and odd else value
    if y.is_inf:
        if x.magnitude == 1:
            return _ONE
        small = x.magnitude is not None and x.magnitude < 1
        return _INF if small == y.negative else _ZERO
    if x.is_inf:
        value = _ZERO if y.negative else _INF
        return -value if x.negative and odd else value
    if x.negative and not integral:
        return NAN
    scale = abs(mp.log(abs(_to_mp(x)), 2) * _to_mp(y))
    if scale > 4000:
        grows = (x.magnitude is not None and x.magnitude > 1) != y.negative
        return Real(x.negative and odd, None if grows else values.power(-2000))
    result = _from_mp(mp.power(abs(_to_mp(x)), _to_mp(y)))
    return -result if x.negative and odd else result


def _atan2(y: Real, x: Real) -> Real:
    """ISO C, F.10.1.4."""
    if x.is_nan or y.is_nan:
        return NAN
    if y.is_zero:
        value = _from_mp(mp.pi) if x.negative else _ZERO
    elif y.is_inf:
        quarter = mp.pi / 4
        turns = (3 if x.negative else 1) if x.is_inf else 2
        value = _from_mp(turns * quarter)
    elif x.is_inf:
        value = _from_mp(mp.pi) if x.negative else _ZERO
    else:
        value = _from_mp(mp.atan2(abs(_to_mp(y)), _to_mp(x)))
    return -value if y.negative else value


_LATER_EXACT: dict[str, Callable[..., Any]] = {
    "exp10": lambda x: mp.power(10, x), "expm1": mp.expm1, "log1p": mp.log1p, "asinh": mp.asinh, "acosh": mp.acosh,
    "atanh": mp.atanh, "cbrt": mp.cbrt,
}  # fmt: skip
_AREA: dict[str, tuple[Callable[..., Any], Real, Real, Real]] = {
    "erf": (mp.erf, _ZERO, -_ONE, _ONE), "erfc": (mp.erfc, _ONE, Real(False, Fraction(2)), _ZERO),
    "lgamma": (lambda x: mp.re(mp.loggamma(x)), _INF, _INF, _INF), "tgamma": (mp.gamma, _INF, NAN, _INF),
}  # fmt: skip
"""Error and gamma functions, and what they are at zero and at the infinities."""
_ITSELF = ("expm1", "log1p", "asinh", "atanh")
"""Of zero and of what is tiny, these are the argument itself."""


def _later(name: str, x: Real) -> Real:
    """ISO C, F.10; ``exp10`` as IEEE 754-2019, 9.2.1, has it."""
    if x.is_nan:
        return NAN
    if x.is_zero:
        return {"exp10": _ONE, "acosh": NAN}.get(name, x)
    if x.is_inf:
        if x.negative:
            return {"exp10": _ZERO, "expm1": -_ONE, "asinh": x, "cbrt": x}.get(name, NAN)
        return NAN if name == "atanh" else x
    value = x.value
    if name in _ITSELF and abs(value) < values.power(-600):
        return x
    if name in ("exp10", "expm1") and abs(value) > 10000:
        if not x.negative:
            return _INF
        return Real(False, values.power(-2000)) if name == "exp10" else -_ONE
    if (name == "log1p" and value == -1) or (name == "atanh" and abs(value) == 1):
        return _INF if value == 1 else -_INF
    if (name == "log1p" and value < -1) or (name == "acosh" and value < 1):
        return NAN
    if name == "atanh" and abs(value) > 1:
        return NAN
    result = _from_mp(_LATER_EXACT[name](abs(_to_mp(x)) if name == "cbrt" else _to_mp(x)))
    return -result if name == "cbrt" and x.negative else result


def _area(name: str, x: Real) -> Real:
    """ISO C, F.10.5."""
    function, at_zero, at_minus_inf, at_inf = _AREA[name]
    if x.is_nan:
        return NAN
    if x.is_inf:
        return at_minus_inf if x.negative else at_inf
    if x.is_zero:
        return -at_zero if x.negative and name in ("erf", "tgamma") else at_zero
    value = x.value
    if name in ("tgamma", "lgamma"):
        if x.negative and value.denominator == 1:
            return NAN if name == "tgamma" else _INF
        if name == "tgamma" and abs(value) > 2000:
            tiny = Real(value.numerator // value.denominator % 2 == 1, values.power(-2000))
            return tiny if x.negative else _INF
        if name == "lgamma" and value in (1, 2):
            return _ZERO
    elif abs(value) > 100:
        if name == "erf":
            return Real(x.negative, 1 - values.power(-2000))
        return Real(False, 2 - values.power(-2000) if x.negative else values.power(-2000))
    return _from_mp(function(_to_mp(x)))


def _hypot(x: Real, y: Real) -> Real:
    if x.is_inf or y.is_inf:
        return _INF
    if x.is_nan or y.is_nan:
        return NAN
    return _from_mp(mp.sqrt(_to_mp(x) ** 2 + _to_mp(y) ** 2))


def correct(name: str, *operands: Real) -> Real:
    """The exact value, to more bits than any format rounds at."""
    if name == "hypot":
        return _hypot(*operands)
    if name in _LATER_EXACT:
        return _later(name, *operands)
    if name in _AREA:
        return _area(name, *operands)
    if name == "pow":
        return _pow(*operands)
    if name == "atan2":
        return _atan2(*operands)
    return _unary(name, *operands)


def results(name: str, form: Format) -> list[int]:
    """The bits of the correctly rounded results, for the operands of the table."""
    with mp.workprec(1400):
        return [form.encode(correct(name, *(form.decode(b) for b in bits))) for bits in operands(name, form)]


def _stored(name: str, form: Format) -> bytes:
    rows = zip(operands(name, form), results(name, form), strict=True)
    special = [result for bits, result in rows if computed(name, form, bits) is None]
    return len(special).to_bytes(2) + b"".join(result.to_bytes(form.width // 8) for result in special)


def main() -> None:
    """Write the file."""
    numbers = b"".join(_stored(name, form) for name, form in product(ROUNDED, FORMATS.values()))
    # little context and no alignment tell what follows a byte
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 0, "pb": 0}]
    PATH.write_bytes(lzma.compress(numbers, filters=filters))


if __name__ == "__main__":
    main()
