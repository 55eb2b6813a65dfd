"""Numbers of the host become elements, arguments and constants with one rounding, to nearest even."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import gpucore as gc
from gpucore.ir.rounding import round_to, to_odd
from gpucore.runtime.scalars import scalar_bytes

# significand bits, exponent of the smallest subnormal, exponent of what is past the largest number
FORMATS = {gc.f16: (11, -24, 16), gc.bf16: (8, -133, 128), gc.f32: (24, -149, 128), gc.f64: (53, -1074, 1024)}


def nearest(value: Fraction, dtype: gc.DType) -> Fraction | float:
    """By trying both neighbours on the grid of the format."""
    bits, least, past = FORMATS[dtype]
    size = abs(value)
    step = least
    while size >= Fraction(2) ** (step + bits):
        step += 1
    unit = Fraction(2) ** step
    below = size // unit
    rest = size - below * unit
    count = below + (rest > unit / 2 or (rest == unit / 2 and below % 2 == 1))
    found = count * unit
    if found >= Fraction(2) ** past:
        return float("inf") if value > 0 else -float("inf")
    return found if value >= 0 else -found


def halfway(dtype: gc.DType) -> st.SearchStrategy[Fraction]:
    """Numbers about the middle between two neighbours, where rounding twice goes wrong."""
    bits, least, past = FORMATS[dtype]
    return st.builds(
        lambda whole, exponent, tail, sign: (
            sign * (Fraction(2 * whole + 1, 2) + Fraction(tail, 2**70)) * Fraction(2) ** exponent
        ),
        st.integers(1 << (bits - 1), (1 << bits) - 1),
        st.integers(max(least, -60), min(past - bits - 1, 60)),
        st.integers(-3, 3),
        st.sampled_from([1, -1]),
    )


@pytest.mark.parametrize("dtype", FORMATS, ids=str)
def test_every_number_is_rounded_once(dtype):
    @given(halfway(dtype))
    @example(Fraction(2**60 + 2**36 + 1))
    @example(1 + Fraction(1, 2**8) + Fraction(1, 2**40))
    @example(Fraction(10**60))
    @example(-(Fraction(2) ** -151))
    @settings(max_examples=100, deadline=None)
    def check(value):
        expected = nearest(value, dtype)
        assert round_to(value, dtype) == expected
        if value.denominator == 1:
            assert round_to(int(value), dtype) == expected
        if Fraction(to_odd(value)) == value:
            assert round_to(to_odd(value), dtype) == expected

    check()


@pytest.mark.parametrize(
    "value", [2**60 + 2**36 + 1, np.int64(2**60 + 2**36 + 1), np.uint64(2**60 + 2**36 + 1)]
)
def test_large_integers_fill_f32_arrays_rounded_once(ctx, value):
    assert int(ctx.full(2, value, gc.f32).numpy()[0]) == 2**60 + 2**37


def test_fill_rounds_once_to_bf16_and_needs_no_dtype_of_numpys(ctx):
    assert scalar_bytes(1 + 2**-8 + 2**-40, gc.bf16) == np.uint16(0x3F81).tobytes()
    assert scalar_bytes(2**60 + 2**52 + 1, gc.bf16) == np.uint16(0x5D81).tobytes()
    assert scalar_bytes(Fraction(1, 3), gc.bf16) == np.uint16(0x3EAB).tobytes()


def test_arguments_and_captured_constants_round_once(ctx):
    number, third = 2**60 + 2**36 + 1, 1 + 2**-8 + 2**-40

    @gc.kernel
    def store(x: gc.Array[gc.f32], a: gc.f32, h: gc.bf16) -> None:
        x[0] = a
        x[1] = gc.f32(h)
        x[2] = gc.f32(number)
        x[3] = gc.f32(gc.bf16(third))

    x = ctx.zeros(4, gc.f32)
    store[1, 1](x, number, third)
    assert x.numpy().tolist() == [2**60 + 2**37, 1 + 2**-7, 2**60 + 2**37, 1 + 2**-7]


def test_a_fraction_is_no_integer_and_a_number_past_every_float_does_not_fit(ctx):
    with pytest.raises(TypeError, match="is not an integer"):
        ctx.zeros(2, gc.i32).fill(Fraction(1, 3))
    assert ctx.zeros(2, gc.i32).fill(Fraction(4, 2)).numpy().tolist() == [2, 2]
    with pytest.raises(OverflowError, match=r"^1000\d*\.\.\. \(401 characters\) does not fit f32"):
        ctx.zeros(2, gc.f32).fill(10**400)
    with pytest.raises(OverflowError, match="does not fit i8"):
        ctx.zeros(2, gc.i8).fill(np.int64(200))
