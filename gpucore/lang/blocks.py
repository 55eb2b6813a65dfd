"""What the threads of a block do together: sums, extremes, votes, scans, broadcasts."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import DType, bool_, i32, index
from gpucore.lang.block_library import MOST_THREADS, broadcast, scan, tree
from gpucore.lang.capture import DeviceFunction
from gpucore.lang.conversions import Conversions
from gpucore.lang.evaluator import Evaluator
from gpucore.lang.functions import Functions
from gpucore.lang.memories import Memories
from gpucore.lang.operands import Literal, Object, Operand, Typed
from gpucore.lang.state import FunctionState

__all__ = ["Blocks"]


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
        return self._call(tree, x.dtype, op=Object(op), x=Typed(x))

    def vote(self, op: str, node: ast.Call) -> Operand:
        (operand,) = self.evaluator.arguments(node, 1)
        writer = self.state.writer
        held = writer.cast(self.conversions.condition(operand, node.args[0], f"block_{op}"), i32)
        kind = "max" if op == "any" else "min"
        found = self._call(tree, i32, op=Object(kind), x=Typed(held))
        return Typed(writer.op("ne", self.conversions.to(found, i32, node), writer.constant(0, i32)))

    def scanned(self, op: str, node: ast.Call) -> Operand:
        x = self._number(op, node)
        zero = Typed(self.state.writer.constant(0, x.dtype))
        return self._call(scan, x.dtype, inclusive=Literal(op == "inclusive_sum"), x=Typed(x), zero=zero)

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
        return self._call(broadcast, x.dtype, x=Typed(x), thread=Typed(self.state.writer.cast(place, index)))

    def _number(self, op: str, node: ast.Call) -> ir.Value:
        (operand,) = self.evaluator.arguments(node, 1)
        value = self.conversions.number(operand, node.args[0])
        if value.dtype is bool_:
            self.state.source.type_error(node, f"block_{op} of a bool", "Cast it: gc.i32(flag).")
        return value

    def _call(self, function: DeviceFunction, dtype: DType, **operands: Operand) -> Operand:
        self.state.impure("block functions")
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
