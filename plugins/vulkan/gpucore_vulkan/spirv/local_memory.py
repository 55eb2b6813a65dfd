"""Local memories: their variables and how they are zeroed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gpucore.ir import Block, InitLocal, Load, Memory, Stmt, Store, blocks_of, walk

if TYPE_CHECKING:
    from gpucore_vulkan.spirv.body import FunctionState
    from gpucore_vulkan.spirv.loop_ends import LoopEnds

__all__ = ["clear", "starts_unknown", "variable_of"]

WHOLE = 32
"""Elements of a memory that is zeroed by one store at most: drivers split it into stores of elements and may
take time that grows with their square (lavapipe, Mesa 22.3.6: 20 s for 1000 elements)."""
CHUNK = 32
"""Elements that an iteration zeroes; some drivers end loops after 65,535 of them."""
DONT_UNROLL = 2


def variable_of(f: FunctionState, name: str) -> int:
    """The variable of a local memory."""
    if name not in f.locals:
        memory = next(m for m in f.function.memories if m.name == name)
        f.locals[name] = _declare(f, memory)
        f.asm.name(f.locals[name], name)
    return f.locals[name]


def _declare(f: FunctionState, memory: Memory) -> int:
    """The variable of a local memory; a small one is zero from the start."""
    kind = _kind(f, memory)
    if _count(memory) <= WHOLE:
        return f.variable(kind, f.asm.constant("OpConstantNull", kind))
    return f.variable(kind)


def starts_unknown(block: Block, memory: Memory) -> bool:
    """Whether some path comes to a memory that nothing has zeroed before."""
    return _count(memory) > WHOLE and not _filled_first(block, memory)


def clear(f: FunctionState, ends: LoopEnds, memory: Memory) -> None:
    """Zero a local memory."""
    variable, count = variable_of(f, memory.name), _count(memory)
    if count <= WHOLE:
        f.put("OpStore", variable, f.asm.constant("OpConstantNull", _kind(f, memory)))
        return
    asm, word = f.asm, f.asm.uint(32)
    element = f.unit.element_type(memory.dtype)
    pointer = asm.pointer("Function", element)
    zero = asm.constant("OpConstantNull", element)
    whole = count - count % CHUNK
    before, top, body, follow, merge, index, following = (asm.id() for _ in range(7))
    ends.enter_emitted(counted=True)
    out = ends.way_out(merge)
    f.put("OpBranch", before)
    f.label(before)
    f.put("OpBranch", top)
    f.label(top)
    f.put("OpPhi", word, index, asm.word(0), before, following, follow)

    def test(at: int) -> int:
        return f.result("OpULessThan", asm.bool_type(), at, asm.word(whole))

    go = test(index)
    f.put("OpLoopMerge", merge, follow, DONT_UNROLL)
    f.put("OpBranchConditional", go, body, out)
    ends.leave_by(out, merge)
    f.label(body)
    for number in range(CHUNK):
        place = f.result("OpIAdd", word, index, asm.word(number))
        f.put("OpStore", f.result("OpAccessChain", pointer, variable, place), zero)
    f.put("OpBranch", follow)
    f.label(follow)
    f.put("OpIAdd", word, following, index, asm.word(CHUNK))
    f.put("OpBranch", top)
    f.label(merge)
    ends.behind(lambda: test(f.result("OpIAdd", word, index, f.unit.opaque_zero(f, 32))))
    for number in range(whole, count):
        f.put("OpStore", f.result("OpAccessChain", pointer, variable, asm.word(number)), zero)


def _count(memory: Memory) -> int:
    return max(1, math.prod(memory.shape))


def _kind(f: FunctionState, memory: Memory) -> int:
    return f.asm.array_type(f.unit.element_type(memory.dtype), _count(memory))


def _filled_first(block: Block, memory: Memory) -> bool:
    """Whether every path zeroes the memory before it is used."""
    touching = [s for s in block if any(_touches(inner, memory) for inner in walk((s,)))]
    if not touching or isinstance(touching[0], InitLocal):
        return True
    inner = blocks_of(touching[0])
    return len(touching) == 1 and bool(inner) and all(_filled_first(b, memory) for b in inner)


def _touches(statement: Stmt, memory: Memory) -> bool:
    return isinstance(statement, (InitLocal, Load, Store)) and statement.memory.name == memory.name
