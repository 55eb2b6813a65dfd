"""Branches: jumps where a gang agrees on the condition, masks where it does not."""

from __future__ import annotations

from dataclasses import dataclass

from gpucore import ir
from gpucore_cpu.spmd.analysis import Shape
from gpucore_cpu.spmd.index_tests import IndexTests
from gpucore_cpu.spmd.state import FunctionState
from gpucore_cpu.spmd.statements import Statements
from gpucore_cpu.spmd.types import ALL_ONES, ERROR_RECORD

__all__ = ["Branches", "flattens"]

RARELY, OFTEN = ", !prof !7", ", !prof !8"
"""Metadata of a branch that hardly ever, or nearly always, goes to its first label."""

FLATTEN_LIMIT = 12
"""A divergent branch of at most that many pure statements is computed in all lanes, without a jump."""


def flattens(statement: ir.If) -> bool:
    """Whether both sides of a divergent branch are few and pure enough to be computed in all lanes."""
    count = 0
    for inner in (*statement.then, *statement.orelse):
        if not isinstance(inner, (ir.Const, ir.Op, ir.GetVar, ir.SetVar)):
            return False
        if isinstance(inner, ir.Op) and inner.op in ("quot.raw", "rem.raw"):
            return False
        count += not isinstance(inner, ir.Const)
    return count <= FLATTEN_LIMIT


def is_rare(statement: ir.If) -> bool:
    """Whether hardly any thread takes the second side: it writes an error record, or is a loop of which the first side is a copy
    with fewer checks.
    """
    if any(_claims(s) for s in statement.orelse):
        return True
    loops = [[s for s in block if isinstance(s, ir.For)] for block in (statement.then, statement.orelse)]
    return (
        [len(side) for side in loops] == [1, 1]
        and loops[0][0].loc is not None
        and loops[0][0].loc == loops[1][0].loc
        and any(_claims(s) for s in ir.walk(loops[1][0].body))
    )


def _claims(s: ir.Stmt) -> bool:
    if isinstance(s, ir.SetVar):
        return s.var.name.startswith("$outside")
    return isinstance(s, ir.AtomicCas) and s.memory.name == ERROR_RECORD


@dataclass(frozen=True, slots=True)
class Branches:
    """Writes If statements."""

    state: FunctionState
    statements: Statements
    tests: IndexTests

    def emit(self, statement: ir.If) -> None:
        """An If: a jump on a uniform condition, masks on a varying one."""
        writer, values, masks = self.state.writer, self.state.values, self.state.masks
        nested = self.statements.nested
        before = masks.current
        join = writer.label("join")
        orelse = writer.label("else") if statement.orelse else join
        then = writer.label("then")
        if values.shape(statement.condition) <= Shape.GANG:
            weights = OFTEN if statement.then and is_rare(statement) else ""
            writer.branch_if(values.scalar(statement.condition), then, orelse, weights)
            writer.begin(then)
            nested(statement.then, before)
            writer.branch(join)
            if statement.orelse:
                writer.begin(orelse)
                nested(statement.orelse, before)
            writer.begin(join)
            return
        condition = values.vector(statement.condition)
        taken = masks.both(before, condition)
        if flattens(statement):
            nested(statement.then, taken)
            if statement.orelse:
                nested(statement.orelse, masks.without(before, condition))
            return
        if statement.then and is_rare(statement):
            # nearly always all lanes go on: as if there were no branch, without masks
            whole, some = writer.label("whole"), writer.label("some")
            self._branch_rarely(statement.condition, before, some, whole)
            writer.begin(whole)
            nested(statement.then, before)
            writer.branch(join)
            writer.begin(some)
            condition = values.vector(statement.condition)
            taken = masks.both(before, condition)
        if statement.then:
            writer.branch_if(masks.any_lane(taken), then, orelse)
            writer.begin(then)
            nested(statement.then, taken)
            writer.branch(orelse)
        if statement.orelse:
            writer.begin(orelse)
            otherwise = writer.label("otherwise")
            remaining = masks.without(before, condition)
            writer.branch_if(masks.any_lane(remaining), otherwise, join)
            writer.begin(otherwise)
            nested(statement.orelse, remaining)
        writer.begin(join)

    def _branch_rarely(self, condition: ir.Value, before: str | None, some: str, whole: str) -> None:
        """Go on with ``whole`` where the condition holds in all active lanes, as it nearly always does."""
        writer, values, masks = self.state.writer, self.state.values, self.state.masks
        if before is None and "avx512f" in self.state.text.features:
            writer.branch_if(masks.all_lanes(values.vector(condition)), whole, some, OFTEN)
            return
        refused = self.tests.emit_refused(condition)
        if refused is None:
            refused = masks.without(None, values.vector(condition))
        else:
            # from here on, where the condition is read in the code for some lanes alone
            inverse = writer.tmp(f"xor {self.state.types.mask} {refused}, {ALL_ONES}")
            values.keep(condition.name, inverse)
        writer.branch_if(masks.any_lane(masks.both(before, refused)), some, whole, RARELY)
