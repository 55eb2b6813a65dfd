"""Views in programs: arguments with strides of their own, and slices of arrays in kernels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random

from gpucore_fuzz.programs.arithmetic import FLOATS, INTS, Scalar, apply, cast

__all__ = ["FIRST_SEED", "VIEWS", "definitions", "step_of", "value"]

FIRST_SEED = 50_000_000
"""Programs of smaller seeds, which reports name, stay what they were."""

VIEWS = {
    "transposed": "transposed_{n}({0}, {1}, {2}, {3})",
    "reversed": "reversed_{n}({0}, {1}, {2}, {3})",
    "window": "window_{n}({0}, {1}, {2}, {3})",
}
"""Expressions with slices that give a number of four."""

_TEXT = """
@gc.func
def transposed_{n}(a: {t}, b: {t}, c: {t}, d: {t}) -> {t}:
    kept = gc.local((2, 3), {t})
    kept[0, 0] = a
    kept[0, 1] = b
    kept[0, 2] = c
    kept[1, 1] = d
    part = kept.T[1:, ::-1]
    part[0, 0] = part[0, 0] + part[1, 1]
    return kept[1, 1] * kept[0][0] + part[0, 1]


@gc.func
def last_{n}(row: gc.Strided[{t}]) -> {t}:
    return row[row.shape[0] - 1]


@gc.func
def reversed_{n}(a: {t}, b: {t}, c: {t}, d: {t}) -> {t}:
    kept = gc.local(4, {t})
    kept[0] = a
    kept[1] = b
    kept[2] = c
    kept[3] = d
    middle = kept[1:3]
    middle[::-1][0] = middle[0] - kept[::3][1]
    return last_{n}(kept[:3]) + last_{n}(kept[::-2])


@gc.func
def window_{n}(a: {t}, b: {t}, c: {t}, d: {t}) -> {t}:
    kept = gc.local(5, {t})
    first = gc.i32(a < b)
    part = kept[first : first + 3]
    part[0] = c
    part[1:][1] = d
    total = a
    for k in range(first, 10):
        if k < len(kept[1:]):
            total = total + kept[1:][k]
    return total
"""


def definitions(body: Iterable[str]) -> list[str]:
    """The lines that define the functions that a program's other lines use."""
    text = "\n".join(body)
    lines: list[str] = []
    for n in (*INTS, *FLOATS):
        if any(f"{name}_{n}(" in text for name in VIEWS):
            lines += _TEXT.format(n=n, t=f"gc.{n}").splitlines()
    return lines


def value(name: str, t: str, x: Sequence[Scalar]) -> Scalar:
    """The number that an expression of :data:`VIEWS` gives, by operations on the elements."""
    a, b, c, d = x
    if name == "transposed":
        return apply("+", t, apply("*", t, apply("+", t, d, c), a), b)
    if name == "reversed":
        return apply("+", t, apply("-", t, b, d), b)
    first = int(bool(apply("<", t, a, b)))
    kept = [cast(0, "i32", t)] * 5
    kept[first], kept[first + 2] = c, d
    total = a
    for k in range(first, 4):
        total = apply("+", t, total, kept[k + 1])
    return total


def step_of(seed: int, name: str) -> int:
    """The stride in elements of the view that a program's array is given as; 1 for an array of its own."""
    if seed < FIRST_SEED:
        return 1
    return Random(f"views {seed} {name}").choice((1, 1, 1, 1, -1, 2, -3))
