"""The stand-in for the driver has nothing to do with a device that the process has open."""

from __future__ import annotations

import sys
import time

import pytest

import gpucore as gc

pytest.importorskip("cuda.bindings.driver", reason="cuda-python is not installed")


@gc.kernel
def one(x: gc.Array[gc.f32]):
    i = gc.global_id(0)
    if i < x.shape[0]:
        x[i] = 1.0


@gc.kernel
def sized(x: gc.Array[gc.f32], n: gc.i32):
    tile = gc.shared(n, gc.f32)
    t = gc.thread_id(0)
    tile[t] = x[t]
    gc.barrier()
    x[t] = tile[n - 1 - t]


def test_a_shared_array_of_the_launchs_size_may_take_all_that_a_block_can_have():
    from stand_in import StandIn, installed

    asked = []

    class Driver(StandIn):
        def cuLaunchKernel(self, function, *args):
            asked.append(args[6])
            return super().cuLaunchKernel(function, *args)

    with installed(Driver().functions()), gc.Context("cuda") as context:
        x = context.ones(64, gc.f32)
        sized[1, 64](x, 64)
        for n, nbytes in ((20_000, 128 << 10), (30_000, 128 << 10), (40_000, 160 << 10), (58_112, 227 << 10)):
            sized[1, 64](x, n)
            assert asked[-1] == nbytes
        with pytest.raises(gc.NotSupportedError, match="has 232,448"):
            sized[1, 64](x, 58_113)


def test_a_context_on_a_stand_in_uses_no_device_that_is_open_already():
    from stand_in import StandIn, installed

    first, second, calls = StandIn(), StandIn(), []
    with installed(first.functions(), calls), gc.Context("cuda") as opened:
        before = opened.ones(64, gc.f32)
        one.over(64)(before)
        mine = set(first._memory)
        with installed(second.functions()):
            calls.clear()
            with gc.Context("cuda") as beside:
                x = beside.ones(64, gc.f32)
                one.over(64)(x)
                assert (x.numpy() == 1).all()
                assert second._memory
            assert calls == []
        assert set(first._memory) == mine
        one.over(64)(before)
        assert (before.numpy() == 1).all()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the places are those of Python 3.12 and later")
@pytest.mark.parametrize("kind", ["device", "pinned"])
def test_an_interrupted_allocation_is_given_back(kind):
    """The stand-in refuses what is freed twice."""
    from interrupts import Interrupted
    from stand_in import StandIn, installed

    import gpucore_cuda as plugin

    driver = StandIn()
    with installed(driver.functions()):
        device = plugin.open_device(0, {})

        def allocate():
            plugin.free(device, plugin.alloc(device, 1000, kind, None), None)

        def after(interrupted):
            allocate()  # the next call collects
            assert not device.dropped
            assert set(driver._memory) == before

        allocate()
        before = set(driver._memory)
        Interrupted("gpucore_cuda").run(allocate, after, least=20)
        lost = plugin.alloc(device, 1000, kind, None)
        assert set(driver._memory) != before
        del lost
        plugin.close_device(device)
        assert set(driver._memory) == before


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the places are those of Python 3.12 and later")
def test_interrupted_copies_through_staging_lose_and_double_no_piece():
    import numpy as np
    from interrupts import Interrupted
    from stand_in import StandIn, installed

    with installed(StandIn().functions()), gc.Context("cuda") as context:
        given = np.random.default_rng(1).integers(0, 255, 13 << 20, np.uint8)
        found, x = np.zeros_like(given), context.empty(given.size, gc.u8)
        staging = context._state.device._handle.staging

        def there_and_back():
            x.copy_from(given)
            x.copy_to(found)

        there_and_back()
        pieces = sorted(map(id, staging._all))

        def after(interrupted):
            # an interrupt of the wait for the helping threads leaves them to it
            end = time.monotonic() + 30
            while len(staging._free) < len(pieces) and time.monotonic() < end:
                time.sleep(1e-3)
            assert sorted(map(id, staging._free)) == pieces
            if not interrupted:
                np.testing.assert_array_equal(found, given)

        Interrupted("gpucore_cuda.staging").run(there_and_back, after, least=40)
