"""Numbers of the host become elements, arguments and constants with one rounding, to nearest even."""

from __future__ import annotations

import math
import warnings
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import gpucore as gc
from gpucore.ir.rounding import round_to, to_odd
from gpucore.runtime.host_numbers import rounded, scalar_bytes

# significand bits, exponent of the smallest subnormal, exponent of what is past the largest number
FORMATS = {gc.f16: (11, -24, 16), gc.bf16: (8, -133, 128), gc.f32: (24, -149, 128), gc.f64: (53, -1074, 1024)}


def nearest(value: Fraction, dtype: gc.DType) -> Fraction | float:
    """By trying both neighbours on the grid of the format."""
    bits, least, past = FORMATS[dtype]
    size = abs(value)
    step = max(least, size.numerator.bit_length() - size.denominator.bit_length() - bits - 2)
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


def as_fractions(array) -> list[Fraction | float]:
    return [
        Fraction(n) if np.isfinite(n) else n for n in array.numpy().astype(np.float64).reshape(-1).tolist()
    ]


@pytest.mark.parametrize("dtype", FORMATS, ids=str)
def test_every_element_of_host_data_is_rounded_once(ctx, dtype):
    if dtype is gc.bf16:
        pytest.importorskip("ml_dtypes", reason="bf16 arrays on the host need ml_dtypes")

    @given(st.lists(halfway(dtype), min_size=1, max_size=8))
    @settings(max_examples=60, deadline=None)
    def check(values):
        largest = Fraction(*np.finfo(np.float64).max.as_integer_ratio())
        values = [v for v in values if abs(v) <= largest] or [Fraction(1)]
        expected = [nearest(value, dtype) for value in values]
        assert as_fractions(ctx.array(values, dtype)) == expected
        whole = [round(value) for value in values]
        assert as_fractions(ctx.array(whole, dtype)) == [nearest(Fraction(n), dtype) for n in whole]
        assert as_fractions(ctx.array([0.5, *whole], dtype))[1:] == [
            nearest(Fraction(n), dtype) for n in whole
        ]
        for host in (np.array(values, np.float64), np.array(values, np.longdouble)):
            exact = [Fraction(*n.as_integer_ratio()) for n in host]
            with np.errstate(over="ignore"):
                assert as_fractions(ctx.array(host, dtype)) == [nearest(n, dtype) for n in exact]

    check()


@pytest.mark.parametrize("dtype", FORMATS, ids=str)
@pytest.mark.parametrize("kind", ["i4", "u4", "i8", "u8", ">i8"])
def test_every_integer_of_an_ndarray_is_rounded_once(ctx, dtype, kind):
    if dtype is gc.bf16:
        pytest.importorskip("ml_dtypes", reason="bf16 arrays on the host need ml_dtypes")
    limits = np.iinfo(np.dtype(kind))
    # two ones with a gap of every width, and what lies beside them
    numbers = {
        (1 << high) + (1 << low) + off
        for high in range(7, 64, 8)
        for low in range(high)
        for off in (-1, 0, 1)
    }
    numbers |= {-n for n in numbers} | {limits.min, limits.max, 0}
    whole = sorted(n for n in numbers if limits.min <= n <= limits.max)
    with np.errstate(over="ignore"):
        found = as_fractions(ctx.array(np.array(whole, kind), dtype))
    assert found == [nearest(Fraction(n), dtype) for n in whole]


def test_ndarrays_keep_their_special_values_and_shapes(ctx):
    pytest.importorskip("ml_dtypes", reason="bf16 arrays on the host need ml_dtypes")
    host = np.array([[np.inf, -np.inf, -0.0], [1e-60, -1e300, 5e-324]])
    with pytest.warns(RuntimeWarning, match="-1e\\+300 is infinite as bf16"):
        found = ctx.array(host, gc.bf16).numpy().astype(np.float64)
    assert found.tolist() == [[np.inf, -np.inf, 0.0], [0.0, -np.inf, 0.0]]
    assert np.signbit(found[0, 2]) and not np.signbit(found[1, 0])
    assert np.isnan(ctx.array([np.nan], gc.bf16).numpy().astype(np.float64)).all()
    assert np.isnan(ctx.array([1, None], gc.f32).numpy()).tolist() == [False, True]
    assert ctx.array(np.zeros((0, 3)), gc.bf16).shape == (0, 3)
    assert ctx.array(np.float64(1 + 2**-8 + 2**-40), gc.bf16).numpy().astype(float) == 1 + 2**-7
    same = np.zeros(3, gc.bf16.numpy)
    assert rounded(same, gc.bf16) is same


def test_vectors_are_rounded_once_and_numbers_past_every_float_do_not_fit(ctx):
    number = 2**60 + 2**36 + 1
    assert ctx.array([[number, 0]], gc.vec2[gc.f32]).numpy().reshape(-1)[0] == 2**60 + 2**37
    with pytest.raises(OverflowError, match=r"^1000\d*\.\.\. \(401 characters\) does not fit f32"):
        ctx.array([1, 10**400], gc.f32)


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


@pytest.mark.parametrize("dtype", [gc.f16, gc.bf16, gc.f32], ids=str)
@pytest.mark.parametrize("value", [-1e39, 10**39, Fraction(10**39), np.float64(1e39)], ids=repr)
def test_what_is_beyond_a_dtype_is_infinite_with_numpys_warning_whichever_way_it_comes(ctx, dtype, value):
    if dtype is gc.bf16:
        pytest.importorskip("ml_dtypes")
    x = ctx.zeros(2, dtype)
    ways = [
        lambda: ctx.full(2, value, dtype),
        lambda: x.fill(value),
        lambda: ctx.array([value, 1.0], dtype),
        lambda: ctx.array(np.array([float(value), 1.0]), dtype),
    ]
    for way in ways:
        with pytest.warns(RuntimeWarning, match="overflow encountered in cast") as seen:
            assert float(way().numpy()[0]) == math.copysign(math.inf, value)
        assert [one.filename for one in seen] == [__file__]
        with np.errstate(over="raise"), pytest.raises(FloatingPointError):
            way()
        with warnings.catch_warnings(), np.errstate(over="ignore"):
            warnings.simplefilter("error")
            way()


def test_infinity_and_the_largest_number_are_what_they_are(ctx):
    largest = float(np.finfo(np.float32).max)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for value in (math.inf, -math.inf, largest, -largest, np.float32(np.inf)):
            assert ctx.full(2, value, gc.f32).numpy()[1] == np.float32(value)
            assert ctx.array([value], gc.f32).numpy()[0] == np.float32(value)
        assert math.isnan(ctx.full(1, math.nan, gc.f16).numpy()[0])
