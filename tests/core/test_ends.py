"""Contexts that end in unusual ways."""

import gc as collector
import weakref

import pytest

import gpucore as gc


def test_a_context_in_a_reference_cycle_is_closed_and_the_next_one_opens(backend):
    backend("null")

    class Application:
        pass

    def run():
        app = Application()
        app.self, app.context = app, gc.Context("null")
        app.array = app.context.ones(4, gc.f32)
        return weakref.ref(app)

    for _ in range(3):
        gone = run()
        collector.collect()
        assert gone() is None
        with gc.Context("null") as ctx:
            assert ctx.ones(3, gc.f32).numpy().tolist() == [1, 1, 1]


def test_opening_a_lost_device_says_that_it_is_lost(backend):
    def copy(device, dst, dst_offset, src, src_offset, nbytes, stream):
        raise gc.DeviceLostError("gone")

    backend("null", copy=copy)
    ctx = gc.Context("null")
    with pytest.raises(gc.DeviceLostError):
        ctx.ones(4, gc.f32).numpy()
    with pytest.raises(gc.DeviceLostError):
        gc.Context("null")
    ctx.close()
