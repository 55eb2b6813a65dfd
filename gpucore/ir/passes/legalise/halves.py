"""Operations on f16 and bf16 values, which are held in f32."""

from __future__ import annotations

from gpucore.ir.dtypes import DType, bool_, f32, i32, u64
from gpucore.ir.nodes import Op, Subgroup, Value, While
from gpucore.ir.ops import COMPARISONS
from gpucore.ir.passes.legalise.conversions import bitcast_half, cast_from_half, cast_to_half, round_to
from gpucore.ir.passes.legalise.expander import Expander, is_half

_EXACT = COMPARISONS | {
    "neg", "abs", "min", "max", "select", "floor", "ceil", "trunc", "round", "isnan", "isinf",
}  # fmt: skip
"""Operations whose results the format represents whenever it represents the operands."""


def expand(x: Expander, s: Op, args: tuple[Value, ...]) -> Value:
    """The result of an operation one of whose dtypes is a half; ``args`` are the operands as held."""
    source, to = s.args[0].dtype, s.result.dtype
    if s.op == "cast":
        return cast_from_half(x, source, args[0], to) if is_half(source) else cast_to_half(x, args[0], to)
    if s.op == "bitcast":
        return bitcast_half(x, source, args[0], to)
    if s.op in _EXACT:
        return x.apply(s.op, *args)
    if s.op == "fma":
        # rounding to odd keeps the second rounding right
        return round_to(x, to, x.routine("soft.fma_odd.f32", f32, *args))
    return round_to(x, to, x.apply(s.op, *args))


def subgroup_sum(x: Expander, half: DType, op: str, a: Value) -> Value:
    """Sums over a subgroup in the order that :data:`gpucore.ir.ops.SUBGROUP_OPS` fixes, rounded at each
    step.
    """

    def subgroup(name: str, dtype: DType, *args: Value) -> Value:
        result = x.value(dtype)
        x.out.append(Subgroup(result, name, args, x.loc))
        return result

    lane, size = subgroup("lane", i32), subgroup("size", i32)
    present = subgroup("ballot", u64, x.const(True, bool_))
    total, distance = x.variable(f32), x.variable(i32)
    x.set(total, a)
    x.set(distance, x.const(1, i32))
    header: list[Value] = []

    def head() -> None:
        header.append(x.get(distance))
        header.append(x.op("lt", header[0], size))

    def body() -> None:
        step, mine = header[0], x.get(total)
        zero = x.const(0, i32)
        if op == "sum":
            below = x.op("sub", step, x.const(1, i32))
            partner = x.op("and", x.op("xor", lane, step), x.op("not", below))
            shifted = x.op("shr.raw", present, x.cast(partner, u64))
            there = x.op("ne", x.op("and", shifted, x.const(1, u64)), x.const(0, u64))
        else:
            partner = x.op("sub", lane, step)
            there = x.op("ge", partner, zero)
        other = subgroup("shuffle", f32, mine, x.select(there, partner, lane))
        first, second = (mine, other) if op == "sum" else (other, mine)
        x.set(total, x.select(there, round_to(x, half, x.op("add", first, second)), mine))
        x.set(distance, x.op("shl.raw", step, x.const(1, i32)))

    block = x.capture(head)
    x.out.append(While(block, header[1], x.capture(body), x.loc))
    result = x.get(total)
    if op != "exclusive_sum":
        return result
    before = x.op("sub", lane, x.const(1, i32))
    first = x.op("lt", before, x.const(0, i32))
    shifted = subgroup("shuffle", f32, result, x.select(first, lane, before))
    return x.select(first, x.const(0.0, f32), shifted)
