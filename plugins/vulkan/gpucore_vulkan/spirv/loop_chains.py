"""Loops one behind the other, for a driver whose compiler takes them for one chain.

llvmpipe (seen in Mesa 22.3.6) counts the iterations of all loops of a kernel in one variable.  LLVM writes what it holds in
a loop as a recurrence that starts from that of the loop before, and looks through the whole chain for each loop: 40 loops
took 19 s to compile, 80 over 100 s.  A loop around one of them ends the chain there, since LLVM knows nothing of a number
that another loop has changed.  It takes one iteration, which no compiler can know, and has no test before its body: a device
that ends loops early ends it where it ends anyway.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from gpucore.ir import Barrier, For, Subgroup, While, walk

if TYPE_CHECKING:
    from gpucore_vulkan.spirv.body import FunctionState

__all__ = ["LoopChains"]

LONGEST: Final = 8
"""Loops of a chain: most kernels have fewer, and are left as they are."""


class LoopChains:
    """The chains of one function's loops.

    Parameters
    ----------
    f : FunctionState
    """

    def __init__(self, f: FunctionState) -> None:
        self._f = f
        self._length = 0

    @contextmanager
    def around(self, loop: For | While) -> Iterator[None]:
        """Around the emission of a loop: gives it another one around it where the chain is to end.

        Loops with loops in them end a chain by themselves.  Those that threads meet in are left alone: they end one as well,
        because the driver saves all variables there.
        """
        if not self._f.unit.ends_chains:
            yield
        elif any(isinstance(s, (For, While, Barrier, Subgroup)) for s in walk(loop.body)):
            self._length = 0
            yield
            self._length = 0
        else:
            self._length += 1
            if self._length < LONGEST:
                yield
                return
            self._length = 0
            f, asm = self._f, self._f.asm
            top, body, follow, merge = (asm.id() for _ in range(4))
            f.put("OpBranch", top)
            f.label(top)
            f.put("OpLoopMerge", merge, follow, f.unit.loop_control)
            f.put("OpBranch", body)
            f.label(body)
            yield
            f.put("OpBranch", follow)
            f.label(follow)
            once_more = f.result("OpINotEqual", asm.bool_type(), f.unit.opaque_zero(f, 32), asm.word(0))
            f.put("OpBranchConditional", once_more, top, merge)
            f.label(merge)
