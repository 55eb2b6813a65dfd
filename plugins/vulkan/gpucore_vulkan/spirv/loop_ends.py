"""Loops that the device ended, told from those that ended by themselves.

A device that ends a loop does so after a whole iteration and goes on behind it.  What the loop would have tested next is
tested once more there: where the loop was to go on, the device ended it.  What is tested goes through numbers that no
compiler knows, as one that trusts the program would take over what the test came to in the loop.

Where that does not tell, a flag of the thread is raised before the loop and lowered on ways out of it: of loops that are
left from their body, or whose test cannot be repeated without harm.  The flags lie in a local array, indexed by numbers
that no compiler knows, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gpucore.ir import (
    Atomic,
    AtomicCas,
    Block,
    Break,
    Const,
    Continue,
    Extent,
    For,
    Function,
    GetVar,
    If,
    Load,
    Op,
    Return,
    SetVar,
    Subgroup,
    ThreadIndex,
    While,
    blocks_of,
    walk,
)
from gpucore.ir.nodes import operands_of, result_of
from gpucore.ir.ops import is_routine
from gpucore.ir.passes.checks import ANY_LOOP, ERROR_ARRAY
from gpucore_vulkan.spirv.grammar import RELAXED, SCOPE_DEVICE
from gpucore_vulkan.spirv.layout import SPEC_LOCAL

if TYPE_CHECKING:
    from gpucore_vulkan.spirv.body import FunctionState

__all__ = ["LoopEnds"]

_EMITTED: Final = 1
"""Loops that the emitter makes of other statements lie in no other loop that it makes so."""

_COMPUTING: Final = (Const, GetVar, Extent, ThreadIndex, Op)


@dataclass(frozen=True, slots=True)
class _Loop:
    """A loop around what is being emitted: what it reports and how its end is told.

    ``steady``: its test comes to the same for as long as nothing else is done.  ``flag``: it has a flag.
    """

    site: int
    steady: bool = False
    flag: bool = True


def _loaded(function: Function) -> frozenset[str]:
    """Names of the values and variables that depend on memory, or on the arguments of a user's device function."""
    loaded = set[str]()
    if function.result is not None and not is_routine(function.name):
        loaded.update(p.name for p in function.params)
    statements = list(walk(function.body))
    known = -1
    while known != len(loaded):
        known = len(loaded)
        for s in statements:
            result = result_of(s)
            match s:
                case SetVar(var=var, value=value) if value.name in loaded:
                    loaded.add(f"!{var.name}")
                case GetVar(var=var) if f"!{var.name}" not in loaded:
                    continue
                case GetVar() | Load() | Atomic() | AtomicCas() | Subgroup():
                    pass
                case _ if not any(v.name in loaded for v in operands_of(s)):
                    continue
                case _:
                    pass
            if result is not None:
                loaded.add(result.name)
            if isinstance(s, (If, For, While)):  # what is set depends on the condition, too
                loaded.update(f"!{inner.var.name}" for inner in walk((s,)) if isinstance(inner, SetVar))
    return frozenset(loaded)


def _ends_by(loop: For | While, loaded: frozenset[str]) -> bool:
    """Whether a loop's test, or what it is left by, depends on memory."""
    tests = [loop.start, loop.stop, loop.step] if isinstance(loop, For) else [loop.condition]
    ways = (Break, Continue, Return)
    for s in walk(loop.body):
        if isinstance(s, If) and any(isinstance(inner, ways) for inner in walk((s,))):
            tests.append(s.condition)
    return any(value.name in loaded for value in tests)


class LoopEnds:
    """The reporting of one function's loops.

    Parameters
    ----------
    f : FunctionState
    emit : Callable[[Block], bool]
        Emits a block.

    Attributes
    ----------
    repeating : bool
        Whether a test is emitted once more, behind its loop: what it reads is to be what no compiler knows.
    """

    def __init__(self, f: FunctionState, emit: Callable[[Block], bool]) -> None:
        self._f = f
        self._emit = emit
        self.repeating = False
        self._loops: list[_Loop] = []
        self._flags = 0
        self._has_thread = 0
        self._loaded: frozenset[str] | None = None

    def enter(self, loop: For | While) -> None:
        """Before a loop; a site of 0 asks for nothing."""
        steady = bool(loop.site) and (isinstance(loop, For) or self._steady(loop.header))
        self._enter(_Loop(loop.site, steady, not steady or _left(loop.body)))

    def enter_emitted(self, *, counted: bool = False) -> None:
        """Before a loop that the emitter made of another statement; ``counted`` ones do nothing but count in their test."""
        site = ANY_LOOP if self._f.unit.reports_loops else 0
        self._enter(_Loop(site, counted, not counted))

    def _enter(self, loop: _Loop) -> None:
        self._loops.append(loop)
        if loop.site and loop.flag:
            self._put(1)

    def leave(self) -> None:
        """On a way out of the innermost loop."""
        loop = self._loops[-1]
        if loop.site and loop.flag:
            self._put(0)

    def way_out(self, merge: int) -> int:
        """The label to which the loop's test leaves: of a block made by :meth:`leave_by`, where there is something to do."""
        loop = self._loops[-1]
        return self._f.asm.id() if loop.site and not loop.steady else merge

    def leave_by(self, label: int, merge: int) -> None:
        """The block of a way out, where there is one."""
        if label != merge:
            self._f.label(label)
            self.leave()
            self._f.put("OpBranch", merge)

    def by_threads(self, loop: For | While, condition: int) -> int:
        """A loop's condition, false in lanes without a thread where the device runs those, too, and ends loops.

        What such lanes load is anything, so what ends the loop for all threads may never do so for them.  llvmpipe, seen
        in Mesa 22.3.6, goes on until it ends the loop, and where barriers stand in it leaves the threads of the same
        subgroup behind for good.
        """
        f = self._f
        if f.unit.target.loop_limit is None:
            return condition
        if self._loaded is None:
            self._loaded = _loaded(f.function)
        if not _ends_by(loop, self._loaded):
            return self._maybe(loop, condition)
        word, truth = f.asm.uint(32), f.asm.bool_type()
        if not self._has_thread:
            variable = f.unit.builtin_variable("LocalInvocationId", True)
            place = f.in_prologue("OpLoad", f.asm.type("OpTypeVector", word, 3), variable)
            tests = []
            for component in range(3):
                at = f.in_prologue("OpCompositeExtract", word, place, component)
                # a compiler that trusts the block's size would leave the comparison out
                at = f.in_prologue("OpIAdd", word, at, f.unit.opaque_zero(f, 32))
                size = f.asm.spec_word(SPEC_LOCAL[component], 1)
                tests.append(f.in_prologue("OpULessThan", truth, at, size))
            both = f.in_prologue("OpLogicalAnd", truth, tests[0], tests[1])
            self._has_thread = f.in_prologue("OpLogicalAnd", truth, both, tests[2])
        return f.result("OpLogicalAnd", truth, condition, self._has_thread)

    def _maybe(self, loop: For | While, condition: int) -> int:
        """The condition of a loop that is left by a return, so that no compiler knows it to be true.

        Else nothing behind the loop could be reached, and a report there would be left out.
        """
        f = self._f
        if not loop.site or not any(isinstance(s, Return) for s in walk(loop.body)):
            return condition
        truth = f.asm.bool_type()
        true = f.in_prologue("OpIEqual", truth, f.unit.opaque_zero(f, 32), f.asm.word(0))
        return f.result("OpLogicalAnd", truth, condition, true)

    def behind(self, again: Callable[[], int] | None = None) -> None:
        """Behind the loop: report it where the device ended it.

        ``again`` emits the loop's test, as it stands after the last iteration, from what no compiler knows; without it
        a loop that the device ended when it was done anyway is reported, too.
        """
        loop = self._loops.pop()
        if not loop.site:
            return
        f, asm = self._f, self._f.asm
        truth, word = asm.bool_type(), asm.uint(32)
        tests: list[int] = []
        if loop.flag:
            raised = f.result("OpLoad", word, self._flag(len(self._loops)))
            tests.append(f.result("OpINotEqual", truth, raised, asm.word(0)))
        if loop.steady and again is not None:
            tests.append(again())
        ended = tests[0] if len(tests) == 1 else f.result("OpLogicalAnd", truth, *tests)
        report, follow = asm.id(), asm.id()
        f.put("OpSelectionMerge", follow, 0)
        f.put("OpBranchConditional", ended, report, follow)
        f.label(report)
        scope, relaxed = asm.word(SCOPE_DEVICE), asm.word(RELAXED)
        told, nothing = asm.word(loop.site), asm.word(0)
        if not loop.steady and again is not None:
            told = f.result("OpSelect", word, again(), told, nothing)
        record = f.result("OpConvertUToPtr", asm.pointer("PhysicalStorageBuffer", word), self._address())
        f.result("OpAtomicCompareExchange", word, record, scope, relaxed, relaxed, told, nothing)
        f.put("OpBranch", follow)
        f.label(follow)

    def header_again(self, loop: While) -> Callable[[], int] | None:
        """The header of a loop once more; None where it does more than to read, to choose and to compute."""
        if not all(isinstance(s, (*_COMPUTING, Load, If, SetVar)) for s in walk(loop.header)):
            return None

        def again() -> int:
            f = self._f
            values, known = dict(f.values), dict(f.known)
            self.repeating = True
            self._emit(loop.header)
            self.repeating = False
            condition = f.values[loop.condition.name]
            # what follows means the values of the loop itself
            f.values, f.known = values, known
            return condition

        return again

    def _steady(self, header: Block) -> bool:
        """Whether a header that found the loop done finds so again: others may write what it loads.

        Floats may be contracted in another way the second time, unless the module is strict.
        """
        floats = any(isinstance(s, Op) and any(a.dtype.is_float for a in s.args) for s in header)
        return all(isinstance(s, _COMPUTING) for s in header) and (self._f.strict or not floats)

    def _address(self) -> int:
        f, unit = self._f, self._f.unit
        if f.function is unit.module.kernel:
            return unit.array_address(f, ERROR_ARRAY)
        # functions have no arguments but their own
        return f.result("OpLoad", f.asm.uint(64), unit.record_variable())

    def _put(self, raised: int) -> None:
        f = self._f
        f.put("OpStore", self._flag(len(self._loops) - 1), f.asm.word(raised))

    def _flag(self, depth: int) -> int:
        f, asm, word = self._f, self._f.asm, self._f.asm.uint(32)
        if not self._flags:
            # one more than is used: which one a number means must not follow from the array's size
            size = _deepest(f.function.body) + _EMITTED + 1
            self._flags = f.variable(asm.array_type(word, size))
            asm.name(self._flags, "running")
        number = f.result("OpIAdd", word, f.unit.opaque_zero(f, 32), asm.word(depth))
        return f.result("OpAccessChain", asm.pointer("Function", word), self._flags, number)


def _deepest(block: Block) -> int:
    """How many loops lie in each other at most."""
    return max(
        (isinstance(s, (For, While)) + max(map(_deepest, blocks_of(s)), default=0) for s in block), default=0
    )


def _left(block: Block) -> bool:
    """Whether a break stands in the body, other than those of loops in it."""
    return any(
        isinstance(s, Break) or (not isinstance(s, (For, While)) and any(map(_left, blocks_of(s))))
        for s in block
    )
