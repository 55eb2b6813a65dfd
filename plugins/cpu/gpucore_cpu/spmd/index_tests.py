"""Tests of indices: ``x >= 0 and x < n`` as one comparison of unsigned numbers, which LLVM finds in scalars alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gpucore import ir
from gpucore_cpu.spmd.analysis import Shape
from gpucore_cpu.spmd.state import FunctionState
from gpucore_cpu.spmd.types import ALL_ONES, scalar_type

__all__ = ["IndexTests"]

_MOST = 12
"""Conditions that are looked at together: two an axis, for checks of arrays of six axes."""


@dataclass(frozen=True, slots=True)
class IndexTests:
    """Writes conjunctions with such pairs in them."""

    state: FunctionState

    def emit(self, statement: ir.Op) -> str | None:
        """The operand of an ``and`` of conditions; None where it holds no pair."""
        return self._joined(statement, "ult", "and")

    def emit_refused(self, condition: ir.Value) -> str | None:
        """The lanes where such a condition does not hold; None where it holds no pair.

        Without mask registers this is what processors compare for: the condition itself is one step more.
        """
        made = self._made(condition)
        return None if made is None else self._joined(made, "uge", "or")

    def _joined(self, statement: ir.Op, comparison: str, joint: str) -> str | None:
        """The pairs compared, and all parts of the condition joined: as they are, or each of them negated."""
        values, writer, mask = self.state.values, self.state.writer, self.state.types.mask
        if statement.op != "and" or values.shape(statement.result) != Shape.VARYING:
            return None
        conditions = list(self._conditions(statement))
        if len(conditions) > _MOST or any(values.find(c.name) is None for c in conditions):
            return None
        above = {x.name: c for c in conditions if (x := self._not_negative(c)) is not None}
        dropped: set[str] = set()
        parts: list[str] = []
        for condition in conditions:
            bounds = self._below(condition)
            if bounds is not None and bounds[0].name in above:
                dropped |= {condition.name, above[bounds[0].name].name}
                x, n = bounds
                kind = self.state.types.vec(scalar_type(x.dtype))
                parts.append(writer.tmp(f"icmp {comparison} {kind} {values.vector(x)}, {values.vector(n)}"))
        if not parts:
            return None
        for condition in conditions:
            if condition.name not in dropped:
                part = values.vector(condition)
                parts.append(part if joint == "and" else writer.tmp(f"xor {mask} {part}, {ALL_ONES}"))
        test = parts[0]
        for part in parts[1:]:
            test = writer.tmp(f"{joint} {mask} {test}, {part}")
        return test

    def _conditions(self, value: ir.Op) -> Iterator[ir.Value]:
        """What must hold together, through nested ``and``."""
        for arg in value.args:
            made = self._made(arg)
            if made is not None and made.op == "and" and arg.dtype.kind == "bool":
                yield from self._conditions(made)
            else:
                yield arg

    def _made(self, value: ir.Value) -> ir.Op | None:
        made = self.state.analysis.definitions.get(value.name)
        return made if isinstance(made, ir.Op) else None

    def _not_negative(self, condition: ir.Value) -> ir.Value | None:
        """The x of ``x >= 0``."""
        made = self._made(condition)
        if made is None or made.op != "ge" or not made.args[0].dtype.is_signed:
            return None
        return made.args[0] if self.state.values.constant(made.args[1]) == 0 else None

    def _below(self, condition: ir.Value) -> tuple[ir.Value, ir.Value] | None:
        """The x and n of ``x < n`` with an n that is never negative."""
        made = self._made(condition)
        if made is None or made.op != "lt":
            return None
        match self.state.analysis.definitions.get(made.args[1].name):
            case ir.Extent(memory=memory) if memory.layout == "contiguous":
                return made.args  # type: ignore[return-value]
            case ir.Const(value=number) if number >= 0:
                return made.args  # type: ignore[return-value]
            case _:
                return None  # strides of views may be negative
