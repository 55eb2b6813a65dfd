"""Rows of the math functions: correctly rounded values, with the library's tolerance.

The values were computed with mpmath by ``gpucore_fuzz.correct_values``.  They are data, so that the table needs no mpmath
where it runs; ``xzcat correct_values.txt.xz`` shows them.
"""

from __future__ import annotations

import lzma
from collections.abc import Iterable
from functools import cache, partial
from pathlib import Path

from gpucore.ir.dtypes import dtype
from gpucore.ir.ops import MATH, MATH_BINARY
from gpucore.testing.semantics.model import Case, Group

TOLERANCE = {"f32": 2, "f64": 2, "f16": 1, "bf16": 1}
"""Representable numbers off the correctly rounded one; f16 and bf16 are rounded from f32."""


PATH = Path(__file__).with_name("correct_values.txt.xz")
"""A line for each column of a function's rows: its operands, then its result.  Compressed that takes a tenth of the text."""


@cache
def _columns() -> dict[str, list[list[int]]]:
    table: dict[str, list[list[int]]] = {}
    for line in lzma.decompress(PATH.read_bytes()).decode("ascii").splitlines():
        if not line.startswith("#"):
            key, *digits = line.split()
            table.setdefault(key, []).append([int(d, 16) for d in digits])
    return table


def cases_of(key: str) -> list[Case]:
    """The rows of a function, such as ``"exp.f32"``."""
    *operands, results = _columns()[key]
    return [(row, (result,)) for row, result in zip(zip(*operands, strict=True), results, strict=True)]


def groups() -> Iterable[Group]:
    """The groups ``exp.f32`` and so on."""
    for name in sorted(MATH):
        for kind, ulp in TOLERANCE.items():
            key, float_type = f"{name}.{kind}", dtype(kind)
            operands = (float_type,) * (2 if name in MATH_BINARY else 1)
            yield Group(key, name, operands, (float_type,), partial(cases_of, key), ulp=ulp)
