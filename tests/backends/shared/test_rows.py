"""Rows and columns of arrays in kernels: ``x[i]``, ``x[i, :]``, ``x[:, j]``, as names and as arguments of functions."""

import numpy as np
import pytest

import gpucore as gc
from gpucore.errors import KernelBoundsError


@gc.func
def total(row: gc.Array[gc.f32]) -> gc.f32:
    s = gc.f32(0)
    for k in range(row.shape[0]):
        s += row[k]
    return s


@gc.func
def scale(row: gc.Array[gc.f32], by: gc.f32):
    for k in range(len(row)):
        row[k] *= by


@gc.kernel
def rows(x: gc.Array3[gc.f32], sums: gc.Array2[gc.f32], columns: gc.Array2[gc.f32]) -> None:
    i = gc.global_id(0)
    plane = x[i]
    for j in range(plane.shape[0]):
        scale(plane[j], 2.0)
        sums[i, j] = total(x[i, j, :])
    for k in range(x.shape[2]):
        columns[i, k] = total(plane[:, k]) + gc.f32(plane.ndim) + gc.f32(plane[:, k].size)
    gc.atomic_add(sums[i], 0, 1.0)


def test_rows_and_columns(gpucore_context):
    x = np.random.default_rng(0).integers(0, 9, (3, 4, 5)).astype(np.float32)
    sums, columns = np.zeros((3, 4), np.float32), np.zeros((3, 5), np.float32)
    on_device = [gpucore_context.array(a) for a in (x, sums, columns)]
    rows.over(3)(*on_device)
    rows.interpret(3, 1, x_host := x.copy(), sums, columns)
    wanted = (2 * x).sum(axis=2)
    wanted[:, 0] += 1
    np.testing.assert_array_equal(on_device[0].numpy(), 2 * x)
    np.testing.assert_array_equal(on_device[1].numpy(), wanted)
    np.testing.assert_array_equal(on_device[2].numpy(), (2 * x).sum(axis=1) + 2 + 4)
    for host, device in zip((x_host, sums, columns), on_device, strict=True):
        np.testing.assert_array_equal(host, device.numpy())


@gc.kernel
def transposed(x: gc.Array3[gc.f32], y: gc.Array3[gc.f32]) -> None:
    i, j, k = gc.global_ids(3)
    turned = x.T
    y[i, j, k] = turned[k, j, i] + x[i].T[k, j] + turned[k][j, i] * 10.0
    if k == 0:
        y.T[0, j, i] += total(x.T[:, j, i]) + gc.f32(turned.shape[0])


def test_transposed_arrays(gpucore_context):
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    y, host = gpucore_context.zeros((2, 3, 4), gc.f32), np.zeros((2, 3, 4), np.float32)
    transposed.over((2, 3, 4))(gpucore_context.array(x), y)
    transposed.interpret((2, 3, 4), (1, 1, 1), x, host)
    wanted = 12 * x
    wanted[:, :, 0] += x.sum(axis=2) + 4
    np.testing.assert_array_equal(y.numpy(), wanted)
    np.testing.assert_array_equal(host, wanted)


@gc.kernel
def tiles(x: gc.Array2[gc.i32], y: gc.Array2[gc.i32]) -> None:
    tile = gc.shared((8, 8), gc.i32)
    kept = gc.local((2, 3), gc.i32)
    a, b = gc.thread_id(0), gc.thread_id(1)
    mine = tile[a]
    mine[b] = x[a][b]
    gc.barrier()
    column = tile[:, a]
    last = kept[1]
    last[2] = column[b]
    y[a][b] = kept[1, 2] + kept[0][0]
    y[a][b] += len(last)


def test_rows_of_shared_and_local_arrays(gpucore_context):
    x = np.arange(64, dtype=np.int32).reshape(8, 8)
    y, host = gpucore_context.zeros((8, 8), gc.i32), np.zeros((8, 8), np.int32)
    tiles[(1, 1), (8, 8)](gpucore_context.array(x), y)
    tiles.interpret((1, 1), (8, 8), x, host)
    np.testing.assert_array_equal(y.numpy(), x.T + 3)
    np.testing.assert_array_equal(host, x.T + 3)


def test_an_index_outside_a_row_names_the_array(gpucore_context):
    @gc.kernel
    def kernel(x: gc.Array2[gc.f32]) -> None:
        row = x[gc.global_id(0)]
        row[x.shape[1]] = 1.0

    with pytest.raises(KernelBoundsError) as error:
        kernel.interpret(2, 1, np.zeros((2, 3), np.float32))
    assert (error.value.array, error.value.index, error.value.shape) == ("x", (0, 3), (2, 3))
    checked = gpucore_context.options(check=True)
    x = checked.zeros((2, 3), gc.f32)
    with pytest.raises(KernelBoundsError) as error:
        kernel.over(2)(x)
        x.numpy()
    assert error.value.array == "x" and error.value.index[1] == 3
