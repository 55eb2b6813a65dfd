"""The reference arithmetic agrees with the machine's f64 and f32, which it does not use."""

import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpucore.testing.semantics.reference import (
    BF16,
    F16,
    F32,
    F64,
    Arithmetic,
    float_to_float,
    float_to_int,
    int_to_float,
)

f64_bits = st.integers(0, 2**64 - 1)
f32_bits = st.integers(0, 2**32 - 1)


def as_float(bits: int) -> float:
    return struct.unpack("<d", struct.pack("<Q", bits))[0]


def as_bits(value: float) -> int:
    return F64.canonical(struct.unpack("<Q", struct.pack("<d", value))[0])


def as_f32(bits: int) -> np.float32:
    return np.uint32(bits).view(np.float32)


@given(f64_bits, f64_bits)
def test_addition_of_f64_is_the_machine_s(a: int, b: int) -> None:
    assert Arithmetic("f64").apply("add", a, b) == as_bits(as_float(a) + as_float(b))


@given(f64_bits, f64_bits)
def test_multiplication_of_f64_is_the_machine_s(a: int, b: int) -> None:
    assert Arithmetic("f64").apply("mul", a, b) == as_bits(as_float(a) * as_float(b))


@given(f64_bits, f64_bits)
def test_division_of_f64_is_the_machine_s(a: int, b: int) -> None:
    with np.errstate(all="ignore"):
        expected = float(np.float64(as_float(a)) / np.float64(as_float(b)))
    assert Arithmetic("f64").apply("div", a, b) == as_bits(expected)


@given(f64_bits)
def test_square_roots_of_f64_are_the_machine_s(a: int) -> None:
    value = as_float(a)
    expected = math.sqrt(value) if not value < 0 else math.nan
    assert Arithmetic("f64").apply("sqrt", a) == as_bits(expected)


@given(f64_bits, f64_bits)
def test_floor_division_and_remainder_are_those_of_python(a: int, b: int) -> None:
    x, y = as_float(a), as_float(b)
    if y == 0:
        return
    quotient, remainder = divmod(x, y)
    assert Arithmetic("f64").apply("floordiv", a, b) == as_bits(quotient)
    assert Arithmetic("f64").apply("mod", a, b) == as_bits(remainder)


@given(f64_bits)
def test_f64_to_f32_rounds_as_the_machine_does(a: int) -> None:
    with np.errstate(all="ignore"):
        expected = int(np.float64(as_float(a)).astype(np.float32).view(np.uint32))
    assert float_to_float("f64", "f32", a) == F32.canonical(expected)


@given(f64_bits)
def test_f64_to_f16_rounds_as_the_machine_does(a: int) -> None:
    with np.errstate(all="ignore"):
        expected = int(np.float64(as_float(a)).astype(np.float16).view(np.uint16))
    assert float_to_float("f64", "f16", a) == F16.canonical(expected)


def test_bf16_is_rounded_once_not_through_f32() -> None:
    # 1 + 2**-8 + 2**-52 lies above the midpoint of 1 and 1 + 2**-7; in f32 it is the midpoint itself
    assert float_to_float("f64", "bf16", as_bits(1 + 2**-8 + 2**-52)) == 0x3F81
    assert float_to_float("f64", "bf16", as_bits(1 + 2**-8)) == 0x3F80


@given(f32_bits, f32_bits, f32_bits)
def test_fma_rounds_the_exact_sum_once(a: int, b: int, c: int) -> None:
    got = as_f32(Arithmetic("f32").apply("fma", a, b, c))
    x, y, z = (float(as_f32(v)) for v in (a, b, c))
    with np.errstate(all="ignore"):
        near = np.float32(np.float64(x) * y + z)  # within one ulp of the truth
    if np.isnan(near) or np.isinf(near):
        assert np.isnan(got) == np.isnan(near)
    else:
        assert near == got or np.nextafter(near, got) == got


@pytest.mark.parametrize(
    ("a", "b", "c", "expected"),
    [
        (0x3C01, 0x3E00, 0x0001, 0x3E02),  # (1 + eps) * 1.5 is a tie; the smallest denormal breaks it upwards
        (0x3C01, 0x3E00, 0x8001, 0x3E01),  # and downwards
        (0x3C01, 0x3E00, 0x0000, 0x3E02),  # left alone it goes to the even neighbour
    ],
)
def test_ties_of_f16_fma(a: int, b: int, c: int, expected: int) -> None:
    assert Arithmetic("f16").apply("fma", a, b, c) == expected


@pytest.mark.parametrize(
    ("value", "target", "expected"),
    [
        (65519, "f16", 0x7BFF),
        (65520, "f16", 0x7C00),
        (2**24 + 1, "f32", 0x4B800000),
        (2**24 + 3, "f32", 0x4B800002),
        (2**60 + 2**36 + 1, "f32", 0x5D800001),  # through f64 it would be the tie
        (2**63 - 1, "f64", 0x43E0000000000000),
    ],
)
def test_integers_round_once(value: int, target: str, expected: int) -> None:
    assert int_to_float(value, target) == expected


@pytest.mark.parametrize(
    ("value", "low", "high", "expected"),
    [
        (math.nan, -128, 127, 0),
        (math.inf, -128, 127, 127),
        (-1e300, -128, 127, -128),
        (127.9, -128, 127, 127),
        (-0.9, 0, 255, 0),
        (2.0**63, -(2**63), 2**63 - 1, 2**63 - 1),
    ],
)
def test_floats_truncate_and_saturate(value: float, low: int, high: int, expected: int) -> None:
    assert float_to_int("f64", as_bits(value), low, high) == expected


@given(st.integers(0, 2**16 - 1))
def test_decoding_and_encoding_gives_the_bits_back(bits: int) -> None:
    for form in (F16, BF16):
        assert form.encode(form.decode(bits)) == form.canonical(bits)
