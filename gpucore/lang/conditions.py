"""Conditions: comparisons, and, or, if/else; what does not decide is not evaluated."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gpucore.errors import KernelTypeError
from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import bool_
from gpucore.lang.conversions import Conversions
from gpucore.lang.expressions import Evaluator
from gpucore.lang.operands import Items, Literal, Operand, Record, Slot, Typed, as_python, describe
from gpucore.lang.record_arithmetic import RecordArithmetic
from gpucore.lang.state import FunctionState
from gpucore.lang.variables import Variables

__all__ = ["Conditions"]

COMPARE: dict[type[ast.cmpop], tuple[str, Callable[[Any, Any], bool]]] = {
    ast.Eq: ("eq", operator.eq),
    ast.NotEq: ("ne", operator.ne),
    ast.Lt: ("lt", operator.lt),
    ast.LtE: ("le", operator.le),
    ast.Gt: ("gt", operator.gt),
    ast.GtE: ("ge", operator.ge),
}


@dataclass(frozen=True, slots=True)
class Conditions:
    """Lowers what gives or takes a bool."""

    state: FunctionState
    evaluator: Evaluator
    conversions: Conversions
    variables: Variables
    records: RecordArithmetic

    # --- comparisons
    def comparison(self, node: ast.Compare) -> Operand:
        left, at_left = self._side(node.left, node), node.left
        for op in node.ops:
            if isinstance(op, (ast.Is, ast.IsNot)):
                self.state.source.syntax_error(
                    node, f"{ast.unparse(node)}: is and is not are not part of the kernel language",
                    "Compare with ==.",
                )  # fmt: skip
        return self._chain(node, 0, left, at_left)

    def _chain(self, node: ast.Compare, position: int, left: Operand, at_left: ast.AST) -> Operand:
        """The comparisons from a position on; each operand is evaluated once, and only if those before hold."""
        right_node = node.comparators[position]
        right = self._side(right_node, node)
        first = self.compare(node.ops[position], left, right, node, at_left, right_node)
        if position + 1 == len(node.ops):
            return first
        if isinstance(first, Literal):
            return self._chain(node, position + 1, right, right_node) if first.value else first
        assert isinstance(first, Typed)
        self.state.writer.open()
        rest = self._chain(node, position + 1, right, right_node)
        value = self.conversions.condition(rest, node, "a comparison")
        return self._decided("and", first.value, self.state.writer.close(), value)

    def compare(
        self, op: ast.cmpop, left: Operand, right: Operand, node: ast.AST, at_left: ast.AST, at_right: ast.AST
    ) -> Operand:
        """One comparison of lowered operands."""
        source, conversions = self.state.source, self.conversions
        if isinstance(op, (ast.In, ast.NotIn)):
            found = self._contains(left, right, node, at_left, at_right)
            return found if isinstance(op, ast.In) else self._negated(found)
        name, python = COMPARE[type(op)]
        a, b = as_python(left), as_python(right)
        words = isinstance(a, str), isinstance(b, str)
        if words[0] is not words[1] and name in ("eq", "ne") and is_constant(right if words[0] else left):
            return Literal(
                name == "ne"
            )  # of a gc.constexpr that is a word in one launch and a number in another
        if (
            a is not NotImplemented
            and b is not NotImplemented
            and not (isinstance(left, Typed) or isinstance(right, Typed))
        ):
            try:
                return Literal(bool(python(a, b)))
            except TypeError as error:
                source.type_error(node, f"these cannot be compared: {error}", "Compare numbers with numbers.")
        if isinstance(left, Items) and isinstance(right, Items) and name in ("eq", "ne"):
            if len(left.items) != len(right.items):
                return Literal(name == "ne")
            result: Operand = Literal(True)
            for x, y in zip(left.items, right.items, strict=True):
                result = self._both(result, self.compare(ast.Eq(), x, y, node, at_left, at_right))
            return result if name == "eq" else self._negated(result)
        if (isinstance(left, Record) or isinstance(right, Record)) and name in ("eq", "ne"):
            found = self.records.equal(
                left, right, lambda x, y: self.compare(ast.Eq(), x, y, node, at_left, at_right), node
            )
            return found if name == "eq" else self._negated(found)
        kinds = conversions.strong_type(left, at_left), conversions.strong_type(right, at_right)
        if (kinds[0] is bool_) != (kinds[1] is bool_):
            source.type_error(
                node, f"a comparison of {kinds[0]} and {kinds[1]}", "Cast the bool: gc.i32(flag)."
            )
        dtype = conversions.common([(left, at_left), (right, at_right)], node, "a comparison")
        return Typed(
            self.state.writer.op(
                name, conversions.to(left, dtype, at_left), conversions.to(right, dtype, at_right)
            )
        )

    def _side(self, side: ast.expr, node: ast.Compare) -> Operand:
        """One side of a comparison; ``x > 2 & y < 5`` is told what binds tighter."""
        if not isinstance(side, ast.BinOp) or type(side.op) not in (ast.BitAnd, ast.BitOr):
            return self.evaluator.expression(side)
        symbol, word = ("&", "and") if isinstance(side.op, ast.BitAnd) else ("|", "or")
        try:
            found = self.evaluator.expression(side)
        except KernelTypeError as error:
            if f": {symbol} works on" not in str(error) and f": {symbol} of " not in str(error):
                raise
        else:
            # of integers x > 2 & x < 5 is x > (2 & x) < 5, which nobody means
            if len(node.ops) != 2 or ast.dump(node.left) != ast.dump(side.right):
                return found
        instead = f"Put each comparison in parentheses, or write {word} between them."
        if len(node.ops) == 2 and side is node.comparators[0]:
            first = ast.unparse(ast.Compare(node.left, node.ops[:1], [side.left]))
            second = ast.unparse(ast.Compare(side.right, node.ops[1:], node.comparators[1:]))
            instead = f"Write {first} {word} {second}."
        self.state.source.type_error(
            side, f"{symbol} binds tighter than comparisons: {ast.unparse(side)} is compared here", instead
        )

    def _contains(
        self, left: Operand, right: Operand, node: ast.AST, at_left: ast.AST, at_right: ast.AST
    ) -> Operand:
        """``left in right`` of a tuple: equal to any of its items."""
        if not isinstance(right, Items):
            self.state.source.type_error(
                at_right,
                f"in looks into a tuple, not into {describe(right)}",
                "Write the comparisons or a loop.",
            )
        result: Operand = Literal(False)
        for item in map(self.evaluator.settle, right.items):
            same = self.compare(ast.Eq(), left, item, node, at_left, at_right)
            if isinstance(result, Literal):
                result = result if result.value is True else same
            elif isinstance(same, Literal):
                result = same if same.value is True else result
            else:
                assert isinstance(result, Typed)
                assert isinstance(same, Typed)
                result = Typed(self.state.writer.op("or", result.value, same.value))
        return result

    def _both(self, a: Operand, b: Operand) -> Operand:
        """``a and b`` of conditions that are both evaluated."""
        for x, y in ((a, b), (b, a)):
            if isinstance(x, Literal):
                return y if x.value else Literal(False)
        assert isinstance(a, Typed)
        assert isinstance(b, Typed)
        return Typed(self.state.writer.op("and", a.value, b.value))

    def _negated(self, a: Operand) -> Operand:
        if isinstance(a, Literal):
            return Literal(not a.value)
        assert isinstance(a, Typed)
        return Typed(self.state.writer.op("not", a.value))

    # --- and, or
    def boolean(self, node: ast.BoolOp) -> Operand:
        word = "and" if isinstance(node.op, ast.And) else "or"
        expression, condition = self.evaluator.expression, self.conversions.condition
        result = expression(node.values[0])
        for right in node.values[1:]:
            if isinstance(result, Literal) and isinstance(result.value, bool):
                if result.value == (word == "or"):
                    return result
                result = expression(right)
                continue
            left = condition(result, node.values[0], word)
            result = self._short_circuit(word, left, right)
        if not isinstance(result, Literal):
            condition(result, node.values[-1], word)
        return result

    def _short_circuit(self, word: str, left: ir.Value, right: ast.expr) -> Operand:
        """The right side runs only where it decides; where it does nothing but compute, both run."""
        self.state.writer.open()
        operand = self.evaluator.expression(right)
        value = self.conversions.condition(operand, right, word)
        return self._decided(word, left, self.state.writer.close(), value)

    def _decided(self, word: str, left: ir.Value, block: ir.Block, value: ir.Value) -> Operand:
        """``left and value``, or ``or``, where the block computes the value."""
        writer = self.state.writer
        if is_cheap(block):
            writer.emit_all(block)
            return Typed(writer.op(word, left, value))
        var = self.variables.temporary(bool_, word)
        writer.set(var, left)
        then = (*block, ir.SetVar(var, value, writer.location))
        decides = left if word == "and" else writer.op("not", left)
        writer.emit(ir.If(decides, then, (), writer.location))
        return Typed(writer.read(var))

    # --- a if c else b
    def choice(self, node: ast.IfExp) -> Operand:
        expression, conversions, writer = self.evaluator.expression, self.conversions, self.state.writer
        test = expression(node.test)
        if isinstance(test, Literal) and isinstance(test.value, bool):
            return expression(node.body if test.value else node.orelse)
        condition = conversions.condition(test, node.test, "if")
        writer.open()
        a = expression(node.body)
        block_a = writer.close()
        writer.open()
        b = expression(node.orelse)
        block_b = writer.close()
        if isinstance(a, Record) or isinstance(b, Record):
            return self._record_choice(node, condition, (a, block_a), (b, block_b))
        kind = conversions.common_type([(a, node.body), (b, node.orelse)], node, "the two sides of if/else")
        dtype = self.state.strong(kind)
        writer.open(block_a)
        value_a = conversions.to(a, dtype, node.body)
        block_a = writer.close()
        writer.open(block_b)
        value_b = conversions.to(b, dtype, node.orelse)
        block_b = writer.close()
        if is_cheap(block_a) and is_cheap(block_b):
            writer.emit_all((*block_a, *block_b))
            return conversions.result(writer.op("select", condition, value_a, value_b), kind, a, b)
        var = self.variables.temporary(dtype, "choice")
        set_a, set_b = ir.SetVar(var, value_a, writer.location), ir.SetVar(var, value_b, writer.location)
        writer.emit(ir.If(condition, (*block_a, set_a), (*block_b, set_b), writer.location))
        return conversions.result(writer.read(var), kind, a, b)

    def _record_choice(
        self,
        node: ast.IfExp,
        condition: ir.Value,
        first: tuple[Operand, ir.Block],
        second: tuple[Operand, ir.Block],
    ) -> Operand:
        """One of two records, through a variable for each part."""
        writer = self.state.writer
        kind = self.records.common_type(first[0], second[0], node)
        slot = Slot(("", "choice", writer.unique("t")))
        blocks = []
        for (operand, block), at in ((first, node.body), (second, node.orelse)):
            writer.open(block)
            self.variables.write(slot, self.records.records.converted(operand, kind, at), at)
            blocks.append(writer.close())
        writer.emit(ir.If(condition, blocks[0], blocks[1], writer.location))
        return self.variables.read(slot, node)


def is_constant(operand: Operand) -> bool:
    """Whether an operand is known when the kernel is compiled; a NumPy integer has its dtype, and is."""
    return as_python(operand) is not NotImplemented or (
        isinstance(operand, Typed) and operand.number is not None
    )


def is_cheap(block: ir.Block) -> bool:
    """Whether a block only computes, so that running it where it was not asked for changes nothing."""
    return len(block) <= 12 and all(
        isinstance(s, (ir.Const, ir.GetVar, ir.Extent, ir.ThreadIndex))
        or (isinstance(s, ir.Op) and not _is_checked(s))
        for s in block
    )


def _is_checked(s: ir.Op) -> bool:
    # checked mode reports a zero divisor, so ``n // d if d != 0 else 0`` must not divide where d is 0
    return s.op in ("floordiv", "mod") and s.result.dtype.is_integer
