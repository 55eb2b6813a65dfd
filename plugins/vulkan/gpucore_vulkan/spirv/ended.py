"""Loops that the device ended, told from those that ended by themselves.

A flag of the thread is raised before a loop and lowered on each way out of it.  Behind the loop it is still raised
where none of these ways was taken: the device ended the loop, after a whole iteration.  Whether the program would have
ended it there too is seen by testing once more what the loop would have tested next.  The flags lie in a local array,
indexed by numbers that no compiler knows, as a compiler that trusts the program would conclude that no flag can be
raised there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from gpucore.ir import Barrier, Block, Fence, For, GetVar, InitLocal, Subgroup, While, blocks_of, walk
from gpucore.ir.passes.checks import ANY_LOOP, ERROR_ARRAY
from gpucore_vulkan.spirv.grammar import RELAXED, SCOPE_DEVICE

if TYPE_CHECKING:
    from gpucore_vulkan.spirv.function import FunctionEmitter

__all__ = ["LoopEnds"]

_EMITTED: Final = 1
"""Loops that the emitter makes of other statements lie in no other loop that it makes so."""


class LoopEnds:
    """The flags of one function's loops."""

    def __init__(self, f: FunctionEmitter) -> None:
        self._f = f
        self._sites: list[int] = []
        self._flags = 0

    def enter(self, site: int) -> None:
        """Before a loop; a site of 0 asks for nothing."""
        self._sites.append(site)
        if site:
            self._put(1)

    def enter_emitted(self) -> None:
        """Before a loop that the emitter made of another statement."""
        self.enter(ANY_LOOP if self._f.unit.reports_loops else 0)

    def leave(self) -> None:
        """On a way out of the innermost loop."""
        if self._sites[-1]:
            self._put(0)

    def way_out(self, merge: int) -> int:
        """The label to go to in order to leave: of a block made by :meth:`leave_by`, where there is something to do."""
        return self._f.asm.id() if self._sites[-1] else merge

    def leave_by(self, label: int, merge: int) -> None:
        """The block of a way out, where there is one."""
        if label != merge:
            self._f.label(label)
            self.leave()
            self._f.put("OpBranch", merge)

    def behind(self, again: Callable[[], int] | None = None) -> None:
        """Behind the loop: report it where the flag is still raised.

        ``again`` emits the loop's test, as it stands after the last iteration, from what no compiler knows; without it
        a loop that the device ended when it was done anyway is reported, too.
        """
        site = self._sites.pop()
        if not site:
            return
        f, asm = self._f, self._f.asm
        raised = f.result("OpLoad", asm.uint(32), self._flag(len(self._sites)))
        ended = f.result("OpINotEqual", asm.bool_type(), raised, asm.word(0))
        report, follow = asm.id(), asm.id()
        f.put("OpSelectionMerge", follow, 0)
        f.put("OpBranchConditional", ended, report, follow)
        f.label(report)
        word, scope, relaxed = asm.uint(32), asm.word(SCOPE_DEVICE), asm.word(RELAXED)
        told, nothing = asm.word(site), asm.word(0)
        if again is not None:
            told = f.result("OpSelect", word, again(), told, nothing)
        record = f.result("OpConvertUToPtr", asm.pointer("PhysicalStorageBuffer", word), self._address())
        f.result("OpAtomicCompareExchange", word, record, scope, relaxed, relaxed, told, nothing)
        f.put("OpBranch", follow)
        f.label(follow)

    def header_again(self, loop: While) -> Callable[[], int] | None:
        """The header of a loop once more, for the threads that the device kept from it; None where they need others."""
        if any(isinstance(s, (Barrier, Fence, Subgroup, For, While, InitLocal)) for s in walk(loop.header)):
            return None

        def again() -> int:
            f = self._f
            values, known = dict(f.values), dict(f.known)
            # else compilers take over what the test came to in the loop
            for var in dict.fromkeys(s.var for s in walk(loop.header) if isinstance(s, GetVar)):
                f.hide_variable(var)
            f.block(loop.header)
            condition = f.values[loop.condition.name]
            # what follows means the values of the loop itself
            f.values, f.known = values, known
            return condition

        return again

    def _address(self) -> int:
        f, unit = self._f, self._f.unit
        if f.function is unit.module.kernel:
            return unit.array_address(f, ERROR_ARRAY)
        # functions have no arguments but their own
        return f.result("OpLoad", f.asm.uint(64), unit.record_variable())

    def _put(self, raised: int) -> None:
        f = self._f
        f.put("OpStore", self._flag(len(self._sites) - 1), f.asm.word(raised))

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
