"""Atomics: one step on an element that threads share."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import bool_
from gpucore.lang import builtins
from gpucore.lang.conversions import Conversions
from gpucore.lang.evaluator import Evaluator
from gpucore.lang.operands import Array, Items, Operand, Typed, describe
from gpucore.lang.state import FunctionState
from gpucore.lang.subscripts import Subscripts

__all__ = ["Atomics"]


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
        return {name: partial(self.atomic, name.removeprefix("atomic_")) for name in names}

    def _element(self, node: ast.Call, count: int) -> tuple[ir.Memory, tuple[ir.Value, ...], list[Operand]]:
        operands = self.evaluator.arguments(node, count)
        array = operands[0]
        if not isinstance(array, Array):
            self.state.source.type_error(
                node.args[0],
                f"an atomic works on an array, not on {describe(array)}",
                "Write gc.atomic_add(bins, i, 1).",
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
            self.subscripts.index_values(array.memory, [(i, node.args[1]) for i in items], node),
            operands[2:],
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
        if memory.dtype is bool_:
            self.state.source.type_error(
                node, "atomics work on integers and floats, not on bools", "Use a u32 array."
            )
        value = self.conversions.stored(operand, memory.dtype, node.args[2])
        result = self.state.writer.value(memory.dtype)
        self.state.writer.emit(
            ir.Atomic(result, name, memory, indices, value, None, self.state.writer.location)
        )
        return Typed(result)
