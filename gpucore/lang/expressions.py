"""Expressions: from syntax to operands."""

from __future__ import annotations

import ast
import math
import operator
import types
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import DType, bool_, f32, from_numpy, i32, i64, index, u32, u64
from gpucore.lang.capture import MISSING
from gpucore.lang.diagnostics import did_you_mean, plural
from gpucore.lang.emitter import Emitter, as_python, describe, limits, round_to
from gpucore.lang.operands import Array, Items, Literal, Object, Operand, Slot, Typed
from gpucore.lang.types import Type, join, strong

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
COMPARE: dict[type[ast.cmpop], tuple[str, Callable[[Any, Any], bool]]] = {
    ast.Eq: ("eq", operator.eq),
    ast.NotEq: ("ne", operator.ne),
    ast.Lt: ("lt", operator.lt),
    ast.LtE: ("le", operator.le),
    ast.Gt: ("gt", operator.gt),
    ast.GtE: ("ge", operator.ge),
}
BITWISE = ("and", "or", "xor")
SHIFTS = ("shl", "shr")
ARRAY_ATTRIBUTES = ("shape", "ndim", "size", "dtype")


@dataclass(frozen=True, slots=True)
class Table:
    """A tuple of numbers, or of such tuples, and the run-time indices met so far."""

    values: tuple[Any, ...]
    shape: tuple[int, ...]
    hint: str
    indices: tuple[tuple[Operand, ast.expr], ...] = ()


def _table(value: Any) -> tuple[tuple[Any, ...], tuple[int, ...]] | None:
    """The numbers of nested tuples in C order and their shape; None where they are no table."""
    if not isinstance(value, tuple) or not value:
        return None
    if all(isinstance(v, (bool, int, float, np.generic)) for v in value):
        return value, (len(value),)
    rows = [_table(v) for v in value]
    shapes = {row[1] for row in rows if row is not None}
    if None in rows or len(shapes) != 1:
        return None
    shape = shapes.pop()
    if len(shape) == 4:
        return None
    return tuple(v for row in rows if row is not None for v in row[0]), (len(value), *shape)


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
            return Typed(self.constant(operand.value.item(), dtype))
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
            value = getattr(base.value, node.attr, MISSING)
            if value is MISSING:
                self.source.syntax_error(node, f"{ast.unparse(node.value)} has no {node.attr!r}",
                                   did_you_mean(node.attr, dir(base.value)) or "Define it there first.")  # fmt: skip
            return wrap_python(value)
        if isinstance(base, Object) and isinstance(base.value, type) and hasattr(base.value, node.attr):
            return wrap_python(getattr(base.value, node.attr))
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
        self.source.syntax_error(node, f"an array in a kernel has no attribute {node.attr!r}",
                           did_you_mean(node.attr, ARRAY_ATTRIBUTES) or "It has .shape, .ndim, .size and .dtype.")  # fmt: skip

    def extent(self, memory: ir.Memory, axis: int) -> Operand:
        """The extent of an axis: a value of a parameter, a number of anything else."""
        if memory.space != "global":
            return Literal(memory.shape[axis])
        result = self.value(index)
        self.emit(ir.Extent(result, memory, axis, self.location))
        return Typed(result)

    # --- operators
    def lower_BinOp(self, node: ast.BinOp) -> Operand:
        if type(node.op) not in BINARY:
            self.source.syntax_error(
                node, "the operator @ is not part of the kernel language", "Write the product as loops."
            )
        left, right = self.expression(node.left), self.expression(node.right)
        name, symbol, python = BINARY[type(node.op)]
        if isinstance(left, Literal) and isinstance(right, Literal):
            return self.fold(node, symbol, python, left.value, right.value)
        if isinstance(left, Items) and isinstance(right, Items) and name == "add":
            return Items(left.items + right.items)
        return self.arithmetic(name, left, right, node, node.left, node.right)

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

    def lower_Compare(self, node: ast.Compare) -> Operand:
        left, at_left = self.expression(node.left), node.left
        for op in node.ops:
            if type(op) not in COMPARE:
                self.source.syntax_error(node, f"{ast.unparse(node)}: is, in and not in are not part of the kernel language",
                                   "Compare with == or write the cases out.")  # fmt: skip
        return self.chain(node, 0, left, at_left)

    def chain(self, node: ast.Compare, position: int, left: Operand, at_left: ast.AST) -> Operand:
        """The comparisons from a position on; each operand is evaluated once, and only if those before hold."""
        right_node = node.comparators[position]
        right = self.expression(right_node)
        first = self.compare(node.ops[position], left, right, node, at_left, right_node)
        if position + 1 == len(node.ops):
            return first
        if isinstance(first, Literal):
            return self.chain(node, position + 1, right, right_node) if first.value else first
        assert isinstance(first, Typed)
        self.open()
        rest = self.chain(node, position + 1, right, right_node)
        value = self.condition(rest, node, "a comparison")
        return self.decided("and", first.value, self.close(), value)

    def compare(
        self, op: ast.cmpop, left: Operand, right: Operand, node: ast.AST, at_left: ast.AST, at_right: ast.AST
    ) -> Operand:
        name, python = COMPARE[type(op)]
        a, b = as_python(left), as_python(right)
        if (
            a is not NotImplemented
            and b is not NotImplemented
            and not (isinstance(left, Typed) or isinstance(right, Typed))
        ):
            try:
                return Literal(bool(python(a, b)))
            except TypeError as error:
                self.source.type_error(
                    node, f"these cannot be compared: {error}", "Compare numbers with numbers."
                )
        if isinstance(left, Items) and isinstance(right, Items) and name in ("eq", "ne"):
            if len(left.items) != len(right.items):
                return Literal(name == "ne")
            result: Operand = Literal(True)
            for x, y in zip(left.items, right.items, strict=True):
                result = self.both(result, self.compare(ast.Eq(), x, y, node, at_left, at_right))
            return result if name == "eq" else self.negate(result)
        kinds = self.strong_type(left, at_left), self.strong_type(right, at_right)
        if (kinds[0] is bool_) != (kinds[1] is bool_):
            self.source.type_error(
                node, f"a comparison of {kinds[0]} and {kinds[1]}", "Cast the bool: gc.i32(flag)."
            )
        dtype = self.common([(left, at_left), (right, at_right)], node, "a comparison")
        return Typed(self.op(name, self.to(left, dtype, at_left), self.to(right, dtype, at_right)))

    def both(self, a: Operand, b: Operand) -> Operand:
        """``a and b`` of conditions that are both evaluated."""
        for x, y in ((a, b), (b, a)):
            if isinstance(x, Literal):
                return y if x.value else Literal(False)
        assert isinstance(a, Typed)
        assert isinstance(b, Typed)
        return Typed(self.op("and", a.value, b.value))

    def negate(self, a: Operand) -> Operand:
        if isinstance(a, Literal):
            return Literal(not a.value)
        assert isinstance(a, Typed)
        return Typed(self.op("not", a.value))

    def lower_BoolOp(self, node: ast.BoolOp) -> Operand:
        word = "and" if isinstance(node.op, ast.And) else "or"
        result = self.expression(node.values[0])
        for right in node.values[1:]:
            if isinstance(result, Literal) and isinstance(result.value, bool):
                if result.value == (word == "or"):
                    return result
                result = self.expression(right)
                continue
            left = self.condition(result, node.values[0], word)
            result = self.short_circuit(word, left, right)
        if not isinstance(result, Literal):
            self.condition(result, node.values[-1], word)
        return result

    def short_circuit(self, word: str, left: ir.Value, right: ast.expr) -> Operand:
        """The right side runs only where it decides; where it does nothing but compute, both run."""
        self.open()
        operand = self.expression(right)
        value = self.condition(operand, right, word)
        return self.decided(word, left, self.close(), value)

    def decided(self, word: str, left: ir.Value, block: ir.Block, value: ir.Value) -> Operand:
        """``left and value``, or ``or``, where the block computes the value."""
        if cheap(block):
            for statement in block:
                self.emit(statement)
            return Typed(self.op(word, left, value))
        var = self.temporary(bool_, word)
        self.emit(ir.SetVar(var, left, self.location))
        then = (*block, ir.SetVar(var, value, self.location))
        decides = left if word == "and" else self.op("not", left)
        self.emit(ir.If(decides, then, (), self.location))
        return Typed(self.read(var))

    def lower_IfExp(self, node: ast.IfExp) -> Operand:
        test = self.expression(node.test)
        if isinstance(test, Literal) and isinstance(test.value, bool):
            return self.expression(node.body if test.value else node.orelse)
        condition = self.condition(test, node.test, "if")
        self.open()
        a = self.expression(node.body)
        block_a = self.close()
        self.open()
        b = self.expression(node.orelse)
        block_b = self.close()
        kind = self.common_type([(a, node.body), (b, node.orelse)], node, "the two sides of if/else")
        dtype = strong(kind)
        self.blocks.append(list(block_a))
        value_a = self.to(a, dtype, node.body)
        block_a = self.close()
        self.blocks.append(list(block_b))
        value_b = self.to(b, dtype, node.orelse)
        block_b = self.close()
        if cheap(block_a) and cheap(block_b):
            for statement in (*block_a, *block_b):
                self.emit(statement)
            return self.typed(self.op("select", condition, value_a, value_b), kind)
        var = self.temporary(dtype, "choice")
        set_a, set_b = ir.SetVar(var, value_a, self.location), ir.SetVar(var, value_b, self.location)
        self.emit(ir.If(condition, (*block_a, set_a), (*block_b, set_b), self.location))
        return self.typed(self.read(var), kind)

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

    # --- subscripts
    def lower_Subscript(self, node: ast.Subscript) -> Operand:
        base = self.expression(node.value)
        if isinstance(base, Items):
            return self.item(base, node)
        if isinstance(base, Object) and isinstance(base.value, Table):
            return self.table(base.value, self.expression(node.slice), node)
        if not isinstance(base, Array):
            self.source.type_error(node, f"{describe(base)} cannot be indexed", "Arrays and tuples can.")
        indices = self.indices(base, node)
        result = self.value(base.memory.dtype)
        self.emit(ir.Load(result, base.memory, indices, self.location))
        return Typed(result)

    def item(self, base: Items, node: ast.Subscript) -> Operand:
        if isinstance(node.slice, ast.Slice):
            self.source.syntax_error(node, "slices are not part of the kernel language", "Name the items.")
        position = self.expression(node.slice)
        if isinstance(position, Literal) and isinstance(position.value, int):
            if not -len(base.items) <= position.value < len(base.items):
                self.source.type_error(
                    node,
                    f"the tuple has {plural(len(base.items), 'item')}, not an item {position.value}",
                    f"Indices go from 0 to {len(base.items) - 1}.",
                )
            return base.items[position.value]
        values = as_python(base)
        rows = _table(values) if values is not NotImplemented else None
        if rows is None:
            self.source.type_error(node, "only a tuple of constants can be indexed by a run-time value",
                             "Use gc.local(shape, dtype), or a constant index.")  # fmt: skip
        return self.table(Table(*rows, ast.unparse(node.value)), position, node)

    def table(self, table: Table, position: Operand, node: ast.Subscript) -> Operand:
        """A tuple of numbers indexed at run time becomes a memory of constants."""
        self.as_index(position, node.slice, "an index")
        table = replace(table, indices=(*table.indices, (position, node.slice)))
        if len(table.indices) < len(table.shape):
            return Object(table)
        dtype, values = self.table_values(table.values, node)
        memory = self.constant_memory(dtype, values, table.hint, table.shape)
        places = self.index_values(memory, list(table.indices), node)
        result = self.value(dtype)
        self.emit(ir.Load(result, memory, places, self.location))
        return Typed(result)

    def table_values(self, values: tuple[Any, ...], node: ast.AST) -> tuple[DType, tuple[Any, ...]]:
        """The dtype of a table and its values in it: that of its typed items, or one that holds its literals."""
        typed = {from_numpy(v.dtype) for v in values if isinstance(v, np.generic)}
        plain = [v.item() if isinstance(v, np.generic) else v for v in values]
        if typed:
            kind: Type | None = None
            for dtype in sorted((d for d in typed if d is not None), key=str):
                kind = dtype if kind is None else join(kind, dtype)
            if not isinstance(kind, DType) or None in typed:
                self.source.type_error(node, "no dtype holds all items of this tuple", "Give them one dtype.")
            for value in plain:
                self.fits(value, kind, node)
            return kind, tuple(round_to(float(v), kind) if kind.is_float else v for v in plain)
        if any(isinstance(v, float) for v in plain):
            # the table's items are weak floats: f32, unless a cast around the subscript names another dtype
            dtype = self.wanted if self.wanted is not None and self.wanted.is_float else f32
            return dtype, tuple(round_to(float(v), dtype) for v in plain)
        if all(isinstance(v, bool) for v in plain):
            return bool_, tuple(plain)
        exact = tuple(int(v) for v in plain)
        low, high = min(exact), max(exact)
        for dtype in (i32, u32, i64, u64):
            if limits(dtype)[0] <= low and high <= limits(dtype)[1]:
                return dtype, exact
        self.source.type_error(node, "no integer dtype holds all items of this tuple", "Give them as floats.")

    def constant_memory(
        self, dtype: DType, values: tuple[Any, ...], hint: str, shape: tuple[int, ...]
    ) -> ir.Memory:
        raise NotImplementedError

    def indices(self, array: Array, node: ast.Subscript) -> tuple[ir.Value, ...]:
        """One index value an axis."""
        memory = array.memory
        parts: list[tuple[Operand, ast.expr]]
        if isinstance(node.slice, ast.Tuple):
            parts = [(self.index_part(n), n) for n in node.slice.elts]
        else:
            whole = self.index_part(node.slice)
            items = whole.items if isinstance(whole, Items) else (whole,)
            parts = [(item, node.slice) for item in items]
        return self.index_values(memory, parts, node)

    def index_values(
        self, memory: ir.Memory, parts: list[tuple[Operand, ast.expr]], node: ast.AST
    ) -> tuple[ir.Value, ...]:
        if len(parts) != memory.rank:
            self.source.type_error(
                node, f"{memory.name} has {plural(memory.rank, 'axis')} and is indexed by {len(parts)}",
                f"Give one index an axis: {memory.name}[{', '.join('ijkl'[: memory.rank])}].",
            )  # fmt: skip
        result = []
        for axis, (operand, at) in enumerate(parts):
            known = as_python(operand)
            if isinstance(known, int):
                if known < 0:
                    extent = f"{memory.name}.shape[{axis}]"
                    self.source.type_error(at, f"the index {known} is negative; indices do not count from the end",
                                     f"Write {extent} - {-known}.")  # fmt: skip
                if memory.space != "global" and known >= memory.shape[axis]:
                    self.source.type_error(
                        at,
                        f"the index {known} is past the end of {memory.name}, whose axis {axis} has {memory.shape[axis]}",
                        f"Indices go from 0 to {memory.shape[axis] - 1}.",
                    )
            result.append(self.as_index(operand, at, "an index"))
        return tuple(result)

    def index_part(self, node: ast.expr) -> Operand:
        if isinstance(node, ast.Slice):
            self.source.syntax_error(
                node, "slices are not part of the kernel language", "Loop over the indices."
            )
        return self.expression(node)


def cheap(block: ir.Block) -> bool:
    """Whether a block only computes, so that running it where it was not asked for changes nothing."""
    return len(block) <= 12 and all(
        isinstance(s, (ir.Const, ir.GetVar, ir.Extent, ir.ThreadIndex))
        or (isinstance(s, ir.Op) and not _checked(s))
        for s in block
    )


def _checked(s: ir.Op) -> bool:
    # checked mode reports a zero divisor, so ``n // d if d != 0 else 0`` must not divide where d is 0
    return s.op in ("floordiv", "mod") and s.result.dtype.is_integer
