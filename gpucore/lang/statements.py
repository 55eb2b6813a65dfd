"""Statements: bodies and blocks, branches, and each other kind by the collaborator that knows it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from gpucore.errors import KernelSyntaxError, KernelTypeError
from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import bool_
from gpucore.lang.conversions import Conversions
from gpucore.lang.evaluator import Evaluator
from gpucore.lang.names import contains_return, stored_names, terminates
from gpucore.lang.operands import Literal, Object, Operand, as_python
from gpucore.lang.scopes import meet
from gpucore.lang.state import FunctionState
from gpucore.lang.variables import Variables

__all__ = ["Statements"]

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
    "Nonlocal": ("nonlocal is not part of the kernel language", "Pass an array and write to it."),
    "FunctionDef": ("functions are defined outside the kernel", "Move it out and put @gc.func above it."),
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
