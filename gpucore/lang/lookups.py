"""Names, attributes and slices: local names, what is captured, the shape of an array, parts of arrays."""

from __future__ import annotations

import ast
import builtins
import dataclasses
import enum
import math
import types
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NoReturn, TypeAlias

import numpy as np

from gpucore.errors import NotSupportedError
from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import from_numpy, index
from gpucore.ir.ops import SLICE_INDEX
from gpucore.ir.records import RecordType, array_name
from gpucore.lang.conversions import Conversions
from gpucore.lang.diagnostics import did_you_mean
from gpucore.lang.expressions import Arithmetic, Evaluator
from gpucore.lang.operands import (
    Along,
    Array,
    Items,
    Literal,
    Method,
    Object,
    Operand,
    Place,
    Record,
    Records,
    Slice,
    Slot,
    Typed,
    as_python,
    describe,
    wrap_python,
)
from gpucore.lang.record_values import RecordValues
from gpucore.lang.state import FunctionState
from gpucore.lang.types import MISSING, holds_constants
from gpucore.lang.variables import Variables

__all__ = ["Lookups", "Slices", "Window"]


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
        if memory.shape:
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


ARRAY_ATTRIBUTES = ("shape", "ndim", "size", "dtype")
MAKE_ARRAYS = frozenset({"array", "asarray", "arange", "zeros", "ones", "empty", "full", "linspace", "eye"})
REDUCTIONS = {
    "sum": "s += {}", "mean": "s += {}, then divide", "prod": "s *= {}", "min": "s = min(s, {})", "max": "s = max(s, {})",
    "any": "s = s or {} != 0", "all": "s = s and {} != 0", "dot": "s += {} * ...",
}  # fmt: skip
HOST_METHODS = frozenset(
    {
        "fill",
        "copy",
        "numpy",
        "astype",
        "reshape",
        "ravel",
        "flatten",
        "copy_from",
        "copy_to",
        "item",
        "tolist",
    }
)


@dataclass(frozen=True, slots=True)
class Lookups:
    """Lowers names and attributes."""

    state: FunctionState
    evaluator: Evaluator
    arithmetic: Arithmetic
    variables: Variables
    records: RecordValues
    slices: Slices

    # --- names
    def name(self, node: ast.Name) -> Operand:
        scope = self.state.scope
        found = scope.find(node.id)
        if found is not None:
            return self.variables.read(found, node) if isinstance(found, Slot) else found
        captured = scope.captured.lookup(node.id)
        if scope.stores(node.id):
            outside = captured is not MISSING and not hasattr(builtins, node.id)
            around = scope.outer is not None and scope.outer.find(node.id) is not None
            self._unset(node, is_captured=outside or around)
        if captured is MISSING:
            known = {*scope.visible(), *scope.captured.function.__globals__}
            self.state.source.syntax_error(node, f"the name {node.id!r} is not known",
                                           did_you_mean(node.id, known) or "Assign it first, or define it outside.")  # fmt: skip
        if isinstance(captured, np.ndarray) or getattr(type(captured), "__gpucore_array__", False):
            self.state.source.type_error(
                node, f"{node.id} is an array from outside; a kernel does not close over arrays",
                f"Make it a parameter: {node.id}: {annotation_of(captured)}.",
            )  # fmt: skip
        if isinstance(captured, list):
            self.state.source.type_error(
                node, f"{node.id} is a list from outside; only numbers and tuples of numbers are captured",
                f"Write {node.id} = tuple(...) outside, or pass an array.",
            )  # fmt: skip
        return wrap_python(captured)

    def _unset(self, node: ast.Name, *, is_captured: bool) -> NoReturn:
        if is_captured:
            self.state.source.syntax_error(
                node, f"{node.id} is captured from outside, but assigning it makes it a local name of the whole "
                "function, which is unset here",
                f"Use another name for the result: new_{node.id} = {node.id} ...",
            )  # fmt: skip
        self.state.source.syntax_error(
            node, f"{node.id} may be unset here: it is not assigned on every path that leads to this line",
            f"Assign {node.id} before the if or the loop.",
        )  # fmt: skip

    # --- attributes
    def attribute(self, node: ast.Attribute) -> Operand:
        base = self.evaluator.reference(node.value)
        if isinstance(base, (Record, Place)):
            return self._of_record(base, node)
        if isinstance(base, (Array, Records)):
            return self._of_array(base, node)
        if isinstance(base, Items) and node.attr in base.names:
            return base.items[base.names.index(node.attr)]
        if isinstance(base, Object) and isinstance(base.value, (types.ModuleType, types.SimpleNamespace)):
            return self._of_namespace(base.value, node)
        if isinstance(base, Literal) and isinstance(member := self._captured(node.value), enum.Enum):
            return wrap_python(getattr(member, node.attr, None))  # of an IntEnum, whose members are numbers
        if isinstance(base, Object) and holds_constants(base.value) and hasattr(base.value, node.attr):
            return wrap_python(getattr(base.value, node.attr))
        refuse_launch(base, self.state, node)
        if isinstance(base, Object) and hasattr(base.value, node.attr):
            frozen = ", or declare the dataclass frozen" if dataclasses.is_dataclass(base.value) else ""
            self.state.source.syntax_error(
                node,
                f"the attributes of a {type(base.value).__name__} are not seen by a kernel: it looks into modules, classes, "
                "enums, named tuples, frozen dataclasses and types.SimpleNamespace",
                f"Give the value a name of its own: {node.attr.lower()} = {ast.unparse(node)}{frozen}.",
            )
        self.state.source.syntax_error(node, f"{describe(base)} has no attribute {node.attr!r} in a kernel",
                                       "It is a number." if isinstance(base, (Typed, Literal))
                                       else "Arrays have .shape, .ndim, .size and .dtype.")  # fmt: skip

    def _of_record(self, base: Record | Place, node: ast.Attribute) -> Operand:
        found = self.records.field(base, node)
        if found is not None:
            return found
        record = base.type if isinstance(base, Record) else base.dtype
        if isinstance(record, RecordType) and node.attr in record.methods:
            return Method(record.methods[node.attr], self.evaluator.settle(base))
        is_record = record is None or isinstance(record, RecordType)
        cure = self.records.no_field(record, node) if is_record else "It is a number."  # type: ignore[arg-type]
        self.state.source.syntax_error(
            node, f"{describe(base)} has no attribute {node.attr!r} in a kernel", cure
        )

    def _captured(self, node: ast.expr) -> Any:
        """The captured object that a name, or an attribute of one, stands for; MISSING where it is local."""
        root = node
        while isinstance(root, ast.Attribute):
            root = root.value
        if not isinstance(root, ast.Name) or self.state.scope.find(root.id) is not None:
            return MISSING
        return self.state.scope.captured.resolve(node)

    def _of_namespace(self, owner: types.ModuleType | types.SimpleNamespace, node: ast.Attribute) -> Operand:
        hint = ""
        if getattr(owner, "__name__", "") in ("gpucore", "numpy") and node.attr in MAKE_ARRAYS:
            self.state.source.syntax_error(
                node,
                f"{ast.unparse(node)} makes an array on the host; a kernel gets its arrays as parameters",
                "Pass the array, or write gc.local(shape, dtype), or a tuple of constants.",
            )
        try:
            return wrap_python(getattr(owner, node.attr))
        except NotSupportedError as error:
            self.state.source.later(node, str(error), "Write it with what is there; see docs/language.md.")
        except AttributeError as error:
            # a module may say what was meant, as gpucore does
            _, found, advice = str(error).partition("Did you mean ")
            hint = found + advice
        if not hint and getattr(owner, "__name__", "") != "gpucore":
            hint = did_you_mean(node.attr, getattr(owner, "__all__", None) or dir(owner))
        self.state.source.syntax_error(
            node, f"{ast.unparse(node.value)} has no {node.attr!r}", hint or "Define it there first."
        )

    def _of_array(self, array: Array | Records, node: ast.Attribute) -> Operand:
        memory = array.memory
        rank = array.rank
        if node.attr == "shape":
            return Items(tuple(self.extent(array, number) for number in range(rank)))
        if node.attr == "ndim":
            return Literal(rank)
        if node.attr == "T":
            return replace(array, axes=array.transposed_axes)
        if node.attr == "dtype":
            return Object(array.type if isinstance(array, Records) else memory.dtype)
        if node.attr == "size":
            extents = [self.extent(array, number) for number in range(rank)]
            known = [extent.value for extent in extents if isinstance(extent, Literal)]
            if len(known) == rank:
                return Literal(math.prod(known))
            total = extents[0]
            for extent in extents[1:]:
                total = self.arithmetic.combine("mul", total, extent, node, node, node)
            return total
        name = array.name if isinstance(array, Records) else memory.name
        cure = did_you_mean(node.attr, ARRAY_ATTRIBUTES) or "It has .shape, .ndim, .size and .dtype."
        if node.attr in ("transpose", "swapaxes"):
            cure = f"Write {name}.T, or index it the other way round."
        elif node.attr in REDUCTIONS:
            index_names = ", ".join("ijklmnop"[:rank])
            cure = (
                f"Write a loop over the elements: {REDUCTIONS[node.attr].format(f'{name}[{index_names}]')}."
            )
        elif node.attr in HOST_METHODS:
            cure = f"Call {name}.{node.attr} on the host, before the launch or after it."
        self.state.source.syntax_error(node, f"an array in a kernel has no attribute {node.attr!r}", cure)

    def extent(self, array: Array | Records, number: int) -> Operand:
        """The extent of an axis: a value where the launch decides, else a number."""
        axis = array.kept[number]
        extent = self.slices.extent(array.memory, axis, array.along[axis])
        return Literal(extent) if isinstance(extent, int) else Typed(extent)


def refuse_launch(base: Operand, state: FunctionState, node: ast.Attribute | ast.Subscript) -> None:
    """Refuse ``kernel.over(n)`` and ``kernel[grid, block]`` in a kernel."""
    if isinstance(base, Object) and type(base.value).__name__ == "Kernel":
        name = ast.unparse(node.value)
        state.source.syntax_error(
            node, f"{name} is a kernel; a kernel does not launch another", "Make the common part a @gc.func."
        )


def annotation_of(array: Any) -> str:
    """The annotation of a parameter that takes an array from outside."""
    found = from_numpy(array.dtype) if isinstance(array, np.ndarray) else array.dtype
    dtype, rank = found if found is not None else "f32", array.ndim
    return f"gc.Array[gc.{dtype}]" if rank < 2 else f"gc.Array[gc.{dtype}, {rank}]"
