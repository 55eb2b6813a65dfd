"""Total integer operations over partial ones, none of which ever divides so that it could trap; atomics that the device lacks.

Every device has all of them on i32 and u32.  The rest it lists (``"add.f32"``, ``"cas.u64"``); what is
missing becomes the same operation on the other integer dtype of the width, an addition of the negative, or
a loop of compare-and-swap.
"""

from __future__ import annotations

from collections.abc import Callable

from gpucore.errors import NotSupportedError
from gpucore.ir.dtypes import DType, i32, i64, u8, u16, u32, u64
from gpucore.ir.dtypes import i8 as _i8
from gpucore.ir.dtypes import i16 as _i16
from gpucore.ir.nodes import Atomic, AtomicCas, Memory, Value, While
from gpucore.ir.ops import ATOMIC_OPS
from gpucore.ir.passes.legalise.expander import Expander, Expansion

UNSIGNED = {_i8: u8, _i16: u16, i32: u32, i64: u64, u8: u8, u16: u16, u32: u32, u64: u64}


def floordiv(x: Expander, args: tuple[Value, ...], to: DType) -> Value:
    """Floor of the quotient; a zero divisor gives 0, MIN // -1 wraps."""
    a, b = args
    known = x.number(b)
    if known is not None:
        return _floordiv_constant(x, a, b, int(known))
    zero = x.like(0, a)
    by_zero = x.op("eq", b, zero)
    if not to.is_signed:
        quotient = x.op("quot.raw", a, x.select(by_zero, x.like(1, a), b))
        return x.select(by_zero, zero, quotient)
    by_minus_one = x.op("eq", b, x.like(-1, a))
    safe = x.select(x.op("or", by_zero, by_minus_one), x.like(1, a), b)
    quotient = _floor(x, a, safe, x.op("quot.raw", a, safe))
    return x.select(by_zero, zero, x.select(by_minus_one, x.op("neg", a), quotient))


def _floor(x: Expander, a: Value, b: Value, quotient: Value) -> Value:
    """From the truncated quotient to the floored one: one less where the remainder has the other sign."""
    zero = x.like(0, a)
    remainder = x.op("sub", a, x.op("mul", quotient, b))
    inexact = x.op("ne", remainder, zero)
    opposite = x.op("lt", x.op("xor", remainder, b), zero)
    return x.select(x.op("and", inexact, opposite), x.op("sub", quotient, x.like(1, a)), quotient)


def _floordiv_constant(x: Expander, a: Value, b: Value, divisor: int) -> Value:
    if divisor == 0:
        return x.like(0, a)
    if divisor == 1:
        return a
    if divisor > 0 and divisor & (divisor - 1) == 0:
        return x.op("shr.raw", a, x.like(divisor.bit_length() - 1, a))
    if divisor == -1:
        return x.op("neg", a)
    quotient = x.op("quot.raw", a, b)
    return _floor(x, a, b, quotient) if a.dtype.is_signed else quotient


def mod(x: Expander, args: tuple[Value, ...], to: DType) -> Value:
    """Remainder with the sign of the divisor; a zero divisor gives 0."""
    a, b = args
    known = x.number(b)
    zero = x.like(0, a)
    if known is not None:
        divisor = int(known)
        if divisor in (0, 1, -1):
            return zero
        if divisor > 0 and divisor & (divisor - 1) == 0:
            return x.op("and", a, x.like(divisor - 1, a))
        safe = b
    else:
        trivial = x.op("eq", b, zero)
        if to.is_signed:
            trivial = x.op("or", trivial, x.op("eq", b, x.like(-1, a)))
        safe = x.select(trivial, x.like(1, a), b)
    remainder = x.op("rem.raw", a, safe)
    if not to.is_signed:
        return remainder
    inexact = x.op("ne", remainder, zero)
    opposite = x.op("lt", x.op("xor", remainder, safe), zero)
    return x.select(x.op("and", inexact, opposite), x.op("add", remainder, safe), remainder)


def shl(x: Expander, args: tuple[Value, ...], to: DType) -> Value:
    """Shift left; an amount outside 0 .. width - 1 gives 0."""
    a, amount = args
    known = x.number(amount)
    if known is not None:
        return x.op("shl.raw", a, amount) if 0 <= known < to.bits else x.like(0, a)
    inside, masked = _amount(x, amount)
    return x.select(inside, x.op("shl.raw", a, masked), x.like(0, a))


def shr(x: Expander, args: tuple[Value, ...], to: DType) -> Value:
    """Shift right; an amount outside 0 .. width - 1 gives 0, or the sign of a signed operand."""
    a, amount = args
    known = x.number(amount)
    if known is not None:
        if 0 <= known < to.bits:
            return x.op("shr.raw", a, amount)
        return x.op("shr.raw", a, x.like(to.bits - 1, a)) if to.is_signed else x.like(0, a)
    inside, masked = _amount(x, amount)
    if to.is_signed:
        return x.op("shr.raw", a, x.select(inside, amount, x.like(to.bits - 1, a)))
    return x.select(inside, x.op("shr.raw", a, masked), x.like(0, a))


def _amount(x: Expander, amount: Value) -> tuple[Value, Value]:
    """Whether a shift amount is below the width, and an amount that is."""
    dtype = amount.dtype
    unsigned = UNSIGNED[dtype]
    inside = x.op("lt", x.cast(amount, unsigned), x.const(dtype.bits, unsigned))
    return inside, x.op("and", amount, x.const(dtype.bits - 1, dtype))


def minimum(x: Expander, args: tuple[Value, ...], to: DType) -> Value:
    """The smaller."""
    return x.select(x.op("lt", *args), *args)


def maximum(x: Expander, args: tuple[Value, ...], to: DType) -> Value:
    """The larger."""
    return x.select(x.op("gt", *args), *args)


def absolute(x: Expander, args: tuple[Value, ...], to: DType) -> Value:
    """The absolute value; MIN wraps to itself."""
    (a,) = args
    if not to.is_signed:
        return a
    return x.select(x.op("lt", a, x.like(0, a)), x.op("neg", a), a)


def _counting(name: str) -> Expansion:
    def expand(x: Expander, args: tuple[Value, ...], to: DType) -> Value:
        (a,) = args
        wide = u64 if a.dtype.bits == 64 else u32
        unsigned = x.cast(x.cast(a, UNSIGNED[a.dtype]), wide)
        if f"{name}.{wide.name}" in x.allowed:
            count = x.op(name, unsigned)
        else:
            count = x.routine(f"soft.{name}.{wide.name}", i32, unsigned)
        extra = wide.bits - a.dtype.bits
        return x.op("sub", count, x.const(extra, i32)) if name == "clz" and extra else count

    return expand


def dot4(signed: tuple[bool, bool]) -> Expansion:
    """Four products of bytes and their sum; no product leaves 17 bits."""

    def byte(x: Expander, word: Value, position: int, signed: bool) -> Value:
        if not signed:
            shifted = word if position == 0 else x.op("shr.raw", word, x.const(8 * position, u32))
            return shifted if position == 3 else x.op("and", shifted, x.const(0xFF, u32))
        high = word if position == 3 else x.op("shl.raw", word, x.const(24 - 8 * position, u32))
        return x.bits(x.op("shr.raw", x.bits(high, i32), x.const(24, i32)), u32)

    def expand(x: Expander, args: tuple[Value, ...], to: DType) -> Value:
        a, b, total = args
        for position in range(4):
            parts = (byte(x, word, position, sign) for word, sign in zip((a, b), signed, strict=True))
            total = x.op("add", total, x.op("mul", *parts))
        return total

    return expand


def power(x: Expander, args: tuple[Value, ...], to: DType) -> Value:
    """Exponentiation by squaring; 0 ** 0 is 1 and a negative exponent gives 0."""
    wide = to if to.bits >= 32 else i32 if to.is_signed else u32
    base, exponent = (x.cast(a, wide) for a in args)
    return x.cast(x.routine(f"soft.pow.{wide.name}", wide, base, exponent), to)


# --- bool
def compare_bool(op: str) -> Expansion:
    """Orders of bool, False before True."""

    def expand(x: Expander, args: tuple[Value, ...], to: DType) -> Value:
        a, b = args
        if op in ("gt", "le"):
            a, b = b, a
        # now lt(a, b) is wanted, or for le and ge its opposite with the sides as they stand
        less = x.op("and", x.op("not", a), b)
        return less if op in ("lt", "gt") else x.op("not", less)

    return expand


popcount = _counting("popcount")
clz = _counting("clz")


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
