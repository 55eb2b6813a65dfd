"""Subgroup operations over the lanes that exist: :data:`gpucore.ir.ops.SUBGROUP_OPS` says what each means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, reduce
from typing import Any

from gpucore.errors import LaunchError
from gpucore.ir.dtypes import DType
from gpucore.ir.interpreter.expressions import binary

__all__ = ["combine"]

_binary = cache(binary)


def combine(op: str, dtype: DType, width: int, values: Sequence[Any], lanes: Sequence[int]) -> list[Any]:
    """The result in each lane.

    Parameters
    ----------
    op : str
    dtype : DType
        Of the first operand.
    width : int
        N, which may exceed the number of lanes that exist.
    values : Sequence
        The first operand, one a lane.
    lanes : Sequence[int]
        The second operand, zeros where there is none.
    """
    count = len(values)
    if op == "sum":
        return _butterfly(values, width, _binary("add", dtype))
    if op in ("min", "max"):
        return [reduce(_binary(op, dtype), values)] * count
    if op == "inclusive_sum":
        return _scan(values, width, _binary("add", dtype))
    if op == "exclusive_sum":
        start: Any = 0.0 if dtype.is_float else 0
        return [start, *_scan(values, width, _binary("add", dtype))[:-1]]
    if op == "any":
        return [any(values)] * count
    if op == "all":
        return [all(values)] * count
    if op == "ballot":
        if width > 64:
            raise LaunchError(f"subgroup_ballot has 64 bits; subgroups here have {width} lanes")
        return [sum(1 << lane for lane, value in enumerate(values) if value)] * count
    if op == "shuffle_xor":
        lanes = [lane ^ mask for lane, mask in enumerate(lanes)]
    return [values[to] if 0 <= to < count else own for own, to in zip(values, lanes, strict=True)]


def _butterfly(values: Sequence[Any], width: int, add: Callable[[Any, Any], Any]) -> list[Any]:
    # missing lanes hold the neutral element, here None, and take part
    slots: list[Any] = [*values]
    step = 1
    while step < width:
        step *= 2
    slots += [None] * (step - len(slots))
    mask = 1
    while mask < width:
        slots = [_add(add, own, slots[lane ^ mask]) for lane, own in enumerate(slots)]
        mask *= 2
    return slots[: len(values)]


def _add(add: Callable[[Any, Any], Any], a: Any, b: Any) -> Any:
    if a is None:
        return b
    return a if b is None else add(a, b)


def _scan(values: Sequence[Any], width: int, add: Callable[[Any, Any], Any]) -> list[Any]:
    found = list(values)
    distance = 1
    while distance < width:
        found = [
            add(found[lane - distance], own) if lane >= distance else own for lane, own in enumerate(found)
        ]
        distance *= 2
    return found
