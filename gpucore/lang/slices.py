"""Slices of arrays in kernels: ``x[i, a:b]``, as NumPy has them, save that no bound counts from the end."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import index
from gpucore.ir.ops import SLICE_INDEX
from gpucore.ir.records import array_name
from gpucore.lang.conversions import Conversions
from gpucore.lang.operands import Along, Operand, Slice, as_python
from gpucore.lang.state import FunctionState

__all__ = ["Slices", "Window"]

Number: TypeAlias = "ir.Value | int"


@dataclass(frozen=True, slots=True)
class Window:
    """The bounds of a slice as they are written; None where one is left out."""

    lower: Operand | None
    upper: Operand | None
    step: int


@dataclass(frozen=True, slots=True)
class Slices:
    """Lowers slices and the indices of their elements."""

    state: FunctionState
    conversions: Conversions

    def extent(self, memory: ir.Memory, axis: int, along: Along) -> Number:
        """How many elements a part has along an axis of the memory."""
        if isinstance(along, Slice):
            return along.extent
        if memory.space != "global":
            return memory.shape[axis]
        writer = self.state.writer
        result = writer.value(index)
        writer.emit(ir.Extent(result, memory, axis, writer.location))
        return result

    def sliced(self, memory: ir.Memory, axis: int, along: Along, window: Window, node: ast.AST) -> Slice:
        """A slice of an axis; its bounds are moved to the ends of the axis where they lie past them."""
        extent = self.extent(memory, axis, along)
        lower, upper = (
            None if operand is None else self._bound(operand, array_name(memory.name), axis, at)
            for operand, at in zip((window.lower, window.upper), _nodes(node), strict=True)
        )
        step = window.step
        if step > 0:
            first = 0 if lower is None else self._clamped(lower, 0, extent)
            end = extent if upper is None else self._clamped(upper, 0, extent)
            span = end if first == 0 else self._op("max", self._op("sub", end, first), 0)
        else:
            last = self._op("sub", extent, 1)
            first = last if lower is None else self._clamped(lower, -1, last)
            end = -1 if upper is None else self._clamped(upper, -1, last)
            span = self._op("max", self._op("sub", first, end), 0)
        if abs(step) != 1:
            span = self._op("floordiv", self._op("add", span, abs(step) - 1), abs(step))
        if isinstance(along, Slice):
            first = self._op("add", along.start, self._op("mul", first, along.step))
            step *= along.step
        return Slice(0, first, span, step)

    def index(self, array: str, along: Slice, operand: Operand, node: ast.AST) -> ir.Value:
        """The index along the memory's axis of an element of a slice."""
        known = as_python(operand)
        if isinstance(known, int) and known < 0:
            self.state.source.type_error(
                node, f"the index {known} is negative; indices do not count from the end",
                f"Write the slice's .shape[{along.number}] - {-known}.",
            )  # fmt: skip
        if isinstance(known, int) and isinstance(along.extent, int) and known >= along.extent:
            self.state.source.type_error(
                node, f"the index {known} is past the end of a slice of {array} with {along.extent} elements",
                "Write a smaller index, or a longer slice." if along.extent else "The slice is empty.",
            )  # fmt: skip
        number = self.conversions.as_index(operand, node, "an index")
        rest = (self._value(part) for part in (along.start, along.extent, along.step))
        return self.state.writer.op(SLICE_INDEX, number, *rest, dtype=index)

    def _bound(self, operand: Operand, array: str, axis: int, node: ast.AST) -> Number:
        known = as_python(operand)
        if isinstance(known, int) and not isinstance(known, bool):
            if known < 0:
                extent = f"{array}.shape[{axis}]"
                self.state.source.type_error(
                    node, f"the bound {known} is negative; bounds of slices do not count from the end",
                    f"Write {extent} - {-known}.",
                )  # fmt: skip
            return known
        return self.conversions.as_index(operand, node, "the bound of a slice")

    # --- arithmetic on indices, of numbers as far as they are known
    def _value(self, number: Number) -> ir.Value:
        return number if isinstance(number, ir.Value) else self.state.writer.constant(number, index)

    def _op(self, name: str, a: Number, b: Number) -> Number:
        if isinstance(a, int) and isinstance(b, int):
            return _COMPUTED[name](a, b)
        if (b == 0 and name in ("add", "sub")) or (b == 1 and name == "mul"):
            return a
        if a == 0 and name == "add":
            return b
        return self.state.writer.op(name, self._value(a), self._value(b))

    def _clamped(self, bound: Number, low: int, high: Number) -> Number:
        if not isinstance(bound, int):
            bound = self._op("max", bound, low)
        return bound if bound == low else self._op("min", bound, high)


_COMPUTED: dict[str, Callable[[int, int], int]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "floordiv": lambda a, b: a // b,
    "min": min,
    "max": max,
}


def _nodes(node: ast.AST) -> tuple[ast.AST, ast.AST]:
    """Where the bounds of a slice stand."""
    if not isinstance(node, ast.Slice):
        return node, node
    return node.lower or node, node.upper or node
