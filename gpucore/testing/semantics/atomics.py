"""Rows of the atomic operations: alone on a cell, and many threads on one cell."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial, reduce
from itertools import product
from random import Random

from gpucore.ir.dtypes import DType, dtype
from gpucore.ir.ops import ATOMIC_OPS
from gpucore.testing.semantics import integers, values
from gpucore.testing.semantics.model import Case, Group
from gpucore.testing.semantics.reference import FORMATS, Arithmetic

_INTEGERS = ("i32", "u32", "i64", "u64")
_FLOATS = ("f32", "f64")
_CONTENDED = ("add", "sub", "min", "max", "and", "or", "xor")
THREADS = 64
"""Threads that meet on one cell in a contended row."""


def combine(op: str, kind: DType, old: int, value: int) -> int:
    """The bits that an atomic operation leaves in the cell."""
    if op == "exchange":
        return value
    if kind.is_float:
        return Arithmetic(kind.name).apply(op, old, value)
    return integers.apply(op, integers.integer(kind), old, value)


def _operands(kind: DType) -> list[int]:
    if kind.is_float:
        form = FORMATS[kind.name]
        return [bits for bits in values.floats(form)[::3] if bits != form.nan] + [form.nan]
    form_int = integers.integer(kind)
    return [form_int.bits(v) for v in values.integers(form_int)[::2]]


def _alone(op: str, kind: DType) -> list[Case]:
    bits = _operands(kind)
    return [((old, value), (old, combine(op, kind, old, value))) for old, value in product(bits, bits)]


def _swaps(kind: DType) -> list[Case]:
    bits = _operands(kind)
    if kind.is_float:
        # compared by bits: zeros of unlike sign differ, NaNs are left out as their bits may be any
        bits = [b for b in bits if b != FORMATS[kind.name].nan]
    cases: list[Case] = []
    for old, expected in product(bits, bits[:6]):
        desired = bits[(bits.index(old) + 1) % len(bits)]
        cases.append(((old, expected, desired), (old, desired if old == expected else old)))
        cases.append(((old, old, desired), (old, desired)))
    return cases


def _contended(op: str, kind: DType) -> list[Case]:
    """One start value and ``THREADS`` operands; the result does not depend on their order."""
    form = integers.integer(kind)
    stream = Random(form.width)
    cases: list[Case] = []
    for start in (0, form.bits(form.low), form.bits(form.high), form.bits(-1)):
        operands = tuple(stream.getrandbits(form.width) for _ in range(THREADS))
        cases.append(((start, *operands), (reduce(partial(combine, op, kind), operands, start),)))
    return cases


def groups() -> Iterable[Group]:
    """The groups ``atomic_add.i32`` and so on; ``atomic_add.i32.contended`` for many threads on one cell."""
    for name in (*_INTEGERS, *_FLOATS):
        kind = dtype(name)
        for op in ATOMIC_OPS:
            if kind.is_float and op in ("and", "or", "xor"):
                continue
            operation = f"atomic_{op}"
            key = f"{operation}.{name}"
            yield Group(key, operation, (kind, kind), (kind, kind), partial(_alone, op, kind), "atomic")
        key = f"atomic_cas.{name}"
        yield Group(key, "atomic_cas", (kind, kind, kind), (kind, kind), partial(_swaps, kind), "atomic")
        if kind.is_integer:
            for op in _CONTENDED:
                key = f"atomic_{op}.{name}.contended"
                operands = (kind,) * (1 + THREADS)
                yield Group(
                    key, f"atomic_{op}", operands, (kind,), partial(_contended, op, kind), "contended"
                )
