"""Expressions: from syntax to operands."""

from __future__ import annotations

import ast
import builtins
import math
import operator
import types
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from gpucore._suggestions import public_hint
from gpucore.errors import NotSupportedError
from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import DType, bool_, from_numpy, index
from gpucore.lang.capture import MISSING
from gpucore.lang.diagnostics import did_you_mean
from gpucore.lang.emitter import Emitter, as_constant, describe, limits
from gpucore.lang.operands import Array, Items, Literal, Object, Operand, Slot, Typed
from gpucore.lang.types import Type, strong

__all__ = ["Expressions"]

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
BITWISE = ("and", "or", "xor")
SHIFTS = ("shl", "shr")
ARRAY_ATTRIBUTES = ("shape", "ndim", "size", "dtype")


def wrap_python(value: Any) -> Operand:
    """A captured Python value as an operand."""
    if isinstance(value, np.generic):
        dtype = from_numpy(value.dtype)
        if dtype is not None:
            return Object(value)  # typed: its dtype counts
    if isinstance(value, (bool, int, float)) and not isinstance(value, DType):
        # members of an IntEnum are their numbers
        return Literal(
            value if isinstance(value, bool) else int(value) if isinstance(value, int) else float(value)
        )
    if type(value) is tuple:
        return Items(tuple(wrap_python(v) for v in value))
    return Object(value)


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
    low, high = limits(result.dtype)
    return replace(result, number=number) if low <= number <= high else result


class Expressions(Emitter):
    """Lowers expressions; calls are in :mod:`gpucore.lang.calls`."""

    scope: Any
    wanted: DType | None = None
    """The dtype that a cast around the expression names."""

    def expression(self, node: ast.expr) -> Operand:
        """Lower an expression where it stands."""
        outer = self.location
        self.at(node)
        method = getattr(self, f"lower_{type(node).__name__}", None)
        if method is None:
            names = {
                "Lambda": ("lambdas are not part of the kernel language", "Write a function with @gc.func."),
                "ListComp": ("comprehensions are not part of the kernel language", "Write a for loop."),
                "GeneratorExp": ("generators are not part of the kernel language", "Write a for loop."),
                "List": (
                    "lists are not part of the kernel language",
                    "Use gc.local(shape, dtype) or a tuple.",
                ),
                "Dict": ("dictionaries are not part of the kernel language", "Pass arrays or scalars."),
                "Set": ("sets are not part of the kernel language", "Pass arrays or scalars."),
                "JoinedStr": ("strings are not part of the kernel language", "Write numbers to an array."),
                "NamedExpr": (
                    "the walrus operator is not part of the kernel language",
                    "Assign on a line of its own.",
                ),
                "Await": ("await is not part of the kernel language", "Launches are asynchronous already."),
                "Yield": ("yield is not part of the kernel language", "A kernel writes to arrays."),
                "Starred": ("unpacking with * is not part of the kernel language", "Name each item."),
            }
            rule, instead = names.get(
                type(node).__name__,
                (
                    f"{type(node).__name__} is not part of the kernel language",
                    "Write it with numbers, arrays, if, for and while.",
                ),
            )
            self.source.syntax_error(node, rule, instead)
        result: Operand = method(node)
        self.location = outer
        return self.settle(result)

    def settle(self, operand: Operand) -> Operand:
        """A captured NumPy scalar becomes a value of its dtype where it is used."""
        if isinstance(operand, Object) and isinstance(operand.value, np.generic):
            dtype = from_numpy(operand.value.dtype)
            assert dtype is not None
            value = operand.value
            number = int(value) if isinstance(value, np.integer) else None
            return Typed(self.constant(value.item(), dtype), number=number)
        return operand

    # --- leaves
    def lower_Constant(self, node: ast.Constant) -> Operand:
        if isinstance(node.value, complex):
            self.source.type_error(
                node, "complex numbers are not part of the kernel language", "Keep two floats."
            )
        if isinstance(node.value, (bool, int, float)):
            return Literal(node.value)
        return Object(node.value)

    def lower_Name(self, node: ast.Name) -> Operand:
        found = self.scope.find(node.id)
        if found is not None:
            if isinstance(found, Slot):
                return self.read_slot(found, node)
            return found  # type: ignore[no-any-return]
        if (
            node.id in self.scope.names.stored
            and self.scope.captured.lookup(node.id) is not MISSING
            and not (hasattr(builtins, node.id))
        ):
            self.source.syntax_error(
                node, f"{node.id} is captured from outside, but assigning it makes it a local name of the whole "
                "function, which is unset here",
                f"Use another name for the result: new_{node.id} = {node.id} ...",
            )  # fmt: skip
        if node.id in self.scope.names.stored:
            self.source.syntax_error(
                node, f"{node.id} may be unset here: it is not assigned on every path that leads to this line",
                f"Assign {node.id} before the if or the loop.",
            )  # fmt: skip
        value = self.scope.captured.lookup(node.id)
        if value is MISSING:
            known = {*self.scope.visible(), *self.scope.captured.function.__globals__}
            self.source.syntax_error(node, f"the name {node.id!r} is not known",
                                     did_you_mean(node.id, known) or "Assign it first, or define it outside.")  # fmt: skip
        if isinstance(value, np.ndarray) or getattr(type(value), "__gpucore_array__", False):
            self.source.type_error(
                node, f"{node.id} is an array from outside; a kernel does not close over arrays",
                f"Make it a parameter: {node.id}: gc.Array[gc.f32].",
            )  # fmt: skip
        if isinstance(value, list):
            self.source.type_error(node, f"{node.id} is a list from outside; only numbers and tuples of numbers are captured",
                             f"Write {node.id} = tuple(...) outside, or pass an array.")  # fmt: skip
        return wrap_python(value)

    def lower_Attribute(self, node: ast.Attribute) -> Operand:
        base = self.expression(node.value)
        if isinstance(base, Array):
            return self.array_attribute(base, node)
        if isinstance(base, Object) and isinstance(base.value, (types.ModuleType, types.SimpleNamespace)):
            try:
                value = getattr(base.value, node.attr, MISSING)
            except NotSupportedError as error:
                self.source.later(node, str(error), "Write it with what is there; see docs/language.md.")
            if value is MISSING:
                known = getattr(base.value, "__all__", None) or dir(base.value)
                ours = getattr(base.value, "__name__", "") == "gpucore"
                hint = public_hint(node.attr, known) if ours else did_you_mean(node.attr, known)
                self.source.syntax_error(
                    node, f"{ast.unparse(node.value)} has no {node.attr!r}", hint or "Define it there first."
                )
            return wrap_python(value)
        if isinstance(base, Object) and isinstance(base.value, type) and hasattr(base.value, node.attr):
            return wrap_python(getattr(base.value, node.attr))
        if isinstance(base, Object) and hasattr(base.value, node.attr):
            self.source.syntax_error(
                node,
                f"the attributes of a {type(base.value).__name__} are not seen by a kernel: it looks into modules, classes "
                "and types.SimpleNamespace",
                f"Give the value a name of its own: {node.attr.lower()} = {ast.unparse(node)}.",
            )
        self.source.syntax_error(node, f"{describe(base)} has no attribute {node.attr!r} in a kernel",
                           "Arrays have .shape, .ndim, .size and .dtype.")  # fmt: skip

    def array_attribute(self, array: Array, node: ast.Attribute) -> Operand:
        memory = array.memory
        if node.attr == "shape":
            return Items(tuple(self.extent(memory, axis) for axis in range(memory.rank)))
        if node.attr == "ndim":
            return Literal(memory.rank)
        if node.attr == "dtype":
            return Object(memory.dtype)
        if node.attr == "size":
            if memory.space != "global":
                return Literal(math.prod(memory.shape))
            total = self.extent(memory, 0)
            for axis in range(1, memory.rank):
                total = self.arithmetic("mul", total, self.extent(memory, axis), node, node, node)
            return total
        cure = did_you_mean(node.attr, ARRAY_ATTRIBUTES) or "It has .shape, .ndim, .size and .dtype."
        if node.attr in ("T", "transpose", "swapaxes"):
            cure = "Index it the other way round: x[j, i] is x.T[i, j]."
        self.source.syntax_error(node, f"an array in a kernel has no attribute {node.attr!r}", cure)

    def extent(self, memory: ir.Memory, axis: int) -> Operand:
        """The extent of an axis: a value of a parameter, a number of anything else."""
        if memory.space != "global":
            return Literal(memory.shape[axis])
        result = self.value(index)
        self.emit(ir.Extent(result, memory, axis, self.location))
        return Typed(result)

    # --- operators
    def lower_BinOp(self, node: ast.BinOp) -> Operand:
        # a sum of many terms is a tree as deep as it has terms: followed by a loop, not by recursion
        spine: list[ast.BinOp] = []
        first: ast.expr = node
        while isinstance(first, ast.BinOp):
            if type(first.op) not in BINARY:
                self.source.syntax_error(
                    first, "the operator @ is not part of the kernel language", "Write the product as loops."
                )
            spine.append(first)
            first = first.left
        left = self.expression(first)
        for part in reversed(spine):
            self.at(part)
            left = self.settle(self.binary(part, left, self.expression(part.right)))
        return left

    def binary(self, node: ast.BinOp, left: Operand, right: Operand) -> Operand:
        """One binary operator on lowered operands."""
        name, symbol, python = BINARY[type(node.op)]
        if isinstance(left, Literal) and isinstance(right, Literal):
            return self.fold(node, symbol, python, left.value, right.value)
        if isinstance(left, Items) and isinstance(right, Items) and name == "add":
            return Items(left.items + right.items)
        result = self.arithmetic(name, left, right, node, node.left, node.right)
        if any(isinstance(side, Typed) and side.number is not None for side in (left, right)):
            result = with_number(result, name, python, as_constant(left), as_constant(right))
        return result

    def fold(self, node: ast.AST, symbol: str, python: Callable[..., Any], *values: Any) -> Operand:
        try:
            result = python(*values)
        except ZeroDivisionError:
            self.source.type_error(
                node, f"this divides the constant {values[0]!r} by zero", "Write another divisor."
            )
        except (TypeError, ValueError, OverflowError) as error:
            self.source.type_error(
                node, f"{symbol} of these constants fails: {error}", "Write numbers that it is defined for."
            )
        if isinstance(result, complex):
            self.source.type_error(
                node, f"{symbol} of these constants is complex", "Write numbers with a real result."
            )
        return Literal(result)

    def arithmetic(
        self, name: str, left: Operand, right: Operand, node: ast.AST, at_left: ast.AST, at_right: ast.AST
    ) -> Operand:
        """One binary operation on numbers."""
        symbol = next(s for n, s, _ in BINARY.values() if n == name)
        both = [(left, at_left), (right, at_right)]
        kinds = [self.strong_type(o, a) for o, a in both]
        if name in SHIFTS:
            return self.shift(name, left, right, node, at_left, at_right)
        if name in BITWISE:
            if any(k.is_float for k in kinds):
                self.source.type_error(
                    node,
                    f"{symbol} works on integers and bools, not on floats",
                    "Use gc.bitcast(x, gc.u32) for the bits of a float.",
                )
            if (kinds[0] is bool_) != (kinds[1] is bool_):
                self.source.type_error(
                    node,
                    f"{symbol} of {kinds[0]} and {kinds[1]}: bools go with bools",
                    "Compare first, or cast the bool.",
                )
        elif kinds[0] is bool_ and kinds[1] is bool_:
            self.source.type_error(
                node, f"{symbol} is arithmetic, and both sides are bool", "Cast one: gc.i32(flag)."
            )
        kind = self.common_type(both, node, symbol)
        dtype = strong(kind)
        if name == "div" and not dtype.is_float:
            self.source.type_error(
                node, f"/ of the integers {kinds[0]} and {kinds[1]}: division gives a float, the language does not guess which",
                f"Write // for the floor, or cast: gc.f32({ast.unparse(at_left)}) / ...",
            )  # fmt: skip
        if name == "pow":
            return self.power(left, right, kind, kinds, node, at_left, at_right)
        a, b = self.to(left, dtype, at_left), self.to(right, dtype, at_right)
        return self.typed(self.op(name, a, b), kind)

    def shift(
        self, name: str, left: Operand, right: Operand, node: ast.AST, at_left: ast.AST, at_right: ast.AST
    ) -> Operand:
        kinds = self.strong_type(left, at_left), self.strong_type(right, at_right)
        if not all(k.is_integer for k in kinds):
            self.source.type_error(
                node,
                f"shifts work on integers, not on {kinds[0]} by {kinds[1]}",
                "Cast it, or use gc.bitcast(x, gc.u32) for the bits of a float.",
            )
        # The type of a shift is that of what is shifted; a literal takes the amount's.
        dtype = kinds[1] if isinstance(left, Literal) else kinds[0]
        value = self.to(left, dtype, at_left)
        if isinstance(right, Literal):
            low, high = limits(dtype)
            # a negative amount is as good as one past the width
            amount = self.constant(min(right.value if right.value >= 0 else -1 if low else high, high), dtype)
        elif self.exactly(kinds[1], dtype):
            amount = self.cast_value(self.number(right, at_right), dtype)
        else:
            # An amount that the type cannot hold would wrap into range: clamp it first.
            wide = self.number(right, at_right)
            top = self.constant(min(limits(kinds[1])[1], 127), kinds[1])
            amount = self.op("select", self.op("le", wide, top), wide, top)
            if kinds[1].is_signed:
                amount = self.op("select", self.op("lt", amount, self.constant(0, kinds[1])), top, amount)
            amount = self.cast_value(amount, dtype)
        return Typed(self.op(name, value, amount), weak=left.weak if isinstance(left, Typed) else None)

    @staticmethod
    def exactly(source: DType, target: DType) -> bool:
        """Whether every shift amount of one dtype means the same in another."""
        if source is target:
            return True
        low, high = limits(source)
        target_low, target_high = limits(target)
        return target_low <= low and high <= target_high

    def power(
        self,
        left: Operand,
        right: Operand,
        kind: Type,
        kinds: list[DType],
        node: ast.AST,
        at_left: ast.AST,
        at_right: ast.AST,
    ) -> Operand:
        dtype = strong(kind)
        if not dtype.is_float:
            if isinstance(right, Literal) and right.value < 0:
                self.source.type_error(
                    node,
                    "an integer to a negative power is no integer",
                    f"Cast the base: gc.f32({ast.unparse(at_left)}) ** {right.value}.",
                )
            base = kinds[0] if not isinstance(left, Literal) else dtype
            if base is bool_:
                self.source.type_error(node, "** of a bool", "Cast it: gc.i32(flag).")
            a = self.to(left, base, at_left)
            if isinstance(right, Literal):
                self.fits(right.value, base, at_right)
            exponent = (
                self.to(right, base, at_right)
                if isinstance(right, Literal)
                else self.cast_value(self.number(right, at_right), dtype)
            )
            a = self.cast_value(a, exponent.dtype)
            return self.typed(self.op("pow", a, exponent), kind)
        base_value = self.to(left, dtype, at_left)
        if isinstance(right, Literal) and right.value == 2:
            # correctly rounded, as no library's pow is sure to be, and far cheaper
            return self.typed(self.op("mul", base_value, base_value), kind)
        return self.typed(self.op("pow", base_value, self.to(right, dtype, at_right)), kind)

    def lower_UnaryOp(self, node: ast.UnaryOp) -> Operand:
        operand = self.expression(node.operand)
        if isinstance(node.op, ast.Not):
            if isinstance(operand, Literal) and isinstance(operand.value, bool):
                return Literal(not operand.value)
            return Typed(self.op("not", self.condition(operand, node.operand, "not")))
        if isinstance(operand, Literal):
            functions: dict[type[ast.unaryop], Callable[[Any], Any]] = {
                ast.USub: operator.neg,
                ast.UAdd: operator.pos,
                ast.Invert: operator.invert,
            }
            return self.fold(node, "-", functions[type(node.op)], operand.value)
        dtype = self.strong_type(operand, node.operand)
        assert isinstance(operand, Typed)
        if isinstance(node.op, ast.Invert):
            if dtype.is_float:
                self.source.type_error(
                    node,
                    f"~ works on integers, not on {dtype}",
                    "Use gc.bitcast(x, gc.u32) for the bits of a float.",
                )
            return Typed(self.op("not", operand.value), weak=operand.weak)
        if dtype is bool_:
            self.source.type_error(node, "- of a bool", "Write not flag, or cast: gc.i32(flag).")
        return (
            operand
            if isinstance(node.op, ast.UAdd)
            else Typed(self.op("neg", operand.value), weak=operand.weak)
        )

    def lower_Tuple(self, node: ast.Tuple) -> Operand:
        return Items(tuple(self.expression(item) for item in node.elts))

    # --- variables (see statements.py for where slots come from)
    def temporary(self, dtype: DType, hint: str) -> ir.Var:
        raise NotImplementedError

    def read_slot(self, slot: Slot, node: ast.AST) -> Operand:
        raise NotImplementedError

    def read(self, var: ir.Var) -> ir.Value:
        result = self.value(var.dtype)
        self.emit(ir.GetVar(result, var, self.location))
        return result
