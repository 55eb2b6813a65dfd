"""What users get wrong, or nearly wrong, outside kernels: it works, or the error says what to write instead."""

import itertools
import math

import numpy as np
import pytest

import gpucore as gc

LIMIT = 1000.5

SCALARS = [
    2, 2.0, True, 2**40, 2**63, -(2**31), -(2**31) - 1, math.inf, *(np.dtype(name).type(1) for name in (
        "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32",
        "float64")), np.array(3.0, np.float32),
]  # fmt: skip


@gc.kernel
def scaled(y: gc.Array[gc.f64], value):
    y[gc.global_id(0)] = gc.f64(value)


# --- scalars -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("first", SCALARS, ids=lambda v: f"{type(v).__name__}-{v}")
def test_a_parameter_without_annotation_takes_any_scalar_after_any_other(ctx, first):
    y = ctx.zeros(1, gc.f64)
    for second in SCALARS:
        for value in (first, second, first):
            scaled[1, 1](y, value)
            assert y.numpy()[0] == float(value)
    scaled[1, 1].bind(y, first)()
    stream = ctx.stream()
    ctx.synchronize()
    scaled[1, 1, stream](y, first)
    assert y.numpy(stream=stream)[0] == float(first)


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, 1j, "1", None, np.complex64(1), np.datetime64("now")])
def test_what_is_no_scalar_is_refused_by_name(ctx, value):
    y = ctx.zeros(1, gc.f64)
    scaled[1, 1](y, 1.0)
    with pytest.raises(gc.LaunchError, match="scaled: the argument 'value' is"):
        scaled[1, 1](y, value)


# --- compile-time values -----------------------------------------------------------------------------
def sign_of(value):
    return math.copysign(1, value) if isinstance(value, float) else 0


def test_compile_time_values_that_compare_equal_are_told_apart(ctx):
    @gc.kernel
    def kind(y: gc.Array[gc.f32], value: gc.constexpr):
        y[0] = 1.0 / value if value == value else gc.f32(7)

    y = ctx.zeros(1, gc.f32)
    for first, second in itertools.permutations([1.0, 0.5, float("0.5"), -0.5, math.nan, -math.nan], 2):
        for value in (first, second, first):
            kind[1, 1](y, value)
            assert y.numpy()[0] == (7 if value != value else np.float32(1 / value))


def test_compile_time_values_of_another_class_are_told_apart(ctx):
    @gc.kernel
    def doubled(y: gc.Array[gc.f64], value: gc.constexpr):
        y[0] = gc.f64(value * 2147483647 + value)

    y = ctx.zeros(1, gc.f64)
    results = {}
    for value in (1, 1.0, True, np.int32(1), np.float64(1), 1, True, 1.0):
        doubled[1, 1](y, value)
        results.setdefault(type(value), y.numpy()[0])
        assert results[type(value)] == y.numpy()[0]
    assert results[np.float64] == 2147483648 and results[np.int32] == -2147483648


def test_minus_zero_is_another_compile_time_value_than_zero(ctx):
    @gc.kernel
    def keep(y: gc.Array[gc.f32], value: gc.constexpr):
        y[0] = value[0]

    y = ctx.zeros(1, gc.f32)
    for value in (0.0, -0.0, 0.0, float("0"), -0.0):
        keep[1, 1](y, (value,))
        assert sign_of(float(y.numpy()[0])) == sign_of(value)


def test_a_captured_constant_may_be_replaced_by_an_equal_one(ctx, monkeypatch):
    @gc.kernel
    def captured(y: gc.Array[gc.f32]):
        y[0] = LIMIT

    y = ctx.zeros(1, gc.f32)
    for text in ("1000.5", "1000.5", "nan", "nan", "0.0", "-0.0"):
        monkeypatch.setitem(globals(), "LIMIT", float(text))
        captured[1, 1](y)
        assert str(float(y.numpy()[0])) == text


@pytest.mark.parametrize("value", [[1, 2], np.ones(2), {1: 2}, {1}, ([1],)])
def test_a_compile_time_value_that_may_change_is_refused(ctx, value):
    @gc.kernel
    def first(y: gc.Array[gc.i32], values: gc.constexpr):
        y[0] = values[0]

    y = ctx.zeros(1, gc.i32)
    for attempt in (lambda: first[1, 1](y, value), lambda: first.ir(y, value)):
        with pytest.raises(gc.LaunchError, match="'values' is a compile-time value.*a tuple|pass tuple"):
            attempt()
    first[1, 1](y, (3, 4))
    assert y.numpy()[0] == 3
