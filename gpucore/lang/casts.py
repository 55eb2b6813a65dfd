"""Calls that convert: dtypes, Python's number types, ``gc.cast``, ``gc.bitcast``."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import ALL, DType, bf16, bool_, index, integer_range
from gpucore.lang.arithmetic import Arithmetic
from gpucore.lang.conversions import Conversions
from gpucore.lang.evaluator import Evaluator
from gpucore.lang.operands import Literal, Object, Operand, Typed
from gpucore.lang.state import FunctionState
from gpucore.lang.subscripts import Subscripts

__all__ = ["Casts"]


@dataclass(frozen=True, slots=True)
class Casts:
    """Lowers casts."""

    state: FunctionState
    evaluator: Evaluator
    conversions: Conversions
    arithmetic: Arithmetic
    subscripts: Subscripts

    def builtins(self) -> Mapping[str, Callable[[ast.Call], Operand]]:
        return {"cast": self.cast, "bitcast": self.bitcast}

    def to_dtype(self, dtype: DType, node: ast.Call) -> Operand:
        """``gc.f32(x)``."""
        with self.subscripts.inside_cast(dtype):
            (operand,) = self.evaluator.arguments(node, 1)
        return self.conversions.convert(operand, dtype, node.args[0])

    def to_python(self, kind: type, node: ast.Call) -> Operand:
        """``float(x)``, ``int(x)``, ``bool(x)``."""
        (operand,) = self.evaluator.arguments(node, 1)
        if isinstance(operand, Literal) or (isinstance(operand, Object) and isinstance(operand.value, str)):
            return self.arithmetic.fold(node, kind.__name__, kind, operand.value)  # float("inf") too
        if kind is bool:
            return self.conversions.convert(operand, bool_, node)
        dtype = self.conversions.strong_type(operand, node)
        if (kind is float and dtype.is_float) or (kind is int and dtype.is_integer):
            return operand
        widths = "gc.i32(x) or gc.i64(x)" if kind is int else "gc.f32(x) or gc.f64(x)"
        self.state.source.type_error(node, f"{kind.__name__}() does not say how wide", f"Write {widths}.")

    def cast(self, node: ast.Call) -> Operand:
        operand, dtype = self._with_dtype(node)
        return self.conversions.convert(operand, dtype, node.args[0])

    def bitcast(self, node: ast.Call) -> Operand:
        operand, dtype = self._with_dtype(node)
        value = self._bits_of(operand, dtype, node.args[0])
        if value.dtype.bits != dtype.bits or bool_ in (value.dtype, dtype):
            self.state.source.type_error(
                node,
                f"bitcast from {value.dtype} to {dtype}: the widths differ",
                "Use a dtype of the same width.",
            )
        if value.dtype is dtype:
            return Typed(value)
        return Typed(self.state.writer.op("bitcast", value, dtype=dtype))

    def _bits_of(self, operand: Operand, dtype: DType, node: ast.AST) -> ir.Value:
        """What is to be seen as another dtype; a literal takes the width asked for, unsigned where it must."""
        if not isinstance(operand, Literal) or isinstance(operand.value, bool):
            return self.conversions.number(operand, node)
        kinds = ("float",) if isinstance(operand.value, float) else ("int", "uint")
        fitting = [
            d for d in ALL
            if d.bits == dtype.bits and d.kind in kinds and d not in (index, bf16)
            and (d.is_float or integer_range(d)[0] <= operand.value <= integer_range(d)[1])
        ]  # fmt: skip
        return (
            self.conversions.to(operand, fitting[0], node)
            if fitting
            else self.conversions.number(operand, node)
        )

    def _with_dtype(self, node: ast.Call) -> tuple[Operand, DType]:
        keywords = {k.arg: k.value for k in node.keywords}
        nodes = [*node.args, *(keywords[k] for k in ("dtype",) if k in keywords)]
        if len(nodes) != 2:
            self.state.source.type_error(
                node, f"{ast.unparse(node.func)} takes a value and a dtype", "Write gc.cast(x, gc.f32)."
            )
        operand, found = self.evaluator.expression(nodes[0]), self.evaluator.expression(nodes[1])
        return operand, self.conversions.dtype_of(found, nodes[1])
