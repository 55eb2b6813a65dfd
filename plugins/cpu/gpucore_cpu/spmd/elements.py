"""Elements of memories: their addresses, and gathers and scatters of them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Final

from gpucore import ir
from gpucore.ir import DType, i32, i64
from gpucore_cpu.spmd.state import FunctionState
from gpucore_cpu.spmd.types import ALL_ONES, memory_type, scalar_type

__all__ = ["LOCAL", "Elements"]

LOCAL: Final = ", !alias.scope !6"
"""Metadata of accesses to local memory."""

_LANES: Final = 4
"""Lanes that are taken apart together."""

_X86: Final = {("float", 16): "dps", ("i32", 16): "dpi", ("double", 8): "dpd", ("i64", 8): "dpq"}
"""AVX-512's gathers of a whole register with indices of 32 bits, by element and lanes."""


@dataclass(frozen=True, slots=True)
class Elements:
    """Finds elements by scalar and by vector indices."""

    state: FunctionState

    def index(self, index: ir.Value) -> tuple[str, DType]:
        """A scalar index and its dtype, in 64 bits where it is an i32."""
        values = self.state.values
        return (values.wide(index), i64) if index.dtype is i32 else (values.scalar(index), index.dtype)

    def address(self, memory: ir.Memory, index: str, dtype: DType) -> str:
        """The address of an element."""
        base = self.state.memories[memory.name]
        kind = memory_type(memory.dtype)
        return self.state.writer.tmp(f"getelementptr {kind}, ptr {base}, {scalar_type(dtype)} {index}")

    def stored(self, value: ir.Value, vector: bool) -> str:
        """A value as memory holds it: a bool in a byte."""
        operand = self.state.values.operand(value, vector)
        if value.dtype.kind != "bool":
            return operand
        types = self.state.types
        new = types.vec("i8") if vector else "i8"
        return self.state.writer.tmp(f"zext {types.boolean(vector)} {operand} to {new}")

    def scope(self, memory: ir.Memory) -> str:
        """Metadata of an access: those to local memory, and all others, do not touch each other's."""
        return LOCAL if memory.space == "local" else self.state.text.apart

    def gather(self, kind: str, memory: ir.Memory, index: str, dtype: DType) -> str:
        """Load an element a lane; zeros in the lanes that are not active."""
        writer, types = self.state.writer, self.state.types
        vector, mask, size = types.vec(kind), self.state.masks.operand(), memory.dtype.itemsize
        base = self.state.memories[memory.name]
        if (name := self._x86(kind, dtype)) is not None:
            return writer.intrinsic(
                f"llvm.x86.avx512.mask.gather.{name}.512",
                vector,
                [
                    (vector, "zeroinitializer"), ("ptr", base), (types.vec("i32"), index), (types.mask, mask),
                    ("i32", str(size)),
                ],
                extra=self.scope(memory),
            )  # fmt: skip
        is_idle = self.state.masks.current is not None and not self._is_native(size)
        if is_idle and dtype is i32 and types.width % _LANES == 0:
            first = self._first_element(memory)
            if first is not None:
                return self._gather_each(kind, memory, first, index)
        addresses = writer.tmp(f"getelementptr {kind}, ptr {base}, {types.vec(scalar_type(dtype))} {index}")
        if is_idle:
            # LLVM would test lane by lane; an idle lane reads a spare element of the stack instead
            addresses = self._spare(addresses)
            mask = ALL_ONES
        return writer.intrinsic(
            f"llvm.masked.gather.{types.suffix(kind, True)}.v{types.width}p0",
            vector,
            [
                (types.vec("ptr"), addresses),
                ("i32", str(size)),
                (types.mask, mask),
                (vector, "zeroinitializer"),
            ],
            extra=self.scope(memory),
        )

    def _first_element(self, memory: ir.Memory) -> str | None:
        """The address of an array that each lane may read the first element of: a spare element's where it is empty; None
        where its extents are not at hand.
        """
        if memory.space != "global" or memory.layout != "contiguous":
            return None  # views have strides among their extents
        writer, values, extents = self.state.writer, self.state.values, self.state.extents
        base = self.state.memories[memory.name]
        known = [extents.get((memory.name, axis)) for axis in range(memory.rank)]
        if None in known:
            return None
        key = f"first element {memory.name}"
        first = values.find(key)
        if first is None:
            first = base
            spare = writer.alloca("i64", "spare")
            for extent in known:
                some = writer.tmp(f"icmp sgt i64 {extent}, 0")
                first = writer.tmp(f"select i1 {some}, ptr {first}, ptr {spare}")
            values.keep(key, first)
        return first

    def _gather_each(self, kind: str, memory: ir.Memory, base: str, index: str) -> str:
        """Load lane by lane, in idle lanes the first element: numbers of 32 bits become addresses in the loads themselves, where
        vectors of addresses are made, chosen from and taken apart.
        """
        writer, types = self.state.writer, self.state.types
        index = self.state.masks.where_active(types.vec("i32"), index, "zeroinitializer")
        extra = f", align {memory.dtype.itemsize}{self.scope(memory)}"
        parts = []
        for first in range(0, types.width, _LANES):
            # LLVM takes four lanes apart in two moves
            lanes = ", ".join(f"i32 {first + lane}" for lane in range(_LANES))
            four = writer.tmp(
                f"shufflevector {types.vec('i32')} {index}, {types.vec('i32')} poison, <{_LANES} x i32> <{lanes}>"
            )
            part = "poison"
            for lane in range(_LANES):
                number = writer.tmp(f"extractelement <{_LANES} x i32> {four}, i64 {lane}")
                wide = writer.tmp(f"sext i32 {number} to i64")
                address = writer.tmp(f"getelementptr {kind}, ptr {base}, i64 {wide}")
                loaded = writer.load(kind, address, extra)
                part = writer.tmp(f"insertelement <{_LANES} x {kind}> {part}, {kind} {loaded}, i64 {lane}")
            parts.append(part)
        return self._joined(kind, parts)

    def _joined(self, kind: str, parts: list[str]) -> str:
        """Vectors of as many elements, one behind the other."""
        size = _LANES
        while len(parts) > 1:
            vector, numbers = f"<{size} x {kind}>", ", ".join(f"i32 {n}" for n in range(2 * size))
            parts = [
                self.state.writer.tmp(
                    f"shufflevector {vector} {a}, {vector} {b}, <{2 * size} x i32> <{numbers}>"
                )
                for a, b in itertools.pairwise(parts)
            ][::2]
            size *= 2
        return parts[0]

    def scatter(self, kind: str, memory: ir.Memory, index: str, dtype: DType, value: str) -> None:
        """Store an element for each active lane."""
        writer, types = self.state.writer, self.state.types
        mask, size = self.state.masks.operand(), memory.dtype.itemsize
        base = self.state.memories[memory.name]
        if (name := self._x86(kind, dtype)) is not None:
            writer.intrinsic_void(
                f"llvm.x86.avx512.mask.scatter.{name}.512",
                [
                    ("ptr", base), (types.mask, mask), (types.vec("i32"), index), (types.vec(kind), value),
                    ("i32", str(size)),
                ],
                self.scope(memory),
            )  # fmt: skip
            return
        addresses = writer.tmp(f"getelementptr {kind}, ptr {base}, {types.vec(scalar_type(dtype))} {index}")
        if self.state.masks.current is not None and not self._is_native(size):
            addresses = self._spare(addresses)
            mask = ALL_ONES
        writer.intrinsic_void(
            f"llvm.masked.scatter.{types.suffix(kind, True)}.v{types.width}p0",
            [(types.vec(kind), value), (types.vec("ptr"), addresses), ("i32", str(size)), (types.mask, mask)],
            self.scope(memory),
        )

    def _x86(self, kind: str, index: DType) -> str | None:
        # LLVM finds these only where it made the addresses in the same block, and else widens the indices
        if "avx512f" not in self.state.text.features or index is not i32:
            return None
        return _X86.get((kind, self.state.types.width))

    def _is_native(self, size: int) -> bool:
        return "avx512f" in self.state.text.features and size >= 4

    def _spare(self, addresses: str) -> str:
        values = self.state.values
        spare = values.find("spare element")
        if spare is None:
            spare = values.splat("ptr", self.state.writer.alloca("i64", "spare"))
            values.keep("spare element", spare)
        return self.state.masks.where_active(self.state.types.vec("ptr"), addresses, spare)
