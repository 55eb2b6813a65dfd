"""What the threads of a block do together, and atomic loads and stores: placeholders as those of ``builtins``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from gpucore.lang.outside import outside

__all__ = [
    "BLOCK_TABLE", "atomic_load", "atomic_store", "block_all", "block_any", "block_broadcast", "block_exclusive_sum",
    "block_inclusive_sum", "block_max", "block_min", "block_sum",
]  # fmt: skip

T = TypeVar("T")


def block_sum(x: T) -> T:
    """The sum over the block, in a fixed order: a balanced tree over the linear thread ids."""
    outside("block_sum")


def block_min(x: T) -> T:
    """The least over the block; NaN if any is, -0 below +0."""
    outside("block_min")


def block_max(x: T) -> T:
    """The greatest over the block; NaN if any is, -0 below +0."""
    outside("block_max")


def block_any(x: object) -> bool:
    """Whether the condition of any thread of the block holds."""
    outside("block_any")


def block_all(x: object) -> bool:
    """Whether the conditions of all threads of the block hold."""
    outside("block_all")


def block_broadcast(x: T, thread: int) -> T:
    """The value of the thread with that linear id in the block; the thread's own where there is none."""
    outside("block_broadcast")


def block_inclusive_sum(x: T) -> T:
    """The sum over the threads of the block up to this one, by linear id, in a fixed order."""
    outside("block_inclusive_sum")


def block_exclusive_sum(x: T) -> T:
    """The sum over the threads of the block before this one, by linear id, in a fixed order; 0 for the first."""
    outside("block_exclusive_sum")


def atomic_load(array: Any, index: int | tuple[int, ...]) -> Any:
    """The element, read as one step."""
    outside("atomic_load")


def atomic_store(array: Any, index: int | tuple[int, ...], value: Any) -> None:
    """Replace the element, as one step."""
    outside("atomic_store")


BLOCK_TABLE: dict[Callable[..., Any], str] = {
    function: function.__name__
    for function in (
        block_sum, block_min, block_max, block_any, block_all, block_broadcast, block_inclusive_sum,
        block_exclusive_sum, atomic_load, atomic_store,
    )
}  # fmt: skip
