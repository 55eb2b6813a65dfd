"""The thin slice through every package: one plain kernel, one with a tile and barriers, one with atomics."""

import numpy as np

import gpucore as gc


@gc.kernel
def saxpy(x: gc.Array[gc.f32], y: gc.Array[gc.f32], a: gc.f32):
    i = gc.global_id(0)
    if i < y.shape[0]:
        y[i] = a * x[i] + y[i]


@gc.kernel
def reverse_blocks(x: gc.Array[gc.i32], out: gc.Array[gc.i32]):
    tile = gc.shared(64, gc.i32)
    t = gc.thread_id(0)
    i = gc.global_id(0)
    tile[t] = x[i]
    gc.barrier()
    out[i] = tile[gc.block_dim(0) - 1 - t]


@gc.kernel
def count(x: gc.Array[gc.u32], bins: gc.Array[gc.u32]):
    i = gc.global_id(0)
    if i < x.shape[0]:
        gc.atomic_add(bins, x[i] % 16, 1)


def test_saxpy_gives_the_bits_of_numpy(gpucore_context):
    n = 10_007
    x = np.linspace(-3, 5, n, dtype=np.float32)
    y = np.linspace(1, 2, n, dtype=np.float32)
    device = gpucore_context.array(y)
    saxpy[gc.cdiv(n, 256), 256](gpucore_context.array(x), device, 2.5)
    np.testing.assert_array_equal(device.numpy(), np.float32(2.5) * x + y)


def test_a_tile_is_reversed_through_shared_memory(gpucore_context):
    x = np.arange(64 * 37, dtype=np.int32)
    out = gpucore_context.zeros(x.shape, gc.i32)
    reverse_blocks[37, 64](gpucore_context.array(x), out)
    np.testing.assert_array_equal(out.numpy(), x.reshape(37, 64)[:, ::-1].ravel())


def test_atomics_count_every_element_once(gpucore_context):
    x = np.random.default_rng(1).integers(0, 2**32, 5000, dtype=np.uint32)
    bins = gpucore_context.zeros(16, gc.u32)
    count[gc.cdiv(x.size, 128), 128](gpucore_context.array(x), bins)
    np.testing.assert_array_equal(bins.numpy(), np.bincount(x % 16, minlength=16))


def test_a_range_launch_needs_no_guard(gpucore_context):
    @gc.kernel
    def scale(x: gc.Array[gc.f32, 2], out: gc.Array[gc.f32, 2]):
        y, k = gc.global_ids(2)
        out[y, k] = 2.0 * x[y, k]

    x = np.random.default_rng(2).standard_normal((33, 70)).astype(np.float32)
    out = gpucore_context.empty(x.shape, gc.f32)
    scale.over(x.shape)(gpucore_context.array(x), out)
    np.testing.assert_array_equal(out.numpy(), 2 * x)
