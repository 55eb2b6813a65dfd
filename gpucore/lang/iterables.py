"""What a for loop runs over: a range, values counted by an index, or a list known at compile time."""

from __future__ import annotations

import ast
import builtins as python
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from gpucore.errors import KernelSyntaxError, KernelTypeError
from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import index
from gpucore.lang import builtins
from gpucore.lang.conversions import Conversions
from gpucore.lang.diagnostics import did_you_mean
from gpucore.lang.expressions import Arithmetic, Evaluator
from gpucore.lang.operands import Array, Items, Literal, Object, Operand, Typed, as_constant, as_python
from gpucore.lang.state import FunctionState

__all__ = ["MOST_UNROLLED", "Counted", "Iterable", "Iterables", "Listed", "Span"]

MOST_UNROLLED = 4096
RULE = "a for loop runs over range, gc.static_range, a tuple, enumerate, zip or reversed"


@dataclass(frozen=True, slots=True)
class Span:
    """``range(start, stop, step)``, and where each of the three stands."""

    start: Operand
    stop: Operand
    step: Operand
    nodes: tuple[ast.AST, ast.AST, ast.AST]


@dataclass(frozen=True, slots=True)
class Counted:
    """``count`` values, the k-th of which ``item`` computes."""

    count: Operand
    item: Callable[[Operand], Operand]


@dataclass(frozen=True, slots=True)
class Listed:
    """Values known one by one: the loop is unrolled."""

    items: tuple[Operand, ...]


Iterable: TypeAlias = Span | Counted | Listed


@dataclass(frozen=True, slots=True)
class Iterables:
    """Lowers what a for loop runs over."""

    state: FunctionState
    evaluator: Evaluator
    conversions: Conversions
    arithmetic: Arithmetic

    def of(self, node: ast.expr) -> Iterable:
        """The iterable that an expression names."""
        if isinstance(node, ast.Call):
            target = self.evaluator.expression(node.func)
            value = target.value if isinstance(target, Object) else None
            if value is python.range:
                return self._span(node)
            if value is builtins.static_range:
                return self._static(node)
            if value is python.enumerate:
                return self._enumerated(node)
            if value is python.zip:
                return self._zipped(node)
            if value is python.reversed:
                return self._reversed(node)
            name = getattr(value, "__name__", "")
            known = ["range", "static_range", "enumerate", "zip", "reversed"]
            if isinstance(target, Object) and did_you_mean(name, known):
                self.state.source.syntax_error(node, RULE, did_you_mean(name, known))
        operand = self.evaluator.expression(node)
        if isinstance(operand, Items):
            return Listed(tuple(map(self.evaluator.settle, operand.items)))
        count = f"{ast.unparse(node)}.shape[0]" if isinstance(operand, Array) else "n"
        self.state.source.syntax_error(node, RULE, f"Write for i in range({count}):")

    # --- ranges
    def _span(self, node: ast.Call) -> Span:
        pairs: list[tuple[Operand, ast.AST]] = list(
            zip(self.evaluator.arguments(node, 1, 3), node.args, strict=True)
        )
        if len(pairs) == 3:
            self._step(node, pairs[2][0])
        if len(pairs) == 1:
            pairs = [(Literal(0), node), *pairs]
        if len(pairs) == 2:
            pairs.append((Literal(1), node))
        (start, at_start), (stop, at_stop), (step, at_step) = pairs
        return Span(start, stop, step, (at_start, at_stop, at_step))

    def bounds(self, span: Span) -> tuple[ir.Value, ir.Value, ir.Value]:
        """Start, stop and step as indices."""
        at_start, at_stop, at_step = span.nodes
        return (
            self._bound(span.start, at_start),
            self._bound(span.stop, at_stop),
            self._bound(span.step, at_step),
        )

    def _step(self, node: ast.Call, step: Operand) -> None:
        value = as_python(step)
        if isinstance(value, float):
            count = ast.unparse(node.args[0])
            self.state.source.type_error(
                node.args[2],
                "range counts in integers",
                f"Count the steps and compute the float from the count: t = {count} + k * {value!r}.",
            )
        if value == 0:
            self.state.source.type_error(node, "the step of range is zero", "Write a step that moves.")

    def _bound(self, operand: Operand, node: ast.AST) -> ir.Value:
        """A bound as an index; something in its place while types are still being found."""
        try:
            return self.conversions.as_index(operand, node, "a bound of range")
        except (KernelSyntaxError, KernelTypeError):
            if not self.state.inference.tentative:
                raise
            self.state.inference.failures += 1
            return self.state.writer.constant(0, index)

    def _literal_or_index(self, operand: Operand, node: ast.AST) -> Operand:
        if isinstance(operand, Literal) and type(operand.value) is int:
            return operand
        return Typed(self._bound(operand, node))

    def _static(self, node: ast.Call) -> Listed:
        source = self.state.source
        values = [as_constant(o) for o in self.evaluator.arguments(node, 1, 3)]
        if any(isinstance(v, float) for v in values):
            source.type_error(
                node,
                f"the bounds of static_range are whole numbers, not {next(v for v in values if isinstance(v, float))}",
                "Write an int, or pass one for the gc.constexpr parameter.",
            )
        if not all(isinstance(v, int) and not isinstance(v, bool) for v in values):
            source.type_error(
                node,
                "the bounds of static_range are known when the kernel is compiled",
                "Use range, or a constant or gc.constexpr bound.",
            )
        if len(values) == 3 and values[2] == 0:
            source.type_error(node, "the step of static_range is zero", "Write a step that moves.")
        return self._listed(node, range(*values), "static_range")

    def _listed(self, node: ast.AST, span: range, what: str) -> Listed:
        if len(span) > MOST_UNROLLED:
            self.state.source.type_error(
                node,
                f"{what} of {len(span)} iterations would be unrolled; at most {MOST_UNROLLED} are",
                "Use range.",
            )
        return Listed(tuple(map(Literal, span)))

    # --- built on others
    def _enumerated(self, node: ast.Call) -> Counted | Listed:
        start: Operand = Literal(0)
        keywords = {k.arg: k.value for k in node.keywords}
        nodes = [*node.args, *([keywords["start"]] if set(keywords) == {"start"} else [])]
        if not 1 <= len(nodes) <= 2 or len(nodes) != len(node.args) + len(node.keywords):
            self.state.source.type_error(
                node,
                f"{ast.unparse(node)} is no enumerate of one iterable and perhaps a start",
                "Write for k, v in enumerate(t):",
            )
        if len(nodes) == 2:
            start = self._literal_or_index(self.evaluator.expression(nodes[1]), nodes[1])
        inner = self._counted(self.of(nodes[0]), node)
        if isinstance(inner, Listed):
            pairs = enumerate(inner.items)
            return Listed(tuple(Items((self._add(start, Literal(k), node), v)) for k, v in pairs))
        return Counted(inner.count, lambda k: Items((self._add(start, k, node), inner.item(k))))

    def _zipped(self, node: ast.Call) -> Counted | Listed:
        if not node.args or node.keywords:
            self.state.source.type_error(
                node, "zip takes iterables, without keywords", "Write for a, b in zip(s, t):"
            )
        parts = [self.of(a) for a in node.args]
        if any(isinstance(p, Listed) for p in parts):
            lists = [self._as_list(p, at) for p, at in zip(parts, node.args, strict=True)]
            return Listed(tuple(Items(row) for row in zip(*lists, strict=False)))
        counted = [c for c in (self._counted(p, node) for p in parts) if isinstance(c, Counted)]
        count = counted[0].count
        for other in counted[1:]:
            count = self._least(count, other.count, node)
        return Counted(count, lambda k: Items(tuple(c.item(k) for c in counted)))

    def _as_list(self, iterable: Iterable, node: ast.expr) -> tuple[Operand, ...]:
        if isinstance(iterable, Listed):
            return iterable.items
        if isinstance(iterable, Span):
            bounds = [as_constant(o) for o in (iterable.start, iterable.stop, iterable.step)]
            if all(type(b) is int for b in bounds):
                return self._listed(node, range(*bounds), "range").items
        self.state.source.type_error(
            node,
            "what is zipped with a tuple is known when the kernel is compiled, too",
            "Write gc.static_range with constant bounds, or index an array instead of the tuple.",
        )

    def _reversed(self, node: ast.Call) -> Iterable:
        self._single(node, "reversed")
        inner = self.of(node.args[0])
        if isinstance(inner, Listed):
            return Listed(inner.items[::-1])
        if isinstance(inner, Counted):
            last = self._subtract(inner.count, Literal(1), node)
            return Counted(inner.count, lambda k: inner.item(self._subtract(last, k, node)))
        start, stop, step = self._indices(inner, node)
        before = self._subtract(start, Literal(step), node)
        if abs(step) == 1:
            last = self._subtract(stop, Literal(step), node)
        else:
            steps = self._subtract(self._count(start, stop, step, node), Literal(1), node)
            last = self._add(start, self._combine("mul", steps, Literal(step), node), node)
        return Span(last, before, Literal(-step), (node, node, node))

    def _single(self, node: ast.Call, what: str) -> None:
        if len(node.args) != 1 or node.keywords:
            self.state.source.type_error(
                node, f"{what} takes one iterable", f"Write for i in {what}(range(n)):"
            )

    def _counted(self, iterable: Iterable, node: ast.AST) -> Counted | Listed:
        if not isinstance(iterable, Span):
            return iterable
        start, stop, step = self._indices(iterable, node)

        def item(k: Operand) -> Operand:
            return self._add(start, self._combine("mul", k, Literal(step), node), node)

        return Counted(self._count(start, stop, step, node), item)

    def _indices(self, span: Span, node: ast.AST) -> tuple[Operand, Operand, int]:
        """Start and stop as literals or indices, and the step as a number."""
        step = as_constant(span.step)
        if type(step) is not int:
            self.state.source.type_error(
                node, "the step of this range is known when the kernel is compiled", "Write a constant step."
            )
        start = self._literal_or_index(span.start, span.nodes[0])
        return start, self._literal_or_index(span.stop, span.nodes[1]), step

    def _count(self, start: Operand, stop: Operand, step: int, node: ast.AST) -> Operand:
        """How many values a range has; zero or less where it is empty."""
        low, high = (start, stop) if step > 0 else (stop, start)
        length = self._subtract(high, low, node)
        if abs(step) == 1:
            return length
        rounded = self._add(length, Literal(abs(step) - 1), node)
        return self._combine("floordiv", rounded, Literal(abs(step)), node)

    # --- index arithmetic, folded where both sides are known
    def _add(self, a: Operand, b: Operand, node: ast.AST) -> Operand:
        return self._combine("add", a, b, node)

    def _subtract(self, a: Operand, b: Operand, node: ast.AST) -> Operand:
        return self._combine("sub", a, b, node)

    def _combine(self, name: str, a: Operand, b: Operand, node: ast.AST) -> Operand:
        if isinstance(a, Literal) and isinstance(b, Literal):
            return Literal(_PYTHON[name](a.value, b.value))
        neutral = 1 if name in ("mul", "floordiv") else 0
        if isinstance(b, Literal) and b.value == neutral:
            return a
        if isinstance(a, Literal) and a.value == neutral and name in ("add", "mul"):
            return b
        return self.arithmetic.combine(name, a, b, node, node, node)

    def _least(self, a: Operand, b: Operand, node: ast.AST) -> Operand:
        if isinstance(a, Literal) and isinstance(b, Literal):
            return Literal(min(a.value, b.value))
        values = (self.conversions.to(a, index, node), self.conversions.to(b, index, node))
        return Typed(self.state.writer.op("min", *values))


_PYTHON: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "floordiv": lambda a, b: a // b,
}
