"""Statements: bodies and blocks, branches, loops, and each other kind by the collaborator that knows it."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from gpucore.errors import KernelSyntaxError, KernelTypeError
from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import bool_, index
from gpucore.lang.assignments import Assignments
from gpucore.lang.conversions import Conversions
from gpucore.lang.diagnostics import plural
from gpucore.lang.expressions import Evaluator
from gpucore.lang.iterables import Iterables, Listed, Span
from gpucore.lang.operands import Items, Literal, Object, Operand, Typed, as_python, describe
from gpucore.lang.state import FunctionState, Unrolled, meet
from gpucore.lang.syntax import contains_return, stored_names, terminates
from gpucore.lang.variables import Variables

__all__ = ["Loops", "Statements"]


StatementHandlers: TypeAlias = Mapping[type[ast.stmt], Callable[[Any], None]]
"""What lowers each kind of statement."""

REFUSED: dict[str, tuple[str, str]] = {
    "With": ("with is not part of the kernel language", "Drop it: a kernel holds no resources."),
    "Try": (
        "try is not part of the kernel language",
        "Kernels do not raise; check conditions, or use check=True.",
    ),
    "Raise": ("raise is not part of the kernel language", "Use assert, which checked mode reports."),
    "Import": ("imports stand outside the kernel", "Move the import to the top of the file."),
    "ImportFrom": ("imports stand outside the kernel", "Move the import to the top of the file."),
    "Global": ("global is not part of the kernel language", "Pass an array and write to it."),
    "Nonlocal": (
        "nonlocal is not part of the kernel language",
        "Return the value, and assign it where the function is called.",
    ),
    "AsyncFunctionDef": ("async is not part of the kernel language", "Write def."),
    "ClassDef": ("classes are not part of the kernel language", "Pass arrays and scalars."),
    "Delete": ("a kernel deletes nothing", "Drop the line: what is not used again costs nothing."),
    "Match": ("match is not part of the kernel language", "Write if and elif."),
    "AsyncFor": ("async is not part of the kernel language", "Write for."),
    "AsyncWith": ("async is not part of the kernel language", "Drop it."),
}


@dataclass(frozen=True, slots=True)
class Statements:
    """Lowers statements: ``body`` is the one way into all of them."""

    state: FunctionState
    evaluator: Evaluator
    conversions: Conversions
    variables: Variables
    _handlers: dict[type[ast.stmt], Callable[[Any], None]] = field(default_factory=dict)

    def handle(self, handlers: StatementHandlers) -> None:
        """Let these collaborators lower their kinds of statements."""
        self._handlers.update(handlers)

    # --- blocks
    def body(self, statements: list[ast.stmt]) -> None:
        """Lower statements into the open block."""
        for position, statement in enumerate(statements):
            if self.state.scope.assigned is None:
                return
            rest = statements[position + 1 :]
            if self.state.scope.returns is not None and rest and contains_return(statement):
                self._before_rest(statement, rest)
                return
            self._statement(statement)

    def block(self, statements: list[ast.stmt]) -> ir.Block:
        """Lower statements into a block of their own."""
        self.state.writer.open()
        self.state.scope.bindings.append({})
        self.body(statements)
        self.state.scope.bindings.pop()
        return self.state.writer.close()

    def _before_rest(self, statement: ast.stmt, rest: list[ast.stmt]) -> None:
        """In an inlined body: a statement that may return, and what follows unless it did."""
        if isinstance(statement, ast.Return):
            self._statement(statement)
            return
        if isinstance(statement, ast.If):
            if terminates(statement.body):
                self.branch(statement, statement.body, [*statement.orelse, *rest])
                return
            if statement.orelse and terminates(statement.orelse):
                self.branch(statement, [*statement.body, *rest], statement.orelse)
                return
        self._statement(statement)
        if self.state.scope.assigned is None:
            return
        going = self.state.writer.op("not", self.state.writer.read(self.variables.returned_flag()))
        before = set(self.state.scope.assigned)
        then = self.block(rest)
        self.state.writer.emit(ir.If(going, then, (), self.state.writer.location))
        if self.state.scope.assigned is not None:
            self.state.scope.assigned &= before

    def _statement(self, node: ast.stmt) -> None:
        """Lower a statement; while types are still being found, pass over one that does not fit them yet."""
        if not self.state.inference.tentative:
            self._lower(node)
            return
        scope, writer = self.state.scope, self.state.writer
        depth, bound, loops = writer.depth, len(scope.bindings), len(scope.loops)
        try:
            self._lower(node)
        except (KernelSyntaxError, KernelTypeError):
            self.state.inference.failures += 1
            writer.drop_to(depth)
            del scope.bindings[bound:], scope.loops[loops:]
            if scope.assigned is not None:
                scope.assigned |= stored_names(node)

    def _lower(self, node: ast.stmt) -> None:
        self.state.at(node)
        handler = self._handlers.get(type(node))
        if handler is None:
            rule, instead = REFUSED.get(
                type(node).__name__,
                (
                    f"{type(node).__name__} is not part of the kernel language",
                    "Write it with numbers, arrays, if, for and while.",
                ),
            )
            self.state.source.syntax_error(node, rule, instead)
        handler(node)

    # --- simple statements
    def nothing(self, node: ast.Pass) -> None:
        pass

    def expression(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return
        if not isinstance(node.value, ast.Call):
            if isinstance(node.value, (ast.Yield, ast.YieldFrom, ast.Await)):
                self.evaluator.expression(node.value)
            self.state.source.syntax_error(
                node, "this line computes a value and drops it", "Assign it, or drop the line."
            )
        self.evaluator.expression(node.value)

    def assertion(self, node: ast.Assert) -> None:
        operand = self.evaluator.expression(node.test)
        message = ""
        if node.msg is not None:
            is_formatted = isinstance(node.msg, ast.JoinedStr)
            text = None if is_formatted else as_python(self.evaluator.expression(node.msg))
            if not isinstance(text, str):
                self.state.source.type_error(
                    node.msg,
                    "the message of an assert is a plain string"
                    + (", not one that is formatted with values" if is_formatted else ""),
                    'Write assert condition, "text".',
                )
            message = text
        condition = self.conversions.condition(operand, node.test, "assert")
        self.state.impure("an assert")
        self.state.writer.emit(
            ir.Assert(condition, message or ast.unparse(node.test), self.state.writer.location)
        )

    # --- branches
    def condition(self, node: ast.If) -> None:
        self.branch(node, node.body, node.orelse)

    def branch(self, node: ast.If, body: list[ast.stmt], orelse: list[ast.stmt]) -> None:
        test, condition = self.test(node.test, "if")
        self.state.at(node)
        if isinstance(test, Literal) and isinstance(test.value, bool):
            self.body(body if test.value else orelse)
            return
        location = self.state.writer.location
        before = set(self.state.scope.assigned or ())
        then = self.block(body)
        after_then, self.state.scope.assigned = self.state.scope.assigned, set(before)
        otherwise = self.block(orelse)
        self.state.scope.assigned = meet(after_then, self.state.scope.assigned)
        self.state.writer.emit(ir.If(condition, then, otherwise, location))

    def test(self, node: ast.expr, where: str) -> tuple[Operand, ir.Value]:
        """A condition; while types are still being found, something in place of one that does not fit them yet."""
        depth = self.state.writer.depth
        try:
            operand = self.evaluator.expression(node)
            if isinstance(operand, Literal) and isinstance(operand.value, bool) and where == "if":
                return operand, ir.Value("", bool_)
            return operand, self.conversions.condition(operand, node, where)
        except (KernelSyntaxError, KernelTypeError):
            if not self.state.inference.tentative:
                raise
            self.state.inference.failures += 1
            self.state.writer.drop_to(depth)
            return Object(None), self.state.writer.constant(False, bool_)


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
