"""Subgroup operations: a gang is a subgroup, so they are shuffles of one vector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gpucore import ir
from gpucore.ir import DType
from gpucore_cpu.spmd.operations import Operations
from gpucore_cpu.spmd.state import FunctionState
from gpucore_cpu.spmd.types import ALL_ONES, literal, scalar_type

__all__ = ["Subgroups"]


def _zero(dtype: DType) -> str:
    return literal(dtype, -0.0) if dtype.is_float else "0"


@dataclass(frozen=True, slots=True)
class Subgroups:
    """Writes subgroup operations."""

    state: FunctionState
    operations: Operations

    def emit(self, statement: ir.Subgroup) -> str:
        """Emit a subgroup operation: the exact order of sums is that of
        :data:`gpucore.ir.ops.SUBGROUP_OPS`."""
        op, args = statement.op, statement.args
        match op:
            case "size":
                return str(self.state.types.width)
            case "lane":
                return "0"  # affine: lane 0's
            case "any" | "all" | "ballot":
                return self._vote(op, args[0])
            case "sum":
                return self._sum(args[0])
            case "min" | "max":
                return self._extreme(op, args[0])
            case "inclusive_sum" | "exclusive_sum":
                return self._scan(op, args[0])
            case _:
                return self._shuffle(op, args[0], args[1])

    # -- votes
    def _vote(self, op: str, value: ir.Value) -> str:
        writer, types, masks = self.state.writer, self.state.types, self.state.masks
        condition = self.state.values.vector(value)
        if op == "all":
            missing = masks.without(masks.current, condition)
            return writer.tmp(f"xor i1 {masks.any_lane(missing)}, true")
        taking = masks.both(masks.current, condition)
        if op == "any":
            return masks.any_lane(taking)
        bits = masks.bits(taking)
        return bits if types.width == 64 else writer.tmp(f"zext {types.bits} {bits} to i64")

    # -- reductions and scans
    def _existing(self, value: ir.Value, neutral: str) -> str:
        """The operand with a neutral element in lanes that do not take part."""
        vector = self.state.values.vector(value)
        if self.state.masks.current is None:
            return vector
        kind = scalar_type(value.dtype)
        return self.state.masks.where_active(self.state.types.vec(kind), vector, f"splat ({kind} {neutral})")

    def _butterfly(self, op: str, dtype: DType, vector: str) -> str:
        kind, width = scalar_type(dtype), self.state.types.width
        step = 1
        while step < width:
            partner = self._permute(kind, vector, [lane ^ step for lane in range(width)])
            vector = self.operations.apply(op, dtype, [dtype, dtype], [vector, partner], True)
            step *= 2
        return self.state.writer.tmp(f"extractelement {self.state.types.vec(kind)} {vector}, i64 0")

    def _sum(self, value: ir.Value) -> str:
        dtype = value.dtype
        vector = self._existing(value, _zero(dtype))
        if dtype.is_float:
            return self._butterfly("add", dtype, vector)
        return self._reduce("add", dtype, vector)

    def _extreme(self, op: str, value: ir.Value) -> str:
        dtype = value.dtype
        if dtype.is_float:
            neutral = literal(dtype, float("inf") if op == "min" else float("-inf"))
            return self._butterfly(op, dtype, self._existing(value, neutral))
        low = -(1 << (dtype.bits - 1)) if dtype.is_signed else 0
        high = (1 << (dtype.bits - (1 if dtype.is_signed else 0))) - 1
        vector = self._existing(value, str(high if op == "min" else low))
        return self._reduce(("s" if dtype.is_signed else "u") + op, dtype, vector)

    def _reduce(self, name: str, dtype: DType, vector: str) -> str:
        types, kind = self.state.types, scalar_type(dtype)
        return self.state.writer.intrinsic(
            f"llvm.vector.reduce.{name}.{types.suffix(kind, True)}", kind, [(types.vec(kind), vector)]
        )

    def _scan(self, op: str, value: ir.Value) -> str:
        dtype, width = value.dtype, self.state.types.width
        kind = scalar_type(dtype)
        vector = self.state.values.vector(value)
        neutral = f"splat ({kind} {_zero(dtype)})"
        distance = 1
        while distance < width:
            lanes = [lane - distance if lane >= distance else width for lane in range(width)]
            shifted = self._permute(kind, vector, lanes, neutral)
            vector = self.operations.apply("add", dtype, [dtype, dtype], [shifted, vector], True)
            distance *= 2
        if op == "inclusive_sum":
            return vector
        lanes = [lane - 1 if lane else width for lane in range(width)]
        return self._permute(kind, vector, lanes, "zeroinitializer")

    # -- shuffles
    def _permute(self, kind: str, vector: str, lanes: Sequence[int], other: str = "poison") -> str:
        """A fixed shuffle; lane numbers from the width on name lanes of ``other``."""
        t = self.state.types.vec(kind)
        pattern = ", ".join(f"i32 {lane}" for lane in lanes)
        return self.state.writer.tmp(
            f"shufflevector {t} {vector}, {t} {other}, <{self.state.types.width} x i32> <{pattern}>"
        )

    def _shuffle(self, op: str, value: ir.Value, lane: ir.Value) -> str:
        writer, types, masks = self.state.writer, self.state.types, self.state.masks
        is_bool = value.dtype.kind == "bool"
        kind = "i8" if is_bool else scalar_type(value.dtype)
        own = self.state.values.vector(value)
        t = types.vec(kind)
        if is_bool:
            own = writer.tmp(f"zext {types.mask} {own} to {t}")
        number = self.state.values.constant(lane)
        if number is not None and 0 <= number < types.width:
            lanes = [(at ^ number) if op == "shuffle_xor" else number for at in range(types.width)]
            moved = self._permute(kind, own, lanes)
            exists = "" if masks.current is None else self._permute("i1", masks.current, lanes)
        else:
            moved, exists = self._shuffle_by(op, kind, max(1, value.dtype.itemsize), own, lane)
        if exists:
            moved = writer.tmp(f"select {types.mask} {exists}, {t} {moved}, {t} {own}")
        return writer.tmp(f"icmp ne {t} {moved}, zeroinitializer") if is_bool else moved

    def _shuffle_by(self, op: str, kind: str, size: int, own: str, lane: ir.Value) -> tuple[str, str]:
        """A shuffle whose lanes the kernel computes, through the stack; and which lanes get something."""
        writer, types, masks = self.state.writer, self.state.types, self.state.masks
        t, indices = types.vec(kind), types.vec("i32")
        source = self.state.values.vector(lane)
        if op == "shuffle_xor":
            source = writer.tmp(f"xor {indices} {source}, {types.iota('i32')}")
        fits = writer.tmp(f"icmp ult {indices} {source}, splat (i32 {types.width})")
        safe = writer.tmp(f"and {indices} {source}, splat (i32 {types.width - 1})")
        copy = writer.alloca(t, "shuffled")
        writer.store(t, own, copy)
        addresses = writer.tmp(f"getelementptr {kind}, ptr {copy}, {indices} {safe}")
        moved = writer.intrinsic(
            f"llvm.masked.gather.{types.suffix(kind, True)}.v{types.width}p0",
            t,
            [
                (types.vec("ptr"), addresses), ("i32", str(size)), (types.mask, ALL_ONES),
                (t, "zeroinitializer"),
            ],
        )  # fmt: skip
        if masks.current is None:
            return moved, fits
        return moved, masks.both(fits, self._present_lanes(masks.current, safe))

    def _present_lanes(self, mask: str, lanes: str) -> str:
        """For each lane whether the one that it names is active."""
        writer, types = self.state.writer, self.state.types
        wide = "i64" if types.width == 64 else "i32"
        bits = self.state.masks.bits(mask)
        if types.width < 32:
            bits = writer.tmp(f"zext {types.bits} {bits} to i32")
        amount = lanes
        if wide == "i64":
            amount = writer.tmp(f"zext {types.vec('i32')} {lanes} to {types.vec(wide)}")
        spread = self.state.values.splat(wide, bits)
        shifted = writer.tmp(f"lshr {types.vec(wide)} {spread}, {amount}")
        return writer.tmp(f"trunc {types.vec(wide)} {shifted} to {types.mask}")
