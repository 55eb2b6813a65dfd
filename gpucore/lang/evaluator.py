"""Expressions: from syntax to operands, each kind by the collaborator that knows it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from gpucore.ir.dtypes import from_numpy
from gpucore.lang.operands import Items, Literal, Object, Operand, Place, Record, Typed
from gpucore.lang.record_values import RecordValues
from gpucore.lang.state import FunctionState

__all__ = ["Evaluator", "Handlers"]

Handlers: TypeAlias = Mapping[type[ast.expr], Callable[[Any], Operand]]
"""What lowers each kind of expression."""

REFUSED: dict[str, tuple[str, str]] = {
    "Lambda": ("lambdas are not part of the kernel language", "Write a function with @gc.func."),
    "ListComp": ("comprehensions are not part of the kernel language", "Write a for loop."),
    "GeneratorExp": ("generators are not part of the kernel language", "Write a for loop."),
    "List": ("lists are not part of the kernel language", "Use gc.local(shape, dtype) or a tuple."),
    "Dict": ("dictionaries are not part of the kernel language", "Pass arrays or scalars."),
    "Set": ("sets are not part of the kernel language", "Pass arrays or scalars."),
    "JoinedStr": (
        "strings are not part of the kernel language",
        'Write numbers to an array, or print(f"...") the text.',
    ),
    "NamedExpr": (
        "the walrus operator is not part of the kernel language",
        "Assign on a line of its own.",
    ),
    "Await": ("await is not part of the kernel language", "Launches are asynchronous already."),
    "Yield": ("yield is not part of the kernel language", "A kernel writes to arrays."),
    "Starred": ("unpacking with * is not part of the kernel language", "Name each item."),
}
"""Python's expressions that the language lacks: the rule, and what to write instead."""


@dataclass(frozen=True, slots=True)
class Evaluator:
    """Lowers expressions: ``expression`` is the one way into all that give an operand."""

    state: FunctionState
    records: RecordValues
    _handlers: dict[type[ast.expr], Callable[[Any], Operand]] = field(default_factory=dict)

    def handle(self, handlers: Handlers) -> None:
        """Let these collaborators lower their kinds of expressions."""
        self._handlers.update(handlers)

    def expression(self, node: ast.expr) -> Operand:
        """Lower an expression where it stands."""
        writer = self.state.writer
        outer = writer.location
        self.state.at(node)
        handler = self._handlers.get(type(node))
        if handler is None:
            kind = type(node).__name__
            rule, instead = REFUSED.get(
                kind,
                (
                    f"{kind} is not part of the kernel language",
                    "Write it with numbers, arrays, if, for and while.",
                ),
            )
            self.state.source.syntax_error(node, rule, instead)
        result = self.settle(handler(node))
        writer.location = outer
        return result

    def reference(self, node: ast.expr) -> Operand:
        """As :meth:`expression`, but what stands in an array of records is not read yet: a part of it may be meant."""
        if not isinstance(node, (ast.Attribute, ast.Subscript)):
            return self.expression(node)
        writer = self.state.writer
        outer = writer.location
        self.state.at(node)
        result = self._handlers[type(node)](node)
        writer.location = outer
        return result if isinstance(result, Place) else self.settle(result)

    def settle(self, operand: Operand) -> Operand:
        """A captured NumPy scalar becomes a value of its dtype where it is used, and a place in an array what stands there."""
        if isinstance(operand, Place):
            return self.records.load(operand)
        if isinstance(operand, Object) and isinstance(operand.value, np.generic):
            dtype = from_numpy(operand.value.dtype)
            assert dtype is not None
            value = operand.value
            number = int(value) if isinstance(value, np.integer) else None
            return Typed(self.state.writer.constant(value.item(), dtype), number=number)
        return operand

    def arguments(self, node: ast.Call, low: int, high: int | None = None) -> list[Operand]:
        """The call's positional arguments, their number checked."""
        high = low if high is None else high
        source = self.state.source
        if any(isinstance(a, ast.Starred) for a in node.args):
            source.syntax_error(
                node, "unpacking with * is not part of the kernel language", "Name each argument."
            )
        if not low <= len(node.args) <= high:
            count = str(low) if low == high else f"{low} to {high}"
            source.type_error(
                node,
                f"{ast.unparse(node.func)} takes {count} argument{'' if count == '1' else 's'}, not {len(node.args)}",
                self._signature(node),
            )
        return [self.expression(a) for a in node.args]

    def _signature(self, node: ast.Call) -> str:
        """What a builtin takes, for a message."""
        code = getattr(self.state.scope.captured.resolve(node.func), "__code__", None)
        return f"It takes ({', '.join(code.co_varnames[: code.co_argcount])})." if code else ""

    # --- leaves
    def constant(self, node: ast.Constant) -> Operand:
        if isinstance(node.value, complex):
            return Record(None, (Literal(node.value.real), Literal(node.value.imag)))
        if isinstance(node.value, (bool, int, float)):
            return Literal(node.value)
        return Object(node.value)

    def tuple(self, node: ast.Tuple) -> Operand:
        return Items(tuple(self.expression(item) for item in node.elts))
