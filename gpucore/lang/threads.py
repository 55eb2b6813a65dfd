"""What threads are and share: ids, barriers, memory, atomics, subgroups."""

from __future__ import annotations

import ast

from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import DType, bool_, i32, index, u64
from gpucore.lang.calls import Calls
from gpucore.lang.diagnostics import plural
from gpucore.lang.emitter import as_constant, describe
from gpucore.lang.operands import Array, Items, Object, Operand, Typed

__all__ = ["Threads"]


class Threads(Calls):
    """Lowers calls that see more than their arguments."""

    def call_by_kind(self, name: str, node: ast.Call) -> Operand:
        if name in ("global_id", "thread_id", "block_id", "block_dim", "grid_dim"):
            return self.thread_index(name, node)
        if name.startswith("atomic_"):
            return self.atomic(name.removeprefix("atomic_"), node)
        if name.startswith("subgroup_"):
            return self.subgroup(name.removeprefix("subgroup_"), node)
        return super().call_by_kind(name, node)

    def thread_index(self, name: str, node: ast.Call) -> Operand:
        (operand,) = self.arguments(node, 1)
        axis = as_constant(operand)
        if not isinstance(axis, int) or isinstance(axis, bool):
            self.source.type_error(node, f"{name} wants a constant axis", f"Write {name}(0).")
        self.impure(node, "thread ids")
        if axis < 0 or axis >= self.ndim:
            axes = "1 axis" if self.ndim == 1 else f"{self.ndim} axes"
            self.source.type_error(
                node,
                f"{name}({axis}) of a launch with {axes}",
                f"Axes count from 0; the last is {self.ndim - 1}. Launch with more axes, as in k.over((h, w)).",
            )
        result = self.value(index)
        self.emit(ir.ThreadIndex(result, name, axis, self.location))  # type: ignore[arg-type]
        return Typed(result)

    def call_global_ids(self, node: ast.Call) -> Operand:
        (operand,) = self.arguments(node, 1)
        rank = as_constant(operand)
        self.impure(node, "thread ids")
        if rank != self.ndim or isinstance(rank, bool):
            self.source.type_error(
                node,
                f"global_ids({rank}) of a launch with {plural(self.ndim, 'axis')}",
                f"Launch with as many axes, or write global_ids({self.ndim}).",
            )
        result = []
        for axis in range(rank):
            value = self.value(index)
            self.emit(ir.ThreadIndex(value, "global_id", axis, self.location))
            result.append(Typed(value))
        return Items(tuple(result))

    def call_barrier(self, node: ast.Call) -> Operand:
        self.arguments(node, 0)
        self.impure(node, "a barrier")
        self.emit(ir.Barrier(self.location))
        return Object(None)

    def call_memory_fence(self, node: ast.Call) -> Operand:
        self.arguments(node, 0)
        self.impure(node, "a fence")
        self.emit(ir.Fence(self.location))
        return Object(None)

    def call_static_range(self, node: ast.Call) -> Operand:
        self.source.syntax_error(
            node, "static_range stands in for loops only", "Write for k in gc.static_range(4):"
        )

    # --- memory
    def call_shared(self, node: ast.Call) -> Operand:
        self.impure(node, "shared memory")
        if self.depth() > 1:
            self.source.syntax_error(
                node, "gc.shared stands at the top level of a kernel", "Move it to the kernel's first lines."
            )
        return self.declare("shared", node)

    def call_local(self, node: ast.Call) -> Operand:
        operand = self.declare("local", node)
        assert isinstance(operand, Array)
        self.emit(ir.InitLocal(operand.memory, self.location))
        return operand

    def declare(self, space: str, node: ast.Call) -> Operand:
        keywords = {k.arg: k.value for k in node.keywords}
        nodes = [*node.args, *(keywords[k] for k in ("shape", "dtype") if k in keywords)]
        if len(nodes) != 2:
            self.source.type_error(
                node, f"gc.{space} takes a shape and a dtype", f"Write gc.{space}((16, 16), gc.f32)."
            )
        shape = as_constant(self.expression(nodes[0]))
        shape = (shape,) if isinstance(shape, int) else shape
        if not isinstance(shape, tuple) or not all(
            isinstance(n, int) and not isinstance(n, bool) for n in shape
        ):
            self.source.type_error(
                nodes[0],
                f"the shape of gc.{space} is known when the kernel is compiled",
                "Use a constant or a gc.constexpr parameter.",
            )
        if not 1 <= len(shape) <= 4 or min(shape) < 1:
            self.source.type_error(
                nodes[0],
                f"the shape {shape} has 1 to 4 positive extents",
                f"Write gc.{space}((16, 16), gc.f32).",
            )
        dtype = self.dtype_of(self.expression(nodes[1]), nodes[1])
        return Array(self.memory(space, dtype, shape, node))

    def memory(self, space: str, dtype: DType, shape: tuple[int, ...], node: ast.Call) -> ir.Memory:
        raise NotImplementedError

    def impure(self, node: ast.AST, what: str) -> None:
        raise NotImplementedError

    def depth(self) -> int:
        raise NotImplementedError

    ndim: int

    def place(self, node: ast.Call, count: int) -> tuple[ir.Memory, tuple[ir.Value, ...], list[Operand]]:
        operands = self.arguments(node, count)
        array = operands[0]
        if not isinstance(array, Array):
            self.source.type_error(
                node.args[0],
                f"an atomic works on an array, not on {describe(array)}",
                "Write gc.atomic_add(bins, i, 1).",
            )
        if array.memory.space not in ("global", "shared"):
            self.source.type_error(
                node.args[0],
                f"{array.memory.name} belongs to one thread; atomics work on arrays that threads share",
                "Assign to the element.",
            )
        where = operands[1]
        items = where.items if isinstance(where, Items) else (where,)
        self.impure(node, "atomics")
        return (
            array.memory,
            self.index_values(array.memory, [(i, node.args[1]) for i in items], node),
            operands[2:],
        )

    def atomic(self, name: str, node: ast.Call) -> Operand:
        if name == "cas":
            memory, indices, (expected, desired) = self.place(node, 4)
            values = (
                self.stored(expected, memory.dtype, node.args[2]),
                self.stored(desired, memory.dtype, node.args[3]),
            )
            result = self.value(memory.dtype)
            self.emit(ir.AtomicCas(result, memory, indices, *values, None, self.location))
            return Typed(result)
        memory, indices, (operand,) = self.place(node, 3)
        if name in ("and", "or", "xor") and memory.dtype.is_float:
            self.source.type_error(
                node, f"atomic_{name} works on integers, not on {memory.dtype}", "Use an array of u32."
            )
        if memory.dtype is bool_:
            self.source.type_error(
                node, "atomics work on integers and floats, not on bools", "Use a u32 array."
            )
        value = self.stored(operand, memory.dtype, node.args[2])
        result = self.value(memory.dtype)
        self.emit(ir.Atomic(result, name, memory, indices, value, None, self.location))
        return Typed(result)

    def stored(self, operand: Operand, dtype: DType, node: ast.AST, place: str = "an element of") -> ir.Value:
        """The operand converted to the type of an element, or of another place."""
        kind = self.strong_type(operand, node)
        if kind.is_float and not dtype.is_float:
            self.source.type_error(
                node,
                f"a {kind} does not go into {place} {dtype} by itself",
                f"Write gc.{dtype}({ast.unparse(node)}).",
            )
        return self.to(operand, dtype, node)

    # --- subgroups
    def subgroup(self, name: str, node: ast.Call) -> Operand:
        self.impure(node, "subgroup operations")
        arity = {"size": 0, "lane": 0, "broadcast": 2, "shuffle": 2, "shuffle_xor": 2}.get(name, 1)
        operands = self.arguments(node, arity)
        values: list[ir.Value] = []
        if name in ("any", "all", "ballot"):
            values = [self.condition(operands[0], node.args[0], f"subgroup_{name}")]
        elif operands:
            values = [self.number(operands[0], node.args[0])]
        if arity == 2:
            lane = self.number(operands[1], node.args[1])
            if not lane.dtype.is_integer:
                self.source.type_error(
                    node.args[1], f"a lane is an integer, not {lane.dtype}", "Cast it: gc.i32(lane)."
                )
            values.append(self.cast_value(lane, i32))
        dtype = {"size": i32, "lane": i32, "any": bool_, "all": bool_, "ballot": u64}.get(name) or values[
            0
        ].dtype
        if name in ("sum", "min", "max", "inclusive_sum", "exclusive_sum") and dtype is bool_:
            self.source.type_error(node, f"subgroup_{name} of a bool", "Cast it: gc.i32(flag).")
        result = self.value(dtype)
        self.emit(ir.Subgroup(result, name, tuple(values), self.location))
        return Typed(result)
