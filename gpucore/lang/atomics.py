"""Atomics: one step on an element that threads share."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import DType, bool_
from gpucore.lang import builtins
from gpucore.lang.conversions import Conversions
from gpucore.lang.evaluator import Evaluator
from gpucore.lang.operands import Array, Items, Object, Operand, Records, Typed, describe
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
        updates = {name: partial(self.atomic, name.removeprefix("atomic_")) for name in names}
        return {**updates, "atomic_load": self.load, "atomic_store": self.store}

    def _element(self, node: ast.Call, count: int) -> tuple[ir.Memory, tuple[ir.Value, ...], list[Operand]]:
        operands = self.evaluator.arguments(node, count)
        array = operands[0]
        if isinstance(array, Records) and array.type.record == "vec":
            # an index for the element of the vector comes last
            array = Array(array.memory, (*array.axes, array.rank) if array.axes else ())
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
