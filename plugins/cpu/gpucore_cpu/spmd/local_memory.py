"""Local memory: a gang holds its lanes' side by side, element k of lane l at k * width + l."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gpucore import ir
from gpucore_cpu.spmd.analysis import Shape
from gpucore_cpu.spmd.elements import LOCAL, Elements
from gpucore_cpu.spmd.state import FunctionState
from gpucore_cpu.spmd.types import memory_type, scalar_type, splat_constant

__all__ = ["LocalMemory"]

_UNROLLED = 16
"""Elements that are zeroed one by one; more in a loop."""


@dataclass(frozen=True, slots=True)
class LocalMemory:
    """Writes accesses to memories that each thread has for itself."""

    state: FunctionState
    elements: Elements

    def reserve(self, memory: ir.Memory) -> str:
        """The address of a local memory: on the stack, or in the scratch memory of this CPU thread.

        Gangs use the latter one after the other, and no function calls itself.
        """
        offset = self.state.text.private.get((self.state.function.name, memory.name))
        if offset is not None:
            return self.state.writer.tmp(f"getelementptr i8, ptr %scratch, i64 {offset}")
        rows, vector = math.prod(memory.shape), self.state.types.vec(memory_type(memory.dtype))
        return self.state.writer.alloca(f"[{rows} x {vector}]", "local", 64)

    def load(self, memory: ir.Memory, index: ir.Value) -> str:
        """Load an element a lane."""
        kind = memory_type(memory.dtype)
        if self.state.values.shape(index) <= Shape.GANG:
            return self.state.writer.load(
                self.state.types.vec(kind), self._row(memory, index), self._extra(memory)
            )
        return self.elements.gather(kind, memory, self._each_lanes(index), index.dtype)

    def store(self, memory: ir.Memory, index: ir.Value, value: str) -> None:
        """Store a vector's elements; lanes that are not active keep theirs."""
        kind = memory_type(memory.dtype)
        if self.state.values.shape(index) > Shape.GANG:
            self.elements.scatter(kind, memory, self._each_lanes(index), index.dtype, value)
            return
        self._store_row(memory, self._row(memory, index), value)

    def emit_init(self, statement: ir.InitLocal) -> None:
        """Zero a local memory in the active lanes."""
        memory, writer = statement.memory, self.state.writer
        count = math.prod(memory.shape)
        vector = self.state.types.vec(memory_type(memory.dtype))
        base = self.state.memories[memory.name]
        if count <= _UNROLLED:
            for number in range(count):
                row = writer.tmp(f"getelementptr {vector}, ptr {base}, i64 {number}")
                self._store_row(memory, row, "zeroinitializer")
            return
        counter = writer.alloca("i64", "row")
        writer.store("i64", "0", counter)
        head, done = writer.label("init"), writer.label("init.done")
        writer.begin(head)
        number_now = writer.load("i64", counter)
        row = writer.tmp(f"getelementptr {vector}, ptr {base}, i64 {number_now}")
        self._store_row(memory, row, "zeroinitializer")
        following = writer.tmp(f"add i64 {number_now}, 1")
        writer.store("i64", following, counter)
        writer.branch_if(writer.tmp(f"icmp ult i64 {following}, {count}"), head, done)
        writer.begin(done)

    def _store_row(self, memory: ir.Memory, row: str, value: str) -> None:
        writer, masks = self.state.writer, self.state.masks
        vector, extra = self.state.types.vec(memory_type(memory.dtype)), self._extra(memory)
        if masks.current not in (None, masks.present):
            # memory of this gang alone: a read and a write keep it promotable to registers
            value = masks.where_active(vector, value, writer.load(vector, row, extra))
        writer.store(vector, value, row, extra)

    def _extra(self, memory: ir.Memory) -> str:
        return f", align {memory.dtype.itemsize}{LOCAL}"

    def _row(self, memory: ir.Memory, index: ir.Value) -> str:
        writer = self.state.writer
        wide = self.state.values.scalar(index)
        if index.dtype.bits < 64:
            wide = writer.tmp(f"sext {scalar_type(index.dtype)} {wide} to i64")
        vector = self.state.types.vec(memory_type(memory.dtype))
        return writer.tmp(f"getelementptr {vector}, ptr {self.state.memories[memory.name]}, i64 {wide}")

    def _each_lanes(self, index: ir.Value) -> str:
        """Where each lane's element lies."""
        scalar, types = scalar_type(index.dtype), self.state.types
        vector = types.vec(scalar)
        width = splat_constant(scalar, str(types.width))
        row = self.state.writer.tmp(f"mul {vector} {self.state.values.vector(index)}, {width}")
        return self.state.values.per_lane(scalar, row)
