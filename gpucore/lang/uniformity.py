"""Barriers that not every thread of a block would reach."""

from __future__ import annotations

from gpucore.ir import nodes as ir

__all__ = ["divergent_barrier"]


class _Analysis:
    """Which values differ between the threads of a block, provably from thread ids."""

    def __init__(self, kernel: ir.Function) -> None:
        self.varying: set[str] = set()
        self.variables: set[str] = set()
        self.changed = True
        while self.changed:
            self.changed = False
            self.block(kernel.body, False)
        self.found: ir.Loc | None = None
        self.reason: ir.Loc | None = None
        self.left: ir.Loc | None = None

    def mark(self, value: ir.Value) -> None:
        if value.name not in self.varying:
            self.varying.add(value.name)
            self.changed = True

    def is_varying(self, *values: ir.Value) -> bool:
        return any(v.name in self.varying for v in values)

    def block(self, block: ir.Block, divergent: bool) -> None:
        for s in block:
            match s:
                case ir.ThreadIndex(result=result, kind=kind):
                    if kind in ("global_id", "thread_id"):
                        self.mark(result)
                case ir.Subgroup(result=result, op=op, args=args):
                    if op in ("lane", "inclusive_sum", "exclusive_sum") or self.is_varying(*args):
                        self.mark(result)
                case ir.GetVar(result=result, var=var):
                    if var.name in self.variables:
                        self.mark(result)
                case ir.SetVar(var=var, value=value):
                    if (divergent or self.is_varying(value)) and var.name not in self.variables:
                        self.variables.add(var.name)
                        self.changed = True
                case ir.If(condition=condition, then=then, orelse=orelse):
                    inner = divergent or self.is_varying(condition)
                    self.block(then, inner)
                    self.block(orelse, inner)
                case ir.For(variable=variable, start=start, stop=stop, step=step, body=body):
                    if self.is_varying(start, step):
                        self.mark(variable)
                    self.block(body, divergent or self.is_varying(start, stop, step))
                case ir.While(header=header, condition=condition, body=body):
                    self.block(header, divergent)
                    self.block(body, divergent or self.is_varying(condition))
                case _:
                    defined = ir.result_of(s)
                    if defined is not None and self.is_varying(*ir.operands_of(s)):
                        self.mark(defined)

    def search(self, block: ir.Block, cause: ir.Loc | None, divergent: bool) -> bool:
        """Find a barrier under divergent control; True when the rest of the loop or kernel is divergent too."""
        for s in block:
            match s:
                case ir.Barrier():
                    if divergent and self.found is None:
                        self.found, self.reason = s.loc or ir.Loc("", 0), cause
                case ir.If(condition=condition, then=then, orelse=orelse):
                    differs = self.is_varying(condition)
                    inner = divergent or differs
                    why = s.loc if differs and not divergent else cause
                    a = self.search(then, why, inner)
                    b = self.search(orelse, why, inner)
                    if a or b:
                        divergent, cause = True, why
                case ir.For(start=start, stop=stop, step=step, body=body):
                    differs = self.is_varying(start, stop, step)
                    self.loop(body, s.loc if differs and not divergent else cause, divergent or differs)
                case ir.While(header=header, condition=condition, body=body):
                    differs = self.is_varying(condition)
                    self.search(header, cause, divergent)
                    self.loop(body, s.loc if differs and not divergent else cause, divergent or differs)
                case ir.Return() | ir.Break() | ir.Continue():
                    if isinstance(s, ir.Return) and divergent:
                        self.left = self.left or cause
                    return divergent
                case _:
                    continue
            if self.left is not None and not divergent:
                divergent, cause = True, self.left
        return False

    def loop(self, body: ir.Block, cause: ir.Loc | None, divergent: bool) -> None:
        if self.leaves(body):
            # threads that left, or went on, are missing at the barriers of the iterations that follow
            divergent = divergent or self.escapes(body)
        self.search(body, cause, divergent)

    def leaves(self, body: ir.Block) -> bool:
        return any(isinstance(s, (ir.Break, ir.Return)) for s in ir.walk(body))

    def escapes(self, body: ir.Block, divergent: bool = False) -> bool:
        """Whether a break or return of this loop stands under a thread-dependent condition."""
        for s in body:
            match s:
                case ir.Break() | ir.Return():
                    if divergent:
                        return True
                case ir.If(condition=condition, then=then, orelse=orelse):
                    inner = divergent or self.is_varying(condition)
                    if self.escapes(then, inner) or self.escapes(orelse, inner):
                        return True
        return False


def divergent_barrier(kernel: ir.Function) -> tuple[ir.Loc, ir.Loc | None] | None:
    """The first barrier that a thread-dependent condition guards, and where the condition stands."""
    if not any(isinstance(s, ir.Barrier) for s in ir.walk(kernel.body)):
        return None
    analysis = _Analysis(kernel)
    analysis.search(kernel.body, None, False)
    return None if analysis.found is None else (analysis.found, analysis.reason)
