"""Names and attributes: local names, what is captured, the shape of an array."""

from __future__ import annotations

import ast
import builtins
import dataclasses
import enum
import math
import types
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import numpy as np

from gpucore.errors import NotSupportedError
from gpucore.ir.dtypes import from_numpy
from gpucore.ir.records import RecordType
from gpucore.lang.arithmetic import Arithmetic
from gpucore.lang.captured_values import MISSING, holds_constants
from gpucore.lang.diagnostics import did_you_mean
from gpucore.lang.evaluator import Evaluator
from gpucore.lang.operands import (
    Array,
    Items,
    Literal,
    Method,
    Object,
    Operand,
    Place,
    Record,
    Records,
    Slot,
    Typed,
    describe,
    wrap_python,
)
from gpucore.lang.record_values import RecordValues
from gpucore.lang.slices import Slices
from gpucore.lang.state import FunctionState
from gpucore.lang.variables import Variables

__all__ = ["Lookups"]

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
        if node.id in scope.names.stored:
            self._unset(node, is_captured=captured is not MISSING and not hasattr(builtins, node.id))
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
