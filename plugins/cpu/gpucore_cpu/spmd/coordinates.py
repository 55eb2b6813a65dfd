"""Coordinates: how gangs lie in a block or a grid, and where the lanes of the gang under way are."""

from __future__ import annotations

from typing import Literal, TypeAlias

from gpucore import ir
from gpucore_cpu.spmd.state import FunctionState
from gpucore_cpu.spmd.types import scalar_type

__all__ = ["Coordinates", "Layout"]

Layout: TypeAlias = Literal["flat", "rows", "linear"]
"""How gangs lie: ``flat`` along the last axis of the whole grid, for kernels that know of global ids only;
``rows`` along the last axis of a block; ``linear`` over the linear thread id, as subgroups want it."""


class Coordinates:
    """Figures of the launch and the place of a gang in it, all i64.

    Attributes
    ----------
    grid, dims : list[str]
        Of the launch, in array order: blocks, and threads of a block.
    threads : str
        Threads of a block.
    block_ids : list[str]
        Of the block under way.
    rows : list[str]
        Thread (flat: global) coordinates on all axes but the last.
    x : str
        That of lane 0 on the last axis; linear: the linear id.
    """

    def __init__(self, state: FunctionState, layout: Layout, ndim: int) -> None:
        self._state = state
        self.layout = layout
        self.ndim = ndim
        self.grid: list[str] = []
        self.dims: list[str] = []
        self.threads = self.rows_of_block = self.gangs_of_row = ""
        self.block_ids: list[str] = []
        self.rows: list[str] = []
        self.x = ""

    def measure(self) -> None:
        """Work out the figures of the block that do not change within a launch."""
        tmp, dims = self._state.writer.tmp, self.dims
        self.threads = dims[0]
        for dim in dims[1:]:
            self.threads = tmp(f"mul i64 {self.threads}, {dim}")
        self.rows_of_block = "1"
        for dim in dims[:-1]:
            rows = self.rows_of_block
            self.rows_of_block = dim if rows == "1" else tmp(f"mul i64 {rows}, {dim}")
        along = self.threads if self.layout == "linear" else dims[-1]
        width = self._state.types.width
        padded = tmp(f"add i64 {along}, {width - 1}")
        self.gangs_of_row = tmp(f"udiv i64 {padded}, {width}")

    def emit_thread(self, statement: ir.ThreadIndex) -> str:
        """A coordinate: i64 inside, narrowed to the dtype asked for."""
        kind, axis = statement.kind, statement.axis
        to = scalar_type(statement.result.dtype)
        if kind == "grid_dim":
            return self._narrow(self.grid[axis], to)
        if kind == "block_dim":
            return self._narrow(self.dims[axis], to)
        if kind == "block_id":
            return self._narrow(self.block_ids[axis], to)
        if self.layout == "linear" and self.ndim > 1:
            return self._of_linear(kind, axis, to)
        coordinate = self.x if axis == self.ndim - 1 else self.rows[axis]
        if kind == "global_id" and self.layout != "flat":
            tmp = self._state.writer.tmp
            base = tmp(f"mul i64 {self.block_ids[axis]}, {self.dims[axis]}")
            coordinate = tmp(f"add i64 {base}, {coordinate}")
        return self._narrow(coordinate, to)

    def emit_extent(self, statement: ir.Extent) -> str:
        """An extent: i64 in the arguments."""
        extent = self._state.extents[statement.memory.name, statement.axis]
        return self._narrow(extent, scalar_type(statement.result.dtype))

    def _narrow(self, value: str, to: str) -> str:
        if to == "i64":
            return value
        narrow = self._state.writer.tmp(f"trunc i64 {value} to {to}")
        if to == "i32":  # core keeps coordinates and extents in 32 bits only where they fit
            self._state.values.narrowed(narrow, value)
        return narrow

    def _of_linear(self, kind: str, axis: int, to: str) -> str:
        """A thread coordinate of each lane from its linear id."""
        tmp, types, values = self._state.writer.tmp, self._state.types, self._state.values
        vector = types.vec("i32")
        linear = values.find("linear ids")
        if linear is None:
            linear = values.per_lane("i32", values.splat("i32", tmp(f"trunc i64 {self.x} to i32")))
            values.keep("linear ids", linear)
        inner = "1"
        for dim in self.dims[axis + 1 :]:
            inner = dim if inner == "1" else tmp(f"mul i64 {inner}, {dim}")
        quotient = linear if inner == "1" else self._quotient(linear, inner)
        if axis:
            over = self._quotient(quotient, self.dims[axis])
            size = values.splat("i32", tmp(f"trunc i64 {self.dims[axis]} to i32"))
            quotient = tmp(f"sub {vector} {quotient}, {tmp(f'mul {vector} {over}, {size}')}")
        if kind == "global_id":
            base = tmp(f"mul i64 {self.block_ids[axis]}, {self.dims[axis]}")
            wide = types.vec("i64")
            quotient = tmp(f"sext {vector} {quotient} to {wide}")
            quotient = tmp(f"add {wide} {quotient}, {values.splat('i64', base)}")
            return quotient if to == "i64" else tmp(f"trunc {wide} {quotient} to {types.vec(to)}")
        if to == "i32":
            return quotient
        return tmp(f"{'sext' if to == 'i64' else 'trunc'} {vector} {quotient} to {types.vec(to)}")

    def _quotient(self, vector: str, divisor: str) -> str:
        """Division of small non-negative integers, exact in f32's wider brother."""
        tmp, types = self._state.writer.tmp, self._state.types
        ints, doubles = types.vec("i32"), types.vec("double")
        a = tmp(f"sitofp {ints} {vector} to {doubles}")
        b = self._state.values.splat("double", tmp(f"sitofp i64 {divisor} to double"))
        return tmp(f"fptosi {doubles} {tmp(f'fdiv {doubles} {a}, {b}')} to {ints}")
