"""Loads, stores and atomics in the four memory spaces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gpucore.ir import Atomic, AtomicCas, DType, Load, Memory, Store, Value
from gpucore_vulkan.spirv import combinations, local_memory
from gpucore_vulkan.spirv.grammar import RELAXED, SCOPE_DEVICE
from gpucore_vulkan.spirv.widths import is_narrow

if TYPE_CHECKING:
    from gpucore_vulkan.spirv.body import FunctionState
    from gpucore_vulkan.spirv.loop_ends import LoopEnds

__all__ = ["atomic", "compare_and_swap", "load", "store"]

_ATOMICS: Final = {
    "add": ("OpAtomicIAdd", "OpAtomicIAdd"),
    "sub": ("OpAtomicISub", "OpAtomicISub"),
    "min": ("OpAtomicUMin", "OpAtomicSMin"),
    "max": ("OpAtomicUMax", "OpAtomicSMax"),
    "and": ("OpAtomicAnd", "OpAtomicAnd"),
    "or": ("OpAtomicOr", "OpAtomicOr"),
    "xor": ("OpAtomicXor", "OpAtomicXor"),
    "exchange": ("OpAtomicExchange", "OpAtomicExchange"),
}


def _pointer(f: FunctionState, memory: Memory, at: Value, seen: DType) -> int:
    """A pointer to the element, seen as a dtype of the same width."""
    asm, index = f.asm, f.values[at.name]
    if memory.space == "global":
        # spelled out in 64 bits: drivers compute the offset of an access chain in the width of its index
        # (NVIDIA 580: past 4 GiB with a 32-bit one), and not all take 64 bits there
        f.unit.use_storage(seen)
        pointer = asm.pointer("PhysicalStorageBuffer", f.unit.element_type(seen))
        long = asm.uint(64)
        if at.dtype.bits == 32:
            index = f.result("OpSConvert", long, index)
        offset = f.result("OpIMul", long, index, asm.integer(seen.itemsize, 64))
        address = f.result("OpIAdd", long, f.unit.array_address(f, memory), offset)
        return f.result("OpConvertUToPtr", pointer, address)
    if memory.space == "local":
        base, storage = local_memory.variable_of(f, memory.name), "Function"
        index = combinations.place(f, at)
    elif memory.space == "shared":
        base, storage = f.unit.shared_memory(memory), "Workgroup"
    else:
        base, storage = f.unit.const_memory(memory), "Private"
    return f.result("OpAccessChain", asm.pointer(storage, f.unit.element_type(seen)), base, index)


def load(f: FunctionState, statement: Load) -> int:
    """Emit a load."""
    memory, dtype = statement.memory, statement.memory.dtype
    seen = f.unit.seen_as(memory)
    pointer = _pointer(f, memory, statement.indices[0], seen)
    how = (f.unit.access, dtype.itemsize) if memory.space == "global" else ()
    raw = f.result("OpLoad", f.unit.element_type(seen), pointer, *how)
    if is_narrow(dtype):
        return f.narrow.loaded(dtype, raw)
    return _as(f, raw, seen, dtype)


def store(f: FunctionState, statement: Store) -> None:
    """Emit a store."""
    memory, dtype = statement.memory, statement.memory.dtype
    seen = f.unit.seen_as(memory)
    pointer = _pointer(f, memory, statement.indices[0], seen)
    value = f.values[statement.value.name]
    value = f.narrow.element(dtype, value) if is_narrow(dtype) else _as(f, value, dtype, seen)
    how = (f.unit.access, dtype.itemsize) if memory.space == "global" else ()
    f.put("OpStore", pointer, value, *how)


def _as(f: FunctionState, value: int, dtype: DType, to: DType) -> int:
    """The value's bits in another dtype of the width."""
    return value if f.type(dtype) == f.type(to) else f.result("OpBitcast", f.type(to), value)


def _operand(f: FunctionState, value: int, dtype: DType, to: DType) -> int:
    """An atomic's operand as an integer.

    llvmpipe (seen in Mesa 22.3.6) forgets bitcasts and aborts the process on an atomic whose operand was a float;
    joining a zero that it cannot know keeps the operand an integer.
    """
    value = _as(f, value, dtype, to)
    if not f.unit.hides_atomics or not to.is_integer:
        return value
    return f.joined(value, f.type(to), to.bits, "operand")


def atomic(f: FunctionState, ends: LoopEnds, statement: Atomic) -> int:
    """Emit a read-modify-write, relaxed, device scope."""
    asm, memory = f.asm, statement.memory
    operand = statement.bits or memory.dtype
    seen = operand if memory.space == "global" else f.unit.seen_as(memory)
    pointer = _pointer(f, memory, statement.indices[0], seen)
    f.unit.use_atomic(operand)
    value = f.values[statement.value.name]
    scope, relaxed = asm.word(SCOPE_DEVICE), asm.word(RELAXED)
    if operand.is_float and statement.op in ("add", "sub"):
        if statement.op == "sub":
            value = f.rounded("OpFNegate", f.type(operand), value)
        if f.type(seen) != f.type(operand):
            return _add_by_swapping(f, ends, pointer, seen, operand, value)
        f.unit.use_float_atomic(operand)
        return f.result("OpAtomicFAddEXT", f.type(operand), pointer, scope, relaxed, value)
    name = _ATOMICS[statement.op][1 if operand.is_signed else 0]
    value = _operand(f, value, operand, seen)
    return _as(f, f.result(name, f.type(seen), pointer, scope, relaxed, value), seen, operand)


def _add_by_swapping(
    f: FunctionState, ends: LoopEnds, pointer: int, seen: DType, operand: DType, value: int
) -> int:
    """A float addition on shared memory that other atomics of the kernel want declared as integers."""
    asm, word, real = f.asm, f.type(seen), f.type(operand)
    scope, relaxed = asm.word(SCOPE_DEVICE), asm.word(RELAXED)
    f.unit.use_atomic(seen)
    before, top, follow, merge = (asm.id() for _ in range(4))
    guess, found = asm.id(), asm.id()
    ends.enter_emitted()
    out = ends.way_out(merge)
    first = f.result("OpAtomicOr", word, pointer, scope, relaxed, asm.integer(0, seen.bits))
    f.put("OpBranch", before)
    f.label(before)
    f.put("OpBranch", top)
    f.label(top)
    f.put("OpPhi", word, guess, first, before, found, follow)
    total = f.rounded("OpFAdd", real, f.result("OpBitcast", real, guess), f.hidden(operand, value))
    desired = _operand(f, total, operand, seen)
    f.put("OpAtomicCompareExchange", word, found, pointer, scope, relaxed, relaxed, desired, guess)
    swapped = f.result("OpIEqual", asm.bool_type(), found, guess)
    f.put("OpLoopMerge", merge, follow, f.unit.loop_control)
    f.put("OpBranchConditional", swapped, out, follow)
    ends.leave_by(out, merge)
    f.label(follow)
    f.put("OpBranch", top)
    f.label(merge)
    ends.behind()
    return f.result("OpBitcast", real, found)


def compare_and_swap(f: FunctionState, statement: AtomicCas) -> int:
    """Emit a compare-and-swap on the element's bits, relaxed, device scope; a load where it would change nothing."""
    asm, memory = f.asm, statement.memory
    operand = statement.bits or memory.dtype
    seen = operand if memory.space == "global" else f.unit.seen_as(memory)
    pointer = _pointer(f, memory, statement.indices[0], seen)
    f.unit.use_atomic(operand)
    scope, relaxed = asm.word(SCOPE_DEVICE), asm.word(RELAXED)
    if statement.only_loads:
        return _as(f, f.result("OpAtomicLoad", f.type(seen), pointer, scope, relaxed), seen, operand)
    desired = _operand(f, f.values[statement.desired.name], operand, seen)
    expected = _operand(f, f.values[statement.expected.name], operand, seen)
    old = f.result(
        "OpAtomicCompareExchange", f.type(seen), pointer, scope, relaxed, relaxed, desired, expected
    )
    return _as(f, old, seen, operand)
