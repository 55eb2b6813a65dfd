"""Expressions: from syntax to operands, each kind by the collaborator that knows it; operators on numbers."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np

from gpucore.ir.dtypes import DType, bool_, from_numpy, integer_range
from gpucore.lang.conversions import Conversions
from gpucore.lang.operands import Items, Literal, Object, Operand, Place, Record, Typed, as_constant
from gpucore.lang.record_arithmetic import RecordArithmetic
from gpucore.lang.record_values import RecordValues
from gpucore.lang.state import FunctionState
from gpucore.lang.types import Type

__all__ = ["BINARY", "Arithmetic", "Evaluated", "Evaluator", "Handlers"]


Handlers: TypeAlias = Mapping[type[ast.expr], Callable[[Any], Operand]]
"""What lowers each kind of expression."""

REFUSED: dict[str, tuple[str, str]] = {
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


BINARY: dict[type[ast.operator], tuple[str, str, Callable[[Any, Any], Any]]] = {
    ast.Add: ("add", "+", operator.add),
    ast.Sub: ("sub", "-", operator.sub),
    ast.Mult: ("mul", "*", operator.mul),
    ast.Div: ("div", "/", operator.truediv),
    ast.FloorDiv: ("floordiv", "//", operator.floordiv),
    ast.Mod: ("mod", "%", operator.mod),
    ast.Pow: ("pow", "**", operator.pow),
    ast.BitAnd: ("and", "&", operator.and_),
    ast.BitOr: ("or", "|", operator.or_),
    ast.BitXor: ("xor", "^", operator.xor),
    ast.LShift: ("shl", "<<", operator.lshift),
    ast.RShift: ("shr", ">>", operator.rshift),
}
"""The operation of each operator, its symbol, and Python's function for it."""

UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Invert: operator.invert,
}
BITWISE = ("and", "or", "xor")
SHIFTS = ("shl", "shr")


@dataclass(frozen=True, slots=True)
class Evaluated(Evaluator):
    """Gives operands that are lowered already."""

    given: Mapping[ast.expr, Operand] = field(default_factory=dict)

    def expression(self, node: ast.expr) -> Operand:
        return self.given[node]


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Lowers operators."""

    state: FunctionState
    evaluator: Evaluator
    conversions: Conversions
    records: RecordArithmetic

    def binary_operator(self, node: ast.BinOp) -> Operand:
        # a sum of many terms is a tree as deep as it has terms: followed by a loop, not by recursion
        spine: list[ast.BinOp] = []
        first: ast.expr = node
        while isinstance(first, ast.BinOp):
            if type(first.op) not in BINARY:
                self.state.source.syntax_error(
                    first, "the operator @ is not part of the kernel language", "Write the product as loops."
                )
            spine.append(first)
            first = first.left
        left = self.evaluator.expression(first)
        for part in reversed(spine):
            self.state.at(part)
            left = self.evaluator.settle(self.binary(part, left, self.evaluator.expression(part.right)))
        return left

    def binary(self, node: ast.BinOp, left: Operand, right: Operand) -> Operand:
        """One binary operator on lowered operands."""
        name, symbol, python = BINARY[type(node.op)]
        if isinstance(left, Literal) and isinstance(right, Literal):
            return self.fold(node, symbol, python, left.value, right.value)
        if isinstance(left, Items) and isinstance(right, Items) and name == "add":
            return Items(left.items + right.items)
        if isinstance(left, Record) or isinstance(right, Record):
            return self.records.binary(self.combine, name, left, right, node, (node.left, node.right))
        result = self.combine(name, left, right, node, node.left, node.right)
        if any(isinstance(side, Typed) and side.number is not None for side in (left, right)):
            result = with_number(result, name, python, as_constant(left), as_constant(right))
        return result

    def augmented(self, op: ast.operator, left: Operand, right: Operand, node: ast.AugAssign) -> Operand:
        """``left op= right`` of a name."""
        name, symbol, python = BINARY[type(op)]
        if isinstance(left, Literal) and isinstance(right, Literal):
            return self.fold(node, symbol, python, left.value, right.value)
        return self.any(name, left, right, node, node.target, node.value)

    def any(
        self, name: str, left: Operand, right: Operand, node: ast.AST, at_left: ast.AST, at_right: ast.AST
    ) -> Operand:
        """One binary operation on numbers or records."""
        if isinstance(left, Record) or isinstance(right, Record):
            return self.records.binary(self.combine, name, left, right, node, (at_left, at_right))
        return self.combine(name, left, right, node, at_left, at_right)

    def fold(self, node: ast.AST, symbol: str, python: Callable[..., Any], *values: Any) -> Operand:
        """Python's result on constants."""
        source = self.state.source
        try:
            result = python(*values)
        except ZeroDivisionError:
            source.type_error(
                node, f"this divides the constant {values[0]!r} by zero", "Write another divisor."
            )
        except (TypeError, ValueError, OverflowError) as error:
            source.type_error(
                node, f"{symbol} of these constants fails: {error}", "Write numbers that it is defined for."
            )
        if isinstance(result, complex):
            source.type_error(
                node, f"{symbol} of these constants is complex", "Write numbers with a real result."
            )
        return Literal(result)

    def combine(
        self, name: str, left: Operand, right: Operand, node: ast.AST, at_left: ast.AST, at_right: ast.AST
    ) -> Operand:
        """One binary operation on numbers."""
        source, conversions = self.state.source, self.conversions
        symbol = next(s for n, s, _ in BINARY.values() if n == name)
        both = [(left, at_left), (right, at_right)]
        kinds = [conversions.strong_type(o, a) for o, a in both]
        if name in SHIFTS:
            return self._shift(name, left, right, node, at_left, at_right)
        if name in BITWISE:
            if any(k.is_float for k in kinds):
                source.type_error(
                    node,
                    f"{symbol} works on integers and bools, not on floats",
                    "Use gc.bitcast(x, gc.u32) for the bits of a float.",
                )
            if (kinds[0] is bool_) != (kinds[1] is bool_):
                source.type_error(
                    node,
                    f"{symbol} of {kinds[0]} and {kinds[1]}: bools go with bools",
                    "Compare first, or cast the bool.",
                )
        elif kinds[0] is bool_ and kinds[1] is bool_:
            source.type_error(
                node, f"{symbol} is arithmetic, and both sides are bool", "Cast one: gc.i32(flag)."
            )
        kind = conversions.common_type(both, node, symbol)
        dtype = self.state.strong(kind)
        if name == "div" and not dtype.is_float:
            source.type_error(
                node, f"/ of the integers {kinds[0]} and {kinds[1]}: division gives a float, the language does not guess which",
                f"Write // for the floor, or cast: gc.{self.state.library.floats.default}({ast.unparse(at_left)}) / ...",
            )  # fmt: skip
        if name == "pow":
            return self._power(left, right, kind, kinds, node, at_left, at_right)
        a, b = conversions.to(left, dtype, at_left), conversions.to(right, dtype, at_right)
        return conversions.result(self.state.writer.op(name, a, b), kind, left, right)

    def _shift(
        self, name: str, left: Operand, right: Operand, node: ast.AST, at_left: ast.AST, at_right: ast.AST
    ) -> Operand:
        conversions, writer = self.conversions, self.state.writer
        kinds = conversions.strong_type(left, at_left), conversions.strong_type(right, at_right)
        if not all(k.is_integer for k in kinds):
            self.state.source.type_error(
                node,
                f"shifts work on integers, not on {kinds[0]} by {kinds[1]}",
                "Cast it, or use gc.bitcast(x, gc.u32) for the bits of a float.",
            )
        # The type of a shift is that of what is shifted; a literal takes the amount's.
        dtype = kinds[1] if isinstance(left, Literal) else kinds[0]
        value = conversions.to(left, dtype, at_left)
        if isinstance(right, Literal):
            low, high = integer_range(dtype)
            # a negative amount is as good as one past the width
            amount = writer.constant(
                min(right.value if right.value >= 0 else -1 if low else high, high), dtype
            )
        elif holds_amounts(kinds[1], dtype):
            amount = writer.cast(conversions.number(right, at_right), dtype)
        else:
            # An amount that the type cannot hold would wrap into range: clamp it first.
            wide = conversions.number(right, at_right)
            top = writer.constant(min(integer_range(kinds[1])[1], 127), kinds[1])
            amount = writer.op("select", writer.op("le", wide, top), wide, top)
            if kinds[1].is_signed:
                negative = writer.op("lt", amount, writer.constant(0, kinds[1]))
                amount = writer.op("select", negative, top, amount)
            amount = writer.cast(amount, dtype)
        return Typed(writer.op(name, value, amount), weak=left.weak if isinstance(left, Typed) else None)

    def _power(
        self,
        left: Operand,
        right: Operand,
        kind: Type,
        kinds: list[DType],
        node: ast.AST,
        at_left: ast.AST,
        at_right: ast.AST,
    ) -> Operand:
        source, conversions, writer = self.state.source, self.conversions, self.state.writer
        dtype = self.state.strong(kind)
        if not dtype.is_float:
            if isinstance(right, Literal) and right.value < 0:
                source.type_error(
                    node,
                    "an integer to a negative power is no integer",
                    f"Cast the base: gc.{self.state.library.floats.default}({ast.unparse(at_left)}) ** {right.value}.",
                )
            base = kinds[0] if not isinstance(left, Literal) else dtype
            if base is bool_:
                source.type_error(node, "** of a bool", "Cast it: gc.i32(flag).")
            a = conversions.to(left, base, at_left)
            if isinstance(right, Literal):
                exponent = conversions.to(right, base, at_right)
            else:
                exponent = writer.cast(conversions.number(right, at_right), dtype)
            a = writer.cast(a, exponent.dtype)
            return conversions.result(writer.op("pow", a, exponent), kind)
        base_value = conversions.to(left, dtype, at_left)
        if isinstance(right, Literal) and right.value == 2:
            # correctly rounded, as no library's pow is sure to be, and far cheaper
            return conversions.result(writer.op("mul", base_value, base_value), kind, left)
        result = writer.op("pow", base_value, conversions.to(right, dtype, at_right))
        return conversions.result(result, kind, left, right)

    def unary_operator(self, node: ast.UnaryOp) -> Operand:
        source, writer = self.state.source, self.state.writer
        operand = self.evaluator.expression(node.operand)
        if isinstance(node.op, ast.Not):
            if isinstance(operand, Literal) and isinstance(operand.value, bool):
                return Literal(not operand.value)
            return Typed(writer.op("not", self.conversions.condition(operand, node.operand, "not")))
        if isinstance(operand, Literal):
            return self.fold(node, "-", UNARY[type(node.op)], operand.value)
        if isinstance(operand, Record) and not isinstance(node.op, ast.Invert):
            return operand if isinstance(node.op, ast.UAdd) else self.records.negated(operand, node)
        dtype = self.conversions.strong_type(operand, node.operand)
        assert isinstance(operand, Typed)
        if isinstance(node.op, ast.Invert):
            if dtype.is_float:
                source.type_error(
                    node,
                    f"~ works on integers, not on {dtype}",
                    "Use gc.bitcast(x, gc.u32) for the bits of a float.",
                )
            return Typed(writer.op("not", operand.value), weak=operand.weak)
        if dtype is bool_:
            source.type_error(node, "- of a bool", "Write not flag, or cast: gc.i32(flag).")
        if isinstance(node.op, ast.UAdd):
            return operand
        return Typed(writer.op("neg", operand.value), weak=operand.weak, rounded=operand.rounded)


def with_number(
    result: Operand, name: str, python: Callable[[Any, Any], Any], left: Any, right: Any
) -> Operand:
    """The result of an operation on constants, with the integer that it is where its dtype holds it."""
    if not isinstance(result, Typed) or not result.dtype.is_integer or name in SHIFTS:
        return result
    if type(left) is not int or type(right) is not int:
        return result
    if (right == 0 and name in ("floordiv", "mod")) or (name == "pow" and not 0 <= right < 64):
        return result
    number = python(left, right)
    low, high = integer_range(result.dtype)
    return replace(result, number=number) if low <= number <= high else result


def holds_amounts(source: DType, target: DType) -> bool:
    """Whether every shift amount of one dtype means the same in another."""
    if source is target:
        return True
    low, high = integer_range(source)
    target_low, target_high = integer_range(target)
    return target_low <= low and high <= target_high
