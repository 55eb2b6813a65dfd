"""Operators on vectors and complex numbers, written as operators on their parts."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import DType, u32, u64
from gpucore.ir.records import RecordType, complex_of, vector
from gpucore.lang.conversions import Conversions
from gpucore.lang.operands import Literal, Operand, Record, Typed, describe
from gpucore.lang.record_values import RecordValues
from gpucore.lang.state import FunctionState

__all__ = ["Combine", "RecordArithmetic"]

Combine: TypeAlias = Callable[[str, Operand, Operand, ast.AST, ast.AST, ast.AST], Operand]
"""One binary operation on numbers."""

_FOLDS: dict[str, Callable[[Any, Any], Any]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv,
}  # fmt: skip
_MOST_PRODUCTS = 64


@dataclass(frozen=True, slots=True)
class RecordArithmetic:
    """Lowers operators on records; ``combine`` lowers those on numbers."""

    state: FunctionState
    conversions: Conversions
    records: RecordValues

    def binary(
        self,
        combine: Combine,
        name: str,
        left: Operand,
        right: Operand,
        node: ast.AST,
        places: tuple[ast.AST, ast.AST],
    ) -> Operand:
        """``left op right``, one of which is a record."""
        scalars = _Scalars(combine, node, places)
        kinds = {_kind(side) for side in (left, right)} - {""}
        if kinds == {"vec"} and _counts(left, right):
            return self._on_vectors(scalars, name, left, right)
        if kinds == {"complex"}:
            return self._on_complex(scalars, name, left, right)
        self._refuse(left, right, node)

    def _refuse(self, left: Operand, right: Operand, node: ast.AST) -> NoReturn:
        sides = " and ".join(describe(side) for side in (left, right))
        self.state.source.type_error(
            node,
            f"this operator is not defined on {sides}",
            "It is on vectors of one length, on complex numbers, and on either with numbers; take the fields of a struct.",
        )

    # --- vectors
    def _on_vectors(self, scalars: _Scalars, name: str, left: Operand, right: Operand) -> Operand:
        count = next(len(side.items) for side in (left, right) if isinstance(side, Record))
        sides = [side.items if isinstance(side, Record) else (side,) * count for side in (left, right)]
        return self.vector([scalars(name, a, b) for a, b in zip(*sides, strict=True)], scalars.node)

    def vector(self, items: list[Operand], node: ast.AST) -> Record:
        """The vector of these elements."""
        dtype = self.conversions.common([(item, node) for item in items], node, "the elements of a vector")
        return Record(
            vector(len(items), dtype), tuple(Typed(self.conversions.to(i, dtype, node)) for i in items)
        )

    def dot(self, combine: Combine, a: Record, b: Record, node: ast.AST) -> Operand:
        """``a.x * b.x + a.y * b.y + ...``, from the left."""
        scalars = _Scalars(combine, node, (node, node))
        products = [scalars("mul", x, y) for x, y in zip(a.items, b.items, strict=True)]
        total = products[0]
        for product in products[1:]:
            total = scalars("add", total, product)
        return total

    def cross(self, combine: Combine, a: Record, b: Record, node: ast.AST) -> Operand:
        """The cross product of two vectors of three elements."""
        s = _Scalars(combine, node, (node, node))

        def part(i: int, j: int) -> Operand:
            return s("sub", s("mul", a.items[i], b.items[j]), s("mul", a.items[j], b.items[i]))

        return self.vector([part(1, 2), part(2, 0), part(0, 1)], node)

    # --- complex numbers
    def _on_complex(self, s: _Scalars, name: str, left: Operand, right: Operand) -> Operand:
        if name == "pow":
            return self._power(s, left, right)
        if name not in _FOLDS:
            self._refuse(left, right, s.node)
        if isinstance(left, Record) and isinstance(right, Record):
            (a, b), (c, d) = left.items, right.items
            if name in ("add", "sub"):
                return self.complex([s(name, a, c), s(name, b, d)], s.node)
            if name == "mul":
                return self._product(s, left, right)
            return self._quotient(s, (a, b), (c, d))
        if isinstance(left, Record):
            a, b = left.items
            if name in ("add", "sub"):
                return self.complex([s(name, a, right), b], s.node)
            return self.complex([s(name, a, right), s(name, b, right)], s.node)
        assert isinstance(right, Record)
        c, d = right.items
        if name == "add":
            return self.complex([s("add", left, c), d], s.node)
        if name == "sub":
            return self.complex([s("sub", left, c), self.negative(d, s.node)], s.node)
        if name == "mul":
            return self.complex([s("mul", left, c), s("mul", left, d)], s.node)
        return self._quotient(s, (left, Literal(0.0)), (c, d))

    def complex(self, items: list[Operand], node: ast.AST) -> Record:
        """The complex number of two parts."""
        if all(isinstance(item, Literal) for item in items):
            return Record(None, tuple(items))
        dtype = self.conversions.common([(item, node) for item in items], node, "a complex number")
        if not dtype.is_float or dtype.bits < 32:
            self.state.source.type_error(
                node, f"a complex number has parts of f32 or f64, not {dtype}", "Cast it: gc.f32(x)."
            )
        return Record(complex_of(dtype), tuple(Typed(self.conversions.to(i, dtype, node)) for i in items))

    def negative(self, operand: Operand, node: ast.AST) -> Operand:
        """``-x`` of a number."""
        if isinstance(operand, Literal):
            return Literal(-operand.value)
        value = self.conversions.number(operand, node)
        return Typed(self.state.writer.op("neg", value))

    def _product(self, s: _Scalars, left: Record, right: Record) -> Record:
        (a, b), (c, d) = left.items, right.items
        real = s("sub", s("mul", a, c), s("mul", b, d))
        return self.complex([real, s("add", s("mul", a, d), s("mul", b, c))], s.node)

    def _quotient(self, s: _Scalars, left: tuple[Operand, Operand], right: tuple[Operand, Operand]) -> Record:
        """R. L. Smith's method (*Algorithm 116: complex division*, CACM 1962); a divisor of zero divides each part."""
        node = s.node
        if all(isinstance(x, Literal) for x in (*left, *right)):
            a, b, c, d = (x.value for x in (*left, *right) if isinstance(x, Literal))
            if c == d == 0:
                self.state.source.type_error(
                    node, "this divides by the constant zero", "Write another divisor."
                )
            found = complex(a, b) / complex(c, d)
            return Record(None, (Literal(found.real), Literal(found.imag)))
        dtype = self.conversions.common([(x, node) for x in (*left, *right)], node, "/")
        a_, b_, c_, d_ = (self.conversions.to(x, dtype, node) for x in (*left, *right))
        op, constant = self.state.writer.op, self.state.writer.constant
        swap = op("lt", op("abs", c_), op("abs", d_))
        large, small = op("select", swap, d_, c_), op("select", swap, c_, d_)
        first, second = op("select", swap, b_, a_), op("select", swap, a_, b_)
        zero = constant(0.0, dtype)
        ratio = op("select", op("eq", large, zero), zero, op("div", small, large))
        divisor = op("add", large, op("mul", small, ratio))
        real = op("div", op("add", first, op("mul", second, ratio)), divisor)
        other = op("div", op("sub", second, op("mul", first, ratio)), divisor)
        return self.complex([Typed(real), Typed(op("select", swap, op("neg", other), other))], node)

    def _power(self, s: _Scalars, left: Operand, right: Operand) -> Operand:
        node = s.node
        if (
            isinstance(left, Record)
            and isinstance(right, Literal)
            and type(right.value) is int
            and abs(right.value) <= _MOST_PRODUCTS
        ):
            return self._whole_power(s, left, right.value)
        base, exponent = self.as_complex(left), self.as_complex(right)
        dtype = self.conversions.common([(x, node) for x in (*base.items, *exponent.items)], node, "**")
        a, b, c, d = (self.conversions.to(x, dtype, node) for x in (*base.items, *exponent.items))
        op, zero, one = (
            self.state.writer.op,
            self.state.writer.constant(0.0, dtype),
            self.state.writer.constant(1.0, dtype),
        )
        size, angle = op("log", op("hypot", a, b)), op("atan2", b, a)
        stretch = op("exp", op("sub", op("mul", c, size), op("mul", d, angle)))
        turn = op("add", op("mul", d, size), op("mul", c, angle))
        nothing = op("and", op("eq", a, zero), op("eq", b, zero))
        still = op("and", op("eq", c, zero), op("eq", d, zero))
        at_zero = op("select", still, one, zero)
        real = op("select", nothing, at_zero, op("mul", stretch, op("cos", turn)))
        imag = op("select", nothing, zero, op("mul", stretch, op("sin", turn)))
        return self.complex([Typed(real), Typed(imag)], node)

    def _whole_power(self, s: _Scalars, base: Record, exponent: int) -> Record:
        """By squaring; a negative one is the inverse of the positive."""
        result = Record(None, (Literal(1.0), Literal(0.0)))
        square, count, started = base, abs(exponent), False
        while count:
            if count & 1:
                result = self._product(s, result, square) if started else square
                started = True
            count >>= 1
            if count:
                square = self._product(s, square, square)
        if exponent >= 0:
            return result if started else self.records.settled(result)
        (c, d) = result.items
        return self._quotient(s, (Literal(1.0), Literal(0.0)), (c, d))

    def as_complex(self, operand: Operand) -> Record:
        """A number or complex number as a complex one."""
        if isinstance(operand, Record):
            return operand
        return Record(None, (operand, Literal(0.0)))

    def sine(self, a: ir.Value, b: ir.Value) -> tuple[ir.Value, ir.Value]:
        op = self.state.writer.op
        return op("mul", op("sin", a), op("cosh", b)), op("mul", op("cos", a), op("sinh", b))

    def cosine(self, a: ir.Value, b: ir.Value) -> tuple[ir.Value, ir.Value]:
        op = self.state.writer.op
        return op("mul", op("cos", a), op("cosh", b)), op("neg", op("mul", op("sin", a), op("sinh", b)))

    def root(self, a: ir.Value, b: ir.Value) -> tuple[ir.Value, ir.Value]:
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

    # --- comparisons and choices
    def equal(
        self, left: Operand, right: Operand, same: Callable[[Operand, Operand], Operand], node: ast.AST
    ) -> Operand:
        """Whether all parts are equal."""
        a, b = self._alike(left, right)
        alike = isinstance(a, Record) and isinstance(b, Record) and _kind(a) == _kind(b)
        if not alike or (_kind(a) == "struct" and a.type is not b.type):  # type: ignore[union-attr]
            self._refuse(left, right, node)
        leaves = self._leaves(a), self._leaves(b)
        if len(leaves[0]) != len(leaves[1]):
            self._refuse(left, right, node)
        pairs = list(zip(*leaves, strict=True))
        result: Operand = Literal(True)
        for x, y in pairs:
            found = same(x, y)
            if isinstance(result, Literal):
                result = found if result.value else result
            elif isinstance(found, Literal):
                result = result if found.value else found
            else:
                assert isinstance(result, Typed)
                assert isinstance(found, Typed)
                result = Typed(self.state.writer.op("and", result.value, found.value))
        return result

    def _alike(self, left: Operand, right: Operand) -> tuple[Operand, Operand]:
        if "complex" in (_kind(left), _kind(right)):
            return self.as_complex(left), self.as_complex(right)
        return left, right

    def _leaves(self, operand: Operand) -> list[Operand]:
        if not isinstance(operand, Record):
            return [operand]
        return [leaf for item in operand.items for leaf in self._leaves(item)]

    def common_type(self, a: Operand, b: Operand, node: ast.AST) -> RecordType:
        """The record type that two sides of a choice have."""
        for one, other in ((a, b), (b, a)):
            if not isinstance(one, Record):
                continue
            if one.type is not None and one.type.record == "struct":
                self.records.converted(other, one.type, node)
                return one.type
            if _kind(one) == "complex":
                both = [x for side in (a, b) for x in self.as_complex(side).items]
                return complex_of(self.conversions.common([(x, node) for x in both], node, "the two sides"))
            if isinstance(other, Record) and len(other.items) == len(one.items):
                pairs = [(x, node) for x in (*one.items, *other.items)]
                return vector(len(one.items), self.conversions.common(pairs, node, "the two sides"))
        self._refuse(a, b, node)

    def selected(self, condition: Any, a: Operand, b: Operand) -> Operand:
        """``a`` where a condition holds, else ``b``, of one type."""
        if isinstance(a, Record) and isinstance(b, Record):
            return Record(
                a.type, tuple(self.selected(condition, x, y) for x, y in zip(a.items, b.items, strict=True))
            )
        assert isinstance(a, Typed)
        assert isinstance(b, Typed)
        return Typed(self.state.writer.op("select", condition, a.value, b.value))

    def negated(self, operand: Record, node: ast.AST) -> Record:
        """``-v`` of a vector or a complex number."""
        if operand.type is not None and operand.type.record == "struct":
            self._refuse(operand, operand, node)
        return Record(operand.type, tuple(self.negative(item, node) for item in operand.items))


@dataclass(frozen=True, slots=True)
class _Scalars:
    """Operations on numbers, folded where both are literals."""

    combine: Combine
    node: ast.AST
    places: tuple[ast.AST, ast.AST]

    def __call__(self, name: str, a: Operand, b: Operand) -> Operand:
        if (
            isinstance(a, Literal)
            and isinstance(b, Literal)
            and name in _FOLDS
            and (name != "div" or b.value)
        ):
            return Literal(_FOLDS[name](a.value, b.value))
        return self.combine(name, a, b, self.node, *self.places)


def _kind(operand: Operand) -> str:
    if not isinstance(operand, Record):
        return ""
    return "complex" if operand.type is None else operand.type.record


def _counts(left: Operand, right: Operand) -> bool:
    """Whether two sides are vectors of one length, or a vector and a number."""
    counts = {len(side.items) for side in (left, right) if isinstance(side, Record)}
    return len(counts) == 1 and all(isinstance(side, (Record, Typed, Literal)) for side in (left, right))
