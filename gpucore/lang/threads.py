"""What threads are and how they meet: ids, barriers, fences, subgroups."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import bool_, i32, index, u64
from gpucore.lang import builtins
from gpucore.lang.conversions import Conversions
from gpucore.lang.diagnostics import plural
from gpucore.lang.evaluator import Evaluator
from gpucore.lang.operands import Items, Object, Operand, Typed, as_constant
from gpucore.lang.state import FunctionState

__all__ = ["Threads"]

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
