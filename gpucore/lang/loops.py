"""Loops: while, for, unrolled loops, and how they are left."""

from __future__ import annotations

import ast
import builtins as python
from typing import Any

from gpucore.errors import KernelSyntaxError, KernelTypeError
from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import bool_, index
from gpucore.lang import builtins
from gpucore.lang.diagnostics import did_you_mean
from gpucore.lang.emitter import as_constant, as_python
from gpucore.lang.names import contains_return
from gpucore.lang.operands import Literal, Object, Operand, Typed
from gpucore.lang.scopes import Unrolled
from gpucore.lang.statements import Statements, meet

__all__ = ["Loops"]

MOST_UNROLLED = 4096


class Loops(Statements):
    """Lowers loops."""

    def do_While(self, node: ast.While) -> None:
        if node.orelse:
            self.source.syntax_error(
                node,
                "while ... else is not part of the kernel language",
                "Keep a flag that says how the loop ended.",
            )
        location = self.location
        self.open()
        test, condition = self.test(node.test, "while")
        header = self.close()
        forever = isinstance(test, Literal) and test.value is True
        entry = set(self.scope.assigned or ())
        body, exits = self.loop(node.body)
        self.scope.assigned = meet(None if forever else entry, *exits)
        self.emit(ir.While(header, condition, body, location))
        self.leave(node)

    def loop(self, statements: list[ast.stmt], setup: Any = None) -> tuple[ir.Block, list[set[str] | None]]:
        """A loop's body and what is assigned at each of its breaks."""
        outer_static, self.scope.static_loops = self.scope.static_loops, 0
        self.scope.loops.append([])
        self.open()
        self.scope.bindings.append({})
        if setup is not None:
            setup()
        self.body(statements)
        self.scope.bindings.pop()
        body = self.close()
        self.scope.static_loops = outer_static
        return body, self.scope.loops.pop()

    def leave(self, node: ast.stmt) -> None:
        """After a loop of an inlined body: leave the next one too where a return was met."""
        returns = self.scope.returns
        if returns is None or not returns.flag or not contains_return(node) or not self.scope.loops:
            return
        self.emit(ir.If(self.read(self.flag()), (ir.Break(self.location),), (), self.location))
        self.scope.loops[-1].append(set(self.scope.assigned or ()))

    def do_For(self, node: ast.For) -> None:
        if node.orelse:
            self.source.syntax_error(
                node,
                "for ... else is not part of the kernel language",
                "Keep a flag that says how the loop ended.",
            )
        kind = self.range_kind(node)
        if not isinstance(node.target, ast.Name):
            self.source.syntax_error(node.target, "a for loop has one name", "Write for i in range(n):")
        call = node.iter
        assert isinstance(call, ast.Call)
        operands = self.arguments(call, 1, 3)
        if kind == "static_range":
            self.unroll(node, call, operands)
            return
        pairs = list(zip(operands, call.args, strict=True))
        if len(pairs) == 1:
            pairs = [(Literal(0), call), *pairs]
        if len(pairs) == 2:
            pairs.append((Literal(1), call))
        if as_python(pairs[2][0]) == 0:
            self.source.type_error(call, "the step of range is zero", "Write a step that moves.")
        start, stop, step = (self.bound(o, n) for o, n in pairs)
        name = node.target.id
        variable = ir.Value(self.unique(name), index)
        location = self.location

        def setup() -> None:
            if name in self.scope.names.loop_only:
                self.scope.bindings[-1][name] = Typed(variable)
            else:
                self.assign_name(name, Typed(variable), node)

        entry = set(self.scope.assigned or ())
        body, exits = self.loop(node.body, setup)
        self.scope.assigned = meet(entry, *exits)
        self.emit(ir.For(variable, start, stop, step, body, location))
        self.leave(node)

    def bound(self, operand: Operand, node: ast.AST) -> ir.Value:
        try:
            return self.as_index(operand, node, "a bound of range")
        except (KernelSyntaxError, KernelTypeError):
            if not self.tentative:
                raise
            self.failures += 1
            return self.constant(0, index)

    def range_kind(self, node: ast.For) -> str:
        if isinstance(node.iter, ast.Call):
            target = self.expression(node.iter.func)
            if isinstance(target, Object):
                if target.value is python.range:
                    return "range"
                if target.value is builtins.static_range:
                    return "static_range"
                name = getattr(target.value, "__name__", "")
                if name in ("enumerate", "zip", "reversed"):
                    self.source.syntax_error(
                        node.iter, f"a for loop runs over range, not over {name}", "Write for i in range(n):"
                    )
                self.source.syntax_error(
                    node.iter,
                    "a for loop runs over range or gc.static_range",
                    did_you_mean(name, ["range", "static_range"]),
                )
        count = f"{node.iter.id}.shape[0]" if isinstance(node.iter, ast.Name) else "n"
        self.source.syntax_error(
            node.iter, "a for loop runs over range or gc.static_range", f"Write for i in range({count}):"
        )

    def unroll(self, node: ast.For, call: ast.Call, operands: list[Operand]) -> None:
        values = [as_constant(o) for o in operands]
        if not all(isinstance(v, int) and not isinstance(v, bool) for v in values):
            self.source.type_error(call, "the bounds of static_range are known when the kernel is compiled",
                             "Use range, or a constant or gc.constexpr bound.")  # fmt: skip
        if len(values) == 3 and values[2] == 0:
            self.source.type_error(call, "the step of static_range is zero", "Write a step that moves.")
        span = range(*values)
        if len(span) > MOST_UNROLLED:
            self.source.type_error(
                call,
                f"static_range of {len(span)} iterations would be unrolled; at most {MOST_UNROLLED} are",
                "Use range.",
            )
        if (self.scope.returns is not None and contains_return(node)) or leaves_loop(node.body):
            self.unroll_with_exits(node, span)
            return
        for value in span:
            if self.scope.assigned is None:
                return
            self.scope.bindings.append({})
            self.bind_unrolled(node, value)
            self.body(node.body)
            self.scope.bindings.pop()

    def bind_unrolled(self, node: ast.For, value: int) -> None:
        assert isinstance(node.target, ast.Name)
        name = node.target.id
        if name not in self.scope.names.loop_only:
            self.assign_name(name, Literal(value), node)
        self.scope.bindings[-1][name] = Literal(value)

    def unroll_with_exits(self, node: ast.For, span: range) -> None:
        """An unrolled loop that is left early: each iteration is a block to break out of, guarded by a flag."""
        flag = self.temporary(bool_, "left")
        self.emit(ir.SetVar(flag, self.constant(False, bool_), self.location))
        exits = Unrolled(flag)
        self.iterations(node, span, exits)
        self.scope.assigned = meet(self.scope.assigned, *exits.left)
        self.leave(node)

    def iterations(self, node: ast.For, span: range, exits: Unrolled) -> None:
        if not span or self.scope.assigned is None:
            return
        self.at(node)
        location = self.location
        self.open()
        true = self.constant(True, bool_)
        header = self.close()
        exits.clear()
        self.scope.loops.append(exits)
        self.open()
        self.scope.bindings.append({})
        self.bind_unrolled(node, span[0])
        self.body(node.body)
        self.scope.bindings.pop()
        if self.scope.assigned is not None:
            self.emit(ir.Break(location))
        body = self.close()
        self.scope.loops.pop()
        self.scope.assigned = meet(self.scope.assigned, *exits)
        self.emit(ir.While(header, true, body, location))
        if len(span) == 1 or self.scope.assigned is None:
            return
        stop = self.read(exits.flag)
        if self.scope.returns is not None and self.scope.returns.flag:
            stop = self.op("or", stop, self.read(self.flag()))
        going = self.op("not", stop)
        self.open()
        self.iterations(node, span[1:], exits)
        self.emit(ir.If(going, self.close(), (), location))

    def do_Break(self, node: ast.Break) -> None:
        if not self.scope.loops:
            self.source.syntax_error(node, "break outside a loop", "Put it in a for or while loop.")
        innermost = self.scope.loops[-1]
        if isinstance(innermost, Unrolled):
            self.emit(ir.SetVar(innermost.flag, self.constant(True, bool_), self.location))
            innermost.left.append(self.scope.assigned)
        # after a break of an unrolled loop nothing more of it runs: what is assigned then matters at its end only
        else:
            innermost.append(self.scope.assigned)
        self.scope.assigned = None
        self.emit(ir.Break(self.location))

    def do_Continue(self, node: ast.Continue) -> None:
        if not self.scope.loops:
            self.source.syntax_error(node, "continue outside a loop", "Put it in a for or while loop.")
        innermost = self.scope.loops[-1]
        if isinstance(innermost, Unrolled):
            innermost.append(self.scope.assigned)
            self.scope.assigned = None
            self.emit(ir.Break(self.location))
            return
        self.scope.assigned = None
        self.emit(ir.Continue(self.location))


def leaves_loop(body: list[ast.stmt]) -> bool:
    """Whether a break or continue of the loop itself stands in its body."""
    for node in body:
        if isinstance(node, (ast.Break, ast.Continue)):
            return True
        if isinstance(node, ast.If) and (leaves_loop(node.body) or leaves_loop(node.orelse)):
            return True
    return False
