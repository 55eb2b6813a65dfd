"""What threads are and do together: ids, barriers, fences, subgroups; atomics; the functions of blocks."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import DType, bool_, i32, index, u64
from gpucore.lang import builtins
from gpucore.lang.block_library import MOST_THREADS, broadcast, scan, tree
from gpucore.lang.capture import DeviceFunction
from gpucore.lang.conversions import Conversions
from gpucore.lang.diagnostics import plural
from gpucore.lang.expressions import Evaluator
from gpucore.lang.functions import Functions
from gpucore.lang.operands import (
    Array,
    Items,
    Literal,
    Object,
    Operand,
    Records,
    Typed,
    as_constant,
    describe,
)
from gpucore.lang.state import FunctionState
from gpucore.lang.subscripts import Subscripts
from gpucore.lang.variables import Memories

__all__ = ["Atomics", "Blocks", "Threads"]


IDS = ("global_id", "thread_id", "block_id", "block_dim", "grid_dim")


@dataclass(frozen=True, slots=True)
class Threads:
    """Lowers calls that see the thread, its block and its subgroup."""

    state: FunctionState
    evaluator: Evaluator
    conversions: Conversions

    def builtins(self) -> Mapping[str, Callable[[ast.Call], Operand]]:
        """What lowers a call of each builtin."""
        subgroup = [n for n in builtins.TABLE.values() if n.startswith("subgroup_")]
        return {
            **{name: partial(self.thread_index, name) for name in IDS},
            **{name: partial(self.subgroup, name.removeprefix("subgroup_")) for name in subgroup},
            "global_ids": self.global_ids,
            "barrier": self.barrier,
            "memory_fence": self.memory_fence,
            "static_range": self.static_range,
        }

    def thread_index(self, name: str, node: ast.Call) -> Operand:
        (operand,) = self.evaluator.arguments(node, 1)
        axis = as_constant(operand)
        if not isinstance(axis, int) or isinstance(axis, bool):
            self.state.source.type_error(node, f"{name} wants a constant axis", f"Write {name}(0).")
        self.state.impure("thread ids")
        if axis < 0 or axis >= self.state.ndim:
            axes = "1 axis" if self.state.ndim == 1 else f"{self.state.ndim} axes"
            self.state.source.type_error(
                node,
                f"{name}({axis}) of a launch with {axes}",
                f"Axes count from 0; the last is {self.state.ndim - 1}. Launch with more axes, as in k.over((h, w)).",
            )
        result = self.state.writer.value(index)
        self.state.writer.emit(ir.ThreadIndex(result, name, axis, self.state.writer.location))  # type: ignore[arg-type]
        return Typed(result)

    def global_ids(self, node: ast.Call) -> Operand:
        (operand,) = self.evaluator.arguments(node, 1)
        rank = as_constant(operand)
        self.state.impure("thread ids")
        if rank != self.state.ndim or isinstance(rank, bool):
            self.state.source.type_error(
                node,
                f"global_ids({rank}) of a launch with {plural(self.state.ndim, 'axis')}",
                f"Launch with as many axes, or write global_ids({self.state.ndim}).",
            )
        result = []
        for axis in range(rank):
            value = self.state.writer.value(index)
            self.state.writer.emit(ir.ThreadIndex(value, "global_id", axis, self.state.writer.location))
            result.append(Typed(value))
        return Items(tuple(result))

    def barrier(self, node: ast.Call) -> Operand:
        self.evaluator.arguments(node, 0)
        self.state.impure("a barrier")
        self.state.writer.emit(ir.Barrier(self.state.writer.location))
        return Object(None)

    def memory_fence(self, node: ast.Call) -> Operand:
        self.evaluator.arguments(node, 0)
        self.state.impure("a fence")
        self.state.writer.emit(ir.Fence(self.state.writer.location))
        return Object(None)

    def static_range(self, node: ast.Call) -> Operand:
        self.state.source.syntax_error(
            node, "static_range stands in for loops only", "Write for k in gc.static_range(4):"
        )

    # --- subgroups
    def subgroup(self, name: str, node: ast.Call) -> Operand:
        self.state.impure("subgroup operations")
        arity = {"size": 0, "lane": 0, "broadcast": 2, "shuffle": 2, "shuffle_xor": 2}.get(name, 1)
        operands = self.evaluator.arguments(node, arity)
        values: list[ir.Value] = []
        if name in ("any", "all", "ballot"):
            values = [self.conversions.condition(operands[0], node.args[0], f"subgroup_{name}")]
        elif operands:
            values = [self.conversions.number(operands[0], node.args[0])]
        if arity == 2:
            lane = self.conversions.number(operands[1], node.args[1])
            if not lane.dtype.is_integer:
                self.state.source.type_error(
                    node.args[1], f"a lane is an integer, not {lane.dtype}", "Cast it: gc.i32(lane)."
                )
            values.append(self.state.writer.cast(lane, i32))
        dtype = {"size": i32, "lane": i32, "any": bool_, "all": bool_, "ballot": u64}.get(name) or values[
            0
        ].dtype
        if name in ("sum", "min", "max", "inclusive_sum", "exclusive_sum") and dtype is bool_:
            self.state.source.type_error(node, f"subgroup_{name} of a bool", "Cast it: gc.i32(flag).")
        result = self.state.writer.value(dtype)
        self.state.writer.emit(ir.Subgroup(result, name, tuple(values), self.state.writer.location))
        return Typed(result)


@dataclass(frozen=True, slots=True)
class Atomics:
    """Lowers atomics."""

    state: FunctionState
    evaluator: Evaluator
    conversions: Conversions
    subscripts: Subscripts

    def builtins(self) -> Mapping[str, Callable[[ast.Call], Operand]]:
        """What lowers a call of each builtin."""
        names = [n for n in builtins.TABLE.values() if n.startswith("atomic_")]
        updates = {name: partial(self.atomic, name.removeprefix("atomic_")) for name in names}
        return {**updates, "atomic_load": self.load, "atomic_store": self.store}

    def _element(self, node: ast.Call, count: int) -> tuple[ir.Memory, tuple[ir.Value, ...], list[Operand]]:
        operands = self.evaluator.arguments(node, count)
        array = operands[0]
        if isinstance(array, Records) and array.type.record == "vec":
            # an index for the element of the vector comes last
            array = Array(array.memory, (*array.axes, array.rank) if array.axes else ())
        if not isinstance(array, Array):
            of, instead = "", "Write gc.atomic_add(bins, i, 1)."
            if isinstance(array, Records):
                of, instead = f" of {array.type}", "Keep what atomics change in an array of its own."
            self.state.source.type_error(
                node.args[0],
                f"an atomic works on an array of numbers, not on {describe(array)}{of}",
                instead,
            )
        if array.memory.space not in ("global", "shared"):
            self.state.source.type_error(
                node.args[0],
                f"{array.memory.name} belongs to one thread; atomics work on arrays that threads share",
                "Assign to the element.",
            )
        where = operands[1]
        items = where.items if isinstance(where, Items) else (where,)
        self.state.impure("atomics")
        return (
            array.memory,
            self.subscripts.element(array, [(i, node.args[1]) for i in items], node),
            operands[2:],
        )

    def load(self, node: ast.Call) -> Operand:
        """The element: a compare-and-swap of zero for zero, which changes nothing."""
        memory, indices, _ = self._element(node, 2)
        self._not_bool(memory.dtype, node)
        writer = self.state.writer
        zero = writer.constant(0, memory.dtype)
        result = writer.value(memory.dtype)
        writer.emit(ir.AtomicCas(result, memory, indices, zero, zero, None, writer.location))
        return Typed(result)

    def store(self, node: ast.Call) -> Operand:
        """An exchange whose old element nobody looks at."""
        memory, indices, (operand,) = self._element(node, 3)
        self._not_bool(memory.dtype, node)
        value = self.conversions.stored(operand, memory.dtype, node.args[2])
        writer = self.state.writer
        result = writer.value(memory.dtype)
        writer.emit(ir.Atomic(result, "exchange", memory, indices, value, None, writer.location))
        return Object(None)

    def _not_bool(self, dtype: DType, node: ast.AST) -> None:
        if dtype is bool_:
            self.state.source.type_error(
                node, "atomics work on integers and floats, not on bools", "Use a u32 array."
            )

    def atomic(self, name: str, node: ast.Call) -> Operand:
        if name == "cas":
            memory, indices, (expected, desired) = self._element(node, 4)
            values = (
                self.conversions.stored(expected, memory.dtype, node.args[2]),
                self.conversions.stored(desired, memory.dtype, node.args[3]),
            )
            result = self.state.writer.value(memory.dtype)
            self.state.writer.emit(
                ir.AtomicCas(result, memory, indices, *values, None, self.state.writer.location)
            )
            return Typed(result)
        memory, indices, (operand,) = self._element(node, 3)
        if name in ("and", "or", "xor") and memory.dtype.is_float:
            self.state.source.type_error(
                node, f"atomic_{name} works on integers, not on {memory.dtype}", "Use an array of u32."
            )
        self._not_bool(memory.dtype, node)
        value = self.conversions.stored(operand, memory.dtype, node.args[2])
        result = self.state.writer.value(memory.dtype)
        self.state.writer.emit(
            ir.Atomic(result, name, memory, indices, value, None, self.state.writer.location)
        )
        return Typed(result)


@dataclass(frozen=True, slots=True)
class Blocks:
    """Lowers ``gc.block_sum`` and its family to the functions of ``block_library``."""

    state: FunctionState
    evaluator: Evaluator
    conversions: Conversions
    functions: Functions
    memories: Memories

    def builtins(self) -> Mapping[str, Callable[[ast.Call], Operand]]:
        """What lowers a call of each builtin."""
        return {
            **{f"block_{op}": partial(self.reduced, op) for op in ("sum", "min", "max")},
            **{f"block_{op}": partial(self.vote, op) for op in ("any", "all")},
            "block_inclusive_sum": partial(self.scanned, "inclusive_sum"),
            "block_exclusive_sum": partial(self.scanned, "exclusive_sum"),
            "block_broadcast": self.broadcast,
        }

    def reduced(self, op: str, node: ast.Call) -> Operand:
        x = self._number(op, node)
        return self._call(tree, x.dtype, "sums", op=Object(op), x=Typed(x))

    def vote(self, op: str, node: ast.Call) -> Operand:
        (operand,) = self.evaluator.arguments(node, 1)
        writer = self.state.writer
        held = writer.cast(self.conversions.condition(operand, node.args[0], f"block_{op}"), i32)
        kind = "max" if op == "any" else "min"
        found = self._call(tree, i32, "sums", op=Object(kind), x=Typed(held))
        return Typed(writer.op("ne", self.conversions.to(found, i32, node), writer.constant(0, i32)))

    def scanned(self, op: str, node: ast.Call) -> Operand:
        x = self._number(op, node)
        zero = Typed(self.state.writer.constant(0, x.dtype))
        inclusive = Literal(op == "inclusive_sum")
        return self._call(scan, x.dtype, "scans", inclusive=inclusive, x=Typed(x), zero=zero)

    def broadcast(self, node: ast.Call) -> Operand:
        operand, thread = self.evaluator.arguments(node, 2)
        x = self.conversions.number(operand, node.args[0])
        place = self.conversions.number(thread, node.args[1])
        if not place.dtype.is_integer:
            self.state.source.type_error(
                node.args[1],
                f"a thread's number is an integer, not {place.dtype}",
                "Cast it: gc.i32(thread).",
            )
        return self._call(
            broadcast, x.dtype, "", x=Typed(x), thread=Typed(self.state.writer.cast(place, index))
        )

    def _number(self, op: str, node: ast.Call) -> ir.Value:
        (operand,) = self.evaluator.arguments(node, 1)
        value = self.conversions.number(operand, node.args[0])
        if value.dtype is bool_:
            self.state.source.type_error(node, f"block_{op} of a bool", "Cast it: gc.i32(flag).")
        return value

    def _call(self, function: DeviceFunction, dtype: DType, kind: str, **operands: Operand) -> Operand:
        self.state.impure("block functions")
        if kind:
            operands["lanes"] = Typed(self.state.writer.asked(f"{kind}=lanes"))
            operands["few"] = self.memories.scratch(dtype, MOST_THREADS // 32 + 1, "lanes")
        scratch = self.memories.scratch(dtype, MOST_THREADS)
        linear, count = self._place()
        return self.functions.at_the_call(function, **operands, scratch=scratch, linear=linear, count=count)

    def _place(self) -> tuple[Typed, Typed]:
        """The thread's linear id in its block and the number of threads, i32."""
        linear, count = self._index("thread_id", 0), self._index("block_dim", 0)
        writer = self.state.writer
        for axis in range(1, self.state.ndim):
            extent = self._index("block_dim", axis)
            linear = writer.op("add", writer.op("mul", linear, extent), self._index("thread_id", axis))
            count = writer.op("mul", count, extent)
        return Typed(linear), Typed(count)

    def linear(self) -> ir.Value:
        """The thread's linear id in its block, an ``index``."""
        writer = self.state.writer
        linear = self._coordinate("thread_id", 0)
        for axis in range(1, self.state.ndim):
            extent = self._coordinate("block_dim", axis)
            linear = writer.op("add", writer.op("mul", linear, extent), self._coordinate("thread_id", axis))
        return linear

    def _index(self, kind: ir.IdKind, axis: int) -> ir.Value:
        return self.state.writer.cast(self._coordinate(kind, axis), i32)

    def _coordinate(self, kind: ir.IdKind, axis: int) -> ir.Value:
        writer = self.state.writer
        result = writer.value(index)
        writer.emit(ir.ThreadIndex(result, kind, axis, writer.location))
        return result
