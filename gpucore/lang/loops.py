"""Loops: while, for, unrolled loops, and how they are left."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable
from dataclasses import dataclass, field

from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import bool_, index
from gpucore.lang.assignments import Assignments
from gpucore.lang.conversions import Conversions
from gpucore.lang.diagnostics import plural
from gpucore.lang.evaluator import Evaluator
from gpucore.lang.iterables import Iterables, Listed, Span
from gpucore.lang.names import contains_return
from gpucore.lang.operands import Items, Literal, Operand, Typed, describe
from gpucore.lang.scopes import Unrolled, meet
from gpucore.lang.state import FunctionState
from gpucore.lang.statements import Statements
from gpucore.lang.variables import Variables

__all__ = ["Loops"]

MOST_UNROLLED_IN_ALL = 16384
"""Copies of a body that unrolled loops within one another make at most."""


@dataclass(frozen=True, slots=True)
class Loops:
    """Lowers loops, break and continue."""

    state: FunctionState
    evaluator: Evaluator
    conversions: Conversions
    variables: Variables
    statements: Statements
    assignments: Assignments
    iterables: Iterables
    _unrolled: list[int] = field(default_factory=list)

    def while_loop(self, node: ast.While) -> None:
        if node.orelse:
            self.state.source.syntax_error(
                node,
                "while ... else is not part of the kernel language",
                "Keep a flag that says how the loop ended.",
            )
        location = self.state.writer.location
        self.state.writer.open()
        test, condition = self.statements.test(node.test, "while")
        header = self.state.writer.close()
        forever = isinstance(test, Literal) and test.value is True
        entry = set(self.state.scope.assigned or ())
        body, exits = self._loop(node.body)
        self.state.scope.assigned = meet(None if forever else entry, *exits)
        self.state.writer.emit(ir.While(header, condition, body, location))
        self._leave(node)

    def _loop(
        self, statements: list[ast.stmt], setup: Callable[[], None] | None = None
    ) -> tuple[ir.Block, list[set[str] | None]]:
        """A loop's body and what is assigned at each of its breaks."""
        self.state.scope.loops.append([])
        self.state.writer.open()
        self.state.scope.bindings.append({})
        if setup is not None:
            setup()
        self.statements.body(statements)
        self.state.scope.bindings.pop()
        body = self.state.writer.close()
        return body, self.state.scope.loops.pop()

    def _leave(self, node: ast.stmt) -> None:
        """After a loop of an inlined body: leave the next one too where a return was met."""
        returns = self.state.scope.returns
        if returns is None or not returns.flag or not contains_return(node) or not self.state.scope.loops:
            return
        self.state.writer.emit(
            ir.If(
                self.state.writer.read(self.variables.returned_flag()),
                (ir.Break(self.state.writer.location),),
                (),
                self.state.writer.location,
            )
        )
        self.state.scope.loops[-1].append(set(self.state.scope.assigned or ()))

    def for_loop(self, node: ast.For) -> None:
        if node.orelse:
            self.state.source.syntax_error(
                node,
                "for ... else is not part of the kernel language",
                "Keep a flag that says how the loop ended.",
            )
        iterable = self.iterables.of(node.iter)
        if isinstance(iterable, Listed):
            self._unroll(node, iterable.items)
            return
        writer, to_index = self.state.writer, self._as_index
        if isinstance(iterable, Span):
            if not isinstance(node.target, ast.Name):
                self.state.source.syntax_error(
                    node.target, "a for loop over a range has one name", "Write for i in range(n):"
                )
            start, stop, step = self.iterables.bounds(iterable)
            variable = ir.Value(writer.unique(node.target.id), index)
        else:
            start, stop, step = (to_index(o, node.iter) for o in (Literal(0), iterable.count, Literal(1)))
            variable = ir.Value(writer.unique("count"), index)
        location = writer.location

        def setup() -> None:
            value: Operand = Typed(variable)
            self._bind(node.target, value if isinstance(iterable, Span) else iterable.item(value), node)

        entry = set(self.state.scope.assigned or ())
        body, exits = self._loop(node.body, setup)
        self.state.scope.assigned = meet(entry, *exits)
        writer.emit(ir.For(variable, start, stop, step, body, location))
        self._leave(node)

    def _as_index(self, operand: Operand, node: ast.AST) -> ir.Value:
        return self.conversions.to(operand, index, node)

    def _bind(self, target: ast.expr, operand: Operand, node: ast.For, unrolled: bool = False) -> None:
        """Give the names of a loop's target their values for an iteration."""
        scope = self.state.scope
        if isinstance(target, (ast.Tuple, ast.List)):
            if not isinstance(operand, Items):
                self.state.source.type_error(
                    target, f"{describe(operand)} cannot be unpacked", "Write one name."
                )
            if len(target.elts) != len(operand.items):
                self.state.source.type_error(
                    target,
                    f"{plural(len(operand.items), 'value')} for {plural(len(target.elts), 'name')}",
                    "Write as many names as there are values.",
                )
            for one, item in zip(target.elts, operand.items, strict=True):
                self._bind(one, self.evaluator.settle(item), node, unrolled)
            return
        if not isinstance(target, ast.Name):
            self.state.source.syntax_error(
                target, "the target of a for loop is a name or names", "Write for i in range(n):"
            )
        name = target.id
        if name in scope.names.loop_only:
            scope.bindings[-1][name] = operand
            return
        self.assignments.assign_name(name, operand, node)
        if unrolled and name not in scope.names.reassigned:
            scope.bindings[-1][name] = operand  # still known when the kernel is compiled

    def _unroll(self, node: ast.For, items: tuple[Operand, ...]) -> None:
        times = math.prod(self._unrolled) * len(items)
        if self._unrolled and times > MOST_UNROLLED_IN_ALL:
            self.state.source.type_error(
                node.iter,
                f"unrolled loops within one another would repeat this body {times} times; at most "
                f"{MOST_UNROLLED_IN_ALL} are",
                "Use range for one of them.",
            )
        self._unrolled.append(len(items))
        try:
            if (self.state.scope.returns is not None and contains_return(node)) or leaves_loop(node.body):
                self._unroll_with_exits(node, items)
                return
            for item in items:
                if self.state.scope.assigned is None:
                    return
                self.state.scope.bindings.append({})
                self._bind(node.target, item, node, unrolled=True)
                self.statements.body(node.body)
                self.state.scope.bindings.pop()
        finally:
            self._unrolled.pop()

    def _unroll_with_exits(self, node: ast.For, items: tuple[Operand, ...]) -> None:
        """An unrolled loop that is left early: each iteration is a block to break out of, guarded by a flag."""
        flag = self.variables.temporary(bool_, "left")
        self.state.writer.emit(
            ir.SetVar(flag, self.state.writer.constant(False, bool_), self.state.writer.location)
        )
        exits = Unrolled(flag)
        self._iterations(node, items, exits)
        self.state.scope.assigned = meet(self.state.scope.assigned, *exits.left)
        self._leave(node)

    def _iterations(self, node: ast.For, items: tuple[Operand, ...], exits: Unrolled) -> None:
        if not items or self.state.scope.assigned is None:
            return
        self.state.at(node)
        location = self.state.writer.location
        self.state.writer.open()
        true = self.state.writer.constant(True, bool_)
        header = self.state.writer.close()
        exits.clear()
        self.state.scope.loops.append(exits)
        self.state.writer.open()
        self.state.scope.bindings.append({})
        self._bind(node.target, items[0], node, unrolled=True)
        self.statements.body(node.body)
        self.state.scope.bindings.pop()
        if self.state.scope.assigned is not None:
            self.state.writer.emit(ir.Break(location))
        body = self.state.writer.close()
        self.state.scope.loops.pop()
        self.state.scope.assigned = meet(self.state.scope.assigned, *exits)
        self.state.writer.emit(ir.While(header, true, body, location))
        if len(items) == 1 or self.state.scope.assigned is None:
            return
        stop = self.state.writer.read(exits.flag)
        if self.state.scope.returns is not None and self.state.scope.returns.flag:
            stop = self.state.writer.op("or", stop, self.state.writer.read(self.variables.returned_flag()))
        going = self.state.writer.op("not", stop)
        self.state.writer.open()
        self._iterations(node, items[1:], exits)
        self.state.writer.emit(ir.If(going, self.state.writer.close(), (), location))

    def break_(self, node: ast.Break) -> None:
        if not self.state.scope.loops:
            self.state.source.syntax_error(node, "break outside a loop", "Put it in a for or while loop.")
        innermost = self.state.scope.loops[-1]
        if isinstance(innermost, Unrolled):
            self.state.writer.emit(
                ir.SetVar(innermost.flag, self.state.writer.constant(True, bool_), self.state.writer.location)
            )
            innermost.left.append(self.state.scope.assigned)
        # after a break of an unrolled loop nothing more of it runs: what is assigned then matters at its end only
        else:
            innermost.append(self.state.scope.assigned)
        self.state.scope.assigned = None
        self.state.writer.emit(ir.Break(self.state.writer.location))

    def continue_(self, node: ast.Continue) -> None:
        if not self.state.scope.loops:
            self.state.source.syntax_error(node, "continue outside a loop", "Put it in a for or while loop.")
        innermost = self.state.scope.loops[-1]
        if isinstance(innermost, Unrolled):
            innermost.append(self.state.scope.assigned)
            self.state.scope.assigned = None
            self.state.writer.emit(ir.Break(self.state.writer.location))
            return
        self.state.scope.assigned = None
        self.state.writer.emit(ir.Continue(self.state.writer.location))


def leaves_loop(body: list[ast.stmt]) -> bool:
    """Whether a break or continue of the loop itself stands in its body."""
    for node in body:
        if isinstance(node, (ast.Break, ast.Continue)):
            return True
        if isinstance(node, ast.If) and (leaves_loop(node.body) or leaves_loop(node.orelse)):
            return True
    return False
