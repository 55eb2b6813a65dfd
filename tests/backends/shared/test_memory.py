"""Memory: frees in stream order, limits, the cache, views of one buffer, and what long use leaves behind."""

import os

import numpy as np
import pytest

import gpucore as gc

ROUNDS = 100_000 if os.environ.get("GPUCORE_TEST_LONG") == "1" else 2_000
MIB = 1 << 20


@gc.kernel
def slow(x: gc.Array[gc.u32], rounds: gc.i32):
    i = gc.global_id(0)
    if i < x.shape[0]:
        v = x[i]
        for _ in range(rounds):
            v = v * 1664525 + 1013904223
        x[i] = v


@gc.kernel
def accumulate(x: gc.Array[gc.u32], y: gc.Array[gc.u32]):
    i = gc.global_id(0)
    if i < x.shape[0]:
        y[i] += x[i]


@gc.kernel
def shift(x: gc.Array[gc.i32], y: gc.Array[gc.i32]):
    i = gc.global_id(0)
    if i < y.shape[0]:
        y[i] = x[i] * 2
        y[i] = y[i] + x[i]


def test_memory_freed_while_another_stream_uses_it_is_not_given_away(gpucore_context):
    context = gpucore_context
    other = context.stream()
    total = context.zeros(5000, gc.u32)
    for _ in range(20):
        x = context.ones(5000, gc.u32)
        other.wait(context.default_stream)
        slow[40, 128, other](x, 2000)
        accumulate[40, 128, other](x, total)
        x.free()
        y = context.full(5000, 0xDEAD, gc.u32)  # would land in the same memory
        del y
    want = np.uint32(1)
    for _ in range(2000):
        want = (int(want) * 1664525 + 1013904223) % 2**32
    assert set(total.numpy(stream=other)) == {int(want) * 20 % 2**32}


def test_a_freed_array_is_refused(gpucore_context):
    x = gpucore_context.zeros(8, gc.u32)
    view = x[2:]
    x.free()
    for array in (x, view):
        with pytest.raises(gc.LaunchError):
            slow[1, 8](array, 1)
        with pytest.raises(gc.LaunchError):
            array.numpy()


def test_a_limit_is_kept_and_the_context_stays_usable(gpucore_context, gpucore_backend):
    name = f"{gpucore_backend}:{gpucore_context.device.ordinal}"
    with gc.Context(name, memory_limit=64 * MIB) as context:
        held = [context.zeros(8 * MIB, gc.u8) for _ in range(4)]
        with pytest.raises(gc.OutOfMemoryError) as caught:
            context.zeros(100 * MIB, gc.u8)
        assert isinstance(caught.value, MemoryError)
        assert caught.value.requested >= 100 * MIB
        assert caught.value.limit == 64 * MIB
        assert caught.value.used >= 32 * MIB
        held.clear()
        x = context.ones(40 * MIB, gc.u8)  # wants the cache of the small ones given back
        assert x[-3:].numpy().tolist() == [1, 1, 1]


def test_the_pool_counts_and_trims(second):
    before = second.pool.stats()
    assert set(before) >= {"used", "cached", "limit", "peak", "allocations"}
    arrays = [second.zeros(3 * MIB, gc.u8) for _ in range(5)]
    during = second.pool.stats()
    assert during["used"] >= before["used"] + 15 * MIB
    assert during["allocations"] == before["allocations"] + 5
    del arrays
    second.synchronize()
    after = second.pool.stats()
    assert after["used"] == before["used"]
    assert after["allocations"] == before["allocations"]
    assert after["peak"] >= during["used"]
    assert second.pool.trim() >= after["cached"] - second.pool.stats()["cached"]
    assert second.pool.stats()["cached"] <= before["cached"]


def test_memory_information_makes_sense(gpucore_context):
    info = gpucore_context.device.memory_info()
    assert 0 < info.free <= info.total


@pytest.mark.parametrize("by", (0, 1, 3, 64, 1000))
def test_arguments_may_overlap(gpucore_context, by):
    # each thread touches its own two elements; distant enough, and reads come before writes of the element
    whole = gpucore_context.array(np.arange(2000, dtype=np.int32))
    host = np.arange(2000, dtype=np.int32)
    n = by or 1000
    shift[gc.cdiv(n, 64), 64](whole[:n], whole[by : by + n])
    x = host[:n].copy()
    host[by : by + n] = x * 2 + (x * 2 if by == 0 else x)
    np.testing.assert_array_equal(whole.numpy(), host)


def test_long_use_leaves_nothing_behind(gpucore_context, gpucore_backend):
    name = f"{gpucore_backend}:{gpucore_context.device.ordinal}"
    with gc.Context(name) as context:
        keep = context.zeros(64, gc.u32)
        one = context.ones(64, gc.u32)

        def rounds(count):
            stream = context.stream()
            for k in range(count):
                x = context.empty(64 + k % 500, gc.u32)
                accumulate[1, 64](one, keep)
                event = context.event()
                context.default_stream.record(event)
                if k % 100 == 99:
                    stream.wait(event)
                    stream.synchronize()
                    stream = context.stream()
                    context.synchronize()
                del x
            context.synchronize()

        rounds(500)
        before, resident = context.pool.stats(), _resident()
        rounds(ROUNDS)
        after = context.pool.stats()
        assert after["used"] == before["used"]
        assert after["allocations"] == before["allocations"]
        assert after["cached"] <= before["cached"] + MIB
        assert _resident() <= resident + 32 * MIB
        assert set(keep.numpy()) == {500 + ROUNDS}


def _resident():
    """Bytes of this process in memory; 0 where the system does not say."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
