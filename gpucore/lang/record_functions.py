"""Functions of vectors and complex numbers: ``dot``, ``cross``, ``length``, ``conj``, and what numbers have too."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn

from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import DType, u32, u64
from gpucore.ir.records import RecordType, complex_of
from gpucore.lang.arithmetic import Arithmetic
from gpucore.lang.conversions import Conversions
from gpucore.lang.evaluator import Evaluator
from gpucore.lang.operands import Operand, Record, Typed, describe
from gpucore.lang.record_arithmetic import RecordArithmetic
from gpucore.lang.record_values import RecordValues
from gpucore.lang.state import FunctionState

__all__ = ["RecordFunctions"]

OF_COMPLEX = ("exp", "log", "sqrt", "sin", "cos")
Element = Callable[[ir.Value], ir.Value]


@dataclass(frozen=True, slots=True)
class RecordFunctions:
    """Lowers calls of functions on records."""

    state: FunctionState
    evaluator: Evaluator
    conversions: Conversions
    arithmetic: Arithmetic
    records: RecordValues
    operators: RecordArithmetic

    def builtins(self) -> Mapping[str, Callable[[ast.Call], Operand]]:
        """What lowers a call of each builtin."""
        return {"dot": self.dot, "cross": self.cross, "length": self.length, "conj": self.conj}

    def made(self, record: RecordType, node: ast.Call) -> Operand:
        """``gc.vec3[gc.f32](x, y, z)``, ``P(pos, mass=1.0)``, ``gc.complex64(re, im)``."""
        if any(isinstance(a, ast.Starred) for a in node.args) or any(k.arg is None for k in node.keywords):
            self.state.source.syntax_error(
                node, "unpacking with * is not part of the kernel language", "Name each argument."
            )
        nodes = [(None, a) for a in node.args] + [(k.arg, k.value) for k in node.keywords]
        return self.records.made(record, [(name, self.evaluator.expression(a), a) for name, a in nodes], node)

    def selected(self, condition: ir.Value, a: Operand, b: Operand, node: ast.AST) -> Operand:
        """``a`` where a condition holds, else ``b``."""
        kind = self.operators.common_type(a, b, node)
        sides = (self.records.converted(side, kind, node) for side in (a, b))
        return self.operators.selected(condition, *sides)

    # --- vectors
    def dot(self, node: ast.Call) -> Operand:
        a, b = self._vectors(node, 2)
        return self.operators.dot(self.arithmetic.combine, a, b, node)

    def cross(self, node: ast.Call) -> Operand:
        a, b = self._vectors(node, 2)
        if len(a.items) != 3:
            self.state.source.type_error(
                node,
                f"cross works on vectors of 3 elements, not of {len(a.items)}",
                "Write a.x * b.y - a.y * b.x.",
            )
        return self.operators.cross(self.arithmetic.combine, a, b, node)

    def length(self, node: ast.Call) -> Operand:
        (v,) = self._vectors(node, 1)
        square = self.conversions.number(self.operators.dot(self.arithmetic.combine, v, v, node), node)
        if not square.dtype.is_float:
            self.state.source.type_error(
                node,
                f"length works on vectors of floats, not of {square.dtype}",
                "Convert it: gc.vec3[gc.f32](v).",
            )
        return Typed(self.state.writer.op("sqrt", square))

    def _vectors(self, node: ast.Call, count: int) -> list[Record]:
        operands = self.evaluator.arguments(node, count)
        found: list[Record] = []
        for operand, at in zip(operands, node.args, strict=True):
            if not isinstance(operand, Record) or operand.type is None or operand.type.record != "vec":
                self.state.source.type_error(
                    at, f"{ast.unparse(node.func)} works on vectors, not on {describe(operand)}",
                    "Make one: gc.vec3[gc.f32](x, y, z).",
                )  # fmt: skip
            if found and len(found[0].items) != len(operand.items):
                self.state.source.type_error(
                    at, f"vectors of {len(found[0].items)} and of {len(operand.items)} elements do not go together",
                    "Use vectors of one length.",
                )  # fmt: skip
            found.append(operand)
        return found

    # --- complex numbers
    def conj(self, node: ast.Call) -> Operand:
        (operand,) = self.evaluator.arguments(node, 1)
        if not isinstance(operand, Record) or not _is_complex(operand):
            self.state.source.type_error(
                node.args[0], f"conj works on complex numbers, not on {describe(operand)}",
                "Make one: gc.complex64(re, im).",
            )  # fmt: skip
        real, imag = operand.items
        return Record(operand.type, (real, self.operators.negative(imag, node)))

    def unary(self, name: str, operand: Record, node: ast.Call, element: Element) -> Operand:
        """A function of one number on a record: that of a complex number, or of each element of a vector."""
        if operand.type is not None and operand.type.record == "vec":
            items = [element(self.conversions.number(item, node)) for item in operand.items]
            return Record(operand.type, tuple(map(Typed, items)))
        if not _is_complex(operand):
            self._refuse(name, operand, node)
        settled = self.records.settled(operand)
        a, b = (self.conversions.number(item, node) for item in settled.items)
        if name == "abs":
            return Typed(self.state.writer.op("hypot", a, b))
        if name not in OF_COMPLEX:
            self._refuse(name, operand, node)
        parts = {"exp": self._exp, "log": self._log, "sqrt": self._sqrt, "sin": self._sin, "cos": self._cos}[
            name
        ](a, b)
        return Record(complex_of(a.dtype), tuple(map(Typed, parts)))

    def _refuse(self, name: str, operand: Operand, node: ast.Call) -> NoReturn:
        self.state.source.type_error(
            node,
            f"{name} is not defined on {describe(operand)}",
            f"On complex numbers there are abs, conj, {', '.join(OF_COMPLEX)} and **.",
        )

    def _exp(self, a: ir.Value, b: ir.Value) -> tuple[ir.Value, ir.Value]:
        op = self.state.writer.op
        size = op("exp", a)
        return op("mul", size, op("cos", b)), op("mul", size, op("sin", b))

    def _log(self, a: ir.Value, b: ir.Value) -> tuple[ir.Value, ir.Value]:
        op = self.state.writer.op
        return op("log", op("hypot", a, b)), op("atan2", b, a)

    def _sin(self, a: ir.Value, b: ir.Value) -> tuple[ir.Value, ir.Value]:
        op = self.state.writer.op
        return op("mul", op("sin", a), op("cosh", b)), op("mul", op("cos", a), op("sinh", b))

    def _cos(self, a: ir.Value, b: ir.Value) -> tuple[ir.Value, ir.Value]:
        op = self.state.writer.op
        return op("mul", op("cos", a), op("cosh", b)), op("neg", op("mul", op("sin", a), op("sinh", b)))

    def _sqrt(self, a: ir.Value, b: ir.Value) -> tuple[ir.Value, ir.Value]:
        """The root with a positive real part; the sign of ``b`` tells the sides of the cut apart, zeros too."""
        op, dtype = self.state.writer.op, a.dtype
        zero, half = self.state.writer.constant(0.0, dtype), self.state.writer.constant(0.5, dtype)
        root = op("sqrt", op("mul", op("add", op("abs", a), op("hypot", a, b)), half))
        other = op("mul", op("div", op("abs", b), root), half)
        nothing = op("eq", root, zero)
        right = op("ge", a, zero)
        real = op("select", nothing, zero, op("select", right, root, other))
        imag = op("select", nothing, zero, op("select", right, other, root))
        return real, self._with_sign(imag, b)

    def _with_sign(self, x: ir.Value, y: ir.Value) -> ir.Value:
        """A number that is not negative, with the sign of another one."""
        writer = self.state.writer
        word: DType = u32 if x.dtype.bits == 32 else u64
        sign = writer.op(
            "and", writer.op("bitcast", y, dtype=word), writer.constant(1 << (word.bits - 1), word)
        )
        return writer.op("bitcast", writer.op("or", writer.op("bitcast", x, dtype=word), sign), dtype=x.dtype)


def _is_complex(operand: Record) -> bool:
    return operand.type is None or operand.type.record == "complex"
