"""Shared arrays of a size that the launch decides."""

from __future__ import annotations

import numpy as np
import pytest

import gpucore as gc


@gc.kernel
def mirrored(x: gc.Array[gc.f32], y: gc.Array[gc.f32], n: gc.i32) -> None:
    tile = gc.shared(n, gc.f32)
    places = gc.shared((2, n + 1), gc.i64)
    fixed = gc.shared(3, gc.i32)
    t, b = gc.thread_id(0), gc.block_id(0)
    k = t
    fixed[0] = 1
    while k < n:
        tile[k] = x[b * n + k]
        places[1, k + 1] = k
        k += gc.block_dim(0)
    gc.barrier()
    k = t
    while k < n:
        y[b * n + k] = tile[n - 1 - k] + gc.f32(places[1, k + 1]) + gc.f32(tile.size + places.shape[1])
        k += gc.block_dim(0)


def mirrored_on_host(x, n):
    return (x.reshape(-1, n)[:, ::-1] + np.arange(n, dtype=np.float32) + np.float32(2 * n + 1)).ravel()


@pytest.mark.parametrize("n", [1, 7, 64, 65, 200, 1000])
def test_every_size_gives_the_numbers_of_the_interpreter(same, n):
    x = np.arange(2 * n, dtype=np.float32)
    _, found = same(mirrored, 2, 16, x, np.zeros_like(x), n)
    np.testing.assert_array_equal(found, mirrored_on_host(x, n))


def test_sizes_that_take_turns_and_none_at_all(gpucore_context):
    for n in (5, 900, 6, 0, 900, 5, 33):
        x = np.arange(2 * n or 1, dtype=np.float32)
        y = gpucore_context.zeros(x.size, gc.f32)
        mirrored[2, 16](gpucore_context.array(x), y, n)
        np.testing.assert_array_equal(y.numpy(), mirrored_on_host(x, n) if n else [0])


def test_one_program_serves_the_sizes_up_to_the_next_power_of_two(gpucore_context):
    x = gpucore_context.array(np.arange(1000, dtype=np.float32))
    y = gpucore_context.zeros(1000, gc.f32)
    mirrored[2, 16](x, y, 200)
    for n in (140, 250, 201):
        assert "loaded already" in gc.cache.explain(mirrored, x, y, n)
    assert "loaded already" not in gc.cache.explain(mirrored, x, y, 300)


def test_bound_launches_and_graphs_keep_their_size_and_change_it(gpucore_context):
    x = np.arange(800, dtype=np.float32)
    given = gpucore_context.array(x)
    out = gpucore_context.zeros(800, gc.f32)
    bound = mirrored[2, 16].bind(given, out, 300)
    mirrored[2, 16](given, out, 9)
    bound()
    np.testing.assert_array_equal(out.numpy()[:600], mirrored_on_host(x[:600], 300))
    with gpucore_context.graph() as g:
        mirrored[2, 16](given, out, g.scalar("n", 20))
    for n in (20, 400, 30, 399):
        g.update(n=n)
        g.launch()
        np.testing.assert_array_equal(out.numpy()[: 2 * n], mirrored_on_host(x[: 2 * n], n))
    with pytest.raises(gc.LaunchError, match="an extent is 0 or more"):
        g.update(n=-1)
        g.launch()


def test_a_size_past_the_limit_is_an_error_before_the_launch_with_the_limit(gpucore_context):
    limit = gpucore_context.device.capabilities.shared_memory
    out = gpucore_context.zeros(4, gc.f32)
    for n in (limit, 2**30):
        with pytest.raises(gc.NotSupportedError, match=rf"shared memory a block.* has {limit:,}") as caught:
            mirrored[1, 4](out, out, n)
        assert caught.value.capability == "shared_memory"
    with pytest.raises(gc.LaunchError, match=r"'tile' gets the shape \(-5,\)"):
        mirrored[1, 4](out, out, -5)
    with pytest.raises(gc.LaunchError, match="past the integers"):
        mirrored[1, 4](out, out, 2**31 - 1)
    assert not out.numpy().any()


@gc.kernel
def filled(out: gc.Array[gc.u8], n: gc.i64) -> None:
    tile = gc.shared(n, gc.u8)
    t = gc.thread_id(0)
    tile[t] = 1
    tile[n - 1 - t] = 2
    gc.barrier()
    out[t] = tile[t]
    out[4 + t] = tile[n - 4 + t]


def test_the_whole_of_a_blocks_memory_can_be_had(gpucore_context):
    limit = gpucore_context.device.capabilities.shared_memory
    out = gpucore_context.zeros(8, gc.u8)
    filled[1, 4](out, limit)
    assert out.numpy().tolist() == [1] * 4 + [2] * 4
    with pytest.raises(gc.NotSupportedError, match=f"{limit + 1:,} bytes"):
        filled[1, 4](out, limit + 1)


@gc.kernel
def past_the_end(x: gc.Array[gc.i32], y: gc.Array[gc.i32], n: gc.i32) -> None:
    tile = gc.shared((n, 2), gc.i32)
    t = gc.thread_id(0)
    tile[t, 1] = t
    gc.barrier()
    y[t] = tile[x[t], 1]


def test_an_index_past_the_size_is_found_inside_of_what_was_compiled_for(gpucore_context):
    where = {
        (check.array, check.where) for check in past_the_end[1, 4].checks(*[np.zeros(4, np.int32)] * 2, 4)
    }
    assert ("tile", "device") in where
    x = gpucore_context.array(np.array([0, 3, 1, 2], np.int32))
    y = gpucore_context.zeros(4, gc.i32)
    past_the_end[1, 4](x, y, 5)
    assert y.numpy().tolist() == [0, 3, 1, 2]
    x[1:2].fill(4)
    past_the_end[1, 4](x, y, 4)
    with pytest.raises(gc.KernelBoundsError) as caught:
        gpucore_context.synchronize()
    assert (caught.value.array, caught.value.index, caught.value.shape) == ("tile", (4, 1), (4, 2))


@gc.kernel
def at_the_end(y: gc.Array[gc.i32], n: gc.i32) -> None:
    tile = gc.shared(n, gc.i32)
    tile[gc.thread_id(0)] = 1
    y[gc.thread_id(0)] = 1


def test_a_launch_that_leaves_the_array_for_certain_does_not_run(gpucore_context):
    y = gpucore_context.zeros(4, gc.i32)
    at_the_end[1, 4](y, 4)
    with pytest.raises(
        gc.KernelBoundsError, match=r"index 3 is out of bounds for array 'tile' of shape \(3,\)"
    ):
        at_the_end[1, 4](y, 3)


@gc.struct
class Pair:
    key: gc.u64
    weight: gc.f32


@gc.kernel
def by_block(x: gc.Array2[gc.f32], out: gc.Array2[gc.f32], unused: gc.i32) -> None:
    pairs = gc.shared((gc.block_dim(0), x.shape[1]), Pair)
    counts = gc.shared(max(unused // 2, 1), gc.u32)
    t = gc.thread_id(0)
    if t == 0:
        counts[0] = gc.u32(0)
    gc.barrier()
    for k in range(x.shape[1]):
        pairs[t, k] = Pair(gc.u64(t), x[t, k])
    gc.atomic_add(counts, 0, gc.u32(1))
    gc.barrier()
    other = pairs[gc.block_dim(0) - 1 - t]
    for k in range(x.shape[1]):
        out[t, k] = other[k].weight + gc.f32(other[k].key) + gc.f32(counts[0])


@pytest.mark.parametrize(("block", "columns", "unused"), [(8, 3, 0), (32, 5, 77), (5, 1, -4)])
def test_records_and_counters_of_the_blocks_and_the_arrays_size(same, block, columns, unused):
    x = np.arange(block * columns, dtype=np.float32).reshape(block, columns)
    _, found = same(by_block, 1, block, x, np.zeros_like(x), unused)
    threads = np.arange(block, dtype=np.float32)[::-1, None]
    np.testing.assert_array_equal(found, x[::-1] + threads + block)


@gc.kernel
def unchecked(x: gc.Array[gc.i32], y: gc.Array[gc.i32], n: gc.i32) -> None:
    tile = gc.shared(n, gc.i32)
    t = gc.thread_id(0)
    tile[t] = x[t]
    gc.barrier()
    y[t] = tile[n - 1 - t]


@pytest.mark.parametrize("check", [False, "auto", True])
def test_each_mode_of_checks_knows_the_size(gpucore_context, check):
    context = gpucore_context.options(check=check)
    x = context.array(np.arange(600, dtype=np.int32))
    y = context.zeros(600, gc.i32)
    for n in (4, 128, 7):
        unchecked[1, n](x, y, n)
        assert y.numpy()[:n].tolist() == list(range(n))[::-1]
    with pytest.raises(gc.LaunchError, match="an extent is 0 or more"):
        unchecked[1, 4](x, y, -1)


def test_the_interpreter_finds_what_is_wrong():
    x = np.arange(8, dtype=np.float32)
    with pytest.raises(gc.LaunchError, match=r"'tile' gets the shape \(-1,\)"):
        mirrored.interpret(1, 4, x, x.copy(), -1)
    with pytest.raises(gc.KernelBoundsError, match="shape"):
        at_the_end.interpret(1, 4, np.zeros(4, np.int32), 3)


def test_a_size_that_the_host_cannot_know_is_an_error_at_its_line():
    @gc.kernel
    def of_data(x: gc.Array[gc.i32]) -> None:
        tile = gc.shared(x[0], gc.i32)
        tile[0] = 1

    @gc.kernel
    def of_thread(x: gc.Array[gc.i32]) -> None:
        tile = gc.shared(gc.thread_id(0) + 1, gc.i32)
        tile[0] = 1

    for kernel in (of_data, of_thread):
        with pytest.raises(gc.KernelTypeError, match="does not know the shape of this array") as caught:
            kernel.interpret(1, 1, np.zeros(4, np.int32))
        assert "gc.shared" in str(caught.value)
