"""Quotients and remainders: hard operands, and values that live across several divisions."""

from __future__ import annotations

import random

import numpy as np
import pytest

import gpucore as gc
from gpucore.ir.reader import parse
from gpucore_fuzz import launch as fuzz_launch
from gpucore_fuzz.cases import Case

HARD = [0, 1, 2, 3, 7, 10, 11, 641, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 10**18, 2**62, 2**63 - 1]


def operands(dtype: type) -> tuple[np.ndarray, np.ndarray]:
    """Every hard dividend with every hard divisor, and neighbours of multiples."""
    kind = np.dtype({gc.i64: np.int64, gc.u64: np.uint64}[dtype])
    if kind.kind == "i":
        values = [*HARD, *(-v for v in HARD), -(2**63)]
    else:
        values = [*HARD, 2**63, 2**63 + 1, 2**64 - 2, 2**64 - 1]
    pairs = [(a, b) for a in values for b in values]
    low, high = np.iinfo(kind).min, np.iinfo(kind).max
    for b in values:
        for q in (3, 2**20 + 1, 2**33 - 1):
            pairs += [(a, b) for a in (b * q - 1, b * q, b * q + 1) if low <= a <= high]
    a, b = (np.array(side, kind) for side in zip(*pairs, strict=True))
    return a, b


@gc.kernel
def divided(a, b, q, r):
    i = gc.global_id(0)
    if i < a.shape[0]:
        q[i] = a[i] // b[i]
        r[i] = a[i] % b[i]


@pytest.mark.parametrize("dtype", [gc.i64, gc.u64], ids=str)
def test_quotients_of_64_bits_are_those_of_numpy(gpucore_context, dtype):
    a, b = operands(dtype)
    given = [gpucore_context.array(x) for x in (a, b)]
    out = [gpucore_context.empty(a.shape, dtype) for _ in range(2)]
    divided.over(a.size)(*given, *out)
    with np.errstate(all="ignore"):
        wanted = np.floor_divide(a, b), np.mod(a, b)
    for found, right in zip(out, wanted, strict=True):
        # by zero both are 0, which NumPy has too; the least integer by -1 wraps
        np.testing.assert_array_equal(found.numpy(), right)


def constant_kernel(divisor: int):
    @gc.kernel
    def by_constant(a, q, r):
        i = gc.global_id(0)
        if i < a.shape[0]:
            q[i] = a[i] // divisor
            r[i] = a[i] % divisor

    return by_constant


@pytest.mark.parametrize(
    "divisor", [3, 7, 11, 72, 641, 2**32 - 1, 2**32 + 1, 10**18, 2**63 - 1, -3, -(10**9)]
)
def test_quotients_by_constants_are_those_of_numpy(gpucore_context, divisor):
    for dtype in (gc.i64, gc.u64) if divisor > 0 else (gc.i64,):
        a, _ = operands(dtype)
        out = [gpucore_context.empty(a.shape, dtype) for _ in range(2)]
        constant_kernel(divisor).over(a.size)(gpucore_context.array(a), *out)
        by = np.asarray(divisor, a.dtype)
        np.testing.assert_array_equal(out[0].numpy(), np.floor_divide(a, by))
        np.testing.assert_array_equal(out[1].numpy(), np.mod(a, by))


@gc.kernel
def by_row(x: gc.Array[gc.i32], y: gc.Array[gc.i64]):
    tile = gc.shared((2, 18), gc.i32)
    t = gc.thread_id(0)
    if t == 3:
        tile[0, 0] = 35
        tile[1, 0] = 36
    at = gc.i64(gc.block_dim(0))
    for _ in range(0, 4, 2):
        at *= 26
    gc.barrier()
    y[t] = at % 72
    y[t] = gc.i64(tile[at & 1, 0])


@gc.kernel
def by_two(x: gc.Array[gc.i64], y: gc.Array[gc.i64]):
    tile = gc.shared(8, gc.i64)
    t = gc.thread_id(0)
    start = gc.i64(gc.block_id(0)) * 11
    tile[t] = 0
    at = gc.i64(t)
    gc.barrier()
    first = start + (start + 3) % 11
    while tile[first % 8] > 1:
        at = start + 5
        gc.barrier()
    y[t] = x[start + at % 11 + 5]


def test_what_lives_across_a_division_is_kept(same):
    (found,) = same(by_row, 1, 9, np.zeros(9, np.int32), np.zeros(9, np.int64))[-1:]
    np.testing.assert_array_equal(found, np.full(9, 35))
    x = np.arange(16, dtype=np.int64)
    (found,) = same(by_two, 1, 8, x, np.zeros(8, np.int64))[-1:]
    np.testing.assert_array_equal(found, np.arange(8) + 5)


OPERATIONS = {
    "i64": ["floordiv", "mod"],
    "u64": ["floordiv", "mod"],
    "f64": ["div", "sqrt"],
    "f32": ["div", "sqrt"],
}
OUT = 8


class Writer:
    """A random kernel of one dtype whose sums and quotients share operands, before, in and behind a loop."""

    def __init__(self, seed: int, dtype: str) -> None:
        self.random = random.Random(seed)
        self.dtype = dtype
        self.lines: list[str] = []
        self.count = 0
        self.indent = "  "

    def op(self, text: str, dtype: str | None = None) -> str:
        self.count += 1
        self.lines.append(f"{self.indent}%a{self.count}: {dtype or self.dtype} = {text}")
        return f"%a{self.count}"

    def const(self, value: int, dtype: str | None = None) -> str:
        real = (dtype or self.dtype).startswith("f")
        return self.op(f"const {float(value) if real else value}", dtype)

    def load(self, memory: str, count: int, dtype: str | None = None) -> str:
        return self.op(f"load &{memory}[{self.const(self.random.randrange(count), 'index')}]", dtype)

    def quotient(self, x: str) -> str:
        name = self.random.choice(OPERATIONS[self.dtype])
        if name == "sqrt":
            return self.op(f"sqrt {x}")
        if self.random.random() < 0.7:
            by = self.const(self.random.choice([3, 5, 7, 10, 11, 12, 72, 100, 1000003]))
        else:
            by = self.load("x", 4)
        return self.op(f"{name} {x}, {by}")

    def step(self, values: list[str], bases: list[str]) -> None:
        kind, pick = self.random.random(), self.random.choice(values)
        if kind < 0.45:
            values.append(self.quotient(pick))
        elif kind < 0.8:
            values.append(self.op(f"add {self.random.choice(bases)}, {pick}"))
        elif kind < 0.9:
            values.append(self.op(f"mul {pick}, {self.const(self.random.choice([2, 3, 26, 27]))}"))
        else:
            values.append(self.op(f"sub {pick}, {self.const(self.random.choice([1, 5]))}"))

    def steps(self, values: list[str], bases: list[str], most: int) -> None:
        for _ in range(self.random.randrange(1, most)):
            self.step(values, bases)

    def write(self) -> str:
        pick, chance = self.random.choice, self.random.random
        ids = [self.op(q, "index") for q in ("global_id 0", "thread_id 0", "block_id 0")]
        bases = [
            self.op(f"mul {self.op(f'cast {pick(ids)}')}, {self.const(pick([3, 11, 72]))}") for _ in range(2)
        ]
        values = [
            self.op(f"cast {pick(ids)}"),
            self.const(3),
            self.op(f"load &x[{ids[1]}]"),
            self.load("x", 8),
        ]
        self.lines += [f"  set !v, {pick(values)}", f"  set !w, {pick(values)}"]
        self.steps(values, bases, 5)
        kept = values[-3:]
        if chance() < 0.8:
            zero, one = self.const(0, "index"), self.const(1, "index")
            turns = self.op(f"cast {self.load('c', 4, 'i32')}", "index")
            self.lines.append(f"  for %k: index = {zero} to {turns} step {one} {{")
            self.indent = "    "
            inner = [*values, self.op("get !v"), self.op("get !w")]
            self.steps(inner, bases, 4)
            self.lines += [f"    set !v, {pick(inner)}", f"    set !w, {pick(inner)}"]
            if chance() < 0.5:
                self.lines.append("    barrier")
            self.indent = "  "
            self.lines.append("  }")
        values += [self.op("get !v"), self.op("get !w")]
        values.append(self.quotient(values[-2]))
        self.steps(values, bases, 5)
        row = self.op(f"mul {ids[0]}, {self.const(OUT, 'index')}", "index")
        for place, value in enumerate([*values[-4:], *kept]):
            at = self.op(f"add {row}, {self.const(place if chance() < 0.8 else 0, 'index')}", "index")
            self.lines.append(f"  store &out[{at}], {value}")
        kind, body = self.dtype, "\n".join(self.lines)
        head = f"kernel @quotients(&x: {kind}[?], &c: i32[?], &out: {kind}[?])"
        return (
            f"module ir=1 ndim=1 math=strict\n\n{head} {{\n  var !v: {kind}\n  var !w: {kind}\n{body}\n}}\n"
        )


def quotient_case(seed: int, dtype: str) -> Case:
    numpy_dtype = {"i64": np.int64, "u64": np.uint64, "f64": np.float64, "f32": np.float32}[dtype]
    sizes = [3, 7, 10, 2**40 + 12345, 5, 123456789, 11, 72]
    if dtype == "f64":
        sizes[2:5] = [1e-310, 1e308, 5e-324]
    if dtype == "f32":
        sizes[2:5] = [1e-40, 3e38, 1e-45]
    args = (np.array(sizes, numpy_dtype), np.arange(4, dtype=np.int32), np.zeros(16 * OUT, numpy_dtype))
    return Case(parse(Writer(seed, dtype).write()), (2,), (8,), args, seed)


@pytest.mark.parametrize("dtype", sorted(OPERATIONS))
def test_random_kernels_of_quotients_agree_with_the_interpreter(gpucore_context, dtype):
    for seed in range(24):
        found = fuzz_launch.differs(gpucore_context, quotient_case(seed, dtype))
        assert found is None, str(found)
