"""What integer operations give, read by something that sees more bits than the dtype has, before it is stored.

A compiler that keeps an intermediate value in a wider register shows nothing when the value is stored to its own
dtype.  Here each operation's result goes to each kind of consumer first.  The reference is plain Python integers.
As a script it runs each operation with each consumer in a kernel of its own, some thousands of kernels:

    python test_wide_consumers.py BACKEND [DTYPE ...]
"""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

import gpucore as gc

DTYPES = ("i8", "i16", "u8", "u16", "i32", "u32", "i64", "u64")
FLOATS = (
    0.0,
    -0.0,
    1.5,
    -1.5,
    -2.25,
    127.5,
    255.5,
    256.0,
    -129.0,
    32768.0,
    65536.5,
    2.0**31,
    2.0**32,
    -(2.0**63),
    2.0**64,
)
SPECIAL = (*FLOATS, math.nan, math.inf, -math.inf)


@dataclass(frozen=True)
class Integer:
    """The values of an integer dtype, and Python's arithmetic brought back to them."""

    name: str

    @property
    def bits(self) -> int:
        return int(self.name[1:])

    @property
    def least(self) -> int:
        return -(1 << (self.bits - 1)) if self.name[0] == "i" else 0

    @property
    def most(self) -> int:
        return self.least + (1 << self.bits) - 1

    def wrap(self, value: int) -> int:
        return (value - self.least) % (1 << self.bits) + self.least

    def saturate(self, value: float) -> int:
        if math.isnan(value):
            return 0
        if math.isinf(value):
            return self.most if value > 0 else self.least
        return max(self.least, min(self.most, math.trunc(value)))

    def bits_of(self, value: int) -> int:
        return value % (1 << self.bits)

    def floordiv(self, a: int, b: int) -> int:
        return self.wrap(a // b) if b else 0

    def mod(self, a: int, b: int) -> int:
        return self.wrap(a % b) if b else 0

    def edges(self) -> list[int]:
        half, third = (self.least + self.most) // 2, self.most // 3
        return sorted(
            {
                self.least,
                self.least + 1,
                self.wrap(-2),
                self.wrap(-1),
                0,
                1,
                2,
                7,
                third,
                half,
                self.most - 1,
                self.most,
            }
        )


I32, I64 = Integer("i32"), Integer("i64")


def to_f32(value: int) -> float:
    """A Python integer rounded once to f32, ties to even."""
    size = abs(value)
    unit = 1 << max(0, size.bit_length() - 24)
    low, rest = divmod(size, unit)
    low += rest * 2 > unit or (rest * 2 == unit and low % 2)
    return math.copysign(float(low * unit), value)


def f32_bits(value: int) -> int:
    return I32.wrap(struct.unpack("<I", struct.pack("<f", to_f32(value)))[0])


# operand x, operand y, a special f32 -> result
OPERATIONS: dict[str, tuple[str, Callable[[Integer, int, int, float], int]]] = {
    "neg": ("-x", lambda d, x, y, f: d.wrap(-x)),
    "zero_minus": ("0 - x", lambda d, x, y, f: d.wrap(-x)),
    "abs": ("abs(x)", lambda d, x, y, f: d.wrap(abs(x))),
    "add": ("x + y", lambda d, x, y, f: d.wrap(x + y)),
    "sub": ("x - y", lambda d, x, y, f: d.wrap(x - y)),
    "mul": ("x * y", lambda d, x, y, f: d.wrap(x * y)),
    "chain": ("x * y - x - y", lambda d, x, y, f: d.wrap(x * y - x - y)),
    "shl": ("x << (y & 7)", lambda d, x, y, f: d.wrap(x << (y & 7))),
    "shr": ("x >> (y & 7)", lambda d, x, y, f: x >> (y & 7)),
    "invert": ("~x", lambda d, x, y, f: d.wrap(~x)),
    "xor": ("x ^ y", lambda d, x, y, f: d.wrap(x ^ y)),
    "floordiv": ("x // y", lambda d, x, y, f: d.floordiv(x, y)),
    "mod": ("x % y", lambda d, x, y, f: d.mod(x, y)),
    "least": ("min(x, y)", lambda d, x, y, f: min(x, y)),
    "greatest": ("max(x, -y)", lambda d, x, y, f: max(x, d.wrap(-y))),
    "bits": (
        "T(gc.popcount(x) * 9 + gc.clz(y))",
        lambda d, x, y, f: d.wrap(d.bits_of(x).bit_count() * 9 + d.bits - d.bits_of(y).bit_length()),
    ),
    "narrowed": ("T(gc.i64(x) * 3 + gc.i64(y))", lambda d, x, y, f: d.wrap(x * 3 + y)),
    "saturated": ("T(f)", lambda d, x, y, f: d.saturate(f)),
    "negated_saturated": ("-T(f)", lambda d, x, y, f: d.wrap(-d.saturate(f))),
    "joined": ("-x if x < y else ~y", lambda d, x, y, f: d.wrap(-x if x < y else ~y)),
}  # fmt: skip

# result t, operand y, operand x -> what is stored, seen as i64
CONSUMERS: dict[str, tuple[str, Callable[[Integer, int, int, int], int]]] = {
    "widen": ("t", lambda d, t, y, x: t),
    "above": ("1 if t > y else 0", lambda d, t, y, x: int(t > y)),
    "below_zero": ("1 if t < 0 else 0", lambda d, t, y, x: int(t < 0)),
    "equal": ("1 if t == y else 0", lambda d, t, y, x: int(t == y)),
    "divide": ("t // y", lambda d, t, y, x: d.floordiv(t, y)),
    "divide_by": ("y // t", lambda d, t, y, x: d.floordiv(y, t)),
    "divide_by_seven": ("t // 7", lambda d, t, y, x: t // 7),
    "remainder": ("t % y", lambda d, t, y, x: d.mod(t, y)),
    "remainder_of": ("y % t", lambda d, t, y, x: d.mod(y, t)),
    "shift_right": ("t >> 1", lambda d, t, y, x: t >> 1),
    "shift_far": ("t >> (y & 7)", lambda d, t, y, x: t >> (y & 7)),
    "float": ("gc.bitcast(gc.f32(t), gc.i32)", lambda d, t, y, x: f32_bits(t)),
    "lesser": ("min(t, y)", lambda d, t, y, x: min(t, y)),
    "greater": ("max(t, 0)", lambda d, t, y, x: max(t, 0)),
    "greatest_of_three": ("max(max(y, t), x)", lambda d, t, y, x: max(y, t, x)),
    "clamped": ("max(min(t, y), 0)", lambda d, t, y, x: max(min(t, y), 0)),
    "clamped_to_a_bound": ("5 if max(min(t, y), 0) == y else 6", lambda d, t, y, x: 5 if max(min(t, y), 0) == y else 6),
    "bounded_by_hand": ("(0 if t < 0 else t) >> 1", lambda d, t, y, x: max(t, 0) >> 1),
    "bits_set": ("gc.popcount(t)", lambda d, t, y, x: d.bits_of(t).bit_count()),
    "zeros_ahead": ("gc.clz(t)", lambda d, t, y, x: d.bits - d.bits_of(t).bit_length()),
    "size": ("abs(t)", lambda d, t, y, x: d.wrap(abs(t))),
    "as_i16": ("gc.i16(t)", lambda d, t, y, x: Integer("i16").wrap(t)),
    "as_u8": ("gc.u8(t)", lambda d, t, y, x: Integer("u8").wrap(t)),
    "as_u32": ("gc.u32(t)", lambda d, t, y, x: Integer("u32").wrap(t)),
    "bitwise": ("gc.i64(t) | gc.i64(y)", lambda d, t, y, x: I64.wrap(t) | I64.wrap(y)),
}  # fmt: skip
NARROW_CONSUMERS: dict[str, tuple[str, Callable[[Integer, int, int, int], int]]] = {
    "index": ("table[gc.i32(t) + 32768]", lambda d, t, y, x: 3 * (t + 32768) + 1),
}


def make(name: str, operation: str, consumers: list[str]) -> gc.Kernel:
    """A kernel that does one operation on each pair of operands, and hands the result to consumers."""
    texts = {**CONSUMERS, **NARROW_CONSUMERS}
    lines = [
        f"def wide_{operation}_{name}(a: gc.Array[gc.{name}], b: gc.Array[gc.{name}], special: gc.Array[gc.f32],",
        "    table: gc.Array[gc.i32], out: gc.Array[gc.i64, 2], total: gc.Array[gc.i32]):",
        "    i = gc.global_id(0)",
        "    if i < a.shape[0]:",
        "        x, y, f = a[i], b[i], special[i]",
        f"        t = {OPERATIONS[operation][0].replace('T(', f'gc.{name}(')}",
        *(f"        out[i, {n}] = gc.i64({texts[c][0]})" for n, c in enumerate(consumers)),
        "        gc.atomic_add(total, 0, gc.i32(t))",
        "        gc.atomic_max(total, 1, gc.i32(t))",
    ]
    scope = {"gc": gc}
    text = "\n".join(lines) + "\n"
    exec(text, scope)
    return gc.kernel(source=text)(scope[f"wide_{operation}_{name}"])


def operands(d: Integer) -> tuple[list[int], list[int], list[float]]:
    pairs = [(x, y) for x in d.edges() for y in d.edges()]
    return (
        [x for x, _ in pairs],
        [y for _, y in pairs],
        [SPECIAL[n % len(SPECIAL)] for n in range(len(pairs))],
    )


def mistakes(context: gc.Context, name: str, operation: str, consumers: list[str]) -> list[str]:
    """Where the device and Python disagree."""
    d = Integer(name)
    known = {**CONSUMERS, **NARROW_CONSUMERS}
    xs, ys, fs = operands(d)
    dtype = getattr(gc, name)
    table = np.arange(65536 + 32768, dtype=np.int32) * 3 + 1
    out = context.zeros((len(xs), len(consumers)), gc.i64)
    total = context.array(np.array([0, I32.least], np.int32))
    kernel = make(name, operation, consumers)
    arrays = [context.array(np.array(v, dtype.numpy)) for v in (xs, ys)]
    kernel.over(len(xs))(*arrays, context.array(np.array(fs, np.float32)), context.array(table), out, total)
    found, sums = out.numpy(), total.numpy()
    wrong: list[str] = []
    results = [
        OPERATIONS[operation][1](d, x, y, float(np.float32(f))) for x, y, f in zip(xs, ys, fs, strict=True)
    ]
    for n, (x, y, f, t) in enumerate(zip(xs, ys, fs, results, strict=True)):
        for c, consumer in enumerate(consumers):
            want, got = I64.wrap(known[consumer][1](d, t, y, x)), int(found[n, c])
            if want != got:
                wrong.append(
                    f"{name} x={x} y={y} f={f}: t = {OPERATIONS[operation][0]} = {t}; {known[consumer][0]} is {want}, got {got}"
                )
    narrowed = [I32.wrap(t) for t in results]
    for what, want, got in (
        ("sum", I32.wrap(sum(narrowed)), int(sums[0])),
        ("maximum", max(narrowed), int(sums[1])),
    ):
        if want != got:
            wrong.append(f"{name}: atomic {what} of {OPERATIONS[operation][0]} is {want}, got {got}")
    return wrong


def consumers_of(name: str) -> list[str]:
    return [*CONSUMERS, *(NARROW_CONSUMERS if Integer(name).bits <= 16 else ())]


WIDE = ("neg", "abs", "chain", "greatest", "saturated", "joined")


@pytest.mark.parametrize(
    ("name", "operation"), [(d, o) for d in DTYPES for o in OPERATIONS if Integer(d).bits < 32 or o in WIDE]
)
def test_a_result_has_the_bits_of_its_dtype_whatever_reads_it(gpucore_context, name, operation):
    """A third of the consumers for each operation and dtype, a quarter for wide ones; the script takes all."""
    known = consumers_of(name)
    step = 3 if Integer(name).bits < 32 else 4
    first = (list(OPERATIONS).index(operation) + DTYPES.index(name)) % step
    wrong = mistakes(gpucore_context, name, operation, known[first::step])
    assert not wrong, f"{len(wrong)} wrong, the first:\n" + "\n".join(wrong[:5])


def main(backend: str, *names: str) -> int:
    wrong = kernels = 0
    with gc.Context(backend) as context:
        for name in names or DTYPES:
            for operation in OPERATIONS:
                for consumer in consumers_of(name):
                    found = mistakes(context, name, operation, [consumer])
                    kernels += 1
                    wrong += bool(found)
                    if found:
                        print(f"{operation} -> {consumer}: {len(found)} wrong: {found[0]}", flush=True)
            print(f"{name}: {kernels} kernels so far, {wrong} wrong", flush=True)
    return wrong


if __name__ == "__main__":
    sys.exit(bool(main(*sys.argv[1:])))
