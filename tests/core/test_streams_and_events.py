"""Streams, events and devices shared by contexts."""

import multiprocessing
import os

import pytest

import gpucore as gc


def test_contexts_on_one_device_share_it_and_accept_each_others_arrays(ctx, saxpy):
    with gc.Context("null") as other:
        assert other.device is ctx.device
        x, y = ctx.ones(10, gc.f32), other.ones(10, gc.f32)
        saxpy[1, 16](x, y, 2.0)
        saxpy[1, 16](y, x, 2.0)
        assert y.numpy()[0] == 3 and x.numpy()[0] == 7
    assert x.numpy()[0] == 7


def test_the_device_closes_with_its_last_context(backend):
    closed = []

    def close_device(device):
        closed.append(device)

    backend("closing", close_device=close_device)
    a, b = gc.Context("closing"), gc.Context("closing")
    a.close()
    assert closed == []
    b.close()
    assert len(closed) == 1


def test_events_time_and_order(ctx):
    start, end, s = ctx.event(timing=True), ctx.event(timing=True), ctx.stream()
    assert start.query()
    ctx.default_stream.record(start)
    ctx.default_stream.record(end)
    end.synchronize()
    assert start.elapsed_time(end) >= 0
    s.wait(end)
    s.wait(ctx.default_stream)
    assert s.query()
    with s:
        pass


def test_events_that_cannot_be_measured_say_why(ctx):
    timed, untimed = ctx.event(timing=True), ctx.default_stream.record()
    with pytest.raises(gc.NotSupportedError, match="timing=True"):
        untimed.elapsed_time(timed)
    with pytest.raises(gc.LaunchError, match="recorded"):
        timed.elapsed_time(ctx.default_stream.record(ctx.event(timing=True)))


def test_waiting_for_a_stream_orders_after_it(recorded):
    ctx, recorder = recorded
    a, b = ctx.stream(), ctx.stream()
    a.wait(b)
    (record,), (wait,) = recorder.named("record_event"), recorder.named("wait_event")
    assert record[3] is b._handle and wait[2] is a._handle


def test_a_priority_reaches_the_plugin(ctx):
    assert ctx.stream(priority=3)._handle.options.priority == 3


def test_memory_figures(ctx):
    info = ctx.device.memory_info()
    assert 0 < info.free <= info.total
    assert ctx.device.process_memory() >= 0


def test_capabilities_answer(ctx):
    capabilities = ctx.device.capabilities
    assert "strict" in capabilities and "graphs" not in capabilities
    assert capabilities.supports(gc.f64) and capabilities.supports(gc.f16, "storage")
    assert capabilities.shared_memory >= 16 << 10


# --- a device that is lost
@pytest.fixture
def fragile(backend):
    """A backend whose copies lose the device while ``state['broken']``."""
    from dataclasses import replace

    from gpucore.testing import null

    state = {"broken": False, "calls": 0}

    def capabilities(device):
        raw = null.capabilities(device)
        return replace(raw, names=raw.names | {"device_reset"})

    def copy(device, dst, dst_offset, src, src_offset, nbytes, stream):
        state["calls"] += 1
        if state["broken"]:
            raise gc.DeviceLostError("it fell off the bus", code=79, name="GONE")
        null.copy(device, dst, dst_offset, src, src_offset, nbytes, stream)

    def reset_device(device):
        state["broken"] = False

    backend("fragile", capabilities=capabilities, copy=copy, reset_device=reset_device)
    return state


def test_a_lost_device_fails_fast_names_the_last_launches_and_comes_back(fragile, saxpy):
    ctx = gc.Context("fragile")
    x, y = ctx.ones(10, gc.f32), ctx.ones(10, gc.f32)
    bound = saxpy[1, 16].bind(x, y, 1.0)
    saxpy[1, 16](x, y, 1.0)
    fragile["broken"] = True
    with pytest.raises(gc.DeviceLostError, match="fell off the bus.*Last launches: saxpy") as caught:
        y.numpy()
    assert (caught.value.code, caught.value.name) == (79, "GONE")
    calls = fragile["calls"]
    for use in (
        y.numpy,
        ctx.synchronize,
        bound,
        lambda: saxpy[1, 16](x, y, 1.0),
        lambda: ctx.zeros(3, gc.f32),
        lambda: x.fill(2),
    ):
        with pytest.raises(gc.DeviceLostError):
            use()
    assert fragile["calls"] == calls
    ctx.device.reset()
    with pytest.raises(gc.LaunchError, match="reset since"):
        y.numpy()
    with pytest.raises(gc.LaunchError):
        bound()
    x, y = ctx.ones(10, gc.f32), ctx.ones(10, gc.f32)
    saxpy[1, 16](x, y, 1.0)
    assert y.numpy()[0] == 2
    ctx.close()


def test_a_lost_device_harms_no_other(fragile, backend):
    backend("null")
    with gc.Context("fragile") as ctx, gc.Context("null") as other:
        x = ctx.ones(3, gc.f32)
        fragile["broken"] = True
        with pytest.raises(gc.DeviceLostError):
            x.numpy()
        assert other.ones(3, gc.f32).numpy().sum() == 3


def _in_a_fork(array, queue):
    try:
        array.numpy()
        queue.put("no error")
    except gc.GpucoreError as error:
        queue.put(str(error))
    try:
        gc.Context("null")
        queue.put("no error")
    except gc.GpucoreError as error:
        queue.put(str(error))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_after_use_is_told_to_spawn(ctx):
    array = ctx.ones(3, gc.f32)
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    process = context.Process(target=_in_a_fork, args=(array, queue))
    process.start()
    first, second = queue.get(), queue.get()
    process.join()
    assert "spawn" in first and "spawn" in second
    assert array.numpy().tolist() == [1, 1, 1]


def test_the_layers_of_options_share_the_device(ctx):
    view = ctx.options(check=True, math="fast")
    assert view.device is ctx.device and view.default_stream is ctx.default_stream and view.pool is ctx.pool
    assert (view.check, view.math, ctx.check, ctx.math) == (True, "fast", "auto", "strict")
    with view:
        pass
    assert ctx.ones(1, gc.f32).numpy()[0] == 1  # closing a view closes nothing
    with pytest.raises(gc.ConfigError):
        ctx.options(math="sloppy")
