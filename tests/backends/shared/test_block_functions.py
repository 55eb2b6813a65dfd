"""What the threads of a block do together, and atomic loads and stores, on every backend."""

import numpy as np
import pytest

import gpucore as gc
from gpucore.errors import KernelSyntaxError, LaunchError


@gc.kernel
def sums(x: gc.Array[gc.f32], total: gc.Array2[gc.f32], many: gc.constexpr) -> None:
    i = gc.global_id(0)
    for k in range(many):  # the same scratch memory again and again
        total[0, i] = gc.block_sum(x[i] * (k + 1))
    total[1, i] = gc.block_inclusive_sum(x[i])
    total[2, i] = gc.block_exclusive_sum(x[i])
    total[3, i] = gc.block_max(x[i])


def tree(x):
    """Neighbours first, one that has none goes up as it is."""
    while len(x) > 1:
        x = [np.float32(x[k] + x[k + 1]) if k + 1 < len(x) else x[k] for k in range(0, len(x), 2)]
    return x[0]


@pytest.mark.parametrize("block", (1, 7, 32, 200))
def test_sums_of_a_block_have_the_order_of_a_tree(gpucore_context, block):
    x = np.random.default_rng(block).normal(size=3 * block).astype(np.float32)
    total = gpucore_context.zeros((4, x.size), gc.f32)
    sums[3, block](gpucore_context.array(x), total, 3)
    found = total.numpy()
    for k in range(3):
        part = slice(k * block, (k + 1) * block)
        wanted = tree([np.float32(v * np.float32(3)) for v in x[part]])
        assert (found[0, part] == wanted).all()
        np.testing.assert_allclose(found[1, part], np.cumsum(x[part], dtype=np.float64), rtol=1e-3, atol=1e-4)
        np.testing.assert_array_equal(found[2, part], np.append(np.float32(0), found[1, part][:-1]))
        assert (found[3, part] == x[part].max()).all()


@gc.kernel
def scans(x: gc.Array, y: gc.Array, z: gc.Array, total: gc.Array) -> None:
    i = gc.global_id(0)
    y[i], z[i], total[i] = gc.block_inclusive_sum(x[i]), gc.block_exclusive_sum(x[i]), gc.block_sum(x[i])


def scanned(x):
    """Sklansky's scan, as docs/numerics.md has it."""
    x, m = x.copy(), 1
    while m < x.size:
        taking = np.arange(x.size)[np.arange(x.size) & m != 0]
        x[taking] = x[(taking & -m) - 1] + x[taking]
        m *= 2
    return x


@pytest.mark.parametrize("dtype", (gc.f16, gc.f32, gc.f64, gc.i8, gc.u64), ids=str)
@pytest.mark.parametrize("block", (1, 7, 32, 33, 96, 200, 256, 1000))
def test_sums_and_scans_have_the_order_of_numerics_md_to_the_bit(gpucore_context, dtype, block):
    capabilities = gpucore_context.device.capabilities
    if not capabilities.supports(dtype) or capabilities.max_threads_per_block < block:
        pytest.skip("the device has no such dtype or block")
    x = (np.random.default_rng(block).normal(size=2 * block) * 30).astype(np.int64).astype(dtype.numpy)
    if dtype.is_float:
        x += np.random.default_rng(0).random(x.size).astype(dtype.numpy)
    y, z, total = (gpucore_context.zeros(x.size, dtype) for _ in range(3))
    scans[2, block](gpucore_context.array(x), y, z, total)
    for part in (slice(0, block), slice(block, None)):
        wanted, tops = scanned(x[part]), list(x[part])
        while len(tops) > 1:
            tops = [
                np.add(*pair) if len(pair) > 1 else pair[0]
                for pair in (tops[k : k + 2] for k in range(0, len(tops), 2))
            ]
        assert y.numpy()[part].tobytes() == wanted.tobytes()
        assert z.numpy()[part].tobytes() == np.append(np.zeros(1, dtype.numpy), wanted[:-1]).tobytes()
        assert (total.numpy()[part] == tops[0]).all()


@gc.func
def normalised(value, square):
    return value / gc.sqrt(gc.block_sum(square))


@gc.kernel
def rows(x: gc.Array2[gc.f64], y: gc.Array2[gc.f64], flags: gc.Array2[gc.bool_]) -> None:
    row, column = gc.global_ids(2)
    y[row, column] = normalised(x[row, column], x[row, column] * x[row, column])
    flags[row, column] = gc.block_any(x[row, column] == 5.0) and not gc.block_all(x[row, column] == 5.0)


def test_blocks_of_two_axes_and_device_functions(gpucore_context):
    if not gpucore_context.device.capabilities.supports(gc.f64):
        pytest.skip("the device has no f64")
    x = np.arange(1.0, 25.0).reshape(4, 6)
    y, flags = gpucore_context.zeros((4, 6), gc.f64), gpucore_context.zeros((4, 6), gc.bool_)
    rows[(2, 2), (2, 3)](gpucore_context.array(x), y, flags)
    tiles = x.reshape(2, 2, 2, 3)
    wanted = tiles / np.sqrt((tiles**2).sum(axis=(1, 3), keepdims=True))
    np.testing.assert_allclose(y.numpy(), wanted.reshape(4, 6), rtol=1e-14)
    holds = (tiles == 5).any(axis=(1, 3), keepdims=True) & np.ones(tiles.shape, bool)
    np.testing.assert_array_equal(flags.numpy(), holds.reshape(4, 6))


@gc.kernel
def compact(x: gc.Array[gc.i32], kept: gc.Array[gc.i32], counts: gc.Array[gc.i32]) -> None:
    i = gc.global_id(0)
    keep = x[i] % 3 == 0
    place = gc.block_exclusive_sum(gc.i32(keep))
    if keep:
        kept[gc.block_id(0) * gc.block_dim(0) + place] = x[i]
    last = gc.block_broadcast(place + gc.i32(keep), gc.block_dim(0) - 1)
    if gc.thread_id(0) == 0:
        counts[gc.block_id(0)] = last


def test_compaction_by_a_scan(gpucore_context):
    x = np.random.default_rng(3).integers(0, 100, 4 * 60).astype(np.int32)
    kept, counts = gpucore_context.zeros(x.size, gc.i32), gpucore_context.zeros(4, gc.i32)
    compact[4, 60](gpucore_context.array(x), kept, counts)
    for k, part in enumerate(x.reshape(4, 60)):
        wanted = part[part % 3 == 0]
        assert counts.numpy()[k] == wanted.size
        np.testing.assert_array_equal(kept.numpy()[60 * k : 60 * k + wanted.size], wanted)


def test_kernels_with_them_are_portable_and_no_range_launch(gpucore_context):
    assert compact.portable and sums.portable
    arrays = [gpucore_context.zeros(8, gc.i32) for _ in range(3)]
    with pytest.raises(LaunchError, match="barriers"):
        compact.over(8)(*arrays)


def test_a_block_function_in_a_branch_is_refused_at_its_line():
    @gc.kernel
    def kernel(x: gc.Array[gc.f32]) -> None:
        i = gc.global_id(0)
        if i > 3:
            x[i] = gc.block_sum(x[i])

    with pytest.raises(KernelSyntaxError, match="not every thread of the block") as error:
        kernel.interpret(1, 8, np.zeros(8, np.float32))
    assert "gc.block_sum(x[i])" in str(error.value)


def test_host_calls_say_where_they_belong():
    with pytest.raises(gc.KernelTypeError, match="gc.block_sum works inside kernels only"):
        gc.block_sum(1.0)


# --- atomic loads and stores
@gc.kernel
def handed_over(
    x: gc.Array[gc.f32],
    part: gc.Array[gc.f32],
    ready: gc.Array[gc.u32],
    y: gc.Array[gc.f32],
    fenced: gc.constexpr,
) -> None:
    block = gc.block_id(0)
    total = gc.block_sum(x[gc.global_id(0)])
    if gc.thread_id(0) == 0:
        part[block] = total
        if fenced:
            gc.memory_fence()
        gc.atomic_store(ready, block, 1)
        if block > 0 and gc.atomic_load(ready, block - 1) == 1:
            if fenced:
                gc.memory_fence()
            y[block] = part[block - 1]


def test_what_was_written_before_an_atomic_store_is_seen_after_an_atomic_load(gpucore_context):
    x = np.arange(64, dtype=np.float32)
    part, y = gpucore_context.zeros(4, gc.f32), gpucore_context.zeros(4, gc.f32)
    ready = gpucore_context.zeros(4, gc.u32)
    handed_over[4, 16](gpucore_context.array(x), part, ready, y, True)
    sums_of = x.reshape(4, 16).sum(axis=1)
    np.testing.assert_array_equal(ready.numpy(), 1)
    seen = y.numpy()
    assert all(seen[k] in (0, sums_of[k - 1]) for k in range(1, 4))


def test_the_interpreter_wants_the_fences_around_them():
    x, arrays = np.arange(64, dtype=np.float32), [np.zeros(4, t) for t in (np.float32, np.uint32, np.float32)]
    handed_over.interpret(4, 16, x, *arrays, True)
    np.testing.assert_array_equal(arrays[2][1:], x.reshape(4, 16).sum(axis=1)[:-1])
    arrays = [np.zeros(4, t) for t in (np.float32, np.uint32, np.float32)]
    with pytest.raises(gc.DataRaceError, match="part"):
        handed_over.interpret(4, 16, x, *arrays, False)


@pytest.mark.parametrize("dtype", (gc.i32, gc.u32, gc.i64, gc.f32, gc.f64), ids=str)
def test_elements_of_every_atomic_dtype(gpucore_context, dtype):
    @gc.kernel
    def kernel(x: gc.Array, y: gc.Array, z: gc.Array) -> None:
        tile = gc.shared(32, dtype)
        t = gc.thread_id(0)
        gc.atomic_store(tile, t, x[t])
        gc.barrier()
        y[t] = gc.atomic_load(tile, 31 - t)
        gc.atomic_store(z, (t // 4, t % 4), gc.atomic_load(x, t))

    if not gpucore_context.device.capabilities.supports(dtype, "atomic"):
        pytest.skip("the device has no atomics of the type")
    x = (np.arange(32) - 7).astype(dtype.numpy)
    if dtype.is_float:
        x[:4] = (-0.0, np.inf, np.nan, 5e-45)
    device, y, z = (
        gpucore_context.array(x),
        gpucore_context.ones(32, dtype),
        gpucore_context.ones((8, 4), dtype),
    )
    kernel[1, 32](device, y, z)
    for found, wanted in ((device, x), (y, x[::-1]), (z, x.reshape(8, 4))):
        np.testing.assert_array_equal(found.numpy(), wanted)
    host = [x, np.ones(32, dtype.numpy), np.ones((8, 4), dtype.numpy)]
    kernel.interpret(1, 32, *host)  # a store to fresh shared memory is no read
    np.testing.assert_array_equal(host[1], x[::-1])
