"""The interface of a function that is being emitted, for what all functions of a module share."""

from __future__ import annotations

from typing import Protocol

__all__ = ["FunctionBody"]


class FunctionBody(Protocol):
    """What a module needs of the function that is being emitted.

    Attributes
    ----------
    values : dict[str, int]
        The ids of the values defined so far.
    prologue : list[int]
        Instructions of the first block, which dominates everything.
    """

    values: dict[str, int]
    prologue: list[int]

    def in_prologue(self, op: str, type_id: int, *operands: int) -> int:
        """An instruction of the first block."""

    def result(self, op: str, type_id: int, *operands: int) -> int:
        """An instruction with a result."""

    def put(self, op: str, *operands: int) -> None:
        """An instruction without a result."""

    def label(self, name: int) -> None:
        """Begin a block."""
