"""Barriers that not every thread of a block would reach.

A value *varies* when it is computed from a thread id; what is read from memory varies where its index does.
The analysis follows the order of execution: a variable that is set to a uniform value is uniform again.  Nothing is
guessed: what cannot be proven to vary is left to the interpreter.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gpucore.ir import nodes as ir

__all__ = ["divergent_barrier"]

State = frozenset[str]
"""The variables that vary."""


@dataclass
class _Exits:
    """How threads leave a block: where some but not all may, and the variables that vary at each jump."""

    left_loop: ir.Loc | None = None
    next_iteration: ir.Loc | None = None
    left_kernel: ir.Loc | None = None
    breaks: list[State] = field(default_factory=list)
    continues: list[State] = field(default_factory=list)

    def merge(self, other: _Exits) -> None:
        self.left_loop = self.left_loop or other.left_loop
        self.next_iteration = self.next_iteration or other.next_iteration
        self.left_kernel = self.left_kernel or other.left_kernel
        self.breaks += other.breaks
        self.continues += other.continues

    @property
    def cause(self) -> ir.Loc | None:
        return self.left_kernel or self.left_loop or self.next_iteration


class _Analysis:
    def __init__(self) -> None:
        self.varying: set[str] = set()
        self.memories: set[str] = set()
        self.found: tuple[ir.Loc, ir.Loc] | None = None

    def varies(self, *values: ir.Value) -> bool:
        return any(v.name in self.varying for v in values)

    def mark(self, value: ir.Value, varies: bool = True) -> None:
        if varies:
            self.varying.add(value.name)

    def block(self, block: ir.Block, state: State, cause: ir.Loc | None) -> tuple[State | None, _Exits]:
        """The state after a block, None where no thread falls off its end; ``cause`` is why not all threads run it."""
        exits = _Exits()
        for s in block:
            match s:
                case ir.Return() | ir.Break() | ir.Continue():
                    self.jump(s, state, cause, exits)
                    return None, exits
                case ir.If(condition=condition, then=then, orelse=orelse):
                    inner = cause or (_place(s) if self.varies(condition) else None)
                    after_then, exits_then = self.block(then, state, inner)
                    after_else, exits_else = self.block(orelse, state, inner)
                    exits.merge(exits_then)
                    exits.merge(exits_else)
                    if after_then is None and after_else is None:
                        return None, exits
                    state = (after_then or frozenset()) | (after_else or frozenset())
                    cause = cause or exits.cause
                case ir.For() | ir.While():
                    state, left = self.loop(s, state, cause)
                    exits.left_kernel = exits.left_kernel or left
                    cause = cause or left
                case _:
                    state = self.simple(s, state, cause)
        return state, exits

    def jump(
        self, s: ir.Return | ir.Break | ir.Continue, state: State, cause: ir.Loc | None, exits: _Exits
    ) -> None:
        if isinstance(s, ir.Break):
            exits.left_loop = exits.left_loop or cause
            exits.breaks.append(state)
        elif isinstance(s, ir.Continue):
            exits.next_iteration = exits.next_iteration or cause
            exits.continues.append(state)
        else:
            exits.left_kernel = exits.left_kernel or cause

    def loop(self, s: ir.For | ir.While, state: State, cause: ir.Loc | None) -> tuple[State, ir.Loc | None]:
        """The state after a loop, and why threads may be missing after it: some returned within."""
        while True:
            before = (state, cause, len(self.varying), len(self.memories))
            if isinstance(s, ir.For):
                bounds = (s.start, s.stop, s.step)
                self.mark(s.variable, cause is not None or self.varies(s.start, s.step))
                inner = cause or (_place(s) if self.varies(*bounds) else None)
                entry = state
            else:
                after_header, _ = self.block(s.header, state, cause)
                entry = state if after_header is None else after_header
                inner = cause or (_place(s) if self.varies(s.condition) else None)
            after, exits = self.block(s.body, entry, inner)
            if after is None and not exits.continues:
                # it runs once at most: no iteration follows from which threads that left could be missing
                return frozenset().union(entry, *exits.breaks), exits.left_kernel
            state = frozenset().union(state, entry, after or (), *exits.breaks, *exits.continues)
            # threads that left are missing in the iterations that follow, barriers before the break included
            cause = inner or exits.left_loop or exits.left_kernel
            if (state, cause, len(self.varying), len(self.memories)) == before:
                return state, exits.left_kernel

    def simple(self, s: ir.Stmt, state: State, cause: ir.Loc | None) -> State:
        match s:
            case ir.Barrier():
                if cause is not None and self.found is None:
                    self.found = (_place(s), cause)
            case ir.ThreadIndex(result=result, kind=kind):
                self.mark(result, kind in ("global_id", "thread_id"))
            case ir.Subgroup(result=result, op=op, args=args):
                by_lane = op in ("lane", "inclusive_sum", "exclusive_sum")
                self.mark(result, by_lane or self.varies(*args))
            case ir.GetVar(result=result, var=var):
                self.mark(result, var.name in state)
            case ir.SetVar(var=var, value=value):
                if cause is not None or self.varies(value):
                    return state | {var.name}
                return state - {var.name}
            case ir.Store(memory=memory):
                if memory.space == "local" and (cause is not None or self.varies(*ir.operands_of(s))):
                    self.memories.add(memory.name)
            case ir.Load(result=result, memory=memory, indices=indices):
                self.mark(result, memory.name in self.memories or self.varies(*indices))
            case _:
                result_value = ir.result_of(s)
                if result_value is not None:
                    self.mark(result_value, self.varies(*ir.operands_of(s)))
        return state


def _place(s: ir.Stmt) -> ir.Loc:
    return getattr(s, "loc", None) or ir.Loc("", 0)


def divergent_barrier(kernel: ir.Function) -> tuple[ir.Loc, ir.Loc | None] | None:
    """The first barrier that a thread-dependent condition guards, and where the condition stands."""
    if not any(isinstance(s, ir.Barrier) for s in ir.walk(kernel.body)):
        return None
    analysis = _Analysis()
    analysis.block(kernel.body, frozenset(), None)
    return analysis.found
