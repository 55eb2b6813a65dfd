"""The stand-in for the driver has nothing to do with a device that the process has open."""

from __future__ import annotations

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
