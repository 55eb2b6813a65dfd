"""Conditions: comparisons, and, or, if/else; what does not decide is not evaluated."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import bool_
from gpucore.lang.emitter import as_python
from gpucore.lang.expressions import Expressions
from gpucore.lang.operands import Items, Literal, Operand, Typed
from gpucore.lang.types import strong

__all__ = ["Conditions"]

COMPARE: dict[type[ast.cmpop], tuple[str, Callable[[Any, Any], bool]]] = {
    ast.Eq: ("eq", operator.eq),
    ast.NotEq: ("ne", operator.ne),
    ast.Lt: ("lt", operator.lt),
    ast.LtE: ("le", operator.le),
    ast.Gt: ("gt", operator.gt),
    ast.GtE: ("ge", operator.ge),
}


class Conditions(Expressions):
    """Lowers what gives or takes a bool."""

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
