"""check=True: what goes wrong in a kernel is one exception that says where, and the context works on."""

import numpy as np
import pytest

import gpucore as gc


@gc.kernel
def ahead(x: gc.Array[gc.i32, 2], out: gc.Array[gc.i32], by: gc.i32):
    i = gc.global_id(0)
    if i < out.shape[0]:
        out[i] = x[0, i + by] + 1


@gc.kernel
def astray(out: gc.Array[gc.i32], by: gc.i32):
    i = gc.global_id(0)
    if i < out.shape[0]:
        out[i + by] = 7


@gc.kernel
def in_shared(out: gc.Array[gc.i32], by: gc.i32):
    tile = gc.shared((4, 8), gc.i32)
    t = gc.thread_id(0)
    if t < 32:
        tile[t // 8, t % 8] = 1
    gc.barrier()
    out[t] = tile[t // 8, t % 8 + by]


@gc.kernel
def in_local(out: gc.Array[gc.i32], by: gc.i32):
    line = gc.local(6, gc.i32)
    t = gc.thread_id(0)
    line[t % 6 + by] = 3
    out[t] = line[t % 6]


@gc.kernel
def divide(x: gc.Array[gc.i32], out: gc.Array[gc.i32]):
    i = gc.global_id(0)
    if i < x.shape[0]:
        out[i] = 100 // x[i]


@gc.kernel
def remainder(x: gc.Array[gc.u32], out: gc.Array[gc.u32]):
    i = gc.global_id(0)
    if i < x.shape[0]:
        out[i] = 100 % x[i]


@gc.kernel
def insist(x: gc.Array[gc.i32]):
    i = gc.global_id(0)
    if i < x.shape[0]:
        assert x[i] >= 0, "no negative numbers"
        x[i] += 1


@gc.kernel
def atomic_astray(out: gc.Array[gc.i32]):
    gc.atomic_add(out, gc.global_id(0), 1)


def line_of(kernel, text):
    import inspect

    lines, first = inspect.getsourcelines(kernel.__wrapped__)
    return first + next(number for number, line in enumerate(lines) if text in line)


@pytest.fixture
def checked(gpucore_context):
    return gpucore_context.options(check=True)


def once(context, kind, launch):
    launch()
    with pytest.raises(kind) as caught:
        context.synchronize()
    context.synchronize()
    return caught.value


def test_a_load_beyond_the_end(checked):
    x, out = checked.ones((3, 20), gc.i32), checked.zeros(20, gc.i32)
    error = once(checked, gc.KernelBoundsError, lambda: ahead[1, 32](x, out, 1))
    assert error.kernel == "ahead"
    assert error.filename == __file__
    assert error.lineno == line_of(ahead, "out[i] =")
    assert (error.array, error.index, error.shape, error.thread) == ("x", (0, 20), (3, 20), (19,))
    assert isinstance(error, IndexError)
    np.testing.assert_array_equal(out.numpy(), [2] * 19 + [1])  # the load gave 0
    ahead[1, 32](x, out, 0)
    np.testing.assert_array_equal(out.numpy(), [2] * 20)


def test_negative_indices_do_not_wrap(checked):
    out = checked.zeros(5, gc.i32)
    error = once(checked, gc.KernelBoundsError, lambda: astray[1, 8](out, -1))
    assert (error.array, error.index, error.shape, error.thread) == ("out", (-1,), (5,), (0,))
    np.testing.assert_array_equal(out.numpy(), [7, 7, 7, 7, 0])


def test_a_store_beyond_the_end_is_skipped(checked):
    whole = checked.zeros(16, gc.i32)
    error = once(checked, gc.KernelBoundsError, lambda: astray[1, 8](whole[:6], 3))
    assert error.shape == (6,)
    assert error.index[0] in (6, 7, 8)
    np.testing.assert_array_equal(whole.numpy(), [0, 0, 0, 7, 7, 7] + [0] * 10)


def test_shared_and_local_arrays(checked):
    out = checked.zeros(32, gc.i32)
    error = once(checked, gc.KernelBoundsError, lambda: in_shared[1, 32](out, 1))
    assert (error.array, error.shape) == ("tile", (4, 8))
    assert error.index[1] == 8
    error = once(checked, gc.KernelBoundsError, lambda: in_local[1, 32](out, 2))
    assert (error.array, error.shape) == ("line", (6,))
    in_shared[1, 32](out, 0)
    assert (out.numpy() == 1).all()


def test_atomics(checked):
    out = checked.zeros(5, gc.i32)
    error = once(checked, gc.KernelBoundsError, lambda: atomic_astray[1, 6](out))
    assert (error.array, error.index, error.thread) == ("out", (5,), (5,))
    assert (out.numpy() == 1).all()


def test_division_by_zero(checked):
    x = checked.array(np.array([1, 2, 0, 5], np.int32))
    out = checked.zeros(4, gc.i32)
    error = once(checked, gc.KernelDivisionError, lambda: divide[1, 4](x, out))
    assert (error.kernel, error.lineno, error.thread) == ("divide", line_of(divide, "//"), (2,))
    assert isinstance(error, ZeroDivisionError)
    np.testing.assert_array_equal(out.numpy(), [100, 50, 0, 20])
    y = checked.array(np.array([3, 0], np.uint32))
    error = once(checked, gc.KernelDivisionError, lambda: remainder[1, 4](y, checked.zeros(2, gc.u32)))
    assert error.thread == (1,)


def test_assertions(checked):
    x = checked.array(np.array([1, 2, -3, 5], np.int32))
    error = once(checked, gc.KernelAssertionError, lambda: insist[1, 4](x))
    assert "no negative numbers" in str(error)
    assert (error.kernel, error.lineno, error.thread) == ("insist", line_of(insist, "assert"), (2,))
    assert isinstance(error, AssertionError)


def test_the_first_of_many_errors_is_one_error(checked):
    x, out = checked.ones((1, 50_000), gc.i32), checked.zeros(50_000, gc.i32)

    def launches():
        for _ in range(5):
            ahead[gc.cdiv(50_000, 128), 128](x, out, 40_000)

    error = once(checked, gc.KernelBoundsError, launches)
    assert error.index[1] == error.thread[0] + 40_000
    assert error.index[1] >= 50_000


@pytest.mark.parametrize("how", ("numpy", "stream", "event"))
def test_any_blocking_call_raises(checked, how):
    out = checked.zeros(5, gc.i32)
    stream = checked.stream()
    checked.synchronize()
    astray[1, 8, stream](out, 1)
    event = stream.record()
    with pytest.raises(gc.KernelBoundsError):
        if how == "numpy":
            out.numpy(stream=stream)
        elif how == "stream":
            stream.synchronize()
        else:
            event.synchronize()
    stream.synchronize()


def test_a_range_launch_is_checked(checked):
    @gc.kernel
    def shift(x: gc.Array[gc.i32, 2], out: gc.Array[gc.i32, 2]):
        a, b = gc.global_ids(2)
        out[a, b] = x[a + 1, b]

    x, out = checked.ones((7, 9), gc.i32), checked.zeros((7, 9), gc.i32)
    error = once(checked, gc.KernelBoundsError, lambda: shift.over((7, 9))(x, out))
    assert error.index[0] == 7
    assert error.thread == (6, error.index[1])


def test_unchecked_launches_say_nothing(gpucore_context):
    x = gpucore_context.array(np.array([1, -1], np.int32))
    insist[1, 2](x)
    gpucore_context.synchronize()
    y, out = gpucore_context.zeros(4, gc.i32), gpucore_context.ones(4, gc.i32)
    divide[1, 4](y, out)
    assert not out.numpy().any()
