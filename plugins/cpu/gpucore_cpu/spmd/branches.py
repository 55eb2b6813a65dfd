"""Branches: jumps where a gang agrees on the condition, masks where it does not."""

from __future__ import annotations

from dataclasses import dataclass

from gpucore import ir
from gpucore_cpu.spmd.analysis import Shape
from gpucore_cpu.spmd.state import FunctionState
from gpucore_cpu.spmd.statements import Statements

__all__ = ["Branches", "flattens"]

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


def reports(block: ir.Block) -> bool:
    """Whether a block begins to write an error record, as hardly any thread does."""
    return any(isinstance(s, ir.AtomicCas) and s.memory.name == "$error" for s in block)


@dataclass(frozen=True, slots=True)
class Branches:
    """Writes If statements."""

    state: FunctionState
    statements: Statements

    def emit(self, statement: ir.If) -> None:
        """An If: a jump on a uniform condition, masks on a varying one."""
        writer, values, masks = self.state.writer, self.state.values, self.state.masks
        nested = self.statements.nested
        before = masks.current
        join = writer.label("join")
        orelse = writer.label("else") if statement.orelse else join
        then = writer.label("then")
        if values.shape(statement.condition) <= Shape.GANG:
            writer.branch_if(values.scalar(statement.condition), then, orelse)
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
        if statement.then and reports(statement.orelse):
            # nearly always all lanes go on: as if there were no branch, without masks
            whole, some = writer.label("whole"), writer.label("some")
            refused = masks.without(before, condition)
            writer.branch_if(masks.any_lane(refused), some, whole)
            writer.begin(whole)
            nested(statement.then, before)
            writer.branch(join)
            writer.begin(some)
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
