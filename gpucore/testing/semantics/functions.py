"""Rows of the math functions: correctly rounded values of ``functions.txt``, with the library's tolerance.

The file was computed with mpmath, see :mod:`gpucore.testing.semantics.generate`; it is data, so that the
table needs no mpmath where it runs.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, partial
from importlib.resources import files

from gpucore.ir.dtypes import dtype
from gpucore.ir.ops import MATH, MATH_BINARY
from gpucore.testing.semantics.model import Case, Group

TOLERANCE = {"f32": 2, "f64": 2, "f16": 1, "bf16": 1}
"""Representable numbers off the correctly rounded one; f16 and bf16 are rounded from f32."""


@cache
def _cases(file: str) -> dict[str, list[Case]]:
    table: dict[str, list[Case]] = {}
    text = files("gpucore.testing.semantics").joinpath(file).read_text("ascii")
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        key, *digits = line.split()
        bits = [int(d, 16) for d in digits]
        table.setdefault(key, []).append((tuple(bits[:-1]), (bits[-1],)))
    return table


def cases_of(key: str, file: str = "functions.txt") -> list[Case]:
    """The rows of a function in a file."""
    return _cases(file)[key]


def groups() -> Iterable[Group]:
    """The groups ``exp.f32`` and so on."""
    for name in sorted(MATH):
        for kind, ulp in TOLERANCE.items():
            key, float_type = f"{name}.{kind}", dtype(kind)
            operands = (float_type,) * (2 if name in MATH_BINARY else 1)
            yield Group(key, name, operands, (float_type,), partial(cases_of, key), ulp=ulp)
