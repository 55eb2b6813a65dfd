"""The functions of math.h in kernels: Python's own stand for them, and types that a result would be wrong on are refused."""

import math

import numpy as np
import pytest
from lang_helpers import compiled

import gpucore as gc
from gpucore.errors import KernelTypeError
from gpucore.ir.dtypes import bf16, f16, f32, f64, i32

ARGUMENTS = (0.0, 0.3, -0.7, 1.0, 2.5, -3.25, 40.0, -0.0, math.inf, math.nan)


@gc.kernel
def pythons(x: gc.Array[gc.f64], y: gc.Array[gc.f64], r: gc.Array[gc.f64, 2], e: gc.Array[gc.i32]):
    i = gc.global_id(0)
    r[0, i] = math.fmod(x[i], y[i])
    r[1, i] = math.remainder(x[i], y[i])
    r[2, i] = math.copysign(x[i], y[i])
    r[3, i] = math.nextafter(x[i], y[i])
    r[4, i], e[i] = math.frexp(x[i])
    r[5, i] = math.ldexp(x[i], i)
    r[6, i] = math.hypot(x[i], y[i])
    r[7, i] = math.cbrt(x[i])
    r[8, i] = math.asinh(x[i])
    r[9, i] = math.expm1(x[i])


def test_pythons_functions_stand_for_ours():
    pairs = [(a, b) for a in ARGUMENTS for b in ARGUMENTS]
    x, y = (np.array(column) for column in zip(*pairs, strict=True))
    r, e = np.zeros((10, len(pairs))), np.zeros(len(pairs), np.int32)
    pythons.interpret(len(pairs), 1, x, y, r, e)
    for i, (a, b) in enumerate(pairs):
        wrong = math.isinf(a) or b == 0 or math.isnan(a) or math.isnan(b)
        if not wrong:
            assert (r[0, i], r[1, i]) == (math.fmod(a, b), math.remainder(a, b))
            assert math.copysign(1, r[0, i]) == math.copysign(1, a)
        else:
            assert math.isnan(r[0, i]) and math.isnan(r[1, i])
        if not math.isnan(b):
            np.testing.assert_array_equal(r[2, i], math.copysign(a, b))
        np.testing.assert_array_equal(r[3, i], math.nextafter(a, b))
        if math.isfinite(a):
            assert (r[4, i], e[i]) == math.frexp(a)
            assert r[5, i] == math.ldexp(a, i)
        np.testing.assert_allclose(
            r[6:, i], [math.hypot(a, b), np.cbrt(a), math.asinh(a), math.expm1(a)], rtol=4e-16
        )


def test_numbers_win_over_nan_in_fmin_and_fmax():
    @gc.kernel
    def kernel(x: gc.Array[gc.f32], y: gc.Array[gc.f32], r: gc.Array[gc.f32, 2]):
        i = gc.global_id(0)
        r[0, i] = gc.fmin(x[i], y[i])
        r[1, i] = gc.fmax(x[i], y[i])
        r[2, i] = gc.min(x[i], y[i])

    x = np.array([1, np.nan, 1, np.nan, 0.0, -0.0], np.float32)
    y = np.array([2, 2, np.nan, np.nan, -0.0, 0.0], np.float32)
    r = np.zeros((3, 6), np.float32)
    kernel.interpret(6, 1, x, y, r)
    np.testing.assert_array_equal(r[0], [1, 2, 1, np.nan, -0.0, -0.0])
    np.testing.assert_array_equal(r[1], [2, 2, 1, np.nan, 0.0, 0.0])
    assert np.signbit(r[0, 4:]).all() and not np.signbit(r[1, 4:]).any()
    assert np.isnan(r[2, 1:4]).all()


@pytest.mark.parametrize("value", [5, np.int64(2**40), np.int64(-(2**40)), np.uint32(2**32 - 1), np.int8(-3)])
def test_exponents_of_any_integer_type_count_in_full(value):
    @gc.kernel
    def kernel(y: gc.Array[gc.f32], n):
        y[0] = gc.ldexp(y[0], n)

    y = np.array([1.5], np.float32)
    kernel.interpret(1, 1, y, value)
    with np.errstate(over="ignore"):
        assert y[0] == np.ldexp(np.float32(1.5), np.clip(int(value), -1000, 1000))


@pytest.mark.parametrize("dtype", [f16, bf16])
@pytest.mark.parametrize("call", ["gc.nextafter(x[0], x[1])", "gc.ldexp(x[0], 3)"])
def test_what_halves_would_get_wrong_is_refused(dtype, call):
    text = f"def kernel(x):\n    x[0] = {call}\n"
    space = {"gc": gc}
    exec(text, space)
    with pytest.raises(KernelTypeError, match=r"works on f32 and f64, not on .*f16"):
        gc.lang.build(gc.lang.capture(space["kernel"], source=text), [gc.lang.ArrayType(dtype)])


@pytest.mark.parametrize(
    ("call", "rule"),
    [
        ("gc.cbrt(x[0])", "cbrt works on floats, not on i32"),
        ("gc.fmod(x[0], 2)", "fmod works on floats"),
        ("gc.fmax(x[0], x[1])", "fmax works on floats"),
        ("gc.copysign(x[0], x[1])", "copysign works on floats"),
        ("gc.ldexp(gc.f32(x[0]), 0.5)", "the exponent of ldexp is an integer, not f32"),
    ],
)
def test_integers_are_refused(call, rule):
    text = f"def kernel(x):\n    x[0] = gc.i32({call})\n"
    space = {"gc": gc}
    exec(text, space)
    with pytest.raises(KernelTypeError, match=rule):
        gc.lang.build(gc.lang.capture(space["kernel"], source=text), [gc.lang.ArrayType(i32)])


def test_literals_have_the_default_float():
    def kernel(x):
        x[0] = gc.cbrt(0.2) + gc.hypot(0.1, 0.2) + gc.copysign(0.1, -1.0) + gc.frexp(0.3)[0]

    for dtype in (f32, f64):
        module = compiled(kernel, dtype)
        assert {s.result.dtype for s in gc.ir.walk(module.kernel.body) if isinstance(s, gc.ir.Op)} <= {
            dtype,
            gc.u32,
            gc.u64,
            i32,
        }
