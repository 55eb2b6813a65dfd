"""Loops: while, for, unrolled loops, and how they are left."""

from __future__ import annotations

import ast
import builtins as python
from collections.abc import Callable
from dataclasses import dataclass

from gpucore.errors import KernelSyntaxError, KernelTypeError
from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import bool_, index
from gpucore.lang import builtins
from gpucore.lang.assignments import Assignments
from gpucore.lang.conversions import Conversions
from gpucore.lang.diagnostics import did_you_mean
from gpucore.lang.evaluator import Evaluator
from gpucore.lang.names import contains_return
from gpucore.lang.operands import Literal, Object, Operand, Typed, as_constant, as_python
from gpucore.lang.scopes import Unrolled, meet
from gpucore.lang.state import FunctionState
from gpucore.lang.statements import Statements
from gpucore.lang.variables import Variables

__all__ = ["Loops"]

MOST_UNROLLED = 4096


@dataclass(frozen=True, slots=True)
class Loops:
    """Lowers loops, break and continue."""

    state: FunctionState
    evaluator: Evaluator
    conversions: Conversions
    variables: Variables
    statements: Statements
    assignments: Assignments

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
        kind = self._range_kind(node)
        if not isinstance(node.target, ast.Name):
            self.state.source.syntax_error(node.target, "a for loop has one name", "Write for i in range(n):")
        call = node.iter
        assert isinstance(call, ast.Call)
        operands = self.evaluator.arguments(call, 1, 3)
        if kind == "static_range":
            self._unroll(node, call, operands)
            return
        pairs = list(zip(operands, call.args, strict=True))
        if len(pairs) == 1:
            pairs = [(Literal(0), call), *pairs]
        if len(pairs) == 2:
            pairs.append((Literal(1), call))
        if as_python(pairs[2][0]) == 0:
            self.state.source.type_error(call, "the step of range is zero", "Write a step that moves.")
        start, stop, step = (self._bound(o, n) for o, n in pairs)
        name = node.target.id
        variable = ir.Value(self.state.writer.unique(name), index)
        location = self.state.writer.location

        def setup() -> None:
            if name in self.state.scope.names.loop_only:
                self.state.scope.bindings[-1][name] = Typed(variable)
            else:
                self.assignments.assign_name(name, Typed(variable), node)

        entry = set(self.state.scope.assigned or ())
        body, exits = self._loop(node.body, setup)
        self.state.scope.assigned = meet(entry, *exits)
        self.state.writer.emit(ir.For(variable, start, stop, step, body, location))
        self._leave(node)

    def _bound(self, operand: Operand, node: ast.AST) -> ir.Value:
        try:
            return self.conversions.as_index(operand, node, "a bound of range")
        except (KernelSyntaxError, KernelTypeError):
            if not self.state.inference.tentative:
                raise
            self.state.inference.failures += 1
            return self.state.writer.constant(0, index)

    def _range_kind(self, node: ast.For) -> str:
        if isinstance(node.iter, ast.Call):
            target = self.evaluator.expression(node.iter.func)
            if isinstance(target, Object):
                if target.value is python.range:
                    return "range"
                if target.value is builtins.static_range:
                    return "static_range"
                name = getattr(target.value, "__name__", "")
                if name in ("enumerate", "zip", "reversed"):
                    self.state.source.syntax_error(
                        node.iter, f"a for loop runs over range, not over {name}", "Write for i in range(n):"
                    )
                self.state.source.syntax_error(
                    node.iter,
                    "a for loop runs over range or gc.static_range",
                    did_you_mean(name, ["range", "static_range"]),
                )
        count = f"{node.iter.id}.shape[0]" if isinstance(node.iter, ast.Name) else "n"
        self.state.source.syntax_error(
            node.iter, "a for loop runs over range or gc.static_range", f"Write for i in range({count}):"
        )

    def _unroll(self, node: ast.For, call: ast.Call, operands: list[Operand]) -> None:
        values = [as_constant(o) for o in operands]
        if not all(isinstance(v, int) and not isinstance(v, bool) for v in values):
            self.state.source.type_error(call, "the bounds of static_range are known when the kernel is compiled",
                             "Use range, or a constant or gc.constexpr bound.")  # fmt: skip
        if len(values) == 3 and values[2] == 0:
            self.state.source.type_error(call, "the step of static_range is zero", "Write a step that moves.")
        span = range(*values)
        if len(span) > MOST_UNROLLED:
            self.state.source.type_error(
                call,
                f"static_range of {len(span)} iterations would be unrolled; at most {MOST_UNROLLED} are",
                "Use range.",
            )
        if (self.state.scope.returns is not None and contains_return(node)) or leaves_loop(node.body):
            self._unroll_with_exits(node, span)
            return
        for value in span:
            if self.state.scope.assigned is None:
                return
            self.state.scope.bindings.append({})
            self._bind_unrolled(node, value)
            self.statements.body(node.body)
            self.state.scope.bindings.pop()

    def _bind_unrolled(self, node: ast.For, value: int) -> None:
        assert isinstance(node.target, ast.Name)
        name = node.target.id
        if name not in self.state.scope.names.loop_only:
            self.assignments.assign_name(name, Literal(value), node)
        self.state.scope.bindings[-1][name] = Literal(value)

    def _unroll_with_exits(self, node: ast.For, span: range) -> None:
        """An unrolled loop that is left early: each iteration is a block to break out of, guarded by a flag."""
        flag = self.variables.temporary(bool_, "left")
        self.state.writer.emit(
            ir.SetVar(flag, self.state.writer.constant(False, bool_), self.state.writer.location)
        )
        exits = Unrolled(flag)
        self._iterations(node, span, exits)
        self.state.scope.assigned = meet(self.state.scope.assigned, *exits.left)
        self._leave(node)

    def _iterations(self, node: ast.For, span: range, exits: Unrolled) -> None:
        if not span or self.state.scope.assigned is None:
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
        self._bind_unrolled(node, span[0])
        self.statements.body(node.body)
        self.state.scope.bindings.pop()
        if self.state.scope.assigned is not None:
            self.state.writer.emit(ir.Break(location))
        body = self.state.writer.close()
        self.state.scope.loops.pop()
        self.state.scope.assigned = meet(self.state.scope.assigned, *exits)
        self.state.writer.emit(ir.While(header, true, body, location))
        if len(span) == 1 or self.state.scope.assigned is None:
            return
        stop = self.state.writer.read(exits.flag)
        if self.state.scope.returns is not None and self.state.scope.returns.flag:
            stop = self.state.writer.op("or", stop, self.state.writer.read(self.variables.returned_flag()))
        going = self.state.writer.op("not", stop)
        self.state.writer.open()
        self._iterations(node, span[1:], exits)
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
