"""Loops that the device ended, told from those that ended by themselves.

A flag of the thread is raised before a loop and lowered on each way out of it.  Behind the loop it is still raised
where none of these ways was taken.  The flags lie in a local array, indexed by numbers that no compiler knows, as a
compiler that trusts the program would conclude that no flag can be raised there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gpucore.ir import Block, For, While, blocks_of
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

    def behind(self) -> None:
        """Behind the loop: report it where the flag is still raised."""
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
        record = f.result("OpConvertUToPtr", asm.pointer("PhysicalStorageBuffer", word), self._address())
        f.result(
            "OpAtomicCompareExchange", word, record, scope, relaxed, relaxed, asm.word(site), asm.word(0)
        )
        f.put("OpBranch", follow)
        f.label(follow)

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
