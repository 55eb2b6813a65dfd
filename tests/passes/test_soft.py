"""Routines for devices that lack an operation, against exact arithmetic on integers and fractions."""

import math
import struct
from fractions import Fraction

import numpy as np
import pytest

from gpucore.ir import Call, Function, Load, Memory, Module, Store, ThreadIndex, Value, dtype, index
from gpucore.ir.interpreter import interpret
from gpucore.ir.passes import LowerOptions, lower
from gpucore.math import library
from gpucore.math.soft_arithmetic import FUNCTIONS

MANTISSA = {"f16": 10, "bf16": 7, "f32": 23, "f64": 52}
CODE = {"f32": ("f", "I"), "f64": ("d", "Q")}


def run(key, *columns):
    """A routine, lowered for a device with the baseline alone, on columns of arguments."""
    functions = library(key)
    routine = functions[-1]
    count = len(columns[0])
    i = Value("i", index)
    arrays = [Memory(f"in{k}", p.dtype, "global") for k, p in enumerate(routine.params)]
    out = Memory("out", routine.result, "global")
    values = [Value(f"v{k}", p.dtype) for k, p in enumerate(routine.params)]
    result = Value("r", routine.result)
    body = (
        ThreadIndex(i, "global_id", 0),
        *(Load(v, a, (i,)) for v, a in zip(values, arrays, strict=True)),
        Call(result, routine.name, tuple(values)),
        Store(out, (i,), result),
    )
    module = Module(Function("k", (*arrays, out), None, (), (), body), functions)
    arguments = [np.array(c, p.dtype.numpy) for c, p in zip(columns, routine.params, strict=True)]
    found = np.zeros(count, routine.result.numpy)
    lowered = lower(module, LowerOptions(frozenset(), library)).module
    interpret(lowered, count, 1, [*arguments, found], detect_races=False)
    return found


def round_fraction(x, name):
    """A fraction rounded to nearest even in a format, by the definition; its sign is kept."""
    bits = MANTISSA[name]
    width = {"f16": 5, "bf16": 8, "f32": 8, "f64": 11}[name]
    bias = (1 << (width - 1)) - 1
    magnitude = abs(x)
    if magnitude == 0:
        return 0.0
    exponent = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    if Fraction(2) ** exponent > magnitude:
        exponent -= 1
    unit = Fraction(2) ** (max(exponent, 1 - bias) - bits)
    count, rest = divmod(magnitude / unit, 1)
    if rest > Fraction(1, 2) or (rest == Fraction(1, 2) and count % 2):
        count += 1
    rounded = count * unit
    value = math.inf if rounded >= Fraction(2) ** (bias + 1) else float(rounded)
    return math.copysign(value, -1 if x < 0 else 1)


def bits_of(values):
    """Bits, with one NaN."""
    array = np.asarray(values)
    bits = array.view(f"u{array.itemsize}").copy()
    bits[np.isnan(array)] = 1
    return bits


def assert_bits(found, wanted, *columns):
    wanted = np.array(wanted, found.dtype)
    differ = np.flatnonzero(bits_of(found) != bits_of(wanted))
    assert not len(differ), (
        [c[differ[0]] for c in columns],
        found[differ[0]],
        wanted[differ[0]],
        len(differ),
    )


def floats(name, count, seed):
    """Numbers of every exponent, near one, and the borders of the format."""
    rng = np.random.default_rng(seed)
    kind, unsigned = CODE[name]
    size = 8 * struct.calcsize(kind)
    m = MANTISSA[name]
    top = (1 << (size - 1 - m)) - 1
    everything = rng.integers(0, 1 << size, count, dtype=f"u{size // 8}")
    bias = top >> 1
    near = [
        int(rng.integers(2)) << (size - 1)
        | int(rng.integers(bias - 8, bias + 9)) << m
        | int(rng.choice([0, 1, (1 << m) - 1, 1 << int(rng.integers(m)), int(rng.integers(1 << m))]))
        for _ in range(count)
    ]
    border = [
        0, 1, 2, (1 << m) - 1, 1 << m, (1 << m) + 1, (top << m) - 1, top << m, (top << m) | (1 << (m - 1)),
        bias << m, (bias << m) + 1,
    ]  # fmt: skip
    border += [b | 1 << (size - 1) for b in border]
    values = [int(b) for b in everything] + near + border
    order = rng.permutation(len(values))
    return [struct.unpack(f"<{kind}", struct.pack(f"<{unsigned}", values[k]))[0] for k in order]


def finite(*values):
    return all(map(math.isfinite, values))


def exact_fma(a, b, c, name):
    if not finite(a, b):
        with np.errstate(all="ignore"):
            return float(np.float64(a) * np.float64(b) + np.float64(c))
    if not finite(c):
        return c
    total = Fraction(a) * Fraction(b) + Fraction(c)
    if total == 0:
        negative = math.copysign(1, a) * math.copysign(1, b) < 0 and math.copysign(1, c) < 0
        return -0.0 if negative and Fraction(a) * Fraction(b) == 0 else 0.0
    return round_fraction(total, name)


def fma_arguments(name, seed):
    count = 500
    a, b, c = (floats(name, count, seed + k) for k in range(3))
    np_type = np.float32 if name == "f32" else np.float64
    rng = np.random.default_rng(seed)
    with np.errstate(all="ignore"):
        # cancellation, and addends just beyond the product's last bits
        for k in range(0, len(c), 3):
            scale = 2.0 ** int(rng.integers(-70, 30)) if k % 2 else -1.0
            c[k] = float(np_type(np_type(a[k]) * np_type(b[k]) * np_type(scale)))
    bits = MANTISSA[name]
    for k in range(1, bits + 1):
        # halfway between two floats but for an addend far below
        for tail in (2.0**-60, -(2.0**-60), 2.0 ** -(bits * 2 + 20), -(2.0 ** -(2 * bits + 5)), 0.0):
            a.append(1 + 2.0**-k)
            b.append(1 + 2.0 ** -(bits + 1 - k))
            c.append(tail)
    tiny = 2.0 ** (-149 if name == "f32" else -1074)
    special = [
        (tiny, 0.5, tiny), (tiny, 0.5, 0.0), (tiny, 0.5, -tiny), (tiny, tiny, tiny), (tiny, -tiny, 0.0),
        (-0.0, 1.0, 0.0), (-0.0, 1.0, -0.0), (1.0, -1.0, 1.0), (math.inf, 0.0, 1.0), (1e38, 1e38, -math.inf),
    ]  # fmt: skip
    for x, y, z in special:
        a.append(x)
        b.append(y)
        c.append(z)
    return a, b, c


@pytest.mark.parametrize("key", ["soft.fma.f32", "soft.fma.f32.integer", "soft.fma.f64"])
def test_fused_multiply_add_rounds_once(key):
    name = key.split(".")[2]
    a, b, c = fma_arguments(name, 1)
    with np.errstate(over="ignore"):
        assert_bits(run(key, a, b, c), [exact_fma(*t, name) for t in zip(a, b, c, strict=True)], a, b, c)


@pytest.mark.parametrize("key", ["soft.fma.f32", "soft.fma.f32.integer"])
def test_a_tail_far_below_the_halfway_case_decides(key):
    x = 1 + 2.0**-12
    assert run(key, [x], [x], [2.0**-60]).view(np.uint32)[0] == 0x3F801001


def test_residuals_of_products_round_once():
    rng = np.random.default_rng(7)
    a, b = (np.float32(rng.uniform(0.5, 2.0, 4000) * 2.0 ** rng.integers(-20, 20, 4000)) for _ in range(2))
    c = -(a * b * np.float32(1.0 + 2.0**-23 * rng.integers(-2, 3, 4000)))
    left = [exact_fma(*t, "f32") for t in zip(a.tolist(), b.tolist(), c.tolist(), strict=True)]
    assert_bits(run("soft.fma.f32.residual", a, b, c), left, a, b, c)


@pytest.mark.parametrize("name", ["f32", "f64"])
def test_division_is_correctly_rounded(name):
    a, b = floats(name, 700, 3), floats(name, 700, 4)

    def exact(x, y):
        if not finite(x, y) or y == 0 or x == 0:
            with np.errstate(all="ignore"):
                return float(np.float64(x) / np.float64(y))
        return round_fraction(Fraction(x) / Fraction(y), name)

    assert_bits(run(f"soft.div.{name}", a, b), [exact(*t) for t in zip(a, b, strict=True)], a, b)


@pytest.mark.parametrize("name", ["f32", "f64"])
def test_roots_are_correctly_rounded(name):
    values = floats(name, 900, 5)
    values += [float(k * k) for k in range(1, 50)] + [math.nextafter(4.0, 5.0), math.nextafter(1.0, 0.0)]
    if name == "f32":
        values = [float(np.float32(v)) for v in values]

    def exact(x):
        if not finite(x) or x <= 0:
            return x if x == 0 or x == math.inf else math.nan
        square = Fraction(x)
        # an integer root with many more bits than the result, and a bit for what remains
        scale = 2 * (80 + MANTISSA[name]) + 1100 * 2
        whole = square * Fraction(2) ** scale
        root = math.isqrt(whole.numerator // whole.denominator)
        rest = root * root != whole
        return round_fraction(Fraction(2 * root + rest, 2) / Fraction(2) ** (scale // 2), name)

    assert_bits(run(f"soft.sqrt.{name}", values), [exact(v) for v in values], values)


@pytest.mark.parametrize("name", ["f32", "f64"])
def test_remainders_are_exact_and_have_the_sign_of_the_divisor(name):
    a, b = floats(name, 250, 6), floats(name, 250, 7)

    def exact(x, y):
        if not finite(x) or y == 0 or y != y:
            return math.nan
        remainder = math.fmod(x, y)
        if remainder == 0:
            return math.copysign(0.0, y)
        if (y < 0) != (remainder < 0):
            if not finite(y):
                return y
            return round_fraction(Fraction(remainder) + Fraction(y), name)
        return remainder

    assert_bits(run(f"soft.mod.{name}", a, b), [exact(*t) for t in zip(a, b, strict=True)], a, b)


def test_floor_division_of_f64_is_that_of_python():
    a, b = floats("f64", 300, 8), floats("f64", 300, 9)
    pairs = [(x, y) for x, y in zip(a, b, strict=True) if y != 0]
    a, b = [x for x, _ in pairs], [y for _, y in pairs]
    assert_bits(run("soft.floordiv.f64", a, b), [x // y for x, y in pairs], a, b)


def test_floor_division_by_zero_is_the_quotient():
    found = run("soft.floordiv.f32", [1.0, -1.0, 0.0, 1.0], [0.0, 0.0, 0.0, -0.0])
    assert_bits(found, [math.inf, -math.inf, math.nan, -math.inf], [0] * 4)


def test_every_f16_converts_to_the_number_it_is_and_back():
    bits = np.arange(1 << 16, dtype=np.uint16)[::7]
    numbers = run("soft.cast.f16.f32", bits)
    assert_bits(numbers, bits.view(np.float16).astype(np.float32), bits)
    back = run("soft.cast.f32.f16", numbers)
    np.testing.assert_array_equal(back, np.where(np.isnan(numbers), 0x7E00, bits))


def test_numbers_round_to_f16_once():
    values = [float(np.float32(v)) for v in floats("f32", 900, 10)]
    values += [65519.0, 65520.0, 65536.0, -65520.0, 2.0**-24, 2.0**-25, 3 * 2.0**-25, 2.0**-14, 1 + 2.0**-11,
               1 + 3 * 2.0**-11]  # fmt: skip
    wanted = [round_fraction(Fraction(v), "f16") if finite(v) and v != 0 else v for v in values]
    assert_bits(run("soft.round.f32.f16", values), wanted, values)


@pytest.mark.parametrize("name", ["f16", "bf16"])
def test_f64_rounds_once_by_way_of_f32_rounded_to_odd(name):
    rng = np.random.default_rng(11)
    halfway = {"f16": 2.0**-11, "bf16": 2.0**-8}[name]
    values = [
        s * e * (1 + k * halfway + tail)
        for s in (1, -1)
        for e in (1.0, 2.0**-14, 2.0**-20, 2.0**-130, 2.0**10, 2.0**120)
        for k in (1, 3, 5)
        for tail in (0.0, 2.0**-40, -(2.0**-40), 2.0**-52)
    ] + [float(v) for v in rng.standard_normal(200) * 2.0 ** rng.integers(-20, 14, 200)]
    values += [0.0, -0.0, math.inf, -math.inf, math.nan, 1e300, -1e300, 5e-324, 65519.999999, 65520.0]
    odd = run("soft.odd.f64.f32", values)
    wanted = [round_fraction(Fraction(v), name) if finite(v) and v != 0 else v for v in values]
    assert_bits(round_f32(odd, name), np.array(wanted, np.float32), values)


def round_f32(array, name):
    numbers = [float(v) for v in array]
    rounded = [round_fraction(Fraction(v), name) if finite(v) and v != 0 else v for v in numbers]
    return np.array(rounded, np.float32)


@pytest.mark.parametrize("name", ["i32", "u32", "i64", "u64"])
def test_integers_round_to_bf16_once(name):
    d = dtype(name)
    rng = np.random.default_rng(12)
    low = -(1 << (d.bits - 1)) if d.is_signed else 0
    high = low + (1 << d.bits) - 1
    values = {low, high, 0, 1, high - 1}
    for _ in range(300):
        top, shift = int(rng.integers(128, 256)), int(rng.integers(0, d.bits - 8))
        middle = (top << shift) + ((1 << shift) >> 1)
        values |= {v for v in (middle - 1, middle, middle + 1, -middle, -middle - 1) if low <= v <= high}
    values = sorted(values)
    found = round_f32(run(f"soft.odd.{name}.f32", values), "bf16")
    assert_bits(found, [round_fraction(Fraction(v), "bf16") for v in values], values)


@pytest.mark.parametrize("name", ["u32", "u64"])
def test_bits_are_counted(name):
    rng = np.random.default_rng(13)
    width = dtype(name).bits
    values = [0, 1, (1 << width) - 1] + [int(rng.integers(1 << k, dtype=np.uint64)) for k in range(1, width)]
    values += [1 << k for k in range(width)]
    assert run(f"soft.popcount.{name}", values).tolist() == [v.bit_count() for v in values]
    assert run(f"soft.clz.{name}", values).tolist() == [width - v.bit_length() for v in values]


@pytest.mark.parametrize("name", ["i32", "u32", "i64", "u64"])
def test_integer_powers_wrap(name):
    d = dtype(name)
    signed = d.is_signed
    pairs = [(b, e) for b in (0, 1, 2, 3, 7, 10, 255) for e in (0, 1, 2, 5, 31, 64, 100)]
    if signed:
        pairs += [(-b, e) for b, e in pairs] + [(2, -1), (1, -1), (0, -1), (-1, -2)]
    base, exponent = [p[0] for p in pairs], [p[1] for p in pairs]
    half, full = 1 << (d.bits - 1), 1 << d.bits
    wanted = [0 if e < 0 else (b**e + half * signed) % full - half * signed for b, e in pairs]
    assert run(f"soft.pow.{name}", base, exponent).tolist() == wanted


@pytest.mark.parametrize("key", sorted(FUNCTIONS))
def test_every_routine_compiles_and_lowers(key):
    routine = library(key)[-1]
    assert [p.dtype for p in routine.params] == list(FUNCTIONS[key][1])
