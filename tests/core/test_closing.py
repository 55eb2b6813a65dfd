"""Contexts that are closed while other threads use them, and what is said of errors found then."""

from __future__ import annotations

import gc as collector
import threading
import time
import weakref

import numpy as np
import pytest

import gpucore as gc
from gpucore.testing import null

ENOUGH = 20.0


@gc.kernel
def multiply(y: gc.Array[gc.f32], a: gc.f32):
    i = gc.global_id(0)
    y[i] = a * y[i]


@gc.kernel
def past_the_end(y: gc.Array[gc.f32]):
    y[y.shape[0] + 7] = 1.0


class Gate:
    """A hook that stops a thread until it is opened; what happened, in order."""

    def __init__(self):
        self.shut, self.entered, self.opened = False, threading.Event(), threading.Event()
        self.happened = []

    def pass_through(self, what):
        if self.shut:
            self.entered.set()
            assert self.opened.wait(ENOUGH)
        self.happened.append(what)


def gated(gate, backend):
    def copy(device, dst, dst_offset, src, src_offset, nbytes, stream):
        gate.pass_through("copied")
        null.copy(device, dst, dst_offset, src, src_offset, nbytes, stream)

    def prepare(device, executable, config):
        call = null.prepare(device, executable, config)

        def gated_call(*packed):
            gate.pass_through("launched")
            return call(*packed)

        return gated_call

    def free(device, allocation, stream):
        gate.happened.append("freed")
        null.free(device, allocation, stream)

    def destroy_stream(device, stream):
        gate.happened.append("stream destroyed")
        null.destroy_stream(device, stream)

    backend("null", copy=copy, prepare=prepare, free=free, destroy_stream=destroy_stream)


@pytest.mark.parametrize("what", ["copied", "launched"])
def test_closing_waits_for_a_call_of_another_thread(backend, what):
    gate = Gate()
    gated(gate, backend)
    ctx = gc.Context("null")
    y, results = ctx.ones(8, gc.f32), []
    launch = multiply.over(8)
    launch(y, 1.0)
    gate.shut, gate.happened = True, []
    work = (lambda: results.append(y.numpy().tolist())) if what == "copied" else (lambda: launch(y, 2.0))
    worker = threading.Thread(target=work)
    worker.start()
    assert gate.entered.wait(ENOUGH)
    closer = threading.Thread(target=ctx.close)
    closer.start()
    time.sleep(0.05)
    assert gate.happened == []
    gate.shut = False
    gate.opened.set()
    closer.join(ENOUGH)
    worker.join(ENOUGH)
    assert gate.happened[0] == what and "freed" in gate.happened
    with pytest.raises(gc.LaunchError, match="its context is closed"):
        launch(y, 3.0)
    if what == "copied":
        assert results == [[1.0] * 8]


def test_threads_that_launch_and_copy_in_loops_end_with_an_error_that_says_why(backend):
    backend("null")
    for _ in range(5):
        ctx = gc.Context("null")
        errors = []

        def loop(ctx=ctx, errors=errors):
            y = ctx.ones(4, gc.f32)
            try:
                while True:
                    multiply.over(4)(y, 1.0)
                    y.copy_from(np.ones(4, np.float32))
                    y.numpy()
            except Exception as error:  # noqa: BLE001 - whatever it is, the test looks at it
                errors.append(error)

        threads = [threading.Thread(target=loop) for _ in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0.02)
        ctx.close()
        for thread in threads:
            thread.join(ENOUGH)
        assert len(errors) == 3
        assert all(isinstance(error, gc.LaunchError) and "closed" in str(error) for error in errors), errors


def test_two_threads_close_one_context(backend):
    backend("null")
    for _ in range(20):
        ctx = gc.Context("null")
        ctx.ones(4, gc.f32)
        threads = [threading.Thread(target=ctx.close) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(ENOUGH)
            assert not thread.is_alive()


def test_a_call_that_never_returns_does_not_stop_the_closing_for_ever(backend, monkeypatch, caplog):
    from gpucore.runtime import running_calls

    monkeypatch.setattr(running_calls, "_PATIENCE", 0.05)
    gate = Gate()
    gated(gate, backend)
    ctx = gc.Context("null")
    y = ctx.ones(4, gc.f32)
    gate.shut = True

    def copy():
        with pytest.raises(
            gc.DeviceError
        ):  # of the null backend, whose memory and streams notice their use after the end
            y.numpy()

    worker = threading.Thread(target=copy)
    worker.start()
    assert gate.entered.wait(ENOUGH)
    with caplog.at_level("WARNING", "gpucore"):
        ctx.close()
    assert "1 other threads are in calls that use it" in caplog.text
    gate.opened.set()
    worker.join(ENOUGH)


def test_the_work_of_another_context_is_not_waited_for(backend):
    gate = Gate()
    gated(gate, backend)
    with gc.Context("null") as other:
        y = other.ones(4, gc.f32)
        mine = gc.Context("null")
        gate.shut = True
        worker = threading.Thread(target=y.numpy)
        worker.start()
        assert gate.entered.wait(ENOUGH)
        start = time.monotonic()
        mine.close()
        assert time.monotonic() - start < ENOUGH / 2
        gate.opened.set()
        worker.join(ENOUGH)


# --- what a kernel did wrong
def test_the_error_of_a_kernel_is_seen_beside_that_of_the_body(backend):
    backend("null")
    with pytest.raises(ValueError, match="mine") as caught, gc.Context("null", check=True) as ctx:
        past_the_end.over(1)(ctx.ones(4, gc.f32))
        raise ValueError("mine")
    (note,) = caught.value.__notes__
    assert "KernelBoundsError" in note and "test_closing.py" in note


def test_an_error_that_was_told_is_not_told_again(backend):
    backend("null")
    with pytest.raises(gc.KernelBoundsError) as caught, gc.Context("null", check=True) as ctx:
        y = ctx.ones(4, gc.f32)
        past_the_end.over(1)(y)
        y.numpy()
    # one note of an error shows its source line
    assert not any("closed" in note for note in getattr(caught.value, "__notes__", ()))


def test_an_interrupt_of_closing_keeps_nothing_of_the_body(backend):
    """Else the exception of the body, its frames and their buffers form a cycle with the frame that was interrupted.

    CPython 3.12.1 crashes where such a cycle with a memoryview is collected.
    """

    class Held:
        pass

    held, alive = False, []

    def synchronize_stream(device, stream):
        if held:
            raise KeyboardInterrupt

    def body():
        mine = Held()
        alive.append(weakref.ref(mine))
        raise ValueError("of the body")

    backend("null", synchronize_stream=synchronize_stream)
    with pytest.raises(KeyboardInterrupt) as caught, gc.Context("null") as ctx:
        ctx.ones(4, gc.f32)
        held = True
        body()
    held = False
    interrupt = caught.value
    assert isinstance(interrupt.__context__, ValueError)
    interrupt.__context__ = None
    # what the interrupt still holds are its own frames
    assert interrupt.__traceback__ is not None
    collector.collect()
    assert alive[0]() is None
    ctx.close()
