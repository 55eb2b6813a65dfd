"""Rows of the math functions: correctly rounded values, with the library's tolerance.

At ordinary operands :mod:`gpucore.testing.semantics.elementary` computes them.  What remains, the special values of ISO C,
annex F.10, is data that ``gpucore_fuzz.correct_values`` writes with mpmath, which also checks the others: under xz, function by
function and format by format, how many there are in two bytes, then their bits, most significant byte first.
"""

from __future__ import annotations

import lzma
from collections.abc import Iterable
from fractions import Fraction
from functools import cache, partial
from itertools import product
from pathlib import Path
from random import Random

from gpucore.ir.dtypes import dtype
from gpucore.ir.ops import MATH, MATH_BINARY
from gpucore.testing.semantics import values
from gpucore.testing.semantics.elementary import elementary
from gpucore.testing.semantics.model import Case, Group
from gpucore.testing.semantics.reference import FORMATS, Format

PATH = Path(__file__).with_name("correct_values.xz")

LATEST = ("erf", "erfc", "lgamma", "tgamma")
ROUNDED = (*sorted((*MATH, "acosh", "asinh", "atanh", "cbrt", "exp10", "expm1", "hypot", "log1p")), *LATEST)
"""The functions that round, in the order of the file: what comes later goes to the end."""

BINARY = (*MATH_BINARY, "hypot")

TOLERANCE = {"f32": 2, "f64": 2, "f16": 1, "bf16": 1}
"""Representable numbers off the correctly rounded one; f16 and bf16 are rounded from f32."""


def _numbers(form: Format, name: str) -> list[Fraction]:
    quarters = [Fraction(k, 4) for k in (1, 2, 3, 5, 6, 7, 10, 13, 22, 40)]
    if name in ("exp", "exp2", "sinh", "cosh"):
        limit = Fraction(-form.emin) * (Fraction(7, 10) if name != "exp2" else 1)
        return quarters + [limit - 1, limit, limit + 1, limit + form.fraction_bits]
    if name in ("exp10", "expm1"):
        limit = Fraction(-form.emin) * Fraction(3 if name == "exp10" else 7, 10)
        whole = [Fraction(k) for k in (1, 2, 3, 10, 20)]
        return quarters + whole + [limit - 1, limit, limit + 1, values.power(-5), values.power(-12)]
    if name in ("acosh", "log1p", "atanh"):
        near = [1 - values.power(-k) for k in (2, 5, 8, form.fraction_bits)]
        return (
            quarters
            + near
            + [1 + values.power(-k) for k in (2, 5, 8, form.fraction_bits)]
            + [Fraction(10000)]
        )
    if name in ("log", "log2", "log10", "rsqrt"):
        return quarters + [Fraction(10), Fraction(100), Fraction(1000), Fraction(4096)]
    if name in ("asin", "acos"):
        return quarters + [1 - values.power(-k) for k in (2, 5, 8, form.fraction_bits)]
    if name in ("sin", "cos", "tan"):
        turns = [Fraction(355, 113) * k / 4 for k in (1, 2, 3, 4, 6, 8, 100)]
        return (
            quarters
            + turns
            + [Fraction(10) ** k for k in (2, 3, 4, 5, 10, 22) if 10**k < values.power(-form.emin)]
        )
    if name in ("tgamma", "lgamma"):
        whole = [Fraction(k) for k in (1, 2, 3, 10, 100)]
        return quarters + whole + [Fraction(k, 8) for k in (35, 169, 281, 801, 1373, 1477)]
    return quarters + [Fraction(20), values.power(-5), values.power(-12)]


def operands(name: str, form: Format) -> list[tuple[int, ...]]:
    """The bit patterns of a function's operands, a tuple for each row: borders, the function's own ones, random ones."""
    stream = Random(f"{name}.{form.name}")
    if name in BINARY:
        short = values.float_specials(form) + [
            values.encode(form, v) for v in (Fraction(1, 2), -2, 3, Fraction(-5, 2))
        ]
        pairs = list(product(short, short))
        for _ in range(40):
            x = Fraction(stream.getrandbits(20) + 1, 1 << stream.randint(10, 22))
            y = Fraction(stream.randint(-(1 << 12), 1 << 12), 1 << stream.randint(5, 12))
            pairs.append((values.encode(form, x), values.encode(form, y)))
        return list(dict.fromkeys(pairs))
    if name in LATEST:
        special = values.float_specials(form)
    else:
        special = values.floats(form)
    bits = special + [values.encode(form, sign * v) for v in _numbers(form, name) for sign in (1, -1)]
    bits += [form.canonical(stream.getrandbits(form.width)) for _ in range(8)]
    return [(b,) for b in values.unique(bits)]


def computed(name: str, form: Format, bits: tuple[int, ...]) -> int | None:
    """The bits of the correctly rounded result, or None where it is stored."""
    value = elementary(name, *map(form.decode, bits))
    return None if value is None else form.encode(value)


@cache
def _stored() -> dict[str, list[int]]:
    table: dict[str, list[int]] = {}
    data, position = lzma.decompress(PATH.read_bytes()), 0
    for name, form in product(ROUNDED, FORMATS.values()):
        start, size = position + 2, form.width // 8
        position = start + size * int.from_bytes(data[position:start])
        table[f"{name}.{form.name}"] = [
            int.from_bytes(data[at : at + size]) for at in range(start, position, size)
        ]
    return table


@cache
def cases_of(key: str) -> list[Case]:
    """The rows of a function, such as ``"exp.f32"``."""
    name, kind = key.split(".")
    form = FORMATS[kind]
    rows = [(bits, computed(name, form, bits)) for bits in operands(name, form)]
    stored = _stored()[key]
    if len(stored) != sum(result is None for _, result in rows):
        raise ValueError(
            f"{PATH} was made for other operands; python -m gpucore_fuzz.correct_values makes it again"
        )
    rest = iter(stored)
    return [(bits, (next(rest) if result is None else result,)) for bits, result in rows]


def latest_groups() -> Iterable[Group]:
    """The groups of the error and gamma functions."""
    for name in LATEST:
        for kind, ulp in TOLERANCE.items():
            key, float_type = f"{name}.{kind}", dtype(kind)
            yield Group(key, name, (float_type,), (float_type,), partial(cases_of, key), ulp=ulp)


def groups() -> Iterable[Group]:
    """The groups ``exp.f32`` and so on."""
    for name in sorted(MATH):
        for kind, ulp in TOLERANCE.items():
            key, float_type = f"{name}.{kind}", dtype(kind)
            operands = (float_type,) * (2 if name in MATH_BINARY else 1)
            yield Group(key, name, operands, (float_type,), partial(cases_of, key), ulp=ulp)
