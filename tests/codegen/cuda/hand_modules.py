"""Low-level modules written by hand, for tests of the CUDA renderer and of the device without core."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from gpucore.ir import (
    Atomic,
    AtomicCas,
    Barrier,
    Block,
    Const,
    DType,
    Extent,
    For,
    Function,
    GetVar,
    If,
    InitLocal,
    Load,
    Loc,
    Memory,
    Module,
    Op,
    Return,
    SetVar,
    Store,
    Subgroup,
    ThreadIndex,
    Value,
    Var,
    While,
    bool_,
    f32,
    i32,
    i64,
    u32,
)  # fmt: skip


class Builder:
    """Appends statements to a block and names their values."""

    def __init__(self, file: str = "/src/kernels.py") -> None:
        self.out: list = []
        self._names = (f"v{n}" for n in itertools.count())
        self.file, self.line = file, 1

    @property
    def loc(self) -> Loc:
        return Loc(self.file, self.line)

    def value(self, dtype: DType) -> Value:
        return Value(next(self._names), dtype)

    def add(self, kind, dtype: DType, *args) -> Value:
        result = self.value(dtype)
        self.out.append(kind(result, *args, loc=self.loc))
        return result

    def const(self, value, dtype: DType) -> Value:
        return self.add(Const, dtype, value)

    def op(self, name: str, dtype: DType, *args: Value) -> Value:
        return self.add(Op, dtype, name, tuple(args))

    def load(self, memory: Memory, at: Value) -> Value:
        return self.add(Load, memory.dtype, memory, (at,))

    def store(self, memory: Memory, at: Value, value: Value) -> None:
        self.out.append(Store(memory, (at,), value, loc=self.loc))

    def id(self, kind: str = "global_id", axis: int = 0, dtype: DType = i64) -> Value:
        return self.add(ThreadIndex, dtype, kind, axis)

    def extent(self, memory: Memory, axis: int = 0, dtype: DType = i64) -> Value:
        return self.add(Extent, dtype, memory, axis)

    def block(self, make) -> Block:
        """The statements that ``make()`` appends, as a nested block."""
        outer, self.out = self.out, []
        make()
        inner, self.out = tuple(self.out), outer
        return inner

    def when(self, condition: Value, then, orelse=None) -> None:
        blocks = self.block(then), self.block(orelse) if orelse else ()
        self.out.append(If(condition, *blocks, loc=self.loc))


def module(name: str, params: Sequence, builder: Builder, *, variables=(), memories=(), **options) -> Module:
    kernel = Function(name, tuple(params), None, tuple(variables), tuple(memories), tuple(builder.out))
    return Module(kernel, **options)


def guarded(b: Builder, memory: Memory, body) -> None:
    """``if i < memory.shape[0]: body(i)``."""
    i = b.id()
    b.when(b.op("lt", bool_, i, b.extent(memory)), lambda: body(i))


def elementwise(op: str, inputs: Sequence[DType], result: DType, *, math: str = "strict") -> Module:
    """``out[i] = op(x0[i], x1[i], ...)``."""
    b = Builder()
    xs = [Memory(f"x{n}", d, "global", 1) for n, d in enumerate(inputs)]
    out = Memory("out", result, "global", 1)

    def body(i: Value) -> None:
        b.store(out, i, b.op(op, result, *(b.load(x, i) for x in xs)))

    guarded(b, out, body)
    return module("elementwise", [*xs, out], b, math=math, noalias=True)


def saxpy() -> Module:
    """``y[i] = a * x[i] + y[i]``."""
    b = Builder()
    x, y, a = Memory("x", f32, "global"), Memory("y", f32, "global"), Value("a", f32)

    def body(i: Value) -> None:
        b.line = 5
        product = b.op("mul", f32, a, b.load(x, i))
        b.store(y, i, b.op("add", f32, product, b.load(y, i)))

    b.line = 4
    guarded(b, y, body)
    return module("saxpy", [x, y, a], b, noalias=True)


def reverse_tiles(size: int = 256, padding: int = 0) -> Module:
    """Each block reverses its tile through shared memory, with a barrier between; ``padding`` elements are
    unused."""
    b = Builder()
    x, out = Memory("x", f32, "global"), Memory("out", f32, "global")
    tile = Memory("tile", f32, "shared", 1, (size + padding,))
    thread, i = b.id("thread_id", 0, i32), b.id()
    b.store(tile, thread, b.load(x, i))
    b.out.append(Barrier())
    mirrored = b.op("sub", i32, b.const(size - 1, i32), thread)
    b.store(out, i, b.load(tile, mirrored))
    return module("reverse_tiles", [x, out], b, memories=[tile])


def histogram() -> Module:
    """``counts[x[i] % 16] += 1`` by an atomic."""
    b = Builder()
    x, counts = Memory("x", u32, "global"), Memory("counts", u32, "global")

    def body(i: Value) -> None:
        bin_ = b.op("rem.raw", u32, b.load(x, i), b.const(16, u32))
        at = b.op("cast", i64, bin_)
        b.out.append(Atomic(b.value(u32), "add", counts, (at,), b.const(1, u32)))

    guarded(b, x, body)
    return module("histogram", [x, counts], b)


def atomic(op: str, dtype: DType, math: str = "strict") -> Module:
    """Every thread combines ``x[i]`` into ``out[0]`` and stores what was there before in ``old[i]``."""
    b = Builder()
    x, out, old = (Memory(n, dtype, "global") for n in ("x", "out", "old"))

    def body(i: Value) -> None:
        zero, value = b.const(0, i64), b.load(x, i)
        if op == "cas":
            before = b.add(AtomicCas, dtype, out, (zero,), b.const(0, dtype), value)
        else:
            before = b.add(Atomic, dtype, op, out, (zero,), value)
        b.store(old, i, before)

    guarded(b, x, body)
    return module(f"atomic_{op}", [x, out, old], b, math=math)


def shared_atomic_add() -> Module:
    """As ``atomic("add", f32)`` for one block, with the sum in shared memory on its way."""
    b = Builder()
    x, out, old = (Memory(n, f32, "global") for n in ("x", "out", "old"))
    total = Memory("total", f32, "shared", 1, (1,))
    zero, i = b.const(0, i64), b.id()
    first = b.op("eq", bool_, i, zero)
    b.when(first, lambda: b.store(total, zero, b.load(out, zero)))
    b.out.append(Barrier())

    def body() -> None:
        b.store(old, i, b.add(Atomic, f32, "add", total, (zero,), b.load(x, i)))

    b.when(b.op("lt", bool_, i, b.extent(x)), body)
    b.out.append(Barrier())
    b.when(first, lambda: b.store(out, zero, b.load(total, zero)))
    return module("shared_atomic_add", [x, out, old], b, memories=[total])


def subgroup(op: str, dtype: DType, result: DType) -> Module:
    """``out[i] = op(x[i]...)`` without a guard: the launch has just as many threads as elements."""
    b = Builder()
    x, lanes, out = (
        Memory("x", dtype, "global"),
        Memory("lanes", i32, "global"),
        Memory("out", result, "global"),
    )
    i = b.id()
    args = {"size": 0, "lane": 0, "shuffle": 2, "shuffle_xor": 2, "broadcast": 2}.get(op, 1)
    operands = [b.load(x, i), b.load(lanes, i)][:args]
    b.store(out, i, b.add(Subgroup, result, op, tuple(operands)))
    return module(f"subgroup_{op}", [x, lanes, out], b)


def loops() -> Module:
    """``out[i]`` counts a range with break and continue, then halves it away in a while loop with a local
    array."""
    b = Builder()
    start, stop, step = (Memory(n, i64, "global") for n in ("start", "stop", "step"))
    out = Memory("out", i64, "global")
    total, rest = Var("total", i64), Var("rest", i64)
    scratch = Memory("scratch", i64, "local", 1, (4,))

    def body(i: Value) -> None:
        zero, one, three = b.const(0, i64), b.const(1, i64), b.const(3, i64)
        b.out.append(InitLocal(scratch))
        b.out.append(SetVar(total, zero))
        k = b.value(i64)

        def turn() -> None:
            from gpucore.ir import Break, Continue

            odd = b.op("and", i64, k, one)
            b.when(b.op("eq", bool_, odd, one), lambda: b.out.append(Continue()))
            b.out.append(SetVar(total, b.op("add", i64, b.add(GetVar, i64, total), k)))
            limit = b.op("gt", bool_, b.add(GetVar, i64, total), b.const(1 << 40, i64))
            b.when(limit, lambda: b.out.append(Break()))

        bounds = [b.load(m, i) for m in (start, stop, step)]
        b.out.append(For(k, *bounds, b.block(turn)))
        b.out.append(SetVar(rest, b.add(GetVar, i64, total)))
        condition: list[Value] = []

        def header() -> None:
            condition.append(b.op("gt", bool_, b.add(GetVar, i64, rest), three))

        def halve() -> None:
            b.out.append(SetVar(rest, b.op("shr.raw", i64, b.add(GetVar, i64, rest), one)))
            seen = b.load(scratch, one)
            b.store(scratch, one, b.op("add", i64, seen, one))

        head = b.block(header)
        b.out.append(While(head, condition[0], b.block(halve)))
        kept = b.load(scratch, one)
        b.store(out, i, b.op("add", i64, b.add(GetVar, i64, total), kept))
        b.out.append(Return())

    guarded(b, out, body)
    return module("loops", [start, stop, step, out], b, variables=[total, rest], memories=[scratch])


def loops_expected(start: int, stop: int, step: int) -> int:
    """What ``loops`` stores."""
    total = 0
    for k in range(start, stop, step) if step else ():
        if k & 1:
            continue
        total += k
        if total > 1 << 40:
            break
    rest, halvings = total, 0
    while rest > 3:
        rest >>= 1
        halvings += 1
    return total + halvings


def touch_far(dtype: DType) -> Module:
    """``x[at] = value`` with a 64-bit index, by one thread."""
    b = Builder()
    x, at, value = Memory("x", dtype, "global"), Value("at", i64), Value("value", dtype)
    b.when(b.op("eq", bool_, b.id(), b.const(0, i64)), lambda: b.store(x, at, value))
    return module("touch_far", [x, at, value], b)


def spin(dtype: DType = f32) -> Module:
    """A kernel that takes a while: one thread iterates ``count`` times and writes where it ends."""
    b = Builder()
    out, count = Memory("out", dtype, "global"), Value("count", i32)
    acc = Var("acc", dtype)
    b.out.append(SetVar(acc, b.const(1.0, dtype)))
    zero, one = b.const(0, i32), b.const(1, i32)

    def turn() -> None:
        grown = b.op("mul", dtype, b.add(GetVar, dtype, acc), b.const(1.0000001192092896, dtype))
        b.out.append(SetVar(acc, grown))

    b.out.append(For(b.value(i32), zero, count, one, b.block(turn)))
    b.store(out, b.const(0, i64), b.add(GetVar, dtype, acc))
    return module("spin", [out, count], b, variables=[acc])
