"""Arrays of one to four axes, grids of one to three, ranges of any shape, and shapes without elements."""

import numpy as np
import pytest

import gpucore as gc


@gc.kernel
def rank1(out: gc.Array[gc.i32]):
    (a,) = gc.global_ids(1)
    out[a] += a + 1


@gc.kernel
def rank2(out: gc.Array[gc.i32, 2]):
    a, b = gc.global_ids(2)
    out[a, b] += a * out.shape[1] + b + 1


@gc.kernel
def rank3(out: gc.Array[gc.i32, 3]):
    a, b, c = gc.global_ids(3)
    out[a, b, c] += (a * out.shape[1] + b) * out.shape[2] + c + 1


@gc.kernel
def rank4(out: gc.Array[gc.i32, 4]):
    a, b, c, d = gc.global_ids(4)
    out[a, b, c, d] += ((a * out.shape[1] + b) * out.shape[2] + c) * out.shape[3] + d + 1


RANKS = {1: rank1, 2: rank2, 3: rank3, 4: rank4}
SHAPES = (
    (1,), (255,), (257,), (70_001,), (1, 1), (100_000, 3), (3, 100_000), (66_000, 1), (1, 66_000), (7, 9, 11),
    (70_000, 1, 2), (1, 70_000, 2), (2, 1, 70_000), (3, 4, 5, 6), (70_000, 1, 1, 2), (1, 66_000, 2, 1),
    (2, 3, 1, 30_000),
)  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_range_visits_each_index_once(gpucore_context, shape):
    out = gpucore_context.zeros(shape, gc.i32)
    RANKS[len(shape)].over(shape)(out)
    np.testing.assert_array_equal(out.numpy().ravel(), np.arange(1, out.size + 1))


@pytest.mark.parametrize("shape", ((0,), (0, 5), (5, 0), (3, 0, 4), (1, 2, 0, 3)), ids=str)
def test_a_range_without_elements_does_nothing(gpucore_context, shape):
    out = gpucore_context.zeros(shape, gc.i32)
    RANKS[len(shape)].over(shape)(out)
    gpucore_context.synchronize()
    assert out.numpy().shape == shape


def test_a_range_of_more_than_sixteen_million(gpucore_context):
    @gc.kernel
    def mark(out: gc.Array[gc.u8]):
        i = gc.global_id(0)
        out[i] = out[i] + gc.u8(i % 251) + gc.u8(1)

    n = 65_535 * 256 + 12_345
    out = gpucore_context.zeros(n, gc.u8)
    mark.over(n)(out)
    np.testing.assert_array_equal(out.numpy(), (np.arange(n, dtype=np.uint32) % 251 + 1).astype(np.uint8))


def test_a_grid_of_more_than_65535_blocks(gpucore_context):
    @gc.kernel
    def mark(out: gc.Array[gc.i32]):
        i = gc.global_id(0)
        if i < out.shape[0]:
            out[i] = gc.cast(gc.block_id(0) + gc.grid_dim(0) * gc.thread_id(0), gc.i32)

    blocks = 140_001
    out = gpucore_context.zeros(blocks * 4 - 1, gc.i32)
    mark[blocks, 4](out)
    i = np.arange(out.size)
    np.testing.assert_array_equal(out.numpy(), i // 4 + blocks * (i % 4))


@gc.kernel
def ids1(out: gc.Array[gc.i32, 2]):
    i = gc.global_id(0)
    if i < out.shape[0]:
        out[i, 0] = gc.cast(gc.block_id(0), gc.i32)
        out[i, 1] = gc.cast(gc.thread_id(0) * 1000 + gc.block_dim(0), gc.i32)
        out[i, 2] = gc.cast(gc.grid_dim(0), gc.i32)


@gc.kernel
def ids2(out: gc.Array[gc.i32, 3]):
    y, x = gc.global_ids(2)
    if y < out.shape[0] and x < out.shape[1]:
        out[y, x, 0] = gc.cast(gc.block_id(0) * 1000 + gc.block_id(1), gc.i32)
        out[y, x, 1] = gc.cast(gc.thread_id(0) * 1000 + gc.thread_id(1), gc.i32)
        out[y, x, 2] = gc.cast(gc.grid_dim(0) * 1000 + gc.grid_dim(1) + gc.block_dim(1) * 7, gc.i32)


@gc.kernel
def ids3(out: gc.Array[gc.i32, 4]):
    z, y, x = gc.global_id(0), gc.global_id(1), gc.global_id(2)
    if z < out.shape[0] and y < out.shape[1] and x < out.shape[2]:
        out[z, y, x, 0] = gc.cast(gc.block_id(0) * 10_000 + gc.block_id(1) * 100 + gc.block_id(2), gc.i32)
        out[z, y, x, 1] = gc.cast(gc.thread_id(0) * 10_000 + gc.thread_id(1) * 100 + gc.thread_id(2), gc.i32)
        out[z, y, x, 2] = gc.cast(gc.grid_dim(0) + 10 * gc.grid_dim(1) + 100 * gc.block_dim(2), gc.i32)


@pytest.mark.parametrize("block", (1, 5, 31, 32, 33, 100, 128))
def test_ids_of_one_axis(same, block):
    same(ids1, gc.cdiv(131, block), block, np.zeros((131, 3), np.int32))


@pytest.mark.parametrize("block", ((1, 1), (3, 5), (8, 8), (1, 33), (17, 2)), ids=str)
def test_ids_of_two_axes(same, block):
    grid = (gc.cdiv(11, block[0]), gc.cdiv(23, block[1]))
    same(ids2, grid, block, np.zeros((11, 23, 3), np.int32))


@pytest.mark.parametrize("block", ((1, 1, 1), (2, 3, 5), (4, 4, 4), (1, 7, 9)), ids=str)
def test_ids_of_three_axes(same, block):
    shape = (5, 6, 10)
    grid = tuple(gc.cdiv(n, b) for n, b in zip(shape, block, strict=True))
    same(ids3, grid, block, np.zeros((*shape, 3), np.int32))


def test_a_grid_without_blocks_does_nothing(gpucore_context):
    out = gpucore_context.zeros(8, gc.i32)
    rank1[0, 8](out)
    assert not out.numpy().any()


def test_limits_are_checked_before_the_launch(gpucore_context):
    out = gpucore_context.zeros((1, 1), gc.i32)
    limits = gpucore_context.device.capabilities
    for grid, block in (((1, 1), (1, limits.max_threads_per_block + 1)), ((70_000, 1), (1, 1))):
        with pytest.raises(gc.LaunchError, match="rank2"):
            rank2[grid, block](out)
    rank2[(1, 1), (1, 1)](out)
    assert out.numpy()[0, 0] == 1


def test_a_range_refuses_what_belongs_to_blocks(gpucore_context):
    @gc.kernel
    def blocks(out: gc.Array[gc.i32]):
        out[gc.block_id(0) * gc.block_dim(0) + gc.thread_id(0)] = 1

    with pytest.raises((gc.LaunchError, gc.KernelSyntaxError, gc.KernelTypeError)):
        blocks.over(8)(gpucore_context.zeros(8, gc.i32))
