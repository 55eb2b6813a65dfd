"""Which accesses of a kernel stay inside their arrays: proven, on conditions that the host checks, or known to the device only.

A walk over structured control flow that gives each integer a polynomial over atoms (:mod:`gpucore.ir.bounds.polynomials`), learns
facts from branches, loop bounds and thread coordinates, and asks the prover for each index whether it can leave its array.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from gpucore.ir.bounds.integers import Form, Integers, Threads, Truths
from gpucore.ir.bounds.loops import Counted, Loop
from gpucore.ir.bounds.polynomials import Atoms, Fact, HostTerm, add, constant, subtract
from gpucore.ir.bounds.prover import FALSE, TRUE, Alternatives, Prover, both
from gpucore.ir.nodes import (
    Allocate,
    Atomic,
    AtomicCas,
    Block,
    Break,
    Const,
    Continue,
    Extent,
    For,
    GetVar,
    If,
    Load,
    Loc,
    Memory,
    Module,
    Op,
    Return,
    SetVar,
    Stmt,
    Store,
    Subgroup,
    ThreadIndex,
    Value,
    While,
    operands_of,
    result_of,
    walk,
)  # fmt: skip
from gpucore.ir.ops import SLICE_INDEX
from gpucore.ir.passes.intervals import Interval, of_dtype

__all__ = ["Access", "Bounds", "Where", "analyse"]

Where: TypeAlias = Literal["proven", "launch", "device"]
Kind: TypeAlias = Literal["load", "store", "atomic"]
Side: TypeAlias = tuple[int, Literal["low", "high"]]

_PASSES = 6
"""Over one loop: what is not settled by then is taken for unknown."""


@dataclass(frozen=True, slots=True)
class Access:
    """What is known of a load, a store or an atomic.

    Attributes
    ----------
    memory : Memory
    loc : Loc | None
    kind : {"load", "store", "atomic"}
    needs : Alternatives
        What the host must find for it to stay inside.
    always : tuple[Form, ...] | None
        Its indices, where each thread does it and they follow from the thread and what the host knows.
    proven : frozenset[Side]
        Axes with the sides on which no index leaves the array, whatever the launch.
    """

    memory: Memory
    loc: Loc | None
    kind: Kind
    needs: Alternatives
    always: tuple[Form, ...] | None = None
    proven: frozenset[Side] = frozenset()

    @property
    def where(self) -> Where:
        """Where the access is checked."""
        return "device" if not self.needs else "proven" if frozenset() in self.needs else "launch"


@dataclass
class Bounds:
    """The accesses of a kernel in the order in which they were met, and what their conditions are about.

    Attributes
    ----------
    accesses : dict[int, Access]
        By ``id`` of the statement, which the module keeps alive.
    coordinates : dict[tuple[str, int], Form]
        The coordinates of a thread that the kernel looks at, by kind and axis.
    sizes : dict[str, tuple[Form, ...]]
        The extents of shared memories that come with the launch.
    """

    atoms: Atoms
    accesses: dict[int, Access]
    module: Module
    coordinates: dict[tuple[str, int], Form]
    sizes: dict[str, tuple[Form, ...]]


def analyse(module: Module, *, is_range: bool, small: bool, block: tuple[int, ...] | None = None) -> Bounds:
    """Find out of each access of a kernel whether it can leave its array.

    Parameters
    ----------
    module : Module
        At the high level.
    is_range : bool
        Whether it is launched over a range, whose ids are guarded.
    small : bool
        Every array has fewer than 2**31 elements, no extent reaches 2**31, and the launch has fewer than 2**31 threads.
    block : tuple[int, ...] | None
        The block, where the result serves that block alone.
    """
    atoms = Atoms()
    threads = Threads(atoms, module, is_range=is_range, small=small, block=block)
    return Bounds(atoms, _Walk(module, atoms, threads).run(), module, threads.coordinates, threads.sizes)


class _Walk:
    def __init__(self, module: Module, atoms: Atoms, threads: Threads) -> None:
        self.module = module
        self.atoms = atoms
        self.threads = threads
        self.prover = Prover(atoms)
        self.integers = Integers(atoms, self.prover)
        self.truths = Truths(self.integers)
        self.accesses: dict[int, Access] = {}
        self.slices: dict[str, Op] = {}  # indices in slices
        # of each variable its number, or for a bool the name of the condition that it is
        self.environment: dict[str, Form | str] = {}
        self.loops: list[Loop] = []
        self.depth = 0  # statements around this one, and more where threads may have left
        self.relevant = _relevant(module.kernel.body)
        for p in module.kernel.params:
            if isinstance(p, Value) and p.dtype.is_integer:
                number = atoms.host(HostTerm("scalar", p.name), of_dtype(p.dtype))
                self.integers.forms[p.name] = Form({(number,): 1})

    def run(self) -> dict[int, Access]:
        """The accesses by ``id``."""
        body = self.module.kernel.body
        self.visit(body)
        seen: set[int] = set()
        for s in walk(body):
            if id(s) in self.accesses and id(s) in seen:
                # a statement that stands in two places has no place of its own
                self.accesses[id(s)] = replace(
                    self.accesses[id(s)], needs=FALSE, always=None, proven=frozenset()
                )
            seen.add(id(s))
        return self.accesses

    # --- statements
    def visit(self, block: Block) -> bool:
        """Visit a block; whether every thread that enters it leaves it early."""
        for position, s in enumerate(block):
            match s:
                case If():
                    left = self.visit_if(s)
                    if left == "both":
                        return True
                    if left is not None:
                        # the rest is for those who took the other side
                        self.depth += 1
                        with self.prover.scope():
                            self.assume(s.condition, left == "orelse")
                            gone = self.visit(block[position + 1 :])
                        self.depth -= 1
                        return gone
                case For():
                    self.visit_loop(s, Counted(s, self.integers))
                case While():
                    self.visit_loop(s, None)
                case Break() | Continue():
                    self.loops[-1].edge(self.environment, is_break=type(s) is Break)
                    return True
                case Return():
                    return True
                case _:
                    self.visit_simple(s)
        return False

    def visit_simple(self, s: Stmt) -> None:
        """Statements without blocks."""
        forms = self.integers.forms
        match s:
            case Const(result=result, value=value):
                if result.dtype.is_integer:
                    forms[result.name] = Form(constant(int(value)))
                elif result.dtype.kind == "bool":
                    self.truths.conditions[result.name] = bool(value)
            case Op(result=result):
                if result.dtype.kind == "bool":
                    self.truths.conditions[result.name] = s
                elif s.op == SLICE_INDEX:
                    self.slices[result.name] = s
                    forms[result.name] = self.integers.unknown(of_dtype(result.dtype))
                elif result.dtype.is_integer and result.name in self.relevant:
                    forms[result.name] = self.operation(s)
            case GetVar(result=result, var=var):
                held = self.environment.get(var.name)
                if isinstance(held, str):
                    known = self.truths.conditions.get(held)
                    if known is not None:
                        self.truths.conditions[result.name] = known
                elif result.dtype.is_integer:
                    forms[result.name] = held or self.integers.unknown(of_dtype(result.dtype))
            case SetVar(var=var, value=value):
                if var.dtype.kind == "bool":
                    self.environment[var.name] = value.name
                elif var.dtype.is_integer and var.name in self.relevant:
                    self.environment[var.name] = self.integers.form(value)
            case Extent(result=result, memory=memory, axis=axis):
                forms[result.name] = Form(self.threads.extent(memory, axis))
            case Allocate(memory=memory, extents=extents):
                sizes = self.threads.sizes[memory.name] = tuple(map(self.integers.form, extents))
                for size in sizes:
                    self.prover.know(Fact(size.poly))  # else nothing is launched
            case ThreadIndex(result=result, kind=kind, axis=axis):
                forms[result.name] = self.threads.coordinate(kind, axis)
            case Load():
                self.access(s, s.memory, s.indices, "load")
                self.made_elsewhere(s.result)
            case Store():
                self.access(s, s.memory, s.indices, "store")
            case Atomic() | AtomicCas():
                self.access(s, s.memory, s.indices, "atomic")
                self.made_elsewhere(s.result)
            case Subgroup(result=result, op=op):
                limits = {"lane": (0, 127), "size": (1, 128)}.get(op)
                self.made_elsewhere(result, limits)
            case _:
                other = result_of(s)
                if other is not None:
                    self.made_elsewhere(other)

    def made_elsewhere(self, result: Value, limits: Interval | None = None) -> None:
        """A value that nothing else is known of."""
        if result.dtype.is_integer and result.name in self.relevant:
            self.integers.forms[result.name] = self.integers.unknown(limits or of_dtype(result.dtype))

    def operation(self, s: Op) -> Form:
        """The result of an operation on integers."""
        integers = self.integers
        if s.op == "select":
            condition, a, b = s.args
            return self.truths.choose(condition.name, integers.form(a), integers.form(b))
        return integers.result(s) or integers.unknown(integers.interval_of(s))

    def assume(self, condition: Value, truth: bool) -> None:
        """A condition is true, or false, from here to the end of the scope."""
        for fact in self.truths.facts(condition.name, truth):
            self.prover.know(fact)

    # --- accesses
    def access(self, s: Stmt, memory: Memory, indices: Sequence[Value], kind: Kind) -> None:
        """Find out where an access stays."""
        needs = TRUE
        proven: set[Side] = set()
        forms = tuple(self.integers.form(value) for value in indices)
        for axis, value in enumerate(indices):
            form, extent = forms[axis], self.threads.extent(memory, axis)
            if value.name in self.slices:
                # a slice lies inside of its axis: what counts is that the number is inside of the slice
                number, _, length, _ = self.slices[value.name].args
                form, of_slice = self.integers.form(number), self.integers.form(length)
                form, extent = Form(form.poly, form.needs | of_slice.needs), of_slice.poly
            beyond = add(subtract(extent, form.poly), constant(-1))
            sides: tuple[Side, Side] = ((axis, "low"), (axis, "high"))
            for side, goal in zip(sides, (form.poly, beyond), strict=True):
                proof = self.prover.prove(goal)
                if proof is TRUE and not form.needs:
                    proven.add(side)
                needs = self.prover.likely(both(needs, proof))
            if form.needs:
                needs = both(needs, (form.needs,))
        needs = self.prover.shortest(needs) if needs is not TRUE else needs
        always = forms if self.depth == 0 and all(map(self._is_by_thread, forms)) else None
        self.accesses[id(s)] = Access(memory, s.loc, kind, needs, always, frozenset(proven))

    def _is_by_thread(self, form: Form) -> bool:
        """Whether host and thread coordinates make all of it."""
        every = self.atoms
        return all(every[n].host is not None or every[n].span is not None for m in form.poly for n in m)

    # --- branches
    def visit_if(self, s: If) -> Literal["then", "orelse", "both"] | None:
        """Visit both sides; the one whose end no thread reaches."""
        before = dict(self.environment)
        self.depth += 1
        with self.prover.scope():
            self.assume(s.condition, True)
            then_left = self.visit(s.then)
        after_then, self.environment = self.environment, before
        with self.prover.scope():
            self.assume(s.condition, False)
            orelse_left = self.visit(s.orelse)
        self.depth -= 1
        if then_left and orelse_left:
            return "both"
        if then_left:
            return "then"
        if orelse_left:
            self.environment = after_then
            return "orelse"
        self.note_returns((s.then, s.orelse))
        self.environment = self.joined(s.condition, after_then, self.environment)
        return None

    def note_returns(self, blocks: Sequence[Block]) -> None:
        """Behind blocks with a return some threads may be gone."""
        if any(type(s) is Return for block in blocks for s in walk(block)):
            self.depth += 1

    def joined(
        self, condition: Value, a: dict[str, Form | str], b: dict[str, Form | str]
    ) -> dict[str, Form | str]:
        """What variables hold behind a branch."""
        result: dict[str, Form | str] = {}
        for name in a.keys() & b.keys():
            x, y = a[name], b[name]
            if x == y:
                result[name] = x
            elif isinstance(x, Form) and isinstance(y, Form):
                result[name] = self.truths.choose(condition.name, x, y)
            elif isinstance(x, str) and isinstance(y, str):
                result[name] = self.truths.choice(condition.name, x, y)
        return result

    # --- loops
    def visit_loop(self, s: For | While, counted: Counted | None) -> None:
        """Visit a loop as often as it takes to know what its variables keep."""
        blocks = (s.body,) if isinstance(s, For) else (s.header, s.body)
        assigned = {x.var.name: x.var for block in blocks for x in walk(block) if type(x) is SetVar}
        numbers = [v for v in assigned.values() if v.dtype.is_integer and v.name in self.relevant]
        loop = Loop(self.integers, numbers, self._number_in)
        loop.counted = counted
        # conditions that are set in a loop are of another iteration at its head
        before = {name: held for name, held in self.environment.items() if name not in assigned}
        self.depth += 1
        self.loops.append(loop)
        for number in range(_PASSES):
            loop.begin(last=number == _PASSES - 1)
            with self.prover.scope():
                self.environment = before | loop.enter()
                self.visit_iteration(s, loop)
            if loop.is_settled():
                break
        self.loops.pop()
        self.depth -= 1
        self.note_returns(blocks)
        self.environment = before | loop.leave()
        if isinstance(s, While):
            for x in walk(s.header):
                if type(x) is SetVar:
                    self.environment.pop(x.var.name, None)  # set once more before the loop ended
            if not loop.has_break:
                self.assume(s.condition, False)

    def visit_iteration(self, s: For | While, loop: Loop) -> None:
        if isinstance(s, While):
            self.visit(s.header)
            self.assume(s.condition, True)
        if not self.visit(s.body):
            loop.edge(self.environment, is_break=False)

    def _number_in(self, variable: str) -> Form | None:
        held = self.environment.get(variable)
        return held if isinstance(held, Form) else None


def _relevant(body: Block) -> frozenset[str]:
    """Values and variables that an index, a bound or a condition depends on."""
    made: dict[str, list[str]] = {}
    wanted: list[str] = []
    for s in walk(body):
        if type(s) is Op:
            made[s.result.name] = [v.name for v in s.args]
        elif isinstance(s, (Load, Store, Atomic, AtomicCas)):
            wanted += [v.name for v in s.indices]
        elif isinstance(s, (If, While, For, Allocate)):
            wanted += [v.name for v in operands_of(s)]
        elif type(s) is SetVar:
            made.setdefault(s.var.name, []).append(s.value.name)
        elif type(s) is GetVar:
            made[s.result.name] = [s.var.name]
    found: set[str] = set()
    while wanted:
        name = wanted.pop()
        if name not in found:
            found.add(name)
            wanted += made.get(name, ())
    return frozenset(found)
