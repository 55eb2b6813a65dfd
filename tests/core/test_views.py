"""Kernels take contiguous arrays: who passes a view is told what to do, and it works."""

from __future__ import annotations

import numpy as np
import pytest

import gpucore as gc


@gc.kernel
def double(x: gc.Array[gc.f32, 2], y: gc.Array[gc.f32, 2]):
    i, j = gc.global_ids(2)
    y[i, j] = 2.0 * x[i, j]


@gc.kernel
def double_any(x, y):
    i, j = gc.global_ids(2)
    y[i, j] = 2.0 * x[i, j]


@pytest.fixture
def data():
    return np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.mark.parametrize("kernel", [double, double_any], ids=["annotated", "any"])
def test_a_view_that_is_read_is_passed_as_the_copy_that_the_message_names(ctx, kernel, data):
    x, y = ctx.array(data), ctx.zeros((3, 2), gc.f32)
    with pytest.raises(gc.LaunchError, match=r"or pass x\.contiguous\(\)"):
        kernel.over((3, 2))(x[:, ::2], y)
    kernel.over((3, 2))(x[:, ::2].contiguous(), y)
    np.testing.assert_array_equal(y.numpy(), 2 * data[:, ::2])


@pytest.mark.parametrize("kernel", [double, double_any], ids=["annotated", "any"])
def test_a_view_that_is_written_takes_back_what_the_kernel_stored(ctx, kernel, data):
    x, y = ctx.array(data[:, :2]), ctx.array(data)
    with pytest.raises(
        gc.LaunchError, match=r"pass y\.contiguous\(\), .* goes back with y\.copy_from\(copy\)"
    ):
        kernel.over((3, 2))(x, y[:, ::2])
    copy = y[:, ::2].contiguous()
    kernel.over((3, 2))(x, copy)
    y[:, ::2].copy_from(copy)
    expected = data.copy()
    expected[:, ::2] = 2 * data[:, :2]
    np.testing.assert_array_equal(y.numpy(), expected)


def test_t_is_the_view_with_the_axes_in_the_opposite_order(ctx, data):
    x, y = ctx.array(data), ctx.zeros((4, 3), gc.f32)
    assert x.T.shape == (4, 3) and x.T.strides == (4, 16)
    np.testing.assert_array_equal(x.T.numpy(), data.T)
    np.testing.assert_array_equal(x[1:, ::-1].T.contiguous().numpy(), data[1:, ::-1].T)
    with pytest.raises(gc.LaunchError, match=r"gc\.Strided\[gc\.f32, 2\].*or pass x\.contiguous\(\)"):
        double.over((4, 3))(x.T, y)
    double.over((4, 3))(x.T.contiguous(), y)
    np.testing.assert_array_equal(y.numpy(), 2 * data.T)
    x.T[1].fill(7)
    np.testing.assert_array_equal(x.numpy()[:, 1], [7, 7, 7])
    assert x[0].T.shape == (4,) and ctx.zeros((), gc.f32).T.shape == ()


def test_parts_along_the_first_axis_need_no_copy(ctx, data):
    x, y = ctx.array(data), ctx.zeros((3, 4), gc.f32)
    double.over((2, 4))(x[1:], y[:2])
    np.testing.assert_array_equal(y.numpy()[:2], 2 * data[1:])
    double.over((1, 4))(x[2].reshape(1, 4), y[2:])
    np.testing.assert_array_equal(y.numpy()[2], 2 * data[2])
