"""Loads and stores by the shape of their index, and atomics lane by lane."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from gpucore import ir
from gpucore.ir import DType, i32, i64
from gpucore_cpu.spmd.analysis import Shape
from gpucore_cpu.spmd.emitter import Emitter
from gpucore_cpu.spmd.types import memory_type, scalar_type

__all__ = ["emit_atomic", "emit_cas", "emit_init", "emit_load", "emit_store", "lane_loop"]

LOCAL = ", !alias.scope !6"
"""Metadata of accesses to local memory."""


def emit_load(e: Emitter, statement: ir.Load) -> str:
    """Load one element a lane: a broadcast, a vector load, or a gather."""
    memory, index = statement.memory, statement.indices[0]
    kind = memory_type(memory.dtype)
    shape = e.shape(index)
    extra = f", align {memory.dtype.itemsize}{e.text.apart}"
    if memory.space == "local":
        loaded = _load_local(e, memory, index, kind)
    elif shape <= Shape.GANG:
        if memory.space == "const" or (memory.space == "global" and _unwritten(e, memory)):
            extra += ", !invariant.load !0"
        loaded = e.load(kind, _element(e, memory, *_scalar_index(e, index)), extra)
        if memory.dtype.kind == "bool":
            loaded = e.tmp(f"icmp ne i8 {loaded}, 0")
        if e.shape(statement.result) == Shape.VARYING:
            return e.splat(scalar_type(memory.dtype), loaded)
        return loaded
    elif shape == Shape.AFFINE:
        address = _element(e, memory, *_scalar_index(e, index))
        if e.mask is None:
            loaded = e.load(e.vec(kind), address, extra)
        else:
            vector = e.vec(kind)
            loaded = e.intrinsic(
                f"llvm.masked.load.{e.suffix(kind, True)}.p0",
                vector,
                [
                    ("ptr", address),
                    ("i32", str(memory.dtype.itemsize)),
                    (e.mask_type, e.mask),
                    (vector, "zeroinitializer"),
                ],
                extra=e.text.apart,
            )
    else:
        loaded = _gather(e, kind, memory, e.vector(index), index.dtype)
    if memory.dtype.kind == "bool":
        return e.tmp(f"icmp ne {e.vec('i8')} {loaded}, zeroinitializer")
    return loaded


def _unwritten(e: Emitter, memory: ir.Memory) -> bool:
    """Whether an array keeps its elements as long as the kernel runs."""
    return e.text.noalias and memory.name not in e.text.written


def emit_store(e: Emitter, statement: ir.Store) -> None:
    """Store one element a lane; lanes that are not active write nothing."""
    memory, index, value = statement.memory, statement.indices[0], statement.value
    kind = memory_type(memory.dtype)
    size = memory.dtype.itemsize
    shape = e.shape(index)
    if memory.space == "local":
        _store_local(e, memory, index, kind, _as_memory(e, value, True))
    elif shape <= Shape.GANG:
        address = _element(e, memory, *_scalar_index(e, index))
        if e.shape(value) <= Shape.GANG:
            stored = _as_memory(e, value, False)
        else:
            stored = _last_active(e, kind, _as_memory(e, value, True))
        e.store(kind, stored, address, f", align {size}{e.text.apart}")
    elif shape == Shape.AFFINE:
        address = _element(e, memory, *_scalar_index(e, index))
        stored = _as_memory(e, value, True)
        if e.mask is None and memory.name in e.text.streamed:
            _stream(e, kind, size, stored, address)
        elif e.mask is None:
            e.store(e.vec(kind), stored, address, f", align {size}{e.text.apart}")
        else:
            e.intrinsic_void(
                f"llvm.masked.store.{e.suffix(kind, True)}.p0",
                [(e.vec(kind), stored), ("ptr", address), ("i32", str(size)), (e.mask_type, e.mask)],
                e.text.apart,
            )
    else:
        _scatter(e, kind, memory, e.vector(index), index.dtype, _as_memory(e, value, True))


def _stream(e: Emitter, kind: str, size: int, value: str, address: str) -> None:
    """Store a vector, in launches too large for the caches without reading its cache lines first."""
    align = min(64, size * e.width)
    number = e.tmp(f"ptrtoint ptr {address} to i64")
    misplaced = e.tmp(f"and i64 {number}, {align - 1}")
    direct = e.tmp(f"icmp eq i64 {e.tmp(f'or i64 {misplaced}, %cached')}, 0")
    past, plain, done = e.label("past"), e.label("plain"), e.label("stored")
    e.branch_if(direct, past, plain)
    e.place(past)
    e.store(e.vec(kind), value, address, f", align {align}, !nontemporal !3")
    e.branch(done)
    e.place(plain)
    e.store(e.vec(kind), value, address, f", align {size}")
    e.place(done)


def _as_memory(e: Emitter, value: ir.Value, vector: bool) -> str:
    operand = e.operand(value, vector)
    if value.dtype.kind != "bool":
        return operand
    old, new = (e.mask_type, e.vec("i8")) if vector else ("i1", "i8")
    return e.tmp(f"zext {old} {operand} to {new}")


def _scalar_index(e: Emitter, index: ir.Value) -> tuple[str, DType]:
    return (e.wide(index), i64) if index.dtype is i32 else (e.scalar(index), index.dtype)


def _element(e: Emitter, memory: ir.Memory, index: str, dtype: DType) -> str:
    base = e.memories[memory.name]
    return e.tmp(f"getelementptr {memory_type(memory.dtype)}, ptr {base}, {scalar_type(dtype)} {index}")


def _native_gather(e: Emitter, size: int) -> bool:
    return "avx512f" in e.text.features and size >= 4


_X86: Final = {("float", 16): "dps", ("i32", 16): "dpi", ("double", 8): "dpd", ("i64", 8): "dpq"}
"""AVX-512's gathers of a whole register with indices of 32 bits, by element and lanes."""


def _x86(e: Emitter, kind: str, index: DType) -> str | None:
    # LLVM finds these only where it made the addresses in the same block, and else widens the indices
    return _X86.get((kind, e.width)) if "avx512f" in e.text.features and index is i32 else None


def _gather(e: Emitter, kind: str, memory: ir.Memory, index: str, dtype: DType) -> str:
    vector, mask, size = e.vec(kind), e.mask_operand(), memory.dtype.itemsize
    base = e.memories[memory.name]
    if (name := _x86(e, kind, dtype)) is not None:
        return e.intrinsic(
            f"llvm.x86.avx512.mask.gather.{name}.512",
            vector,
            [
                (vector, "zeroinitializer"), ("ptr", base), (e.vec("i32"), index), (e.mask_type, mask),
                ("i32", str(size)),
            ],
            extra=_scope(e, memory),
        )  # fmt: skip
    addresses = e.tmp(f"getelementptr {kind}, ptr {base}, {e.vec(scalar_type(dtype))} {index}")
    if e.mask is not None and not _native_gather(e, size):
        # LLVM would test lane by lane; an idle lane reads a spare element of the stack instead
        addresses = _spare(e, kind, addresses)
        mask = e.all_ones
    return e.intrinsic(
        f"llvm.masked.gather.{e.suffix(kind, True)}.v{e.width}p0",
        vector,
        [(e.vec("ptr"), addresses), ("i32", str(size)), (e.mask_type, mask), (vector, "zeroinitializer")],
        extra=_scope(e, memory),
    )


def _scatter(e: Emitter, kind: str, memory: ir.Memory, index: str, dtype: DType, value: str) -> None:
    mask, size = e.mask_operand(), memory.dtype.itemsize
    base = e.memories[memory.name]
    if (name := _x86(e, kind, dtype)) is not None:
        e.intrinsic_void(
            f"llvm.x86.avx512.mask.scatter.{name}.512",
            [
                ("ptr", base), (e.mask_type, mask), (e.vec("i32"), index), (e.vec(kind), value),
                ("i32", str(size)),
            ],
            _scope(e, memory),
        )  # fmt: skip
        return
    addresses = e.tmp(f"getelementptr {kind}, ptr {base}, {e.vec(scalar_type(dtype))} {index}")
    if e.mask is not None and not _native_gather(e, size):
        addresses = _spare(e, kind, addresses)
        mask = e.all_ones
    e.intrinsic_void(
        f"llvm.masked.scatter.{e.suffix(kind, True)}.v{e.width}p0",
        [(e.vec(kind), value), (e.vec("ptr"), addresses), ("i32", str(size)), (e.mask_type, mask)],
        _scope(e, memory),
    )


def _scope(e: Emitter, memory: ir.Memory) -> str:
    """Metadata of an access: those to local memory, and all others, do not touch each other's."""
    return LOCAL if memory.space == "local" else e.text.apart


def _spare(e: Emitter, kind: str, addresses: str) -> str:
    spare = e.find("spare element")
    if spare is None:
        slot = e.alloca("i64", "spare")
        e.scopes[0]["spare slot"] = slot
        spare = e.splat("ptr", slot)
        e.scopes[-1]["spare element"] = spare
    pointers = e.vec("ptr")
    return e.tmp(f"select {e.mask_type} {e.mask}, {pointers} {addresses}, {pointers} {spare}")


def _last_active(e: Emitter, kind: str, vector: str) -> str:
    """The value of the last active lane: lanes that store to one element do so in lane order."""
    if e.mask is None:
        return e.tmp(f"extractelement {e.vec(kind)} {vector}, i64 {e.width - 1}")
    bits = e.mask_bits(e.mask)
    zeros = e.intrinsic(f"llvm.ctlz.i{e.width}", f"i{e.width}", [(f"i{e.width}", bits), ("i1", "true")])
    lane = e.tmp(f"sub i{e.width} {e.width - 1}, {zeros}")
    return e.tmp(f"extractelement {e.vec(kind)} {vector}, i{e.width} {lane}")


# -- local memory: element k of lane l lies at k * width + l
def _local_row(e: Emitter, memory: ir.Memory, index: ir.Value, kind: str) -> str:
    wide = e.scalar(index)
    if index.dtype.bits < 64:
        wide = e.tmp(f"sext {scalar_type(index.dtype)} {wide} to i64")
    return e.tmp(f"getelementptr {e.vec(kind)}, ptr {e.memories[memory.name]}, i64 {wide}")


def _local_elements(e: Emitter, index: ir.Value) -> str:
    """The element of each lane: a local memory holds the lanes side by side."""
    scalar = scalar_type(index.dtype)
    vector = e.vec(scalar)
    row = e.tmp(f"mul {vector} {e.vector(index)}, {e.splat_constant(scalar, str(e.width))}")
    return e.tmp(f"add {vector} {row}, {e.iota(scalar)}")


def _load_local(e: Emitter, memory: ir.Memory, index: ir.Value, kind: str) -> str:
    extra = f", align {memory.dtype.itemsize}{LOCAL}"
    if e.shape(index) <= Shape.GANG:
        return e.load(e.vec(kind), _local_row(e, memory, index, kind), extra)
    return _gather(e, kind, memory, _local_elements(e, index), index.dtype)


def _store_local(e: Emitter, memory: ir.Memory, index: ir.Value, kind: str, value: str) -> None:
    extra = f", align {memory.dtype.itemsize}{LOCAL}"
    if e.shape(index) > Shape.GANG:
        _scatter(e, kind, memory, _local_elements(e, index), index.dtype, value)
        return
    row = _local_row(e, memory, index, kind)
    if e.mask not in (
        None,
        e.present,
    ):  # memory of this gang alone: a read and a write keep it promotable to registers
        vector = e.vec(kind)
        value = e.tmp(
            f"select {e.mask_type} {e.mask}, {vector} {value}, {vector} {e.load(vector, row, extra)}"
        )
    e.store(e.vec(kind), value, row, extra)


def emit_init(e: Emitter, statement: ir.InitLocal) -> None:
    """Zero a local memory in the active lanes."""
    memory = statement.memory
    count = 1
    for extent in memory.shape:
        count *= extent
    kind = memory_type(memory.dtype)
    vector = e.vec(kind)
    base = e.memories[memory.name]
    extra = f", align {memory.dtype.itemsize}{LOCAL}"

    def clear(row: str) -> None:
        value = "zeroinitializer"
        if e.mask not in (None, e.present):
            old = e.load(vector, row, extra)
            value = e.tmp(f"select {e.mask_type} {e.mask}, {vector} zeroinitializer, {vector} {old}")
        e.store(vector, value, row, extra)

    if count <= 16:
        for number in range(count):
            clear(e.tmp(f"getelementptr {vector}, ptr {base}, i64 {number}"))
        return
    counter = e.alloca("i64", "row")
    e.store("i64", "0", counter)
    head, done = e.label("init"), e.label("init.done")
    e.place(head)
    row = e.load("i64", counter)
    clear(e.tmp(f"getelementptr {vector}, ptr {base}, i64 {row}"))
    following = e.tmp(f"add i64 {row}, 1")
    e.store("i64", following, counter)
    e.branch_if(e.tmp(f"icmp ult i64 {following}, {count}"), head, done)
    e.place(done)


# -- atomics
_REDUCE = {"add": "add", "sub": "add", "min": "min", "max": "max", "and": "and", "or": "or", "xor": "xor"}


@contextmanager
def lane_loop(e: Emitter) -> Iterator[str]:
    """Code emitted inside runs once for each active lane, in lane order, with the lane's number (i64)."""
    bits = e.alloca("i64", "lanes")
    mask = e.mask_bits(e.mask_operand()) if e.mask is not None else "-1"
    e.store("i64", mask if e.width == 64 else e.tmp(f"zext i{e.width} {mask} to i64"), bits)
    head, done = e.label("lane"), e.label("lanes.done")
    e.place(head)
    left = e.load("i64", bits)
    lane = e.intrinsic("llvm.cttz.i64", "i64", [("i64", left), ("i1", "true")])
    with e.scope():
        yield lane
    less = e.tmp(f"sub i64 {left}, 1")
    following = e.tmp(f"and i64 {left}, {less}")
    e.store("i64", following, bits)
    e.branch_if(e.tmp(f"icmp ne i64 {following}, 0"), head, done)
    e.place(done)


def _per_lane(e: Emitter, value: ir.Value) -> Callable[[str], str]:
    """A value lane by lane: through the stack where it varies."""
    kind = scalar_type(value.dtype)
    if e.shape(value) <= Shape.GANG:
        scalar = e.scalar(value)
        return lambda lane: scalar
    slot = e.alloca(e.vec(kind), "spread")
    e.store(e.vec(kind), e.vector(value), slot)

    def pick(lane: str) -> str:
        return e.load(kind, e.tmp(f"getelementptr {kind}, ptr {slot}, i64 {lane}"))

    return pick


def _atomic_element(e: Emitter, memory: ir.Memory, index: str, dtype: DType) -> str:
    return _element(e, memory, index, dtype)


def _plain_combine(e: Emitter, op: str, dtype: DType, old: str, value: str) -> str:
    from gpucore_cpu.spmd.ops import apply

    return value if op == "exchange" else apply(e, op, dtype, [dtype, dtype], [old, value], False)


_RMW = {"add": "add", "sub": "sub", "and": "and", "or": "or", "xor": "xor", "exchange": "xchg"}


def _rmw_name(op: str, dtype: DType) -> str:
    if op in ("min", "max"):
        return op if dtype.is_signed else "u" + op
    name = _RMW[op]
    return "f" + name if dtype.is_float and op in ("add", "sub") else name


def _one_atomic(e: Emitter, memory: ir.Memory, op: str, dtype: DType, address: str, value: str) -> str:
    kind = scalar_type(dtype)
    align = f", align {dtype.itemsize}"
    if memory.space == "shared":  # a block runs on one thread
        old = e.load(kind, address, align)
        e.store(kind, _plain_combine(e, op, dtype, old, value), address, align)
        return old
    return e.tmp(f"atomicrmw {_rmw_name(op, dtype)} ptr {address}, {kind} {value} monotonic{align}")


def emit_atomic(e: Emitter, statement: ir.Atomic, used: bool) -> str:
    """One read-modify-write a lane, in lane order; lanes that hit one element and drop the result are
    combined."""
    memory, index, value, op = statement.memory, statement.indices[0], statement.value, statement.op
    dtype = value.dtype
    kind = scalar_type(dtype)
    vector = e.vec(kind)
    if not used and dtype.is_integer and op in _REDUCE and e.shape(index) <= Shape.GANG:
        combined = _reduce(e, op, dtype, e.vector(value))
        _one_atomic(e, memory, op, dtype, _element(e, memory, *_scalar_index(e, index)), combined)
        return "poison"
    index_of, value_of = _per_lane(e, index), _per_lane(e, value)
    if e.shape(index) == Shape.AFFINE:
        index_of = _per_lane(e, index)
    results = e.alloca(vector, "old") if used else ""
    with lane_loop(e) as lane:
        address = _atomic_element(e, memory, index_of(lane), index.dtype)
        old = _one_atomic(e, memory, op, dtype, address, value_of(lane))
        if used:
            e.store(kind, old, e.tmp(f"getelementptr {kind}, ptr {results}, i64 {lane}"))
    return e.load(vector, results) if used else "poison"


def _reduce(e: Emitter, op: str, dtype: DType, vector: str) -> str:
    from gpucore_cpu.spmd.types import literal

    kind = scalar_type(dtype)
    name = _REDUCE[op]
    if e.mask is not None:
        low = -(1 << (dtype.bits - 1)) if dtype.is_signed else 0
        high = (1 << (dtype.bits - (1 if dtype.is_signed else 0))) - 1
        neutral = {"and": -1, "min": high, "max": low}.get(name, 0)
        text = literal(dtype, neutral)
        t = e.vec(kind)
        vector = e.tmp(f"select {e.mask_type} {e.mask}, {t} {vector}, {t} splat ({kind} {text})")
    if name in ("min", "max"):
        name = ("s" if dtype.is_signed else "u") + name
    return e.intrinsic(f"llvm.vector.reduce.{name}.{e.suffix(kind, True)}", kind, [(e.vec(kind), vector)])


def emit_cas(e: Emitter, statement: ir.AtomicCas, used: bool) -> str:
    """Compare and swap on the element's bits, lane by lane."""
    memory, index = statement.memory, statement.indices[0]
    dtype = statement.expected.dtype
    kind = scalar_type(dtype)
    bits = f"i{dtype.bits}"
    vector = e.vec(kind)
    index_of = _per_lane(e, index)
    expected_of, desired_of = _per_lane(e, statement.expected), _per_lane(e, statement.desired)
    results = e.alloca(vector, "old") if used else ""
    align = f", align {dtype.itemsize}"
    with lane_loop(e) as lane:
        address = _atomic_element(e, memory, index_of(lane), index.dtype)
        expected, desired = expected_of(lane), desired_of(lane)
        if kind != bits:
            expected = e.tmp(f"bitcast {kind} {expected} to {bits}")
            desired = e.tmp(f"bitcast {kind} {desired} to {bits}")
        if memory.space == "shared":
            old = e.load(bits, address, align)
            same = e.tmp(f"icmp eq {bits} {old}, {expected}")
            e.store(bits, e.tmp(f"select i1 {same}, {bits} {desired}, {bits} {old}"), address, align)
        else:
            pair = e.tmp(
                f"cmpxchg ptr {address}, {bits} {expected}, {bits} {desired} monotonic monotonic{align}"
            )
            old = e.tmp(f"extractvalue {{ {bits}, i1 }} {pair}, 0")
        if used:
            e.store(bits, old, e.tmp(f"getelementptr {kind}, ptr {results}, i64 {lane}"))
    return e.load(vector, results) if used else "poison"
