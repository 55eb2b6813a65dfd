"""Subscripts: elements of arrays, items of tuples, tables of constants."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn, TypeAlias, TypeGuard

import numpy as np

from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import DType, bool_, f32, from_numpy, i32, i64, index, integer_range, u32, u64
from gpucore.ir.records import RecordType, VectorFamily, array_name
from gpucore.ir.rounding import round_to
from gpucore.lang.conversions import Conversions
from gpucore.lang.diagnostics import plural
from gpucore.lang.expressions import Evaluator
from gpucore.lang.lookups import Slices, Window, refuse_launch
from gpucore.lang.operands import (
    Along,
    Array,
    Items,
    Literal,
    Object,
    Operand,
    Place,
    Record,
    Records,
    Slice,
    Typed,
    as_constant,
    as_python,
    describe,
)
from gpucore.lang.record_values import RecordValues
from gpucore.lang.state import FunctionState
from gpucore.lang.types import Type, join
from gpucore.lang.variables import Memories

__all__ = ["Subscripts"]


Part: TypeAlias = "tuple[Operand | Window | None, ast.AST]"


def is_index(part: Operand | Window | None) -> TypeGuard[Operand]:
    """Whether what stands between brackets names one index of its axis."""
    return part is not None and not isinstance(part, Window)


@dataclass(frozen=True, slots=True)
class Table:
    """A tuple of numbers, or of such tuples, and the run-time indices met so far."""

    values: tuple[Any, ...]
    shape: tuple[int, ...]
    hint: str
    indices: tuple[tuple[Operand, ast.expr], ...] = ()


def _table(value: Any) -> tuple[tuple[Any, ...], tuple[int, ...]] | None:
    """The numbers of nested tuples in C order and their shape; None where they are no table."""
    if not isinstance(value, tuple) or not value:
        return None
    if all(isinstance(v, (bool, int, float, np.generic)) for v in value):
        return value, (len(value),)
    rows = [_table(v) for v in value]
    shapes = {row[1] for row in rows if row is not None}
    if None in rows or len(shapes) != 1:
        return None
    shape = shapes.pop()
    if len(shape) == ir.MOST_AXES:
        return None
    return tuple(v for row in rows if row is not None for v in row[0]), (len(value), *shape)


@dataclass(frozen=True, slots=True)
class Subscripts:
    """Lowers subscripts."""

    state: FunctionState
    evaluator: Evaluator
    conversions: Conversions
    memories: Memories
    records: RecordValues
    slices: Slices
    _wanted: list[DType | None] = field(default_factory=lambda: [None])

    @contextmanager
    def inside_cast(self, dtype: DType) -> Iterator[None]:
        """Within a cast to a dtype, which tables of literals take."""
        self._wanted.append(dtype)
        try:
            yield
        finally:
            self._wanted.pop()

    def subscript(self, node: ast.Subscript) -> Operand:
        base = self.evaluator.reference(node.value)
        if isinstance(base, Items):
            return self._item(base, node)
        if isinstance(base, (Record, Place)):
            return self.records.item(base, self._index_part(node.slice), node)
        if isinstance(base, Object) and isinstance(base.value, VectorFamily):
            return self._vector(base.value, node)
        if isinstance(base, Object) and isinstance(base.value, Table):
            return self._table(base.value, self.evaluator.expression(node.slice), node)
        refuse_launch(base, self.state, node)
        if not isinstance(base, (Array, Records)):
            self.state.source.type_error(
                node, f"{describe(base)} cannot be indexed", "Arrays and tuples can."
            )
        parts = self._parts(node)
        if any(not is_index(operand) for operand, _ in parts) or len(parts) < base.rank:
            return self._part(base, parts, node)
        values = self._values(base, parts, node)
        if isinstance(base, Records):
            return Place(base, values, base.type)
        return Typed(self.state.writer.load(base.memory, values))

    def _part(self, base: Array | Records, parts: list[Part], node: ast.Subscript) -> Array | Records:
        """``x[i]``, ``x[i, :]``, ``x[:, a:b]``: some of the array's axes with an index, the others left or sliced."""
        if len(parts) > base.rank:
            self._wrong_count(base, len(parts), node)
        axes: list[Along] = list(base.along)
        left = 0
        for number, axis in enumerate(base.kept):
            operand, at = parts[number] if number < len(parts) else (None, node)
            along = axes[axis]
            if is_index(operand):
                axes[axis] = self._index_along(base.memory, axis, along, operand, at)
                continue
            if isinstance(operand, Window):
                along = self.slices.sliced(base.memory, axis, along, operand, at)
            axes[axis] = replace(along, number=left) if isinstance(along, Slice) else left
            left += 1
        return replace(base, axes=tuple(axes))

    def _wrong_count(self, array: Array | Records, count: int, node: ast.Subscript) -> NoReturn:
        text = ast.unparse(node.value)
        self.state.source.type_error(
            node, f"{text} has {plural(array.rank, 'axis')} and is indexed by {count}",
            f"Give one index an axis: {text}[{', '.join('ijklmnop'[: array.rank])}].",
        )  # fmt: skip

    def _values(self, array: Array | Records, parts: list[Part], node: ast.Subscript) -> tuple[ir.Value, ...]:
        """The index of an element along each axis of the memory."""
        if len(parts) != array.rank:
            self._wrong_count(array, len(parts), node)
        if not all(is_index(operand) for operand, _ in parts):
            what = "a slice" if any(isinstance(operand, Window) for operand, _ in parts) else "a whole row"
            self.state.source.syntax_error(
                node, f"{what} is not assigned at once", "Write a loop over its elements."
            )
        return self._along_each(array, parts)

    def _along_each(self, array: Array | Records, parts: list[Part]) -> tuple[ir.Value, ...]:
        found: list[ir.Value] = []
        for axis, along in enumerate(array.along):
            if isinstance(along, ir.Value):
                found.append(along)
                continue
            operand, at = parts[along.number if isinstance(along, Slice) else along]
            assert is_index(operand)
            found.append(self._index_along(array.memory, axis, along, operand, at))
        return tuple(found)

    def _index_along(
        self, memory: ir.Memory, axis: int, along: Along, operand: Operand, at: ast.AST
    ) -> ir.Value:
        """The index along an axis of the memory of an element of a part."""
        if isinstance(along, Slice):
            return self.slices.index(array_name(memory.name), along, operand, at)
        self._check_known(memory, axis, operand, at)
        return self.conversions.as_index(operand, at, "an index")

    def element(
        self, array: Array, parts: list[tuple[Operand, ast.expr]], node: ast.AST
    ) -> tuple[ir.Value, ...]:
        """The indices of an element that an atomic names."""
        if not array.axes:
            return self.index_values(array.memory, parts, node)
        if len(parts) != array.rank:
            self.state.source.type_error(
                node, f"this part has {plural(array.rank, 'axis')} and is indexed by {len(parts)}",
                "Give one index an axis.",
            )  # fmt: skip
        return self._along_each(array, list(parts))

    def _vector(self, family: VectorFamily, node: ast.Subscript) -> Operand:
        """``gc.vec3[gc.f32]``."""
        dtype = self.conversions.dtype_of(self.evaluator.expression(node.slice), node.slice)
        if isinstance(dtype, RecordType) or dtype in (bool_, index):
            self.state.source.type_error(
                node, f"a vector has numbers as elements, not {dtype}", "Write gc.vec3[gc.f32]."
            )
        return Object(family[dtype])

    def _item(self, base: Items, node: ast.Subscript) -> Operand:
        if isinstance(node.slice, ast.Slice):
            return self._items(base, node.slice)
        position = self.evaluator.expression(node.slice)
        number = position.number if isinstance(position, Typed) else as_constant(position)
        if isinstance(number, int):
            if not -len(base.items) <= number < len(base.items):
                self.state.source.type_error(
                    node,
                    f"the tuple has {plural(len(base.items), 'item')}, not an item {number}",
                    f"Indices go from 0 to {len(base.items) - 1}.",
                )
            return base.items[number]
        values = as_python(base)
        rows = _table(values) if values is not NotImplemented else None
        if rows is None:
            self.state.source.type_error(node, "only a tuple of constants can be indexed by a run-time value",
                             "Use gc.local(shape, dtype), or a constant index.")  # fmt: skip
        return self._table(Table(*rows, ast.unparse(node.value)), position, node)

    def _items(self, base: Items, node: ast.Slice) -> Items:
        """A slice of a tuple, whose bounds are constants; they count as Python's do."""
        bounds: list[int | None] = []
        for part in (node.lower, node.upper, node.step):
            if part is None:
                bounds.append(None)
                continue
            number = as_constant(self.evaluator.expression(part))
            if not isinstance(number, int) or isinstance(number, bool):
                self.state.source.type_error(
                    part, "a slice of a tuple has constant bounds", "Use gc.local(shape, dtype) for an array."
                )
            bounds.append(number)
        if bounds[2] == 0:
            self.state.source.type_error(node, "the step of a slice is not 0", "Leave it out, or write 1.")
        return Items(base.items[slice(*bounds)])

    def _table(self, table: Table, position: Operand, node: ast.Subscript) -> Operand:
        """A tuple of numbers indexed at run time becomes a memory of constants."""
        self.conversions.as_index(position, node.slice, "an index")
        table = replace(table, indices=(*table.indices, (position, node.slice)))
        if len(table.indices) < len(table.shape):
            return Object(table)
        dtype, values = self._table_values(table.values, node)
        memory = self.memories.table(dtype, values, table.hint, table.shape)
        value = self.state.writer.load(memory, self.index_values(memory, list(table.indices), node))
        if dtype is not f32:
            return Typed(value)
        rounded = (self.conversions.rounded((Literal(v),)) for v in table.values if isinstance(v, float))
        return Typed(value, rounded=next((text for text in rounded if text is not None), None))

    def _table_values(self, values: tuple[Any, ...], node: ast.AST) -> tuple[DType, tuple[Any, ...]]:
        """The dtype of a table and its values in it: that of its typed items, or one that holds its literals."""
        typed = {from_numpy(v.dtype) for v in values if isinstance(v, np.generic)}
        plain = [v.item() if isinstance(v, np.generic) else v for v in values]
        if typed:
            kind: Type | None = None
            for dtype in sorted((d for d in typed if d is not None), key=str):
                kind = dtype if kind is None else join(kind, dtype)
            if not isinstance(kind, DType) or None in typed:
                self.state.source.type_error(
                    node, "no dtype holds all items of this tuple", "Give them one dtype."
                )
            for value in plain:
                self.conversions.fits(value, kind, node)
            return kind, tuple(round_to(v, kind) if kind.is_float else v for v in plain)
        if any(isinstance(v, float) for v in plain):
            # the table's items are weak floats: of the default dtype, unless a cast around the subscript names another dtype
            wanted = self._wanted[-1]
            dtype = wanted if wanted is not None and wanted.is_float else self.state.library.floats.default
            return dtype, tuple(round_to(v, dtype) for v in plain)
        if all(isinstance(v, bool) for v in plain):
            return bool_, tuple(plain)
        exact = tuple(int(v) for v in plain)
        low, high = min(exact), max(exact)
        for dtype in (i32, u32, i64, u64):
            if integer_range(dtype)[0] <= low and high <= integer_range(dtype)[1]:
                return dtype, exact
        self.state.source.type_error(
            node, "no integer dtype holds all items of this tuple", "Give them as floats."
        )

    def indices(self, array: Array | Records, node: ast.Subscript) -> tuple[ir.Value, ...]:
        """One index value an axis."""
        return self._values(array, self._parts(node), node)

    def index_values(
        self, memory: ir.Memory, parts: list[tuple[Operand, ast.expr]], node: ast.AST
    ) -> tuple[ir.Value, ...]:
        """The indices of an element."""
        rank, name = memory.rank, array_name(memory.name)
        if len(parts) != rank:
            self.state.source.type_error(
                node, f"{name} has {plural(rank, 'axis')} and is indexed by {len(parts)}",
                f"Give one index an axis: {name}[{', '.join('ijklmnop'[:rank])}].",
            )  # fmt: skip
        result = []
        for axis, (operand, at) in enumerate(parts):
            self._check_known(memory, axis, operand, at)
            result.append(self.conversions.as_index(operand, at, "an index"))
        return tuple(result)

    def _check_known(self, memory: ir.Memory, axis: int, operand: Operand, at: ast.AST) -> None:
        """Refuse an index that is known and outside."""
        known, name = as_python(operand), array_name(memory.name)
        if not isinstance(known, int):
            return
        if known < 0:
            extent = f"{name}.shape[{axis}]"
            self.state.source.type_error(at, f"the index {known} is negative; indices do not count from the end",
                             f"Write {extent} - {-known}.")  # fmt: skip
        if memory.shape and known >= memory.shape[axis]:
            self.state.source.type_error(
                at,
                f"the index {known} is past the end of {name}, whose axis {axis} has {memory.shape[axis]}",
                f"Indices go from 0 to {memory.shape[axis] - 1}.",
            )

    def _parts(self, node: ast.Subscript) -> list[Part]:
        """What stands between the brackets, axis by axis; None for ``:``."""
        nodes = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if any(isinstance(n, ast.Slice) for n in nodes) or len(nodes) > 1:
            return [(self._window(n) if isinstance(n, ast.Slice) else self._index_part(n), n) for n in nodes]
        whole = self._index_part(node.slice)
        items = whole.items if isinstance(whole, Items) else (whole,)
        return [(item, node.slice) for item in items]

    def _window(self, node: ast.Slice) -> Window | None:
        if node.lower is node.upper is node.step is None:
            return None
        lower, upper, step = (
            None if n is None else self.evaluator.expression(n) for n in (node.lower, node.upper, node.step)
        )
        number = 1 if step is None else as_constant(step)
        if not isinstance(number, int) or isinstance(number, bool) or number == 0:
            assert node.step is not None
            self.state.source.type_error(
                node.step,
                "the step of a slice is a constant other than 0",
                "Write the loop over the indices.",
            )
        return Window(lower, upper, number)

    def _index_part(self, node: ast.expr) -> Operand:
        if isinstance(node, ast.Slice):
            self.state.source.syntax_error(
                node, "only arrays and tuples have slices", "Index its elements one by one."
            )
        return self.evaluator.expression(node)
