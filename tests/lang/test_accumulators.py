"""Accumulators that begin as an int literal and may wrap before they are widened: compiling them warns once, at the line."""

import warnings

import numpy as np
import pytest

import gpucore as gc
from gpucore.errors import WrapWarning

WIDE, NARROW = np.zeros(3, np.int64), np.zeros(3, np.int32)
BYTES, FLOATS = np.zeros(3, np.uint8), np.zeros(3, np.float32)


@gc.kernel
def doubled(out: gc.Array[gc.i64], n: gc.i32):
    s = 1
    for _ in range(n):
        s *= 2  # wraps
    out[0] = s


@gc.kernel
def fibonacci(out: gc.Array[gc.i64], n: gc.i32):
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b  # wraps
    out[0] = a


@gc.kernel
def triangular(out: gc.Array[gc.i64], n: gc.i32):
    s = 0
    k = 0
    while k < n:
        k += 1
        s += k  # wraps
    out[0] = s


@gc.kernel
def mean_of_bytes(x: gc.Array[gc.u8], out: gc.Array[gc.f32]):
    s = 0
    for k in range(9):
        s += x[k]  # wraps
    out[0] = s / 9.0


@gc.kernel
def sum_into_wide(x: gc.Array[gc.i32], out: gc.Array[gc.i64]):
    s = 0
    for k in range(x.shape[0]):
        s += x[k]  # wraps
    out[0] = s


@gc.kernel
def unrolled_enough(out: gc.Array[gc.i64]):
    s = 1
    for _ in range(31):
        s = s << 1  # wraps
    out[0] = gc.i64(s)


@gc.kernel
def scale(out: gc.Array[gc.f32]):
    s = 1
    for k in range(out.shape[0]):
        s *= 3  # wraps
        out[k] = 1.0 / s


@gc.func
def power(n: gc.i32) -> gc.i64:
    p = 1
    for _ in range(n):
        p *= 3  # wraps
    return p


@gc.kernel
def by_function(out: gc.Array[gc.i64], n: gc.i32):
    out[0] = power(n)


@gc.kernel
def type_said(out: gc.Array[gc.i64], n: gc.i32):
    s = gc.i32(1)
    for _ in range(n):
        s *= 2
    out[0] = s


@gc.kernel
def stored_as_it_is(out: gc.Array[gc.i32], n: gc.i32):
    s = 1
    for _ in range(n):
        s *= 2
    out[0] = s


@gc.kernel
def few_times(out: gc.Array[gc.i64], n: gc.i32):
    for i in range(n):
        s = 1
        for _ in range(15):
            s *= 4
        out[i] = s


@gc.kernel
def held_back(out: gc.Array[gc.i64], n: gc.i32):
    s = 1
    while s < n:
        s *= 2
    out[0] = s


@gc.kernel
def counted(x: gc.Array[gc.i64], out: gc.Array[gc.i64]):
    c = 0
    d = 0
    for k in range(x.shape[0]):
        if x[k] > 0:
            c += 1
        d += 3 if x[k] < 0 else 5
    out[0] = c
    out[1] = d


@gc.kernel
def remainder(out: gc.Array[gc.i64], n: gc.i32):
    s = 1
    for _ in range(n):
        s = s * 16807 % 65521
    out[0] = s


@gc.kernel
def bits_taken(out: gc.Array[gc.f32]):
    s = 1
    for k in range(out.shape[0]):
        s = s * 1103515245 + 12345
        out[k] = gc.f32((s >> 16) & 0x7FFF)


@gc.kernel
def stride_of_indices(x: gc.Array[gc.i32], out: gc.Array[gc.i32], n: gc.i32):
    i = gc.global_id(0)
    d = 1
    for _ in range(n):
        if i + d < x.shape[0]:
            out[i] += x[i + d]
        d *= 2


@gc.kernel
def counts_of_an_array(x: gc.Array[gc.i32], out: gc.Array[gc.f32]):
    s = 0
    for k in range(x.shape[0]):
        s += x[k]
    out[0] = gc.f32(s) / 3.0


@gc.kernel
def floats(out: gc.Array[gc.f32], n: gc.i32):
    s = 1.0
    for _ in range(n):
        s *= 2
    out[0] = s


@gc.kernel
def wide_by_the_index(out: gc.Array[gc.i64], n: gc.i32):
    s = 1
    for k in range(1, n):
        s *= k
    out[0] = s


def found(kernel, *arguments):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        kernel.ir(*arguments)
        kernel.ir(*arguments)
    return [w for w in caught if w.category is WrapWarning]


def marked(function):
    first = function.__code__.co_firstlineno
    lines = open(__file__, encoding="utf-8").read().splitlines()
    return next(n for n in range(first, len(lines)) if "# wraps" in lines[n - 1])


@pytest.mark.parametrize(
    ("kernel", "arguments", "said"),
    [
        (doubled, (WIDE, 3), "s is an i32, since only int literals give it a type, and may wrap at 2**31 before"),
        (fibonacci, (WIDE, 3), "a is an i32"),
        (triangular, (WIDE, 3), "s is an i32"),
        (mean_of_bytes, (BYTES, FLOATS), "s is a u8, since it takes the type of what is added to it, and may wrap at 2**8"),
        (sum_into_wide, (NARROW, WIDE), "gc.i64(...), or gc.i32(...) where it may wrap"),
        (unrolled_enough, (WIDE,), "s is an i32"),
        (scale, (FLOATS,), "becomes an f32"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)  # fmt: skip
def test_an_accumulator_that_may_wrap_warns_once_at_the_line_where_it_grows(kernel, arguments, said):
    (warning,) = found(kernel, *arguments)
    assert said in str(warning.message)
    assert (warning.filename, warning.lineno) == (__file__, marked(kernel.__wrapped__))


def test_a_function_that_may_wrap_warns_at_its_own_line():
    (warning,) = found(by_function, WIDE, 3)
    assert str(warning.message).startswith("by_function: p is an i32")
    assert "# wraps" in open(__file__, encoding="utf-8").read().splitlines()[warning.lineno - 1]


@pytest.mark.parametrize(
    ("kernel", "arguments"),
    [
        (type_said, (WIDE, 3)), (stored_as_it_is, (NARROW, 3)), (few_times, (WIDE, 3)), (held_back, (WIDE, 3)),
        (counted, (WIDE, WIDE)), (remainder, (WIDE, 3)), (bits_taken, (FLOATS,)), (stride_of_indices, (NARROW, NARROW, 3)),
        (counts_of_an_array, (NARROW, FLOATS)), (floats, (FLOATS, 3)), (wide_by_the_index, (WIDE, 3)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)  # fmt: skip
def test_what_does_not_wrap_unseen_does_not_warn(kernel, arguments):
    assert found(kernel, *arguments) == []
