"""Atomics, lane by lane."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from gpucore import ir
from gpucore.ir import DType
from gpucore_cpu.spmd.analysis import Shape
from gpucore_cpu.spmd.elements import Elements
from gpucore_cpu.spmd.operations import Operations
from gpucore_cpu.spmd.state import FunctionState
from gpucore_cpu.spmd.types import literal, scalar_type

__all__ = ["Atomics"]

_REDUCE = {"add": "add", "sub": "add", "min": "min", "max": "max", "and": "and", "or": "or", "xor": "xor"}
_RMW = {"add": "add", "sub": "sub", "and": "and", "or": "or", "xor": "xor", "exchange": "xchg"}


def _rmw_name(op: str, dtype: DType) -> str:
    if op in ("min", "max"):
        return op if dtype.is_signed else "u" + op
    name = _RMW[op]
    return "f" + name if dtype.is_float and op in ("add", "sub") else name


@dataclass(frozen=True, slots=True)
class Atomics:
    """Writes atomic operations."""

    state: FunctionState
    elements: Elements
    operations: Operations

    def emit(self, statement: ir.Atomic) -> str:
        """One read-modify-write a lane, in lane order; lanes that hit one element and drop the result are
        combined."""
        memory, index, value, op = statement.memory, statement.indices[0], statement.value, statement.op
        writer, values = self.state.writer, self.state.values
        dtype, used = value.dtype, statement.result.name in self.state.used
        if not used and dtype.is_integer and op in _REDUCE and values.shape(index) <= Shape.GANG:
            combined = self._reduce(op, dtype, values.vector(value))
            address = self.elements.address(memory, *self.elements.index(index))
            self._one(memory, op, dtype, address, combined)
            return "poison"
        index_of, value_of = self._per_lane(index), self._per_lane(value)
        if values.shape(index) == Shape.AFFINE:
            index_of = self._per_lane(index)
        kind = scalar_type(dtype)
        vector = self.state.types.vec(kind)
        results = writer.alloca(vector, "old") if used else ""
        with self._each_lane() as lane:
            address = self.elements.address(memory, index_of(lane), index.dtype)
            old = self._one(memory, op, dtype, address, value_of(lane))
            if used:
                writer.store(kind, old, writer.tmp(f"getelementptr {kind}, ptr {results}, i64 {lane}"))
        return writer.load(vector, results) if used else "poison"

    def emit_cas(self, statement: ir.AtomicCas) -> str:
        """Compare and swap on the element's bits, lane by lane."""
        memory, index = statement.memory, statement.indices[0]
        writer, types = self.state.writer, self.state.types
        dtype, used = statement.expected.dtype, statement.result.name in self.state.used
        kind, bits = scalar_type(dtype), f"i{dtype.bits}"
        index_of = self._per_lane(index)
        if statement.only_loads:
            return self._load(memory, dtype, index_of, index.dtype) if used else "poison"
        expected_of, desired_of = self._per_lane(statement.expected), self._per_lane(statement.desired)
        results = writer.alloca(types.vec(kind), "old") if used else ""
        with self._each_lane() as lane:
            address = self.elements.address(memory, index_of(lane), index.dtype)
            expected, desired = expected_of(lane), desired_of(lane)
            if kind != bits:
                expected = writer.tmp(f"bitcast {kind} {expected} to {bits}")
                desired = writer.tmp(f"bitcast {kind} {desired} to {bits}")
            old = self._one_cas(memory, dtype, address, expected, desired)
            if used:
                writer.store(bits, old, writer.tmp(f"getelementptr {kind}, ptr {results}, i64 {lane}"))
        return writer.load(types.vec(kind), results) if used else "poison"

    def _load(
        self, memory: ir.Memory, dtype: DType, index_of: Callable[[str], str], index_dtype: DType
    ) -> str:
        """A relaxed load a lane."""
        writer, vector = self.state.writer, self.state.types.vec(scalar_type(dtype))
        bits, results = f"i{dtype.bits}", writer.alloca(vector, "old")
        with self._each_lane() as lane:
            address = self.elements.address(memory, index_of(lane), index_dtype)
            # a block runs on one thread
            atomic, order = ("", "") if memory.space == "shared" else ("atomic ", " monotonic")
            old = writer.tmp(f"load {atomic}{bits}, ptr {address}{order}, align {dtype.itemsize}")
            writer.store(bits, old, writer.tmp(f"getelementptr {bits}, ptr {results}, i64 {lane}"))
        return writer.load(vector, results)

    # -- one lane
    @contextmanager
    def _each_lane(self) -> Iterator[str]:
        """Code emitted inside runs once for each active lane, in lane order, with the lane's number (i64)."""
        writer, types, masks = self.state.writer, self.state.types, self.state.masks
        bits = writer.alloca("i64", "lanes")
        mask = masks.bits(masks.operand()) if masks.current is not None else "-1"
        writer.store(
            "i64", mask if types.width == 64 else writer.tmp(f"zext {types.bits} {mask} to i64"), bits
        )
        head, done = writer.label("lane"), writer.label("lanes.done")
        writer.begin(head)
        left = writer.load("i64", bits)
        lane = writer.intrinsic("llvm.cttz.i64", "i64", [("i64", left), ("i1", "true")])
        with self.state.values.scope():
            yield lane
        less = writer.tmp(f"sub i64 {left}, 1")
        following = writer.tmp(f"and i64 {left}, {less}")
        writer.store("i64", following, bits)
        writer.branch_if(writer.tmp(f"icmp ne i64 {following}, 0"), head, done)
        writer.begin(done)

    def _per_lane(self, value: ir.Value) -> Callable[[str], str]:
        """A value lane by lane: through the stack where it varies."""
        writer, values = self.state.writer, self.state.values
        kind = scalar_type(value.dtype)
        if values.shape(value) <= Shape.GANG:
            scalar = values.scalar(value)
            return lambda lane: scalar
        vector = self.state.types.vec(kind)
        copy = writer.alloca(vector, "spread")
        writer.store(vector, values.vector(value), copy)

        def pick(lane: str) -> str:
            return writer.load(kind, writer.tmp(f"getelementptr {kind}, ptr {copy}, i64 {lane}"))

        return pick

    def _one(self, memory: ir.Memory, op: str, dtype: DType, address: str, value: str) -> str:
        writer, kind = self.state.writer, scalar_type(dtype)
        align = f", align {dtype.itemsize}"
        if memory.space == "shared":  # a block runs on one thread
            old = writer.load(kind, address, align)
            new = (
                value
                if op == "exchange"
                else self.operations.apply(op, dtype, [dtype, dtype], [old, value], False)
            )
            writer.store(kind, new, address, align)
            return old
        name = _rmw_name(op, dtype)
        return writer.tmp(f"atomicrmw {name} ptr {address}, {kind} {value} monotonic{align}")

    def _one_cas(self, memory: ir.Memory, dtype: DType, address: str, expected: str, desired: str) -> str:
        writer, bits = self.state.writer, f"i{dtype.bits}"
        align = f", align {dtype.itemsize}"
        if memory.space == "shared":
            old = writer.load(bits, address, align)
            same = writer.tmp(f"icmp eq {bits} {old}, {expected}")
            new = writer.tmp(f"select i1 {same}, {bits} {desired}, {bits} {old}")
            writer.store(bits, new, address, align)
            return old
        pair = writer.tmp(
            f"cmpxchg ptr {address}, {bits} {expected}, {bits} {desired} monotonic monotonic{align}"
        )
        return writer.tmp(f"extractvalue {{ {bits}, i1 }} {pair}, 0")

    def _reduce(self, op: str, dtype: DType, vector: str) -> str:
        types, masks = self.state.types, self.state.masks
        kind = scalar_type(dtype)
        name = _REDUCE[op]
        if masks.current is not None:
            low = -(1 << (dtype.bits - 1)) if dtype.is_signed else 0
            high = (1 << (dtype.bits - (1 if dtype.is_signed else 0))) - 1
            neutral = literal(dtype, {"and": -1, "min": high, "max": low}.get(name, 0))
            vector = masks.where_active(types.vec(kind), vector, f"splat ({kind} {neutral})")
        if name in ("min", "max"):
            name = ("s" if dtype.is_signed else "u") + name
        return self.state.writer.intrinsic(
            f"llvm.vector.reduce.{name}.{types.suffix(kind, True)}", kind, [(types.vec(kind), vector)]
        )
