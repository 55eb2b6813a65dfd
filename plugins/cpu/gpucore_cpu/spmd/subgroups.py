"""Subgroup operations: a gang is a subgroup, so they are shuffles of one vector."""

from __future__ import annotations

from gpucore import ir
from gpucore.ir import DType
from gpucore_cpu.spmd.emitter import Emitter
from gpucore_cpu.spmd.ops import apply
from gpucore_cpu.spmd.types import literal, scalar_type

__all__ = ["emit_subgroup"]


def emit_subgroup(e: Emitter, statement: ir.Subgroup) -> str:
    """Emit a subgroup operation: the exact order of sums is that of :data:`gpucore.ir.ops.SUBGROUP_OPS`."""
    op, args = statement.op, statement.args
    match op:
        case "size":
            return str(e.width)
        case "lane":
            return "0"  # affine: lane 0's
        case "any" | "all" | "ballot":
            return _vote(e, op, args[0])
        case "sum":
            return _sum(e, args[0])
        case "min" | "max":
            return _extreme(e, op, args[0])
        case "inclusive_sum" | "exclusive_sum":
            return _scan(e, op, args[0])
        case _:
            return _shuffle(e, op, args[0], args[1])


def _existing(e: Emitter, value: ir.Value, neutral: str) -> str:
    """The operand with a neutral element in lanes that do not take part."""
    vector = e.vector(value)
    if e.mask is None:
        return vector
    kind = scalar_type(value.dtype)
    t = e.vec(kind)
    return e.tmp(f"select {e.mask_type} {e.mask}, {t} {vector}, {t} splat ({kind} {neutral})")


def _zero(dtype: DType) -> str:
    return literal(dtype, -0.0) if dtype.is_float else "0"


def _vote(e: Emitter, op: str, value: ir.Value) -> str:
    condition = e.vector(value)
    if op == "all":
        missing = e.mask_and_not(e.mask, condition)
        return e.tmp(f"xor i1 {e.any_lane(missing)}, true")
    taking = e.mask_and(e.mask, condition)
    if op == "any":
        return e.any_lane(taking)
    bits = e.mask_bits(taking)
    return bits if e.width == 64 else e.tmp(f"zext i{e.width} {bits} to i64")


def _permute(e: Emitter, kind: str, vector: str, lanes: list[int], other: str = "poison") -> str:
    """A fixed shuffle; lane numbers from the width on name lanes of ``other``."""
    t = e.vec(kind)
    pattern = ", ".join(f"i32 {lane}" for lane in lanes)
    return e.tmp(f"shufflevector {t} {vector}, {t} {other}, <{e.width} x i32> <{pattern}>")


def _butterfly(e: Emitter, op: str, dtype: DType, vector: str) -> str:
    kind = scalar_type(dtype)
    step = 1
    while step < e.width:
        partner = _permute(e, kind, vector, [lane ^ step for lane in range(e.width)])
        vector = apply(e, op, dtype, [dtype, dtype], [vector, partner], True)
        step *= 2
    return e.tmp(f"extractelement {e.vec(kind)} {vector}, i64 0")


def _sum(e: Emitter, value: ir.Value) -> str:
    dtype = value.dtype
    vector = _existing(e, value, _zero(dtype))
    if dtype.is_float:
        return _butterfly(e, "add", dtype, vector)
    kind = scalar_type(dtype)
    return e.intrinsic(f"llvm.vector.reduce.add.{e.suffix(kind, True)}", kind, [(e.vec(kind), vector)])


def _extreme(e: Emitter, op: str, value: ir.Value) -> str:
    dtype = value.dtype
    kind = scalar_type(dtype)
    if dtype.is_float:
        neutral = literal(dtype, float("inf") if op == "min" else float("-inf"))
        return _butterfly(e, op, dtype, _existing(e, value, neutral))
    low = -(1 << (dtype.bits - 1)) if dtype.is_signed else 0
    high = (1 << (dtype.bits - (1 if dtype.is_signed else 0))) - 1
    vector = _existing(e, value, str(high if op == "min" else low))
    name = ("s" if dtype.is_signed else "u") + op
    return e.intrinsic(f"llvm.vector.reduce.{name}.{e.suffix(kind, True)}", kind, [(e.vec(kind), vector)])


def _scan(e: Emitter, op: str, value: ir.Value) -> str:
    dtype = value.dtype
    kind = scalar_type(dtype)
    vector = e.vector(value)
    neutral = f"splat ({kind} {_zero(dtype)})"
    distance = 1
    while distance < e.width:
        lanes = [lane - distance if lane >= distance else e.width for lane in range(e.width)]
        shifted = _permute(e, kind, vector, lanes, neutral)
        vector = apply(e, "add", dtype, [dtype, dtype], [shifted, vector], True)
        distance *= 2
    if op == "inclusive_sum":
        return vector
    lanes = [lane - 1 if lane else e.width for lane in range(e.width)]
    return _permute(e, kind, vector, lanes, "zeroinitializer")


def _shuffle(e: Emitter, op: str, value: ir.Value, lane: ir.Value) -> str:
    dtype = value.dtype
    kind = "i8" if dtype.kind == "bool" else scalar_type(dtype)
    own = e.vector(value)
    if dtype.kind == "bool":
        own = e.tmp(f"zext {e.mask_type} {own} to {e.vec('i8')}")
    t, indices = e.vec(kind), e.vec("i32")
    constant = e.analysis.definitions.get(lane.name)
    if isinstance(constant, ir.Const) and 0 <= int(constant.value) < e.width:
        number = int(constant.value)
        lanes = [(at ^ number) if op == "shuffle_xor" else number for at in range(e.width)]
        moved = _permute(e, kind, own, lanes)
        exists = "" if e.mask is None else _permute(e, "i1", e.mask, lanes)
    else:
        source = e.vector(lane)
        if op == "shuffle_xor":
            source = e.tmp(f"xor {indices} {source}, {e.iota('i32')}")
        fits = e.tmp(f"icmp ult {indices} {source}, splat (i32 {e.width})")
        safe = e.tmp(f"and {indices} {source}, splat (i32 {e.width - 1})")
        slot = e.alloca(t, "shuffled")
        e.store(t, own, slot)
        addresses = e.tmp(f"getelementptr {kind}, ptr {slot}, {indices} {safe}")
        moved = e.intrinsic(
            f"llvm.masked.gather.{e.suffix(kind, True)}.v{e.width}p0",
            t,
            [
                (e.vec("ptr"), addresses),
                ("i32", str(max(1, dtype.itemsize))),
                (e.mask_type, e.all_ones),
                (t, "zeroinitializer"),
            ],
        )
        exists = fits
        if e.mask is not None:
            wide = "i64" if e.width == 64 else "i32"
            bits = e.mask_bits(e.mask)
            if e.width < 32:
                bits = e.tmp(f"zext i{e.width} {bits} to i32")
            amount = safe if wide == "i32" else e.tmp(f"zext {indices} {safe} to {e.vec(wide)}")
            shifted = e.tmp(f"lshr {e.vec(wide)} {e.splat(wide, bits)}, {amount}")
            present = e.tmp(f"trunc {e.vec(wide)} {shifted} to {e.mask_type}")
            exists = e.mask_and(fits, present)
    if exists:
        moved = e.tmp(f"select {e.mask_type} {exists}, {t} {moved}, {t} {own}")
    if dtype.kind == "bool":
        return e.tmp(f"icmp ne {t} {moved}, zeroinitializer")
    return moved
