"""Operations whose results are consumed before anything stores them, where compilers keep more than the dtype has."""

from __future__ import annotations

from typing import Final

import numpy as np

from gpucore.ir import DType, bool_, dtype, f32, f64, i32, i64, u32, u64
from gpucore_vulkan.device_features.probe_operations import COUNT, Bits, Case, Group, Inputs, Step, operands

__all__ = ["choice_cases", "conversion_cases", "integer_conversion_cases", "integers", "narrow_cases"]

_INTEGERS: Final = tuple(dtype(n) for n in ("i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64"))


def integers(kind: DType, seed: int) -> Bits:
    """The ends of the range, small numbers and random ones of every size."""
    info, random = np.iinfo(kind.numpy), np.random.default_rng(seed)
    values: Bits = random.integers(info.min, info.max, COUNT, dtype=kind.numpy, endpoint=True)
    values >>= random.integers(0, kind.bits - 1, COUNT).astype(kind.numpy)
    edges = [info.min, info.min + 1, info.max, info.max - 1, 0, 1, 2, 7, 100]
    pairs = [(a, b) for a in edges for b in edges]
    values[: len(pairs)] = [pair[seed % 2] for pair in pairs]
    return values


def narrow_cases(kind: DType) -> Group:
    """Arithmetic on integers of 8 and 16 bits, and what consumes its results in wider registers."""
    a, b = integers(kind, 0), integers(kind, 1)
    wide_a, wide_b = a.astype(np.int64), b.astype(np.int64)
    cases: list[Case] = []

    def add(steps: tuple[Step, ...], exact: Bits, consumers: str) -> None:
        wrapped = exact.astype(kind.numpy)
        wide, bits = wrapped.astype(np.int64), wrapped.astype(np.int64) & ((1 << kind.bits) - 1)
        counts = np.array([int(x).bit_count() for x in range(1 << 8)], np.int32)
        lengths = np.array([int(x).bit_length() for x in range(1 << 8)], np.int32)
        high, low = bits >> 8, bits & 255
        size = np.where(high > 0, 8 + lengths[high], lengths[low]).astype(np.int32)
        key = f"{steps[-1].op}.{kind.name}" if steps[-1].op != "select" else f"neg.{kind.name}"
        for consumer in consumers.split():
            match consumer:
                case "widen":
                    last = Case("cast", ("r",), i64, wide, steps, key)
                case "float":
                    last = Case("cast", ("r",), f32, wide.astype(np.float32), steps, key)
                case "compare":
                    last = Case("gt", ("r", "a"), bool_, wide > wide_a, steps, key)
                case "divide":
                    whole = (np.abs(wide) // 7 * np.sign(wide)).astype(kind.numpy)
                    last = Case("quot.raw", ("r", 7), kind, whole, steps, key)
                case "shift":
                    last = Case("shr.raw", ("r", 1), kind, (wide >> 1).astype(kind.numpy), steps, key)
                case "count":
                    ones = (counts[high] + counts[low]).astype(np.int32)
                    last = Case("popcount", ("r",), i32, ones, steps, key)
                case _:
                    last = Case("clz", ("r",), i32, (kind.bits - size).astype(np.int32), steps, key)
            cases.append(last)

    everything = "widen float compare divide shift count zeros"
    add((Step("r", "neg", ("a",), kind),), -wide_a, everything)
    if kind.is_signed:
        add((Step("r", "abs", ("a",), kind),), np.abs(wide_a), everything)
    add((Step("r", "sub", (0, "a"), kind),), -wide_a, "widen divide")
    add((Step("r", "mul", ("a", -1 if kind.is_signed else 3), kind),),
        wide_a * (-1 if kind.is_signed else 3), "widen compare")  # fmt: skip
    add((Step("r", "add", ("a", "b"), kind),), wide_a + wide_b, "widen divide compare")
    add((Step("r", "sub", ("a", "b"), kind),), wide_a - wide_b, "widen shift float")
    add((Step("r", "mul", ("a", "b"), kind),), wide_a * wide_b, "widen shift count")
    add((Step("r", "not", ("a",), kind),), ~wide_a, "widen count zeros")
    add((Step("r", "shl.raw", ("a", 1), kind),), wide_a << 1, "widen divide compare")
    return {"a": (kind, a), "b": (kind, b)}, cases


def conversion_cases(source: DType, double: bool) -> Group:
    """Floats to integers, which are then converted to something else."""
    random = np.random.default_rng(13)
    inputs: Inputs = {}
    cases: list[Case] = []
    for kind in _INTEGERS:
        top = 2.0 ** (kind.bits - (1 if kind.is_signed else 0))
        low = -top if kind.is_signed else 0.0
        values = np.exp2(random.uniform(-1, np.log2(top), COUNT))
        if low:
            values *= random.choice([-1.0, 1.0], COUNT)
        below = np.nextafter(source.numpy.type(top), source.numpy.type(0))
        values[: kind.bits] = np.minimum(2.0 ** np.arange(kind.bits), below)
        values = np.clip(values.astype(source.numpy), source.numpy.type(low), below)
        inputs[kind.name] = (source, values)
        between = np.trunc(values).astype(kind.numpy)
        step = (Step("between", "f2i.raw", (kind.name,), kind),)
        key = f"f2i.raw.{source.name}.{kind.name}"
        for to in _next(kind, double):
            cases.append(Case("cast", ("between",), to, between.astype(to.numpy), step, key))
    return inputs, cases


def _next(kind: DType, double: bool) -> list[DType]:
    """What an integer is converted to: half its width, the other sign, the widest, a float."""
    half = max(kind.bits // 2, 8)
    names = {f"i{half}", f"u{half}", f"{'u' if kind.is_signed else 'i'}{kind.bits}"}
    names |= {"f32"} if kind.bits > 16 else {"i64"}
    if double and kind.bits == 64:
        names.add("f64")
    return [dtype(name) for name in sorted(names - {kind.name})]


def integer_conversion_cases(double: bool) -> Group:
    """Integers to floats or to less bits, which are then converted to something wider."""
    inputs: Inputs = {}
    cases: list[Case] = []
    for kind in (i32, u32, i64, u64):
        # rounded up, the largest stay in range
        values = integers(kind, 1) >> 1
        inputs[kind.name] = (kind, values)
        for real in (f32, f64) if double else (f32,):
            between = values.astype(real.numpy)
            step = (Step("between", "cast", (kind.name,), real),)
            key = f"cast.{kind.name}.{real.name}"
            wide = i64 if kind.is_signed else u64
            cases.append(Case("f2i.raw", ("between",), wide, between.astype(wide.numpy), step, f"{key}"))
            if double and real is f32:
                cases.append(Case("cast", ("between",), f64, between.astype(np.float64), step, key))
        for less in (i32, u32) if kind.bits == 64 else ():
            step = (Step("between", "cast", (kind.name,), less),)
            low = values.astype(less.numpy)
            key = f"cast.{kind.name}.{less.name}"
            cases.append(Case("cast", ("between",), i64, low.astype(np.int64), step, key))
            cases.append(Case("cast", ("between",), f32, low.astype(np.float32), step, key))
    return inputs, cases


def choice_cases(kind: DType) -> Group:
    """Choices between constants, as floats and as the integers of their bits: the sign of zero stays."""
    a = operands(kind, 1)
    word = dtype(f"u{kind.bits}")
    condition = (Step("c", "gt", ("a", 1.0), bool_),)
    truth = a > 1
    cases: list[Case] = []
    for zero in (0.0, -0.0):
        for one in (1.0, -1.0):
            for first, second in ((zero, one), (one, zero)):
                floats = np.where(truth, kind.numpy.type(first), kind.numpy.type(second)).astype(kind.numpy)
                cases.append(
                    Case("select", ("c", first, second), kind, floats, condition, f"select.{kind.name}")
                )
                bits = [int(kind.numpy.type(x).view(word.numpy)) for x in (first, second)]
                expected = floats.view(word.numpy)
                cases.append(Case("select", ("c", *bits), word, expected, condition, f"select.{word.name}"))
    return {"a": (kind, a)}, cases
