"""Subscripts: elements of arrays, items of tuples, tables of constants."""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import DType, bool_, f32, from_numpy, i32, i64, u32, u64
from gpucore.lang.conditions import Conditions
from gpucore.lang.diagnostics import plural
from gpucore.lang.emitter import as_constant, as_python, describe, limits, round_to
from gpucore.lang.operands import Array, Items, Object, Operand, Typed
from gpucore.lang.types import Type, join

__all__ = ["Subscripts"]


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
    if len(shape) == 4:
        return None
    return tuple(v for row in rows if row is not None for v in row[0]), (len(value), *shape)


class Subscripts(Conditions):
    """Lowers subscripts."""

    def lower_Subscript(self, node: ast.Subscript) -> Operand:
        base = self.expression(node.value)
        if isinstance(base, Items):
            return self.item(base, node)
        if isinstance(base, Object) and isinstance(base.value, Table):
            return self.table(base.value, self.expression(node.slice), node)
        if not isinstance(base, Array):
            self.source.type_error(node, f"{describe(base)} cannot be indexed", "Arrays and tuples can.")
        indices = self.indices(base, node)
        result = self.value(base.memory.dtype)
        self.emit(ir.Load(result, base.memory, indices, self.location))
        return Typed(result)

    def item(self, base: Items, node: ast.Subscript) -> Operand:
        if isinstance(node.slice, ast.Slice):
            self.source.syntax_error(node, "slices are not part of the kernel language", "Name the items.")
        position = self.expression(node.slice)
        place = position.number if isinstance(position, Typed) else as_constant(position)
        if isinstance(place, int):
            if not -len(base.items) <= place < len(base.items):
                self.source.type_error(
                    node,
                    f"the tuple has {plural(len(base.items), 'item')}, not an item {place}",
                    f"Indices go from 0 to {len(base.items) - 1}.",
                )
            return base.items[place]
        values = as_python(base)
        rows = _table(values) if values is not NotImplemented else None
        if rows is None:
            self.source.type_error(node, "only a tuple of constants can be indexed by a run-time value",
                             "Use gc.local(shape, dtype), or a constant index.")  # fmt: skip
        return self.table(Table(*rows, ast.unparse(node.value)), position, node)

    def table(self, table: Table, position: Operand, node: ast.Subscript) -> Operand:
        """A tuple of numbers indexed at run time becomes a memory of constants."""
        self.as_index(position, node.slice, "an index")
        table = replace(table, indices=(*table.indices, (position, node.slice)))
        if len(table.indices) < len(table.shape):
            return Object(table)
        dtype, values = self.table_values(table.values, node)
        memory = self.constant_memory(dtype, values, table.hint, table.shape)
        places = self.index_values(memory, list(table.indices), node)
        result = self.value(dtype)
        self.emit(ir.Load(result, memory, places, self.location))
        return Typed(result)

    def table_values(self, values: tuple[Any, ...], node: ast.AST) -> tuple[DType, tuple[Any, ...]]:
        """The dtype of a table and its values in it: that of its typed items, or one that holds its literals."""
        typed = {from_numpy(v.dtype) for v in values if isinstance(v, np.generic)}
        plain = [v.item() if isinstance(v, np.generic) else v for v in values]
        if typed:
            kind: Type | None = None
            for dtype in sorted((d for d in typed if d is not None), key=str):
                kind = dtype if kind is None else join(kind, dtype)
            if not isinstance(kind, DType) or None in typed:
                self.source.type_error(node, "no dtype holds all items of this tuple", "Give them one dtype.")
            for value in plain:
                self.fits(value, kind, node)
            return kind, tuple(round_to(float(v), kind) if kind.is_float else v for v in plain)
        if any(isinstance(v, float) for v in plain):
            # the table's items are weak floats: f32, unless a cast around the subscript names another dtype
            dtype = self.wanted if self.wanted is not None and self.wanted.is_float else f32
            return dtype, tuple(round_to(float(v), dtype) for v in plain)
        if all(isinstance(v, bool) for v in plain):
            return bool_, tuple(plain)
        exact = tuple(int(v) for v in plain)
        low, high = min(exact), max(exact)
        for dtype in (i32, u32, i64, u64):
            if limits(dtype)[0] <= low and high <= limits(dtype)[1]:
                return dtype, exact
        self.source.type_error(node, "no integer dtype holds all items of this tuple", "Give them as floats.")

    def constant_memory(
        self, dtype: DType, values: tuple[Any, ...], hint: str, shape: tuple[int, ...]
    ) -> ir.Memory:
        raise NotImplementedError

    def indices(self, array: Array, node: ast.Subscript) -> tuple[ir.Value, ...]:
        """One index value an axis."""
        memory = array.memory
        parts: list[tuple[Operand, ast.expr]]
        if isinstance(node.slice, ast.Tuple):
            parts = [(self.index_part(n), n) for n in node.slice.elts]
        else:
            whole = self.index_part(node.slice)
            items = whole.items if isinstance(whole, Items) else (whole,)
            parts = [(item, node.slice) for item in items]
        return self.index_values(memory, parts, node)

    def index_values(
        self, memory: ir.Memory, parts: list[tuple[Operand, ast.expr]], node: ast.AST
    ) -> tuple[ir.Value, ...]:
        if len(parts) != memory.rank:
            self.source.type_error(
                node, f"{memory.name} has {plural(memory.rank, 'axis')} and is indexed by {len(parts)}",
                f"Give one index an axis: {memory.name}[{', '.join('ijkl'[: memory.rank])}].",
            )  # fmt: skip
        result = []
        for axis, (operand, at) in enumerate(parts):
            known = as_python(operand)
            if isinstance(known, int):
                if known < 0:
                    extent = f"{memory.name}.shape[{axis}]"
                    self.source.type_error(at, f"the index {known} is negative; indices do not count from the end",
                                     f"Write {extent} - {-known}.")  # fmt: skip
                if memory.space != "global" and known >= memory.shape[axis]:
                    self.source.type_error(
                        at,
                        f"the index {known} is past the end of {memory.name}, whose axis {axis} has {memory.shape[axis]}",
                        f"Indices go from 0 to {memory.shape[axis] - 1}.",
                    )
            result.append(self.as_index(operand, at, "an index"))
        return tuple(result)

    def index_part(self, node: ast.expr) -> Operand:
        if isinstance(node, ast.Slice):
            self.source.syntax_error(
                node, "slices are not part of the kernel language", "Loop over the indices."
            )
        return self.expression(node)
