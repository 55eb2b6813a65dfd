"""Operations, atomics and subgroup operations on the device against exact arithmetic on the host."""

from __future__ import annotations

import functools
import itertools
import math
import struct
from fractions import Fraction

import hand_modules as hand
import numpy as np
from device_fixture import DeviceFixture, expect

import gpucore_cuda as cuda
from gpucore.ir import DType, Memory, Module, bf16, bool_, dtype, f16, f32, f64
from gpucore.ir.ops import BASELINE, OPS

FORMATS = {"f16": (11, -14, 15), "bf16": (8, -126, 127), "f32": (24, -126, 127), "f64": (53, -1022, 1023)}
TYPED = ("bitcast.raw", "f2i.raw", "bitcast", "cast")


# --- exact host arithmetic -----------------------------------------------------------------------------
def rounded(x: Fraction, d: DType) -> float:
    """``x`` rounded to the dtype, to nearest, ties to even (as a Python float)."""
    precision, emin, emax = FORMATS[d.name]
    if x == 0:
        return 0.0
    magnitude = abs(x)
    exponent = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    if Fraction(2) ** exponent > magnitude:
        exponent -= 1
    quantum = Fraction(2) ** (max(exponent, emin) - precision + 1)
    steps = round(magnitude / quantum)  # Python rounds halves to even
    result = steps * quantum
    if result >= Fraction(2) ** (emax + 1):
        return math.inf if x > 0 else -math.inf
    return math.copysign(float(result), 1 if x > 0 else -1)  # the sign of what rounds to zero stays


def to_dtype(value: float, d: DType) -> float:
    """A Python float (exact) rounded to a float dtype."""
    if math.isnan(value) or math.isinf(value) or value == 0:
        return value
    return rounded(Fraction(value), d)


def wrap(value: int, d: DType) -> int:
    value &= (1 << d.bits) - 1
    return value - (1 << d.bits) if d.is_signed and value >> (d.bits - 1) else value


def limits(d: DType) -> tuple[int, int]:
    return (-(1 << (d.bits - 1)), (1 << (d.bits - 1)) - 1) if d.is_signed else (0, (1 << d.bits) - 1)


@functools.cache
def specials(d: DType) -> np.ndarray:
    """Values where operations go wrong, and some random ones."""
    random = np.random.default_rng(d.bits)
    if d is bool_:
        return np.array([False, True])
    if d.is_integer:
        low, high = limits(d)
        chosen = {
            0,
            1,
            2,
            3,
            5,
            7,
            8,
            10,
            31,
            32,
            33,
            63,
            64,
            100,
            high,
            high - 1,
            high // 2,
            high // 3,
            low,
            low + 1,
        }
        if d.is_signed:
            chosen |= {-1, -2, -3, -7, -100}
        if d.bits == 64:
            chosen |= {
                2**24 + 1,
                2**53 + 1,
                2**53 + 3,
                65519,
                65520,
                65536,
                (1 << 62) + (1 << 37),
                (1 << 40) + (1 << 31) + 1,
            }
        if d.bits == 32:
            chosen |= {2**24 + 1, 2**24 + 3, 65519, 65520, 2049, 2051, 257, 259, 65535 << 8 | 1}
        values = [v for v in sorted(chosen) if low <= v <= high]
        return np.array(
            values + [int(v) for v in random.integers(low, high, 8, dtype=d.numpy, endpoint=True)], d.numpy
        )
    precision, emin, emax = FORMATS[d.name]
    tiny, least = 2.0**emin, 2.0 ** max(emin - precision + 1, -1074)
    top = (2 - 2.0 ** (1 - precision)) * 2.0**emax
    chosen = [0.0, 1.0, 0.5, 1.5, 2.5, 3.0, 0.1, 1 / 3, 7.75, 100.3, 127.5, 255.5, 2049.0,
              32768.0, 65519.0, 65520.0,
              2.0**31, 2.0**32, 2.0**63, 2.0**64, 4194304.5, 1e-5, 1e-20, 1e10, 1e30, tiny, least,
              least * 3, tiny - least,
              tiny / 2, top, top / 2, math.inf, 2147483647.0, 1 + 2.0**-8, 1 + 2.0**-8 + 2.0**-30,
              1 + 2.0**-11,
              6.1e-5, 2.9e-8, 1e-40, 1e-45, 2.0**-134 * 1.001, 2.0**-25]  # fmt: skip
    chosen += [float(v) for v in random.normal(size=6)] + [
        float(v) for v in np.exp(random.normal(size=6) * 20)
    ]
    values = [to_dtype(c, d) for c in chosen if not math.isinf(to_dtype(c, d)) or math.isinf(c)]
    return np.array([math.nan, *values, *(-v for v in values)], np.float64).astype(d.numpy)


def plain(array: np.ndarray) -> list:
    """Python numbers, exactly."""
    if array.dtype.kind in "iub":
        return array.tolist()
    with np.errstate(invalid="ignore"):
        return array.astype(np.float64).tolist()


# --- the meaning of each operation ----------------------------------------------------------------------
def _fma(a: float, b: float, c: float, d: DType) -> float:
    if not all(map(math.isfinite, (a, b, c))):
        product = math.nan if (a == 0 and math.isinf(b)) or (b == 0 and math.isinf(a)) else a * b
        if math.isfinite(a) and math.isfinite(b):
            return c
        return product + c
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    if exact == 0:
        sign = math.copysign(1, a) * math.copysign(1, b)
        if (a == 0 or b == 0) and c == 0 and sign == math.copysign(1, c):
            return c
        return 0.0
    return rounded(exact, d)


def _binary_float(op: str, a: float, b: float, d: DType) -> float:
    with np.errstate(all="ignore"):
        x, y = d.numpy.type(a), d.numpy.type(b)
        if op in ("min", "max"):
            if a != a or b != b:
                return math.nan
            if a == b:
                negative = math.copysign(1, a) < 0
                return (a if negative else b) if op == "min" else (b if negative else a)
            return min(a, b) if op == "min" else max(a, b)
        return float({"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide}[op](x, y))


def _integer(op: str, args: list[int], d: DType) -> int:
    a, b = args[0], args[1] if len(args) > 1 else 0
    bits = d.bits
    match op:
        case "neg":
            r = -a
        case "abs":
            r = abs(a)
        case "not":
            r = ~a
        case "add" | "add.raw":
            r = a + b
        case "sub":
            r = a - b
        case "mul" | "mul.raw":
            r = a * b
        case "and":
            r = a & b
        case "or":
            r = a | b
        case "xor":
            r = a ^ b
        case "min":
            r = min(a, b)
        case "max":
            r = max(a, b)
        case "shl" | "shl.raw":
            r = a << b if 0 <= b < bits else 0
        case "shr" | "shr.raw":
            r = a >> (b if 0 <= b < bits else bits)
        case "floordiv":
            r = a // b if b else 0
        case "mod":
            r = a % b if b else 0
        case "quot.raw":
            r = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
        case "rem.raw":
            r = abs(a) % abs(b) * (1 if a >= 0 else -1)
        case "dot4_signed" | "dot4_unsigned" | "dot4_mixed":
            # an independent reading of the bytes
            signs = {"dot4_signed": "bb", "dot4_unsigned": "BB", "dot4_mixed": "Bb"}[op]
            parts = [
                struct.unpack(f"<4{s}", struct.pack("<I", w)) for s, w in zip(signs, args[:2], strict=True)
            ]
            r = args[2] + sum(x * y for x, y in zip(*parts, strict=True))
        case "popcount":
            return (a & ((1 << bits) - 1)).bit_count()
        case "clz":
            return bits - (a & ((1 << bits) - 1)).bit_length()
        case _:
            raise KeyError(op)
    return wrap(r, d)  # fmt: skip


def _cast(a, source: DType, to: DType):
    if to is bool_:
        return a != 0
    if source.is_float and to.is_integer:
        low, high = limits(to)
        return 0 if a != a else low if a < low else high if a > high else int(a)
    if to.is_integer:
        return wrap(int(a), to)
    if source.is_float:
        return to_dtype(a, to)
    return rounded(Fraction(int(a)), to)


COMPARE = {"eq": "__eq__", "ne": "__ne__", "lt": "__lt__", "le": "__le__", "gt": "__gt__", "ge": "__ge__"}


def meaning(op: str, dtypes: list[DType], result: DType, args: list):
    """The exact result of an operation on Python numbers (casts and bit casts have their own)."""
    d = dtypes[-1]
    if op == "cast":
        return _cast(args[0], d, result)
    if op == "f2i.raw":
        return int(args[0])
    if op in COMPARE:
        return getattr(args[0], COMPARE[op])(args[1])
    if op == "select":
        return args[1] if args[0] else args[2]
    if d is bool_:
        a, b = args[0], args[-1]
        return {"not": not a, "and": a and b, "or": a or b, "xor": a != b}[op]
    if not d.is_float:
        return _integer(op, args, d)
    a = args[0]
    match op:
        case "neg":
            return -a
        case "abs":
            return math.fabs(a)
        case "isnan":
            return a != a
        case "isinf":
            return math.isinf(a)
        case "floor" | "ceil" | "trunc" | "round":
            return float({"floor": np.floor, "ceil": np.ceil, "trunc": np.trunc, "round": np.rint}[op](a))
        case "sqrt":
            with np.errstate(all="ignore"):
                return float(np.sqrt(d.numpy.type(a)))
        case "fma":
            return _fma(*args, d)
        case _:
            return _binary_float(op, args[0], args[1], d)


def split(key: str) -> tuple[str, list[DType], DType]:
    for op in TYPED:
        if key.startswith(f"{op}."):
            source, to = key[len(op) + 1 :].split(".")
            return op, [dtype(source)], dtype(to)
    op, name = key.rsplit(".", 1)
    d = dtype(name)
    if op == "select":
        return op, [bool_, d, d], d
    spec = OPS[op]
    return op, [d] * spec.arity, {"same": d, "bool": bool_, "i32": dtype("i32")}[spec.result]


def allowed(op: str, d: DType, result: DType, args: tuple) -> bool:
    """The preconditions of raw operations."""
    if op in ("shl.raw", "shr.raw"):
        return 0 <= args[1] < d.bits
    if op in ("add.raw", "mul.raw"):
        most = 1 << (d.bits - 1)
        exact = args[0] + args[1] if op == "add.raw" else args[0] * args[1]
        return all(-most <= n < most for n in (*args, exact))
    if op in ("quot.raw", "rem.raw"):
        return args[1] != 0 and not (d.is_signed and args[1] == -1 and args[0] == limits(d)[0])
    if op == "f2i.raw":
        low, high = limits(result)
        return args[0] == args[0] and low <= args[0] <= high and low <= int(args[0]) <= high
    return True


def canonical(array: np.ndarray) -> np.ndarray:
    """Bits, with every NaN made one."""
    if array.dtype.kind in "iub":
        return array
    bits = array.view(f"u{array.dtype.itemsize}").copy()
    with np.errstate(invalid="ignore"):
        lost = np.isnan(array.astype(np.float64))
    bits[lost] = np.iinfo(bits.dtype).max
    return bits


def inputs_of(op: str, dtypes: list[DType], result: DType) -> list[np.ndarray]:
    columns = [specials(d) for d in dtypes]
    if len(columns) == 3:
        random = np.random.default_rng(3)
        return [c[random.integers(0, len(c), 6000)] for c in columns]
    pairs = [p for p in itertools.product(*(range(len(c)) for c in columns))]
    rows = np.array(pairs)
    found = [c[rows[:, n]] for n, c in enumerate(columns)]
    keep = [allowed(op, dtypes[0], result, args) for args in zip(*map(plain, found))]
    return [f[np.array(keep)] for f in found]


def run_operation(r: DeviceFixture, key: str) -> int:
    op, dtypes, result = split(key)
    inputs = inputs_of(op, dtypes, result)
    n = len(inputs[0])
    buffers = [r.upload(x) for x in inputs]
    out = r.alloc(n * result.itemsize)
    groups = [[b, 0, n] for b in (*buffers, out)]
    r.run(hand.elementwise(op, dtypes, result), -(-n // 128), 128, *groups)
    got = r.read(out, result.numpy, n)
    if op in ("bitcast", "bitcast.raw"):
        want = inputs[0].view(result.numpy).copy()
        if op == "bitcast" and dtypes[0].is_float:
            lost = np.isnan(inputs[0].astype(np.float64))
            quiet = {f16: 0x7E00, bf16: 0x7FC0, f32: 0x7FC00000, f64: 0x7FF8000000000000}[dtypes[0]]
            want.view(f"u{result.itemsize}")[lost] = quiet
    else:
        rows = zip(*map(plain, inputs))
        want = [meaning(op, dtypes, result, list(row)) for row in rows]
        want = (
            np.array(want, np.float64).astype(result.numpy)
            if result.is_float
            else np.array(want, result.numpy)
        )
    bad = np.flatnonzero(canonical(got) != canonical(want))
    if len(bad):
        i = bad[0]
        r.note(
            f"{key}: {len(bad)} of {n} differ, first {[x[i] for x in inputs]} gave {got[i]!r}, "
            f"want {want[i]!r}"
        )
    for b in (*buffers, out):
        r.free(b)
    return len(bad)


def all_operations(r: DeviceFixture) -> str:
    keys = sorted(cuda.target(r.device).native | BASELINE)
    wrong = [key for key in keys if run_operation(r, key)]
    expect(not wrong, f"{len(wrong)} of {len(keys)} operations differ: {wrong}\n" + "\n".join(r.notes[:40]))
    return f"{len(keys)} operations"


# --- atomics ------------------------------------------------------------------------------------------------
def atomic_case(r: DeviceFixture, op: str, d: DType) -> None:
    n = 1000
    random = np.random.default_rng(5)
    high = 1 << 8 if d.is_float else min(limits(d)[1], 1 << 40)
    x = random.integers(1, high, n).astype(d.numpy)
    if op == "cas":
        initial = 0
    elif op == "and":
        initial = limits(d)[1]
    else:
        initial = 5
    first = np.array([initial], d.numpy)
    a, out, old = r.upload(x), r.upload(first), r.alloc(n * d.itemsize)
    r.run(hand.atomic(op, d), 8, 128, [a, 0, n], [out, 0, 1], [old, 0, n])
    got, seen = r.read(out, d.numpy, 1)[0], r.read(old, d.numpy, n)
    with np.errstate(over="ignore"):
        fold = {
            "add": lambda: first[0] + x.sum(dtype=d.numpy), "sub": lambda: first[0] - x.sum(dtype=d.numpy),
            "min": lambda: min(first[0], x.min()), "max": lambda: max(first[0], x.max()),
            "and": lambda: np.bitwise_and.reduce(np.append(x, first)),
            "or": lambda: np.bitwise_or.reduce(np.append(x, first)),
            "xor": lambda: np.bitwise_xor.reduce(np.append(x, first)),
        }  # fmt: skip
        if op in fold:
            expect(got == fold[op](), (op, d, got, fold[op]()))
            expect(first[0] in seen, (op, d, "no thread saw the initial value"))
        elif op == "exchange":
            expect(sorted([*seen, got]) == sorted([*x, first[0]]), (op, d, "values were lost"))
        else:
            expect(got in x and (seen == 0).sum() == 1 and (seen[seen != 0] == got).all(), (op, d, got))


def atomic_add_flushes(r: DeviceFixture, module: Module) -> bool:
    """Whether adding subnormal floats atomically loses them."""
    x = np.full(1000, 1e-41, np.float32)
    a, out, old = r.upload(x), r.upload(np.zeros(1, np.float32)), r.alloc(4000)
    r.run(module, 1, 1024, [a, 0, 1000], [out, 0, 1], [old, 0, 1000])
    got = r.read(out, np.float32, 1).view(np.uint32)[0]
    return int(got) != 1000 * int(x.view(np.uint32)[0])


# --- subgroups
# ------------------------------------------------------------------------------------------------
def subgroup_case(r: DeviceFixture, op: str, d: DType, result: DType) -> None:
    random = np.random.default_rng(7)
    for threads in (1, 31, 32, 45, 96, 100):
        n = 2 * threads
        if d is bool_:
            x = random.integers(0, 4, n) > 0
        elif d.is_float:
            x = (random.normal(size=n) * 100).astype(d.numpy)
        else:
            low, high = limits(d)
            x = random.integers(low, high, n, dtype=d.numpy, endpoint=True)
        lanes = random.integers(-3, 40, n).astype(np.int32)
        if op == "broadcast":
            lanes[:] = 3
        a, b, out = r.upload(x), r.upload(lanes), r.alloc(n * result.itemsize)
        r.run(hand.subgroup(op, d, result), 2, threads, [a, 0, n], [b, 0, n], [out, 0, n])
        got = r.read(out, result.numpy, n)
        want = np.concatenate(
            [_subgroup(op, x[s : min(s + 32, e)], lanes[s : min(s + 32, e)], result)
             for start, e in ((0, threads), (threads, n)) for s in range(start, e, 32)]
        )  # fmt: skip
        expect(np.array_equal(canonical(got), canonical(want)), (op, d, threads, got[:8], want[:8]))


def _subgroup(op: str, x: np.ndarray, lanes: np.ndarray, result: DType) -> np.ndarray:
    """As ``gpucore.ir.ops.SUBGROUP_OPS`` says, for the lanes that exist."""
    count, kind = len(x), result.numpy
    own = np.arange(count)
    if op == "size":
        return np.full(count, 32, kind)
    if op == "lane":
        return own.astype(kind)
    if op in ("any", "all"):
        return np.full(count, x.any() if op == "any" else x.all(), kind)
    if op == "ballot":
        return np.full(count, sum(1 << i for i in range(count) if x[i]), kind)
    if op in ("min", "max"):
        return np.full(count, x.min() if op == "min" else x.max(), kind)
    if op in ("broadcast", "shuffle", "shuffle_xor"):
        wanted = own ^ lanes if op == "shuffle_xor" else lanes
        return x[np.where((wanted >= 0) & (wanted < count), wanted, own)]
    x = x.copy()
    with np.errstate(over="ignore"):
        if op == "sum":
            for m in (1, 2, 4, 8, 16):
                partner = (own ^ m) & ~(m - 1)
                x = np.where(partner < count, x + x[np.minimum(partner, count - 1)], x)
            return x
        for step in (1, 2, 4, 8, 16):
            x = np.where(own >= step, x[np.maximum(own - step, 0)] + x, x)
        if op == "exclusive_sum":
            x = np.concatenate([np.zeros(1, kind), x[:-1]])
        return x


# --- whole kernels ----------------------------------------------------------------------------------------
def random_kernels(r: DeviceFixture, count: int) -> str:
    """Kernels of the fuzzer, lowered for the device, with and without subgroup operations and a known block."""
    from gpucore.ir.passes.lower import LowerOptions, lower
    from gpucore.math import library
    from gpucore_fuzz import cases as fuzz

    target = cuda.target(r.device)
    failed = []
    for seed in range(count):

        def run(module: Module, grid: tuple, block: tuple, args: list) -> None:
            options = LowerOptions(
                native=target.native, library=library, atomics=target.atomics, small=seed % 2 == 0,
                block=block if seed % 4 == 1 else None,
            )  # fmt: skip
            lowered = lower(module, options).module
            slots: list = []
            buffers = []
            for parameter, arg in zip(module.kernel.params, args, strict=True):
                if isinstance(parameter, Memory):
                    buffers.append((r.upload(arg), arg))
                    slots += [buffers[-1][0], 0, *arg.shape]
                else:
                    slots.append(arg.item() if hasattr(arg, "item") else arg)
            r.prepare(lowered, grid, block, known=seed % 4 == 1)(r.stream, *slots)
            for buffer, arg in buffers:
                arg[...] = r.read(buffer, arg.dtype, arg.size).reshape(arg.shape)

        found = fuzz.differential(seed + 90_000, run, **({"subgroup": 32} if seed % 3 == 2 else {}))
        if found is not None:
            failed.append(str(found)[:500])
        r.tidy()
    expect(not failed, f"{len(failed)} of {count} differ: " + "\n".join(failed[:5]))
    return f"{count} kernels"
