"""Checked mode: what is wrong is skipped and reported once, what is right is left as it was."""

import numpy as np
import pytest

from gpucore.errors import KernelAssertionError, KernelBoundsError, KernelDivisionError
from gpucore.ir import Assert, If, walk

GATHER = """
kernel @gather(&x: f32[?], &at: i32[?], &y: f32[?]) {
  %i: index = global_id 0
  %a: i32 = load &at[%i]
  %j: index = cast %a
  %v: f32 = load &x[%j] loc("kernel.py", 7, 4)
  store &y[%i], %v loc("kernel.py", 8, 4)
}
"""


def test_an_index_out_of_bounds_reads_zero_and_is_reported_with_its_place(build, run_checked):
    x, y = np.arange(5, dtype=np.float32) + 1, np.full(4, 9, np.float32)
    error = run_checked(build(GATHER), 1, 4, [x, np.array([0, 4, 5, 1], np.int32), y])
    assert isinstance(error, KernelBoundsError)
    assert (error.kernel, error.filename, error.lineno) == ("gather", "kernel.py", 7)
    assert (error.array, error.index, error.shape, error.thread) == ("x", (5,), (5,), (2,))
    assert "index 5 is out of bounds for array 'x' of shape (5,)" in str(error)
    assert y.tolist() == [1, 5, 0, 2]


def test_a_negative_index_is_out_of_bounds_and_never_wrapped(build, run_checked):
    x, y = np.arange(5, dtype=np.float32), np.full(1, 9, np.float32)
    error = run_checked(build(GATHER), 1, 1, [x, np.array([-1], np.int32), y])
    assert error.index == (-1,)
    assert y[0] == 0


def test_a_store_out_of_bounds_is_skipped(build, run_checked):
    x, y = np.ones(2, np.float32), np.full(2, 9, np.float32)
    error = run_checked(build(GATHER), 1, 4, [x, np.zeros(4, np.int32), y])
    assert (error.array, error.index, error.lineno) == ("y", (2,), 8)
    assert y.tolist() == [1, 1]


def test_only_the_first_error_is_kept(build, run_checked):
    x, y = np.ones(2, np.float32), np.zeros(4, np.float32)
    error = run_checked(build(GATHER), 1, 4, [x, np.array([0, 7, 8, 9], np.int32), y])
    assert (error.index, error.thread) == ((7,), (1,))


def test_a_correct_launch_reports_nothing(build, run_checked):
    y = np.zeros(4, np.float32)
    assert run_checked(build(GATHER), 1, 4, [np.ones(4, np.float32), np.arange(4, dtype=np.int32), y]) is None
    assert y.all()


WIDE = """
kernel @wide(&x: f32[?, ?, ?, ?], %a: i64) {
  %z: index = global_id 0
  %k: index = cast %a
  %zero: index = const 0
  %one: f32 = const 1.0
  store &x[%zero, %k, %zero, %z], %one
}
"""


@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize("index", [2, -1, 2**31, 2**32, -(2**40), 2**62])
def test_four_axes_and_indices_of_64_bits_are_reported_whole(build, run_checked, small, index):
    x = np.zeros((1, 2, 3, 4), np.float32)
    error = run_checked(build(WIDE), 1, 1, [x, index], small=small)
    assert error.index == (0, index, 0, 0)
    assert error.shape == (1, 2, 3, 4)
    assert not x.any()


ATOMIC = """
kernel @atomic(&x: i32[?], &old: i32[?], %a: i32) {
  %k: index = cast %a
  %v: i32 = const 5
  %r: i32 = atomic add &x[%k], %v
  %s: i32 = atomic cas &x[%k], %v, %v
  %zero: index = const 0
  store &old[%zero], %r
}
"""


def test_an_atomic_out_of_bounds_is_skipped_and_gives_zero(build, run_checked):
    x, old = np.full(2, 3, np.int32), np.full(1, 9, np.int32)
    assert run_checked(build(ATOMIC), 1, 1, [x, old, 2]).array == "x"
    assert x.tolist() == [3, 3]
    assert old[0] == 0


STATIC = """
kernel @static(&y: i32[?], %a: i32) {
  memory &s: shared i32[4]
  memory &l: local i32[2]
  memory &c: const i32[3] = {1, 2, 3}
  %k: index = cast %a
  %v: i32 = const 5
  store &s[%k], %v
  init &l
  %b: i32 = load &l[%k]
  %d: i32 = load &c[%k]
  %r: i32 = add %b, %d
  %zero: index = const 0
  store &y[%zero], %r
}
"""


@pytest.mark.parametrize(("a", "array", "shape"), [(4, "s", (4,)), (3, "l", (2,)), (2, "l", (2,))])
def test_shared_local_and_constant_memory_are_guarded_too(build, run_checked, a, array, shape):
    error = run_checked(build(STATIC), 1, 1, [np.zeros(1, np.int32), a])
    assert (error.array, error.shape) == (array, shape)


def test_a_constant_index_that_is_inside_needs_no_guard(build, low):
    module = build("""
kernel @k(&y: i32[?]) {
  memory &l: local i32[2]
  init &l
  %one: index = const 1
  %v: i32 = load &l[%one]
  %zero: index = const 0
  %n: index = extent &y, 0
  %c: bool = lt %zero, %n
  if %c {
    store &y[%zero], %v
  }
}
""")
    assert sum(isinstance(s, If) for s in walk(low(module, check=True).kernel.body)) == 1


DIVIDE = """
kernel @divide(&y: {t}[?], %a: {t}, %b: {t}) {{
  %zero: index = const 0
  %r: {t} = {op} %a, %b loc("kernel.py", 3, 8)
  store &y[%zero], %r
}}
"""


@pytest.mark.parametrize("dtype", ["i8", "u8", "i32", "u32", "i64", "u64"])
@pytest.mark.parametrize("op", ["floordiv", "mod"])
def test_an_integer_division_by_zero_is_reported_and_gives_zero(build, run_checked, dtype, op):
    y = np.full(1, 9, f"{dtype[0]}{int(dtype[1:]) // 8}")
    module = build(DIVIDE.format(t=dtype, op=op))
    error = run_checked(module, 1, 1, [y, 7, 0])
    assert isinstance(error, KernelDivisionError)
    assert isinstance(error, ZeroDivisionError)
    assert error.lineno == 3
    assert y[0] == 0
    assert run_checked(module, 1, 1, [y, 7, 2]) is None
    assert y[0] == (3 if op == "floordiv" else 1)


ASSERT = """
kernel @asserting(&x: f32[?, ?]) {
  %i: index = global_id 0
  %j: index = global_id 1
  %v: f32 = load &x[%i, %j]
  %zero: f32 = const 0.0
  %c: bool = ge %v, %zero
  assert %c, "x is not negative" loc("kernel.py", 5, 4)
}
"""


def test_an_assert_is_reported_with_its_message_and_thread(build, run_checked):
    x = np.zeros((2, 3), np.float32)
    module = build(ASSERT, ndim=2)
    assert run_checked(module, (1, 1), (2, 3), [x]) is None
    x[1, 2] = -1
    error = run_checked(module, (1, 1), (2, 3), [x])
    assert isinstance(error, KernelAssertionError)
    assert error.thread == (1, 2)
    assert "x is not negative" in str(error)
    assert error.lineno == 5


def test_asserts_are_dropped_where_nothing_is_checked(build, low):
    assert not any(isinstance(s, Assert) for s in walk(low(build(ASSERT, ndim=2)).kernel.body))


def test_the_record_is_the_last_parameter_and_extents_come_before(build, low):
    module = low(build(GATHER), check=True, range_launch="nd")
    assert [p.name for p in module.kernel.params] == ["x", "at", "y", "$extent0", "$error"]


def test_an_index_that_the_guard_proves_is_not_tested_again(build, low):
    """Below the array's own extent, and an id is never negative: nothing is left to ask."""
    module = build("""
kernel @k(&y: i32[?]) {
  %i: index = global_id 0
  %n: index = extent &y, 0
  %c: bool = lt %i, %n
  if %c {
    %v: i32 = const 1
    store &y[%i], %v
  }
}
""")
    assert sum(isinstance(s, If) for s in walk(low(module, check=True).kernel.body)) == 1
