"""Subgroup operations, bit for bit as :data:`gpucore.ir.ops.SUBGROUP_OPS` defines them.

Everything is built of shuffles over a fixed order, since the reductions of the hardware may take any.  In
the last subgroup of a block lanes can be missing; ``count`` is how many exist.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpucore.errors import CompileError
from gpucore.ir import DType, Subgroup
from gpucore_vulkan.spirv.grammar import SCOPE_SUBGROUP
from gpucore_vulkan.spirv.operations import float_extremum, integer_extremum

if TYPE_CHECKING:
    from gpucore_vulkan.spirv.body import FunctionState

__all__ = ["emit_subgroup"]


class _Lanes:
    """The subgroup's coordinates, computed in the kernel's first block."""

    def __init__(self, f: FunctionState) -> None:
        self.f = f
        self.lane, self.count = f.unit.subgroup_lanes(f)
        self.width = f.unit.subgroup_width

    def shuffle(self, dtype: DType, value: int, lane: int) -> int:
        """The value of another lane, which must exist."""
        f, kind, bits = self.f, self.f.type(dtype), dtype.bits
        f.unit.use_subgroup("GroupNonUniformShuffle")
        scope = f.asm.word(SCOPE_SUBGROUP)
        truth, word = f.asm.bool_type(), f.asm.uint(32)
        if bits == 64:
            # in two words: not every device moves 64 bits at once
            long = f.asm.uint(64)
            whole = value if kind == long else f.result("OpBitcast", long, value)
            high = f.result(
                "OpUConvert", word, f.result("OpShiftRightLogical", long, whole, f.asm.integer(32, 64))
            )
            low = f.result("OpUConvert", word, whole)
            moved = [
                f.result("OpUConvert", long, f.result("OpGroupNonUniformShuffle", word, scope, half, lane))
                for half in (high, low)
            ]
            high = f.result("OpShiftLeftLogical", long, moved[0], f.asm.integer(32, 64))
            whole = f.result("OpBitwiseOr", long, high, moved[1])
            return whole if kind == long else f.result("OpBitcast", kind, whole)
        if kind == truth:
            raw = f.result("OpSelect", word, value, f.asm.word(1), f.asm.word(0))
            other = f.result("OpGroupNonUniformShuffle", word, scope, raw, lane)
            return f.result("OpINotEqual", truth, other, f.asm.word(0))
        return f.result("OpGroupNonUniformShuffle", kind, scope, value, lane)

    def partner(self, step: int) -> tuple[int, int]:
        """The lane that stands for the aligned group across a butterfly's step, and whether it exists."""
        f, word = self.f, self.f.asm.uint(32)
        across = f.result("OpBitwiseXor", word, self.lane, f.asm.word(step))
        lane = f.result("OpBitwiseAnd", word, across, f.asm.word(~(step - 1)))
        return lane, f.result("OpULessThan", f.asm.bool_type(), lane, self.count)

    def existing(self, lane: int, exists: int) -> int:
        """The lane itself where it exists, else this thread's own: shuffles from nowhere are undefined."""
        return self.f.result("OpSelect", self.f.asm.uint(32), exists, lane, self.lane)


def _add(f: FunctionState, dtype: DType, a: int, b: int) -> int:
    if dtype.is_integer:
        return f.result("OpIAdd", f.type(dtype), a, b)
    if dtype.bits == 16:
        single = f.asm.float_type(32)
        wide = f.rounded(
            "OpFAdd", single, f.result("OpFConvert", single, a), f.result("OpFConvert", single, b)
        )
        return f.result("OpFConvert", f.type(dtype), wide)
    return f.rounded("OpFAdd", f.type(dtype), a, b)


def _reduce(lanes: _Lanes, op: str, dtype: DType, value: int) -> int:
    f = lanes.f
    step = 1
    while step < lanes.width:
        lane, exists = lanes.partner(step)
        other = lanes.shuffle(dtype, value, lanes.existing(lane, exists))
        if op == "sum":
            joined = _add(f, dtype, value, other)
        elif dtype.is_float:
            joined = float_extremum(f, op, dtype, value, other)
        else:
            joined = integer_extremum(f, op, dtype, value, other)
        value = f.result("OpSelect", f.type(dtype), exists, joined, value)
        step *= 2
    return value


def _scan(lanes: _Lanes, op: str, dtype: DType, value: int) -> int:
    f, word, kind = lanes.f, lanes.f.asm.uint(32), lanes.f.type(dtype)

    def below(distance: int, x: int) -> tuple[int, int]:
        exists = f.result("OpUGreaterThanEqual", f.asm.bool_type(), lanes.lane, f.asm.word(distance))
        lane = f.result("OpISub", word, lanes.lane, f.asm.word(distance))
        return lanes.shuffle(dtype, x, lanes.existing(lane, exists)), exists

    distance = 1
    while distance < lanes.width:
        other, exists = below(distance, value)
        value = f.result("OpSelect", kind, exists, _add(f, dtype, other, value), value)
        distance *= 2
    if op == "inclusive_sum":
        return value
    other, exists = below(1, value)
    zero = f.asm.floating(0.0, dtype.bits) if dtype.is_float else f.asm.integer(0, dtype.bits)
    return f.result("OpSelect", kind, exists, other, zero)


def emit_subgroup(f: FunctionState, statement: Subgroup) -> int:
    """Emit one subgroup operation; the id of its value."""
    asm, op = f.asm, statement.op
    word, truth = asm.uint(32), asm.bool_type()
    if op == "size":
        return asm.word(f.unit.subgroup_width)
    lanes = _Lanes(f)
    if op == "lane":
        return lanes.lane
    args = [f.values[a.name] for a in statement.args]
    dtype = statement.args[0].dtype
    scope = asm.word(SCOPE_SUBGROUP)
    if dtype.is_float:
        args[0] = f.hidden(dtype, args[0])
    if op in ("sum", "min", "max"):
        return _reduce(lanes, op, dtype, args[0])
    if op in ("inclusive_sum", "exclusive_sum"):
        return _scan(lanes, op, dtype, args[0])
    if op in ("any", "all"):
        f.unit.use_subgroup("GroupNonUniformVote")
        return f.result(
            "OpGroupNonUniformAny" if op == "any" else "OpGroupNonUniformAll", truth, scope, args[0]
        )
    if op == "ballot":
        f.unit.use_subgroup("GroupNonUniformBallot")
        vector = asm.type("OpTypeVector", word, 4)
        bits = f.result("OpGroupNonUniformBallot", vector, scope, args[0])
        long = asm.uint(64)
        low = f.result("OpUConvert", long, f.result("OpCompositeExtract", word, bits, 0))
        if f.unit.subgroup_width <= 32:
            return low
        high = f.result("OpUConvert", long, f.result("OpCompositeExtract", word, bits, 1))
        return f.result(
            "OpBitwiseOr", long, low, f.result("OpShiftLeftLogical", long, high, asm.integer(32, 64))
        )
    if op in ("broadcast", "shuffle", "shuffle_xor"):
        lane = args[1]
        if op == "shuffle_xor":
            lane = f.result("OpBitwiseXor", word, lanes.lane, lane)
        # count is at most the width, and a negative lane is a large unsigned one
        exists = f.result("OpULessThan", truth, lane, lanes.count)
        return lanes.shuffle(dtype, args[0], lanes.existing(lane, exists))
    raise CompileError(f"the SPIR-V emitter does not know the subgroup operation {op}", log=repr(statement))
