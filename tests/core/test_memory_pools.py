"""Memory pools of the user's own, and unified memory."""

import gc as garbage

import numpy as np
import pytest

import gpucore as gc

KIB = 1024


def test_a_view_allocates_from_its_pool_and_counts_there(ctx):
    with_pool = ctx.options(pool=(pool := gc.MemoryPool(ctx, limit=64 * KIB)))
    assert with_pool.pool is pool and ctx.pool is not pool
    before = ctx.pool.stats()["used"]
    x = with_pool.array(np.ones(1000, np.float32))
    y = with_pool.options(math="fast").zeros(1000, gc.f32)
    z = ctx.ones(1000, gc.f32)
    assert pool.stats() == {"used": 8192, "cached": 0, "limit": 64 * KIB, "peak": 8192, "allocations": 2}
    assert ctx.pool.stats()["used"] == before + 4096
    del y
    assert pool.stats()["used"] == 4096 and pool.stats()["cached"] == 4096
    pool.reset_peak()
    assert pool.stats()["peak"] == 4096
    assert pool.trim() == 4096 and pool.stats()["cached"] == 0
    np.testing.assert_array_equal(x.numpy(), z.numpy())
    assert set(pool.stats()) == set(ctx.pool.stats())


def test_a_pool_that_nobody_has_any_more_gives_its_memory_back(backend):
    backend("null")
    with gc.Context("null", memory_limit=64 * KIB) as context:
        held = context.device._handle.open["allocations"]
        for _ in range(10):
            pool = gc.MemoryPool(context, size=32 * KIB)
            del pool
        context.pool.stats()
        assert context.device._handle.open["allocations"] == held


def test_arrays_keep_their_pool_until_the_last_is_gone(backend):
    backend("null")
    with gc.Context("null", memory_limit=64 * KIB) as context:
        held = context.device._handle.open["allocations"]
        x = context.options(pool=gc.MemoryPool(context, size=32 * KIB)).ones(1024, gc.f32)
        garbage.collect()
        context.pool.stats()
        assert np.all(x.numpy() == 1)
        with pytest.raises(gc.OutOfMemoryError):
            gc.MemoryPool(context, size=48 * KIB)
        del x
        gc.MemoryPool(context, size=48 * KIB)
        garbage.collect()
        context.pool.stats()
        assert context.device._handle.open["allocations"] == held


def test_a_pool_that_is_dropped_while_work_is_pending_waits_for_it(backend):
    busy = [True]
    backend("busy", query_stream=lambda device, stream: not busy[0])
    with gc.Context("busy") as context:
        held = context.device._handle.open["allocations"]
        context.options(pool=gc.MemoryPool(context, size=32 * KIB)).ones(1024, gc.f32)
        garbage.collect()
        context.pool.drain()
        context.stream()
        assert context.device._handle.open["allocations"] == held + 1
        busy[0] = False
        context.stream()
        assert context.device._handle.open["allocations"] == held


def test_what_is_freed_is_used_again_within_its_pool(ctx):
    pool, other = gc.MemoryPool(ctx), gc.MemoryPool(ctx)
    ctx.options(pool=pool).ones(1000, gc.f32).free()
    held = ctx.device._handle.open["allocations"]
    x = ctx.options(pool=pool).ones(1000, gc.f32)
    assert ctx.device._handle.open["allocations"] == held
    y = ctx.options(pool=other).ones(1000, gc.f32)
    assert ctx.device._handle.open["allocations"] == held + 1
    assert x.shape == y.shape


def test_a_limit_names_the_pool_and_leaves_it_usable(ctx):
    pool = gc.MemoryPool(ctx, limit=10 * KIB)
    view = ctx.options(pool=pool)
    x = view.ones(2048, gc.f32)
    message = r"MemoryPool 1 of null:0: 8,192 bytes requested, 8,192 in use.*limit 10,240"
    with pytest.raises(gc.OutOfMemoryError, match=message) as caught:
        view.ones(2048, gc.f32)
    assert caught.value.limit == 10 * KIB
    x.free()
    assert np.all(view.ones(2048, gc.f32).numpy() == 1)
    ctx.ones(100_000, gc.f32)  # the context's own is not concerned


def test_pools_count_towards_the_limit_of_the_context(backend):
    backend("null")
    with gc.Context("null", memory_limit=64 * KIB) as context:
        pool = gc.MemoryPool(context, size=32 * KIB)
        x = context.ones(6 * KIB, gc.f32)
        with pytest.raises(gc.OutOfMemoryError, match="out of memory on null:0: 16,384 bytes"):
            context.ones(4 * KIB, gc.f32)
        with pytest.raises(gc.OutOfMemoryError, match="MemoryPool 2"):
            gc.MemoryPool(context, size=64 * KIB)
        pool.close()
        context.ones(4 * KIB, gc.f32)
        assert x.size


def test_a_size_is_taken_at_once_and_cut_into_arrays(ctx):
    before = ctx.device._handle.open["allocations"]
    pool = gc.MemoryPool(ctx, size=16 * KIB)
    view = ctx.options(pool=pool)
    assert ctx.device._handle.open["allocations"] == before + 1
    assert pool.stats()["cached"] == 16 * KIB and pool.stats()["used"] == 0
    arrays = [view.full(512, number, gc.f32) for number in range(8)]
    assert ctx.device._handle.open["allocations"] == before + 1
    assert pool.stats()["used"] == 16 * KIB and pool.stats()["cached"] == 0
    assert [int(array[5].numpy()) for array in arrays] == list(range(8))
    more = view.full(512, 99, gc.f32)  # beyond the size: from the driver
    assert ctx.device._handle.open["allocations"] == before + 2
    for array in arrays[2:6]:
        array.free()
    joined = view.full(2048, 7, gc.f32)  # pieces that lie side by side are joined
    assert ctx.device._handle.open["allocations"] == before + 2
    assert np.all(joined.numpy() == 7) and np.all(arrays[1].numpy() == 1) and np.all(arrays[6].numpy() == 6)
    assert np.all(more.numpy() == 99)
    assert pool.trim() == 0


def test_a_piece_that_comes_back_is_waited_for_by_another_stream(recorded):
    context, recorder = recorded
    pool = gc.MemoryPool(context, size=4 * KIB)
    view = context.options(pool=pool)
    stream = context.stream()
    x = view.array(np.ones(1024, np.float32))
    x.free()
    recorder.calls.clear()
    view.array(np.ones(1024, np.float32), stream=stream)
    assert [call[0] for call in recorder.calls if call[0].endswith("_event")] == [
        "record_event",
        "wait_event",
    ]
    del view


def test_a_closed_pool_gives_everything_back_and_ends_its_arrays(ctx):
    before = ctx.device._handle.open["allocations"]
    pool = gc.MemoryPool(ctx, size=8 * KIB, limit=32 * KIB)
    view = ctx.options(pool=pool)
    x, y = view.ones(1024, gc.f32), view.ones(4096, gc.f32)
    pool.close()
    pool.close()
    assert ctx.device._handle.open["allocations"] == before
    for array in (x, y):
        with pytest.raises(gc.LaunchError, match="gone: its pool was closed"):
            array.numpy()
    with pytest.raises(gc.LaunchError, match="MemoryPool of null:0 is closed"):
        view.ones(3, gc.f32)
    assert "closed" in repr(pool)
    assert np.all(ctx.ones(3, gc.f32).numpy() == 1)


def test_a_context_closes_its_pools(backend):
    backend("null")
    context = gc.Context("null")
    pool = gc.MemoryPool(context, size=8 * KIB)
    x = context.options(pool=pool).ones(3, gc.f32)
    handle = context.device._handle
    context.close()
    pool.close()
    assert handle.open["allocations"] == 0
    with pytest.raises(gc.LaunchError, match="closed"):
        x.numpy()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"size": -1}, ValueError, "size is not negative"),
        ({"size": 1.5}, TypeError, "size is a whole number of bytes"),
        ({"limit": True}, TypeError, "limit is a whole number of bytes"),
        ({"size": 2 * KIB, "limit": KIB}, ValueError, "limit of 1024 bytes is not enough"),
        ({"kind": "pinned"}, ValueError, "'device' or 'unified', not 'pinned'"),
    ],
)
def test_wrong_arguments_are_refused(ctx, arguments, error, message):
    with pytest.raises(error, match=message):
        gc.MemoryPool(ctx, **arguments)
    assert len(ctx._state.pools) == 1


def test_a_pool_is_of_one_context(ctx):
    with pytest.raises(TypeError, match="made for a Context"):
        gc.MemoryPool("cpu")
    with pytest.raises(gc.ConfigError, match="MemoryPool of this context, not 3"):
        ctx.options(pool=3)
    with gc.Context("null") as other:
        with pytest.raises(gc.ConfigError, match="MemoryPool of this context"):
            ctx.options(pool=gc.MemoryPool(other))


# --- unified memory
def test_host_gives_the_memory_itself_after_the_work_on_it(ctx, saxpy):
    x, y = ctx.unified(64, gc.f32), ctx.unified((8, 8), gc.f32)
    host = x.host()
    host[:] = np.arange(64)
    y.fill(1)
    saxpy.over(64)(x, y.reshape(64), 2.0)
    np.testing.assert_array_equal(y.host(), (1 + 2 * np.arange(64)).reshape(8, 8))
    np.testing.assert_array_equal(y[2:, ::2].host(), y.numpy()[2:, ::2])
    assert np.shares_memory(x.host(), host)
    x.prefetch("device")
    y.prefetch("host", stream=ctx.stream())
    assert ctx.unified(0, gc.f32).host().shape == (0,)
    del host
    garbage.collect()


def test_host_waits_for_every_stream_and_raises_what_checked_kernels_found(backend, copy_kernel):
    backend("null")
    with gc.Context("null", check=True) as context:
        x, y = context.ones(8, gc.f32), context.unified(4, gc.f32)
        copy_kernel[1, 8, context.stream()](x, y)
        with pytest.raises(gc.KernelBoundsError):
            y.host()


def test_memory_under_a_host_view_stays(ctx):
    x = ctx.unified(64, gc.f32).fill(3)
    host = x.host()
    x.free()
    del x
    others = [ctx.unified(64, gc.f32).fill(9) for _ in range(4)]
    assert np.all(host == 3) and len(others) == 4
    del host


def test_other_memory_has_no_host_view(ctx):
    x = ctx.ones(3, gc.f32)
    with pytest.raises(
        gc.NotSupportedError, match="host\\(\\) is for arrays in unified memory, which ctx.unified"
    ):
        x.host()
    with pytest.raises(gc.NotSupportedError, match="prefetch\\(\\) is for arrays in unified memory"):
        x.prefetch("host")
    with pytest.raises(ValueError, match="'device' or 'host', not 'gpu'"):
        ctx.unified(3, gc.f32).prefetch("gpu")


def test_prefetching_goes_to_the_backend_in_stream_order(backend):
    from dataclasses import replace

    from gpucore.testing import null

    seen = []

    def capabilities(device):
        found = null.capabilities(device)
        return replace(found, names=found.names | {"unified_prefetch"})

    def prefetch_memory(device, allocation, offset, nbytes, to_host, stream):
        seen.append((offset, nbytes, to_host))

    backend("moving", capabilities=capabilities, prefetch_memory=prefetch_memory)
    with gc.Context("moving") as context:
        x = context.unified(8, gc.f32)
        x[2:4].prefetch("host")
        x.prefetch("device")
    assert seen == [(8, 8, True), (0, 32, False)]


def test_a_unified_pool_gives_arrays_that_the_host_sees(ctx):
    pool = gc.MemoryPool(ctx, size=4 * KIB, kind="unified")
    view = ctx.options(pool=pool)
    x, y = view.ones(100, gc.f32), view.zeros(100, gc.f32)
    y.host()[:] = 5
    x.copy_from(y.host())
    assert np.all(x.host() == 5) and np.all(x.numpy() == 5)
    pinned = view.pinned(10, gc.f32)
    assert pool.stats()["allocations"] == 2 and pinned.size == 10
    garbage.collect()
