"""Operands chosen to hurt, and what IEEE-754 makes of them: the questions that :mod:`probes`
asks."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from gpucore.ir import DType, bool_, dtype, f16, f32, f64

__all__ = [
    "COUNT",
    "Bits",
    "Case",
    "Group",
    "Inputs",
    "Step",
    "constant_cases",
    "float_cases",
    "fma_cases",
    "from_half_cases",
    "half_cases",
    "integer_cases",
    "operands",
    "root_cases",
    "rounding_cases",
    "to_integer_cases",
    "widening_cases",
]

Bits = npt.NDArray[Any]
COUNT: Final = 8192

_INTEGERS: Final = tuple(dtype(n) for n in ("i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64"))
_ROUNDINGS: Final = {"floor": np.floor, "ceil": np.ceil, "trunc": np.trunc, "round": np.rint}
_COMPARISONS: Final = {
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater,
    "ge": np.greater_equal,
}  # fmt: skip


@dataclass(frozen=True)
class Step:
    """An operation before the one that is asked about; later ones name its value."""

    name: str
    op: str
    args: tuple[str | float, ...]
    result: DType


@dataclass(frozen=True)
class Case:
    """One operation: its operands, values by name or constants, and what is expected of every element.

    Attributes
    ----------
    before : tuple[Step, ...]
        What is computed first; values are inputs and results of steps.
    key : str
        The operation that is wrong where this is; that of ``op`` where empty.
    """

    op: str
    args: tuple[str | float, ...]
    result: DType
    expected: Bits
    before: tuple[Step, ...] = ()
    key: str = ""


Inputs = dict[str, tuple[DType, Bits]]
Group = tuple[Inputs, list[Case]]


# --- operands ----------------------------------------------------------------------------------------
def operands(kind: DType, seed: int) -> Bits:
    """Special values against each other, random bit patterns, and numbers of ordinary size."""
    word = {16: np.uint16, 32: np.uint32, 64: np.uint64}[kind.bits]
    real = kind.numpy
    fraction = {16: 10, 32: 23, 64: 52}[kind.bits]
    info = np.finfo(real)
    tiny, small = float(info.smallest_subnormal), float(info.tiny)
    positive = [
        0.0, tiny, 3 * tiny, small - tiny, small, small * 1.5, 0.25, 0.5, 1.0, 1.5, 2.5, 3.0, 0.1, 1 / 3,
        1.0 + float(info.eps), 1.0 - float(info.eps) / 2, 2.0**fraction, 2.0 ** (fraction - 1) + 0.5,
        2.0 ** (fraction + 1) - 1, float(info.max), float(info.max) / 3, float("inf"),
    ]  # fmt: skip
    special = np.array([s * v for v in positive for s in (1.0, -1.0)] + [float("nan")], dtype=real)
    random = np.random.default_rng(seed)
    grid = np.repeat(special, len(special)) if seed % 2 else np.tile(special, len(special))
    raw = random.integers(0, 1 << min(kind.bits, 63), 2048, dtype=np.uint64, endpoint=False)
    if kind.bits == 64:
        raw ^= random.integers(0, 2, 2048, dtype=np.uint64) << np.uint64(63)
    bits = raw.astype(word).view(real)
    ordinary = (random.standard_normal(COUNT) * np.exp2(random.integers(-12, 12, COUNT))).astype(real)
    return np.resize(np.concatenate([grid, bits, ordinary]), COUNT)


def _fma_operands(kind: DType) -> tuple[Bits, Bits, Bits]:
    """Operands as above, a third of them with c near -a*b, and halfway cases that two roundings miss."""
    a, b, c = (operands(kind, seed) for seed in (1, 2, 3))
    near = slice(COUNT - COUNT // 3, COUNT)
    with np.errstate(all="ignore"):
        c[near] = -(a[near] * b[near])
    half = {32: 12, 64: 27}[kind.bits]
    a[-1] = b[-1] = 1 + 2.0**-half
    c[-1] = 2.0 ** (-60 if kind.bits == 32 else -130)
    return a, b, c


def _fma32(a: Bits, b: Bits, c: Bits) -> Bits:
    """Exact in f64 up to the sum, which is rounded to odd, hence one rounding to f32."""
    wide_a, wide_b, wide_c = a.astype(np.float64), b.astype(np.float64), c.astype(np.float64)
    product = wide_a * wide_b
    total = product + wide_c
    part = total - product
    error = (product - (total - part)) + (wide_c - part)
    finite = np.isfinite(total)
    bits = total.view(np.int64).copy()
    inexact = finite & (error != 0) & (bits & 1 == 0)
    # toward the error: away from zero when it has the sum's sign
    outward = (error > 0) == (total > 0)
    bits[inexact] += np.where(outward[inexact], 1, -1)
    return bits.view(np.float64).astype(np.float32)


def _fma64(a: Bits, b: Bits, c: Bits) -> Bits:
    """By rationals."""
    out = a * b + c
    finite = np.isfinite(a) & np.isfinite(b) & np.isfinite(c)
    only_c = np.isfinite(a) & np.isfinite(b) & np.isinf(c)
    out[only_c] = c[only_c]
    for n in np.flatnonzero(finite):
        exact = Fraction(float(a[n])) * Fraction(float(b[n])) + Fraction(float(c[n]))
        if exact:
            try:
                out[n] = float(exact)
            except OverflowError:
                out[n] = np.inf if exact > 0 else -np.inf
            if out[n] == 0:
                out[n] = np.copysign(0.0, 1.0 if exact > 0 else -1.0)
        else:
            negative = np.signbit(a[n]) != np.signbit(b[n])
            same = negative == np.signbit(c[n])
            zero_product = a[n] == 0 or b[n] == 0
            out[n] = -0.0 if negative and same and zero_product else 0.0
    return out


# --- groups ------------------------------------------------------------------------------------------
def float_cases(kind: DType) -> Group:
    a, b, c = _fma_operands(kind)
    inputs = {"a": (kind, a), "b": (kind, b), "c": (kind, c)}
    other = f64 if kind is f32 else f32
    cases = [
        Case("add", ("a", "c"), kind, a + c),
        Case("sub", ("a", "b"), kind, a - b),
        Case("mul", ("a", "b"), kind, a * b),
        Case("neg", ("a",), kind, -a),
        Case("div", ("a", "b"), kind, a / b),
        Case("sqrt", ("a",), kind, np.sqrt(a)),
        Case("sqrt", ("b",), kind, np.sqrt(b)),
        *(Case(name, ("a",), kind, f(a)) for name, f in _ROUNDINGS.items()),
        *(Case(name, ("a", "b"), bool_, f(a, b)) for name, f in _COMPARISONS.items()),
        Case("cast", ("a",), other, a.astype(other.numpy)),
    ]
    return inputs, cases


def _hard_radicands() -> Bits:
    """Numbers whose roots come nearest to the middle between two floats, where rounding is hardest.

    Such a middle is an odd ``m`` below ``2**25``, and ``m * m`` nearly a float where its last bits are a small
    number: the square roots of that number modulo a power of two.
    """
    found: list[int] = []
    for rest in range(-8 * COUNT // 32 + 1, 8 * COUNT // 32, 8):
        for bits in (25, 26):
            root = 1
            for place in range(3, bits):
                if (root * root - rest) >> place & 1:
                    root += 1 << (place - 1)
            half, whole = 1 << (bits - 1), 1 << bits
            for m in {root % whole, -root % whole, (root + half) % whole, (half - root) % whole}:
                if 1 << 24 <= m < 1 << 25 and (m * m >= 1 << 49) == (bits == 26):
                    found.append(m * m - rest)
    exponents = np.resize(np.arange(-180, 70, 2), len(found))
    return np.resize((np.array(found) * np.exp2(exponents)).astype(np.float32), COUNT)


def root_cases() -> Group:
    """Square roots of f32: special values, of every size, about squares, and those nearest to halfway."""
    random = np.random.default_rng(4)
    whole = random.integers(1 << 11, 1 << 12, COUNT).astype(np.float32)
    words = (whole * whole).view(np.uint32) + random.integers(-1, 2, COUNT).astype(np.uint32)
    squares = words.view(np.float32) * np.exp2(2 * random.integers(-60, 50, COUNT)).astype(np.float32)
    inputs = {"a": operands(f32, 1), "b": operands(f32, 3), "hard": _hard_radicands(), "squares": squares}
    cases = [Case("sqrt", (name,), f32, np.sqrt(values)) for name, values in inputs.items()]
    return {name: (f32, values) for name, values in inputs.items()}, cases


def fma_cases(kind: DType) -> Group:
    """Fused multiplication and addition, with constants too."""
    a, b, c = _fma_operands(kind)
    fused = _fma32 if kind is f32 else _fma64
    cases = [Case("fma", ("a", "b", "c"), kind, fused(a, b, c))]
    for number in (0.0, -0.0, 1.0, -1.0):
        same = np.full_like(a, number)
        cases.append(Case("fma", ("a", "b", number), kind, fused(a, b, same)))
        cases.append(Case("fma", (number, "a", "b"), kind, fused(same, a, b)))
    return {"a": (kind, a), "b": (kind, b), "c": (kind, c)}, cases


def rounding_cases(wide: DType, narrow: DType) -> Group:
    """There and back: the rounding between must not be dropped."""
    a = operands(wide, 1)
    inputs = {"a": (wide, a), "b": (wide, a * wide.numpy.type(3))}
    cases: list[Case] = []
    for name, (_, values) in inputs.items():
        expected = values.astype(narrow.numpy).astype(wide.numpy)
        rounded = Step("rounded", "cast", (name,), narrow)
        key = f"cast.{wide.name}.{narrow.name}"
        cases.append(Case("cast", ("rounded",), wide, expected, (rounded,), key))
    return inputs, cases


def widening_cases() -> Group:
    """Widened integers compared with constants."""
    inputs: Inputs = {}
    cases: list[Case] = []
    for kind in (dtype("i16"), dtype("i32"), dtype("u32")):
        low = -5 if kind.is_signed else 0
        values = np.resize(np.arange(low, 20), COUNT).astype(kind.numpy)
        values[:2] = np.iinfo(kind.numpy).min, np.iinfo(kind.numpy).max
        inputs[kind.name] = (kind, values)
        wide = values.astype(np.int64)
        before, key = (Step("wide", "cast", (kind.name,), dtype("i64")),), f"cast.{kind.name}.i64"
        for number in (0, 7, -3):
            for name in ("lt", "gt", "ge"):
                function = _COMPARISONS[name]
                cases.append(Case(name, ("wide", number), bool_, function(wide, number), before, key))
                cases.append(Case(name, (number, "wide"), bool_, function(number, wide), before, key))
    return inputs, cases


def constant_cases(kind: DType) -> Group:
    """Constant operands, which compilers fold: some forget signed zeros, infinities and NaN over it."""
    a = operands(kind, 1)
    inputs = {"a": (kind, a)}
    functions = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide}
    cases: list[Case] = []
    for number in (0.0, -0.0, 1.0, -1.0, float("inf")):
        same = np.full_like(a, number)
        for op, function in functions.items():
            cases.append(Case(op, ("a", number), kind, function(a, same)))
            cases.append(Case(op, (number, "a"), kind, function(same, a)))
    return inputs, cases


def half_cases(kind: DType) -> Group:
    """To f16: ties, near ties, denormals, overflow."""
    random = np.random.default_rng(7)
    halves = random.integers(0, 0x7BFF, COUNT, dtype=np.uint16)
    low, high = halves.view(np.float16).astype(np.float64), (halves + 1).astype(np.uint16).view(np.float16)
    middle = (low + high.astype(np.float64)) / 2
    nudge = np.where(np.arange(COUNT) % 3 == 0, 0.0, np.where(np.arange(COUNT) % 3 == 1, 1.0, -1.0))
    values = (middle * (1 + nudge * (2.0**-22 if kind is f32 else 2.0**-50))).astype(kind.numpy)
    values[: COUNT // 2] = operands(kind, 1)[: COUNT // 2]
    values[1::2] *= -1
    return {"a": (kind, values)}, [Case("cast", ("a",), f16, values.astype(np.float16))]


def from_half_cases(wide: bool) -> Group:
    values = np.resize(np.concatenate([np.arange(0, 65536, 11), np.arange(0, 1100)]), COUNT).astype(np.uint16)
    halves = values.view(np.float16)
    to = f64 if wide else f32
    return {"a": (f16, halves)}, [Case("cast", ("a",), to, halves.astype(to.numpy))]


def integer_cases(double: bool) -> Group:
    random = np.random.default_rng(11)
    inputs: Inputs = {}
    cases: list[Case] = []
    for kind in _INTEGERS:
        info = np.iinfo(kind.numpy)
        edges = [info.min, info.max, 0, 1, (1 << (kind.bits - 2)) + 1]
        edges += (
            [(1 << 24) + 1, (1 << 24) + 3, (1 << 25) + 2, (1 << 30) + 64, (1 << 30) + 65]
            if kind.bits >= 32
            else []
        )
        edges += (
            [(1 << 53) + 1, (1 << 53) + 3, (1 << 62) + (1 << 38), (1 << 62) + (1 << 38) + 1]
            if kind.bits == 64
            else []
        )
        values = random.integers(info.min, info.max, COUNT, dtype=kind.numpy, endpoint=True)
        values >>= random.integers(0, kind.bits - 1, COUNT).astype(kind.numpy)
        values[: len(edges)] = edges
        inputs[kind.name] = (kind, values)
        for to in (f32, f64) if double else (f32,):
            cases.append(Case("cast", (kind.name,), to, values.astype(to.numpy)))
    return inputs, cases


def to_integer_cases(source: DType) -> Group:
    random = np.random.default_rng(13)
    inputs: Inputs = {}
    cases: list[Case] = []
    for kind in _INTEGERS:
        top = float(2 ** (kind.bits - (1 if kind.is_signed else 0)))
        low = -top if kind.is_signed else 0.0
        scale = np.exp2(random.uniform(-3, np.log2(top), COUNT)) * (
            random.choice([-1.0, 1.0], COUNT) if low else 1.0
        )
        values = scale.astype(source.numpy)
        below = np.nextafter(source.numpy.type(top), source.numpy.type(0))
        values[:8] = [0.0, -0.0, 0.5, 0.99, 1.5, below, low, -0.75]
        values = np.clip(values, low if low else -0.75, below)
        inputs[kind.name] = (source, values)
        cases.append(Case("f2i.raw", (kind.name,), kind, np.trunc(values).astype(kind.numpy)))
    return inputs, cases
