"""``print`` in kernels: what its arguments become, a text with a field for each value that the run decides."""

from __future__ import annotations

import ast
from dataclasses import dataclass

import numpy as np

from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import DType
from gpucore.lang.conversions import Conversions
from gpucore.lang.evaluator import Evaluator
from gpucore.lang.operands import (
    Array,
    Items,
    Literal,
    Object,
    Operand,
    Record,
    Records,
    Typed,
    as_python,
    describe,
)
from gpucore.lang.state import FunctionState

__all__ = ["Printing"]


@dataclass(frozen=True, slots=True)
class Printing:
    """Lowers calls of Python's ``print``."""

    state: FunctionState
    evaluator: Evaluator
    conversions: Conversions

    def call(self, node: ast.Call) -> Operand:
        self.state.impure("it prints")
        source = self.state.source
        ends = {"sep": " ", "end": "\n"}
        for keyword in node.keywords:
            if keyword.arg not in ends:
                source.syntax_error(
                    keyword.value,
                    f"print in a kernel takes sep= and end=, not {keyword.arg}=",
                    "It goes to sys.stdout of the host, at the next call that waits for the kernel.",
                )
            text = as_python(self.evaluator.expression(keyword.value))
            if not isinstance(text, str):
                source.type_error(
                    keyword.value, f"{keyword.arg}= of print is a plain string", f"Write {keyword.arg}=', '."
                )
            ends[keyword.arg] = text
        values: list[ir.Value] = []
        parts = []
        for argument in node.args:
            if isinstance(argument, ast.Starred):
                source.syntax_error(
                    argument, "unpacking with * is not part of the kernel language", "Name each argument."
                )
            parts.append(self._argument(argument, values))
        shown = _literal(ends["sep"]).join(parts) + _literal(ends["end"])
        writer = self.state.writer
        writer.emit(ir.Print(shown, tuple(values), writer.location))
        return Object(None)

    def _argument(self, node: ast.expr, values: list[ir.Value]) -> str:
        if not isinstance(node, ast.JoinedStr):
            return self._shown(self.evaluator.expression(node), node, values)
        parts = []
        for piece in node.values:
            if isinstance(piece, ast.Constant):
                parts.append(_literal(str(piece.value)))
            elif isinstance(piece, ast.FormattedValue):
                parts.append(self._formatted(piece, node, values))
        return "".join(parts)

    def _formatted(self, piece: ast.FormattedValue, whole: ast.JoinedStr, values: list[ir.Value]) -> str:
        """A field of an f-string."""
        source, spec = self.state.source, ""
        if piece.conversion not in (-1, ord("s")):
            written = ast.unparse(piece.value)
            source.syntax_error(
                whole, "!r, which {x=} means too, is not part of the kernel language",
                f"Write {{{written}}}, or {written}={{{written}}} to print the name.",
            )  # fmt: skip
        if piece.format_spec is not None:
            constant = all(isinstance(part, ast.Constant) for part in piece.format_spec.values)  # type: ignore[attr-defined]
            spec = "".join(str(part.value) for part in piece.format_spec.values) if constant else "?"  # type: ignore[attr-defined]
        operand = self.evaluator.expression(piece.value)
        if not spec:
            return self._shown(operand, piece.value, values)
        if isinstance(operand, Literal):
            sample: int | float | bool = operand.value
        elif isinstance(operand, Typed):
            sample = 0.0 if operand.dtype.is_float else 0
        else:
            source.type_error(
                whole, f"{describe(operand)} takes no format", "Print its parts, each with a format."
            )
        try:
            written = format(sample, spec)
        except ValueError as error:
            source.type_error(whole, f"the format {spec!r}: {error}", "Write one such as {x:.3f}.")
        if isinstance(operand, Literal):
            return _literal(written)
        values.append(self.conversions.number(operand, piece.value))
        return f"{{:{spec}}}"

    def _shown(self, operand: Operand, node: ast.expr, values: list[ir.Value]) -> str:
        match operand:
            case Literal(value=value):
                return _literal(str(value))
            case Typed(known=known) if known is not None:
                return _literal(str(known))
            case Typed(value=value):
                values.append(value)
                return "{}"
            case Items(items=items, names=names):
                parts = [self._shown(item, node, values) for item in items]
                if names:
                    return (
                        "("
                        + ", ".join(f"{name}={part}" for name, part in zip(names, parts, strict=True))
                        + ")"
                    )
                return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"
            case Record(type=kind, items=items):
                if kind is None or kind.record == "complex":
                    real, imaginary = (self.conversions.number(part, node) for part in items)
                    values += [real, imaginary]
                    return "({}{:+}j)"
                parts = [self._shown(item, node, values) for item in items]
                if kind.record == "vec":
                    return f"({', '.join(parts)})"
                fields = (f"{field.name}={part}" for field, part in zip(kind.fields, parts, strict=True))
                return f"{kind.name}({', '.join(fields)})"
            case Object(value=str() | None as value):
                return _literal(str(value))
            case Object(value=DType() as dtype):
                return _literal(dtype.name)
            case Object(value=np.generic() as value):
                return _literal(str(value))
        instead = (
            "Print elements, such as x[i]."
            if isinstance(operand, (Array, Records))
            else "Print numbers and strings."
        )
        self.state.source.type_error(node, f"print does not take {describe(operand)}", instead)


def _literal(text: str) -> str:
    """Text without fields."""
    return text.replace("{", "{{").replace("}", "}}")
