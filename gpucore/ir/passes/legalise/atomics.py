"""Atomics that the device lacks, from those that it has.

Every device has all of them on i32 and u32.  The rest it lists (``"add.f32"``, ``"cas.u64"``); what is
missing becomes the same operation on the other integer dtype of the width, an addition of the negative, or
a loop of compare-and-swap.
"""

from __future__ import annotations

from collections.abc import Callable

from gpucore.errors import NotSupportedError
from gpucore.ir.dtypes import DType, i32, i64, u32, u64
from gpucore.ir.nodes import Atomic, AtomicCas, Memory, Value, While
from gpucore.ir.ops import ATOMIC_OPS
from gpucore.ir.passes.legalise.expander import Expander

ALWAYS: frozenset[str] = frozenset(f"{op}.{d.name}" for op in (*ATOMIC_OPS, "cas") for d in (i32, u32))

_TWINS: dict[int, tuple[DType, DType]] = {32: (u32, i32), 64: (u64, i64)}
_ANY_SIGN = frozenset({"add", "sub", "and", "or", "xor", "exchange", "cas"})


def atomic(
    x: Expander, has: frozenset[str], s: Atomic, memory: Memory, offsets: tuple[Value, ...], value: Value
) -> Value:
    """The old element of an atomic update, done natively if the device can."""
    dtype, op = memory.dtype, s.op
    if s.bits is None and f"{op}.{dtype.name}" in has:
        return _update(x, op, memory, offsets, value, None)
    if op == "sub" and f"add.{dtype.name}" in has:
        return _update(x, "add", memory, offsets, x.op("neg", value), None)
    if op in _ANY_SIGN and (op == "exchange" or dtype.is_integer):
        for name, negate in ((op, False), *([("add", True)] if op == "sub" else [])):
            twin = _twin(has, name, dtype)
            if twin is not None:
                operand = x.op("neg", value) if negate else value
                old = _update(x, name, memory, offsets, x.bits(operand, twin), twin)
                return x.bits(old, dtype)
    return _loop(x, has, op, memory, offsets, lambda old: _combine(x, op, old, value))


def compare_and_swap(
    x: Expander,
    has: frozenset[str],
    s: AtomicCas,
    memory: Memory,
    offsets: tuple[Value, ...],
    expected: Value,
    desired: Value,
) -> Value:
    """The old element of a compare-and-swap."""
    dtype = memory.dtype
    if s.bits is None and f"cas.{dtype.name}" in has and dtype.is_integer:
        return _swap(x, memory, offsets, expected, desired, None)
    twin = _need_cas(has, "cas", dtype)
    before = x.bits(expected, twin)
    after = before if desired == expected else x.bits(desired, twin)  # so that a load stays one
    return x.bits(_swap(x, memory, offsets, before, after, twin), dtype)


def _twin(has: frozenset[str], op: str, dtype: DType) -> DType | None:
    for twin in _TWINS.get(dtype.bits, ()):
        if f"{op}.{twin.name}" in has:
            return twin
    return None


def _need_cas(has: frozenset[str], op: str, dtype: DType) -> DType:
    twin = _twin(has, "cas", dtype)
    if twin is None:
        key = f"{op}.{dtype.name}"
        raise NotSupportedError(
            f"this device has no atomic {op} on {dtype.name}, nor a compare-and-swap of "
            f"{dtype.bits} bits to build it from",
            capability=key,
        )
    return twin


def _combine(x: Expander, op: str, old: Value, value: Value) -> Value:
    if op == "exchange":
        return value
    return x.apply(op, old, value)


def _loop(
    x: Expander,
    has: frozenset[str],
    op: str,
    memory: Memory,
    offsets: tuple[Value, ...],
    combine: Callable[[Value], Value],
) -> Value:
    """Compare and swap until no other thread came between."""
    dtype = memory.dtype
    twin = _need_cas(has, op, dtype)
    zero = x.const(0, twin)
    current = x.variable(twin)
    # swapping zero for zero is an atomic read; a plain load would race
    x.set(current, _swap(x, memory, offsets, zero, zero, twin if twin is not dtype else None))
    header: list[Value] = []

    def head() -> None:
        seen = x.get(current)
        desired = combine(x.bits(seen, dtype))
        found = _swap(x, memory, offsets, seen, x.bits(desired, twin), twin if twin is not dtype else None)
        x.set(current, found)
        header.append(x.op("ne", found, seen))

    block = x.capture(head)
    x.out.append(While(block, header[0], (), x.loc))
    return x.bits(x.get(current), dtype)


def _update(
    x: Expander, op: str, memory: Memory, offsets: tuple[Value, ...], value: Value, bits: DType | None
) -> Value:
    result = x.value(bits or memory.dtype)
    x.out.append(Atomic(result, op, memory, offsets, value, bits, x.loc))
    return result


def _swap(
    x: Expander,
    memory: Memory,
    offsets: tuple[Value, ...],
    expected: Value,
    desired: Value,
    bits: DType | None,
) -> Value:
    result = x.value(bits or memory.dtype)
    x.out.append(AtomicCas(result, memory, offsets, expected, desired, bits, x.loc))
    return result
