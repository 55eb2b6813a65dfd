"""Memory that somebody outside uses: it stays until nobody does, whatever happens to the array and the context."""

import gc as garbage

import numpy as np
import pytest

import gpucore as gc


@pytest.fixture
def opened(gpucore_context):
    """A context of the test's own, on the same device."""
    device = gpucore_context.device
    ctx = gc.Context(f"{device.backend}:{device.ordinal}")
    yield ctx
    ctx.close()


def exported(ctx, n=1 << 16):
    if "host_addressable" not in ctx.device.capabilities:
        pytest.skip("the host cannot address the device's memory")
    array = ctx.full(n, 7, gc.i32)
    return array, np.from_dlpack(array)


def test_a_freed_array_leaves_its_memory_to_whoever_imported_it(opened):
    array, view = exported(opened)
    array.free()
    others = [opened.full(1 << 16, k, gc.i32) for k in range(4)]
    assert (view == 7).all()
    with pytest.raises(gc.LaunchError, match="freed"):
        array.numpy()
    assert others[3].numpy()[0] == 3


def test_a_closed_context_leaves_the_memory_to_whoever_imported_it(opened):
    array, view = exported(opened)
    opened.close()
    with gc.Context(f"{opened.device.backend}:{opened.device.ordinal}") as again:
        again.full(1 << 16, 3, gc.i32)
        assert (view == 7).all()
    with pytest.raises(gc.LaunchError, match="closed"):
        array.numpy()


def test_imported_memory_goes_back_to_the_pool_once_nobody_has_it(opened):
    before = opened.pool.stats()
    array, view = exported(opened)
    array.free()
    assert opened.pool.stats()["used"] > before["used"]
    del array, view
    garbage.collect()
    stats = opened.pool.stats()
    assert (stats["used"], stats["allocations"]) == (before["used"], before["allocations"])


def test_pinned_memory_outlives_its_context(opened):
    if "pinned_memory" not in opened.device.capabilities:
        pytest.skip("the device has no pinned memory")
    host = opened.pinned(1 << 16, gc.i32)
    host[:] = 5
    opened.close()
    with gc.Context(f"{opened.device.backend}:{opened.device.ordinal}") as again:
        if "pinned_memory" in again.device.capabilities:
            again.pinned(1 << 16, gc.i32)[:] = 9
        assert (host == 5).all()


def test_pinned_memory_is_not_handed_out_while_a_copy_reads_it(opened):
    if "pinned_memory" not in opened.device.capabilities:
        pytest.skip("the device has no pinned memory")
    n = 1 << 22
    stream = opened.stream()
    targets = [opened.zeros(n, gc.i32) for _ in range(4)]
    for k, target in enumerate(targets):
        host = opened.pinned(n, gc.i32)
        host[:] = k + 1
        target.copy_from(host, stream=stream)
        del host
    for k, target in enumerate(targets):
        assert (target.numpy() == k + 1).all()
