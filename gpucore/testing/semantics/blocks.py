"""Rows of the block functions: ``gc.block_sum`` and its family, on blocks that no subgroup divides evenly.

The reference is what docs/numerics.md says of them: sums are balanced trees over the linear thread ids.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from random import Random

from gpucore.ir.dtypes import DType, bool_, dtype, i32
from gpucore.testing.semantics import integers
from gpucore.testing.semantics.model import Case, Group
from gpucore.testing.semantics.reference import Arithmetic
from gpucore.testing.semantics.subgroups import lane_vectors

__all__ = ["groups", "prefix", "total"]

THREADS = 45
MANY = 150
_REDUCTIONS: dict[str, tuple[str, ...]] = {
    "sum": ("i32", "u64", "f16", "bf16", "f32", "f64"),
    "min": ("i64", "f32"),
    "max": ("u32", "f16"),
    "inclusive_sum": ("u32", "f16", "f64"),
    "exclusive_sum": ("i64", "f32"),
}


def _binary(op: str, kind: DType, a: int, b: int) -> int:
    if kind.is_float:
        return Arithmetic(kind.name).apply(op, a, b)
    return integers.apply(op, integers.integer(kind), a, b)


def total(op: str, kind: DType, x: list[int], start: int = 0, size: int = 0) -> int:
    """The tree over ``size`` threads from ``start`` on, a power of two; what lies past the end is left out."""
    if not size:
        size = 1 << (len(x) - 1).bit_length()
    if size == 1:
        return x[start]
    half = size // 2
    left = total(op, kind, x, start, half)
    if start + half >= len(x):
        return left
    return _binary(op, kind, left, total(op, kind, x, start + half, half))


def prefix(kind: DType, x: list[int], last: int) -> int:
    """The sum up to a thread: its own value, and from the right the trees of which the bits of its number consist."""
    value, size = x[last], 1
    while size <= last:
        if last & size:
            value = _binary("add", kind, total("add", kind, x, last & -2 * size, size), value)
        size *= 2
    return value


def _reduced(op: str, kind: DType, x: list[int]) -> list[int]:
    if op == "inclusive_sum":
        return [prefix(kind, x, thread) for thread in range(len(x))]
    if op == "exclusive_sum":
        return [0, *(prefix(kind, x, thread) for thread in range(len(x) - 1))]
    return [total("add" if op == "sum" else op, kind, x)] * len(x)


def _reductions(op: str, kind: DType, count: int) -> list[Case]:
    return [(tuple(x), tuple(_reduced(op, kind, x))) for x in lane_vectors(kind, count)]


def _votes(op: str, count: int) -> list[Case]:
    decide = any if op == "any" else all
    return [(tuple(x), (int(decide(x)),) * count) for x in lane_vectors(bool_, count)]


def _broadcasts(kind: DType, count: int) -> list[Case]:
    form, stream = integers.integer(i32), Random(count)
    cases: list[Case] = []
    for number, chosen in enumerate((0, 1, count - 1, count, 4096, -1)):
        vectors = lane_vectors(kind, count)
        x = vectors[number % len(vectors)]
        got = (x[chosen],) * count if 0 <= chosen < count else tuple(x)
        cases.append(((*x, *(form.bits(chosen),) * count), got))
    x = lane_vectors(kind, count)[0]
    asked = [stream.randint(-2, count + 2) for _ in range(count)]  # each thread asks for another one
    got = tuple(x[w] if 0 <= w < count else x[thread] for thread, w in enumerate(asked))
    return [*cases, ((*x, *map(form.bits, asked)), got)]


def groups() -> Iterable[Group]:
    """The groups ``block_sum.f32`` and so on; ``.many`` for a block of more threads."""

    def group(
        op: str, operands: tuple[DType, ...], result: DType, key: str, cases: partial[list[Case]], count: int
    ) -> Group:
        return Group(f"block_{op}.{key}", f"block_{op}", operands, (result,), cases, "subgroup", lanes=count)

    for op, names in _REDUCTIONS.items():
        for name in names:
            kind = dtype(name)
            yield group(op, (kind,), kind, name, partial(_reductions, op, kind, THREADS), THREADS)
    many = partial(_reductions, "inclusive_sum", dtype("f32"), MANY)
    yield group("inclusive_sum", (dtype("f32"),), dtype("f32"), "f32.many", many, MANY)
    for op in ("any", "all"):
        yield group(op, (bool_,), bool_, "bool", partial(_votes, op, THREADS), THREADS)
    for name in ("f16", "i64", "bool"):
        kind = dtype(name)
        yield group("broadcast", (kind, i32), kind, name, partial(_broadcasts, kind, THREADS), THREADS)
