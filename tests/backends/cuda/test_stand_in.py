"""The stand-in for the driver has nothing to do with a device that the process has open."""

from __future__ import annotations

import sys

import pytest

import gpucore as gc

pytest.importorskip("cuda.bindings.driver", reason="cuda-python is not installed")


@gc.kernel
def one(x: gc.Array[gc.f32]):
    i = gc.global_id(0)
    if i < x.shape[0]:
        x[i] = 1.0


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
