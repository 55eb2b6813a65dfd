"""Hazards that can be read off a kernel: races of stores, and barriers that not every thread of a block would reach.

A store to an array that all threads or those of a block share is found

- where its index comes from data that differs from thread to thread, as in ``count[x[i]] += 1``, and no other index keeps
  the threads apart, as in ``out[i, label[i]] = 1``;
- where neither its index nor a condition around it looks at a thread id that the stored value depends on, as in
  ``total[0] += x[i]``.

What a kernel without these does to memory is not proven to be free of races: indices such as ``i // 2`` are not looked into,
nor is the order of accesses to shared memory.  ``Kernel.interpret`` finds those.

A value *varies* when it is computed from a thread id; what is read from memory varies where its index does.
The analysis follows the order of execution: a variable that is set to a uniform value is uniform again.  Nothing is
guessed: what cannot be proven to vary is left to the interpreter.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace

from gpucore.ir import nodes as ir
from gpucore.ir.records import array_name
from gpucore.lang.variables import SCRATCH

__all__ = ["Race", "divergent_barrier", "visible_race"]


_ORDERINGS = frozenset({"lt", "le", "gt", "ge"})


@dataclass(frozen=True)
class Race:
    """A store that several threads may do to one element.

    Attributes
    ----------
    array : str
    reason : str
        What the index lacks.
    loc : Loc | None
        Where the store stands.
    by_id : bool
        Whether the kernel tells its threads apart at all; one that does not may be meant for one thread.
    """

    array: str
    reason: str
    loc: ir.Loc | None
    by_id: bool = True

    def __str__(self) -> str:
        line = f" (line {self.loc.line})" if self.loc is not None else ""
        return f"several threads may store to one element of {self.array!r}: {self.reason}{line}"


@dataclass(frozen=True)
class _Origin:
    """What a value comes from.

    Attributes
    ----------
    axes : frozenset[int]
        Axes along which it differs between the threads of a block.
    data : bool
        Whether it was read from an array at a place that differs so.
    read : frozenset[str]
        Shared or global arrays that were read for it.
    selects : frozenset[int]
        Of a condition: the axes along which it holds for few threads, as ``thread_id(0) == 0`` does and ``i < n`` does not.
    """

    axes: frozenset[int] = frozenset()
    data: bool = False
    read: frozenset[str] = frozenset()
    selects: frozenset[int] = frozenset()

    def joined(self, other: _Origin) -> _Origin:
        return _Origin(
            self.axes | other.axes,
            self.data or other.data,
            self.read | other.read,
            self.selects | other.selects,
        )


_NOTHING = _Origin()


def _either(one: dict[str, _Origin], other: dict[str, _Origin]) -> dict[str, _Origin]:
    """What variables come from where two ways meet."""
    return {name: one.get(name, _NOTHING).joined(other.get(name, _NOTHING)) for name in {**one, **other}}


class _RaceAnalysis:
    def __init__(self, module: ir.Module) -> None:
        self.everywhere = frozenset(range(module.ndim))
        self.values: dict[str, _Origin] = {}
        self.variables: dict[str, _Origin] = {}  # as they are here: another use of a name starts anew
        self.assigned: list[
            dict[str, _Origin]
        ] = []  # for each loop around: all that its body gives its variables
        self.locals: dict[str, _Origin] = {}
        self.constants: dict[str, ir.Number] = {}
        self.race: Race | None = None

    def of(self, *values: ir.Value) -> _Origin:
        found = _NOTHING
        for value in values:
            found = found.joined(self.values.get(value.name, _NOTHING))
        return found

    def block(self, block: ir.Block, around: _Origin) -> _Origin:
        """Look at a block; ``around`` is what decides whether a thread runs it.  What decides about the rest is given back."""
        for s in block:
            self.statement(s, around)
            if isinstance(s, ir.If):
                condition = self.of(s.condition)
                before = dict(self.variables)
                self.block(s.then, around.joined(condition))
                then, self.variables = self.variables, before
                self.block(s.orelse, around.joined(condition))
                self.variables = _either(then, self.variables)
                if any(isinstance(inner, ir.Return) for inner in ir.walk((*s.then, *s.orelse))):
                    around = around.joined(condition)
            elif isinstance(s, ir.For):
                self.loop(
                    (), s.body, around.joined(_Origin(axes=self.of(s.start, s.stop, s.step).axes)), None
                )
            elif isinstance(s, ir.While):
                self.loop(s.header, s.body, around, s.condition)
        return around

    def loop(self, header: ir.Block, body: ir.Block, around: _Origin, condition: ir.Value | None) -> None:
        """Look at a loop until what its variables come from at the start of a round stays as it is."""
        while True:
            before = dict(self.variables)
            self.assigned.append({})
            self.block(header, around)
            self.block(body, around if condition is None else around.joined(self.of(condition)))
            given = self.assigned.pop()
            # a break leaves with any of the values
            self.variables = _either(before, given)
            if all(self.variables[name] == origin for name, origin in before.items()):
                return

    def statement(self, s: ir.Stmt, around: _Origin) -> None:
        match s:
            case ir.Const(result=result, value=value):
                self.constants[result.name] = value
            case ir.ThreadIndex(result=result, kind=kind, axis=axis):
                mine = kind in ("global_id", "thread_id")
                self.values[result.name] = _Origin(frozenset({axis})) if mine else _NOTHING
            case ir.Subgroup(result=result, op=op):
                # what a subgroup agrees on is one value as far as can be seen
                own = op in ("lane", "inclusive_sum", "exclusive_sum", "shuffle", "shuffle_xor")
                self.values[result.name] = _Origin(self.everywhere) if own else _NOTHING
            case ir.Op(result=result, op=op, args=args):
                self.values[result.name] = self.operation(op, args)
            case ir.Call(result=result, args=args):
                self.values[result.name] = self.of(*args)
            case ir.GetVar(result=result, var=var):
                self.values[result.name] = self.variables.get(var.name, _NOTHING)
            case ir.SetVar(var=var, value=value):
                given = self.of(value).joined(_Origin(around.axes))
                self.variables[var.name] = given
                for loop in self.assigned:
                    loop[var.name] = loop.get(var.name, _NOTHING).joined(given)
            case ir.For(variable=variable, start=start, stop=stop, step=step):
                self.values[variable.name] = self.of(start, stop, step)
            case ir.Load(result=result, memory=memory, indices=indices):
                self.values[result.name] = self.loaded(memory, self.of(*indices))
            case ir.Store(memory=memory, indices=indices, value=value):
                self.stored(s, memory, [self.of(one) for one in indices], self.of(value), around)
            case ir.Atomic(result=result) | ir.AtomicCas(result=result):
                # each thread gets another one, or nobody knows which: as good as an id of its own
                self.values[result.name] = _Origin(self.everywhere)
            case _:
                pass

    def operation(self, op: str, args: tuple[ir.Value, ...]) -> _Origin:
        found = self.of(*args)
        if op in ("eq", "ne") or (
            op in _ORDERINGS and any(self.constants.get(a.name) in (0, 1) for a in args)
        ):
            return _Origin(found.axes, found.data, found.read, frozenset() if found.data else found.axes)
        return found

    def loaded(self, memory: ir.Memory, index: _Origin) -> _Origin:
        if memory.space == "local":
            return index.joined(self.locals.get(memory.name, _NOTHING))
        if memory.space == "const":
            return index
        if memory.name.startswith(SCRATCH) and index.axes:
            return _Origin(self.everywhere)  # a scan gives each thread another number, as an id does
        return _Origin(index.axes, bool(index.axes) or index.data, index.read | {memory.name})

    def stored(
        self, s: ir.Store, memory: ir.Memory, indices: list[_Origin], value: _Origin, around: _Origin
    ) -> None:
        index = functools.reduce(_Origin.joined, indices, _NOTHING)
        if memory.space == "local":
            self.locals[memory.name] = self.locals.get(memory.name, _NOTHING).joined(index).joined(value)
            return
        if self.race is not None:
            return
        # out[i, label[i]]: each thread has a row of its own, whatever place of it the data names
        apart = frozenset[int]().union(*(one.axes for one in indices if not one.data))
        if index.data and index.axes - apart and not around.selects:
            self.race = Race(array_name(memory.name), "the index depends on data", s.loc)
            return
        differing = value.axes  # that all threads store the same shows nowhere
        if memory.name in value.read and not index.axes:
            differing |= self.everywhere  # every thread adds to what it read
        if differing - index.axes - around.selects and not (index.data or around.selects):
            missing = sorted(differing - index.axes)
            named = " and ".join(str(axis) for axis in missing)
            self.race = Race(
                array_name(memory.name),
                f"the index does not depend on the thread's id along axis {named}",
                s.loc,
            )


def visible_race(module: ir.Module) -> Race | None:
    """The first store of a high-level module that races, as far as it can be seen."""
    analysis = _RaceAnalysis(module)
    # twice, for local arrays that a loop carries around
    for _ in range(2):
        analysis.race, analysis.variables = None, {}
        analysis.block(module.kernel.body, _NOTHING)
    if analysis.race is None:
        return None
    ids = any(isinstance(s, ir.ThreadIndex) for s in ir.walk(module.kernel.body))
    return replace(analysis.race, by_id=ids)


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


class _BarrierAnalysis:
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
    analysis = _BarrierAnalysis()
    analysis.block(kernel.body, frozenset(), None)
    return analysis.found
