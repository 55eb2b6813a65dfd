"""Loads and stores by the shape of their index."""

from __future__ import annotations

from dataclasses import dataclass

from gpucore import ir
from gpucore_cpu.spmd.analysis import Shape
from gpucore_cpu.spmd.elements import Elements
from gpucore_cpu.spmd.local_memory import LocalMemory
from gpucore_cpu.spmd.state import FunctionState
from gpucore_cpu.spmd.types import memory_type, scalar_type

__all__ = ["Accesses"]

_CACHE_LINE = 64


@dataclass(frozen=True, slots=True)
class Accesses:
    """Writes loads and stores."""

    state: FunctionState
    elements: Elements
    local: LocalMemory

    def emit_load(self, statement: ir.Load) -> str:
        """Load one element a lane: a broadcast, a vector load, or a gather."""
        writer, types, values = self.state.writer, self.state.types, self.state.values
        memory, index = statement.memory, statement.indices[0]
        shape = values.shape(index)
        if memory.space == "local":
            loaded = self.local.load(memory, index)
        elif shape <= Shape.GANG:
            return self._load_one(statement)
        elif shape == Shape.AFFINE:
            loaded = self._load_row(memory, index)
        else:
            loaded = self.elements.gather(
                memory_type(memory.dtype), memory, values.vector(index), index.dtype
            )
        if memory.dtype.kind == "bool":
            return writer.tmp(f"icmp ne {types.vec('i8')} {loaded}, zeroinitializer")
        return loaded

    def _load_one(self, statement: ir.Load) -> str:
        """An element that all lanes load."""
        memory = statement.memory
        extra = self._extra(memory)
        if memory.space == "const" or (memory.space == "global" and self._is_unwritten(memory)):
            extra += ", !invariant.load !0"
        address = self.elements.address(memory, *self.elements.index(statement.indices[0]))
        loaded = self.state.writer.load(memory_type(memory.dtype), address, extra)
        if memory.dtype.kind == "bool":
            loaded = self.state.writer.tmp(f"icmp ne i8 {loaded}, 0")
        if self.state.values.shape(statement.result) == Shape.VARYING:
            return self.state.values.splat(scalar_type(memory.dtype), loaded)
        return loaded

    def _load_row(self, memory: ir.Memory, index: ir.Value) -> str:
        """Neighbouring elements."""
        types, masks = self.state.types, self.state.masks
        kind = memory_type(memory.dtype)
        vector = types.vec(kind)
        address = self.elements.address(memory, *self.elements.index(index))
        if masks.current is None:
            return self.state.writer.load(vector, address, self._extra(memory))
        return self.state.writer.intrinsic(
            f"llvm.masked.load.{types.suffix(kind, True)}.p0",
            vector,
            [
                ("ptr", address), ("i32", str(memory.dtype.itemsize)), (types.mask, masks.current),
                (vector, "zeroinitializer"),
            ],
            extra=self.state.text.apart,
        )  # fmt: skip

    def _extra(self, memory: ir.Memory) -> str:
        return f", align {memory.dtype.itemsize}{self.state.text.apart}"

    def _is_unwritten(self, memory: ir.Memory) -> bool:
        """Whether an array keeps its elements as long as the kernel runs."""
        return self.state.text.noalias and memory.name not in self.state.text.written

    def emit_store(self, statement: ir.Store) -> None:
        """Store one element a lane; lanes that are not active write nothing."""
        memory, index, value = statement.memory, statement.indices[0], statement.value
        shape = self.state.values.shape(index)
        if memory.space == "local":
            self.local.store(memory, index, self.elements.stored(value, True))
        elif shape <= Shape.GANG:
            self._store_one(memory, index, value)
        elif shape == Shape.AFFINE:
            self._store_row(memory, index, value)
        else:
            lanes = self.state.values.vector(index)
            stored = self.elements.stored(value, True)
            self.elements.scatter(memory_type(memory.dtype), memory, lanes, index.dtype, stored)

    def _store_one(self, memory: ir.Memory, index: ir.Value, value: ir.Value) -> None:
        """An element that all lanes store to."""
        kind = memory_type(memory.dtype)
        address = self.elements.address(memory, *self.elements.index(index))
        if self.state.values.shape(value) <= Shape.GANG:
            stored = self.elements.stored(value, False)
        else:
            stored = self._last_active(kind, self.elements.stored(value, True))
        self.state.writer.store(kind, stored, address, self._extra(memory))

    def _last_active(self, kind: str, vector: str) -> str:
        """The value of the last active lane: lanes that store to one element do so in lane order."""
        writer, types, masks = self.state.writer, self.state.types, self.state.masks
        if masks.current is None:
            return writer.tmp(f"extractelement {types.vec(kind)} {vector}, i64 {types.width - 1}")
        bits = masks.bits(masks.current)
        zeros = writer.intrinsic(f"llvm.ctlz.{types.bits}", types.bits, [(types.bits, bits), ("i1", "true")])
        lane = writer.tmp(f"sub {types.bits} {types.width - 1}, {zeros}")
        return writer.tmp(f"extractelement {types.vec(kind)} {vector}, {types.bits} {lane}")

    def _store_row(self, memory: ir.Memory, index: ir.Value, value: ir.Value) -> None:
        """Neighbouring elements."""
        writer, types, masks = self.state.writer, self.state.types, self.state.masks
        kind, size = memory_type(memory.dtype), memory.dtype.itemsize
        address = self.elements.address(memory, *self.elements.index(index))
        stored = self.elements.stored(value, True)
        if masks.current is None and memory.name in self.state.text.streamed:
            self._stream(kind, size, stored, address)
        elif masks.current is None:
            writer.store(types.vec(kind), stored, address, self._extra(memory))
        else:
            writer.intrinsic_void(
                f"llvm.masked.store.{types.suffix(kind, True)}.p0",
                [
                    (types.vec(kind), stored),
                    ("ptr", address),
                    ("i32", str(size)),
                    (types.mask, masks.current),
                ],
                self.state.text.apart,
            )

    def _stream(self, kind: str, size: int, value: str, address: str) -> None:
        """Store a vector, in launches too large for the caches without reading its cache lines first."""
        writer, vector = self.state.writer, self.state.types.vec(kind)
        align = min(_CACHE_LINE, size * self.state.types.width)
        number = writer.tmp(f"ptrtoint ptr {address} to i64")
        misplaced = writer.tmp(f"and i64 {number}, {align - 1}")
        direct = writer.tmp(f"icmp eq i64 {writer.tmp(f'or i64 {misplaced}, %cached')}, 0")
        past, plain, done = writer.label("past"), writer.label("plain"), writer.label("stored")
        writer.branch_if(direct, past, plain)
        writer.begin(past)
        writer.store(vector, value, address, f", align {align}, !nontemporal !3")
        writer.branch(done)
        writer.begin(plain)
        writer.store(vector, value, address, f", align {size}")
        writer.begin(done)
