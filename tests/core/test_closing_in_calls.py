"""Contexts that a finalizer closes in the middle of a call of its own thread, or of a thread that works for a call."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import gpucore as gc
from gpucore.plugin_api import PartWorkers
from gpucore.testing import null

ENOUGH = 20.0


@gc.kernel
def multiply(y: gc.Array[gc.f32], a: gc.f32):
    i = gc.global_id(0)
    y[i] = a * y[i]


class Finalizer:
    """What a finalizer does in the middle of a hook, once; what the backend did, in order."""

    def __init__(self):
        self.action = None
        self.happened = []
        self.released = threading.Event()

    def run(self):
        action, self.action = self.action, None
        if action is not None:
            action()

    def released_soon(self):
        return self.released.wait(ENOUGH)


@pytest.fixture
def finalizer(backend):
    found = Finalizer()
    happened = found.happened

    def fill(device, dst, offset, nbytes, pattern, stream):
        found.run()
        null.fill(device, dst, offset, nbytes, pattern, stream)
        happened.append("filled")

    def copy(device, dst, dst_offset, src, src_offset, nbytes, stream):
        found.run()
        null.copy(device, dst, dst_offset, src, src_offset, nbytes, stream)
        happened.append("copied")

    def prepare(device, executable, config):
        call = null.prepare(device, executable, config)

        def launch(*packed):
            found.run()
            call(*packed)
            happened.append("launched")

        return launch

    def memory_info(device):
        found.run()
        happened.append("asked")
        return null.memory_info(device)

    def free(device, allocation, stream):
        happened.append("freed")
        null.free(device, allocation, stream)

    def destroy_stream(device, stream):
        happened.append("stream destroyed")
        null.destroy_stream(device, stream)

    def close_device(device):
        happened.append("device closed")
        null.close_device(device)
        found.released.set()

    backend(
        "null", fill=fill, copy=copy, prepare=prepare, memory_info=memory_info, free=free,
        destroy_stream=destroy_stream, close_device=close_device,
    )  # fmt: skip
    return found


CALLS = {
    "filled": lambda ctx, y: y.fill(2),
    "copied": lambda ctx, y: y.copy_from(np.ones(8, np.float32)),
    "launched": lambda ctx, y: multiply.over(8)(y, 2.0),
    "asked": lambda ctx, y: ctx.device.memory_info(),
}


@pytest.mark.parametrize("what", CALLS)
def test_the_call_goes_on_with_its_memory_and_what_is_held_is_released_after_it(finalizer, what):
    ctx = gc.Context("null")
    y = ctx.ones(8, gc.f32)
    multiply.over(8)(y, 1.0)
    refused = []

    def close():
        ctx.close()
        for number, use in enumerate((lambda: multiply.over(8)(y, 3.0), lambda: ctx.zeros(8, gc.f32))):
            try:
                use()
            except gc.LaunchError as error:
                refused.append((number, "closed" in str(error)))
        time.sleep(0.05)  # for who would release it meanwhile

    finalizer.happened.clear()
    finalizer.action = close
    CALLS[what](ctx, y)
    assert finalizer.happened[0] == what
    assert refused == [(0, True), (1, True)]
    assert finalizer.released_soon()
    assert finalizer.happened.count("freed") == 1
    assert finalizer.happened[-1] == "device closed"
    with pytest.raises(gc.LaunchError, match="its context is closed"):
        y.fill(3)
    ctx.close()


def test_what_the_call_makes_is_ended_too(finalizer):
    ctx = gc.Context("null")
    finalizer.action = ctx.close
    y = ctx.zeros(8, gc.f32)
    assert finalizer.released_soon()
    with pytest.raises(gc.LaunchError, match="closed"):
        y.numpy()


def test_closing_again_after_the_call_releases_at_once(finalizer):
    ctx = gc.Context("null")
    y = ctx.ones(8, gc.f32)
    finalizer.action = ctx.close
    y.fill(2)
    ctx.close()
    assert "stream destroyed" in finalizer.happened and "freed" in finalizer.happened
    assert finalizer.released_soon()
    assert finalizer.happened.count("device closed") == 1


def test_a_context_that_the_call_does_not_use_is_closed_at_once(finalizer):
    with gc.Context("null") as ctx:
        y = ctx.ones(8, gc.f32)
        other = gc.Context("null")
        z = other.ones(8, gc.f32)
        finalizer.happened.clear()
        finalizer.action = other.close
        y.fill(2)
        assert finalizer.happened[-1] == "filled"
        assert set(finalizer.happened[:-1]) == {"freed", "stream destroyed"}
        del z


def test_a_thread_that_moves_parts_for_a_call_closes_its_context(backend):
    """The call waits for the thread, which must not wait for the call."""
    workers = PartWorkers("test-copy", 2)
    closed, released = threading.Event(), threading.Event()
    happened, contexts = [], []
    caller = threading.get_ident()

    def copy(device, dst, dst_offset, src, src_offset, nbytes, stream):
        def move(at, size):
            if threading.get_ident() == caller:
                assert closed.wait(ENOUGH)
            elif contexts:
                contexts.pop().close()
                closed.set()

        if contexts:
            workers.move(2, 1, move, None)
        null.copy(device, dst, dst_offset, src, src_offset, nbytes, stream)
        happened.append("copied")

    def free(device, allocation, stream):
        happened.append("freed")
        null.free(device, allocation, stream)

    def close_device(device):
        null.close_device(device)
        released.set()

    backend("null", copy=copy, free=free, close_device=close_device)
    ctx = gc.Context("null")
    y = ctx.ones(8, gc.f32)
    happened.clear()
    contexts.append(ctx)
    start = time.monotonic()
    y.copy_from(np.ones(8, np.float32))
    assert time.monotonic() - start < ENOUGH / 2
    assert released.wait(ENOUGH)
    assert happened == ["copied", "freed"]
    workers.close()


AT_EXIT = """
import time

import numpy as np

import gpucore as gc
from gpucore.backends import discovery
from gpucore.hookspecs import hookimpl
from gpucore.testing import null

close_of_null = null.close_device


@hookimpl
def close_device(device):
    time.sleep(0.3)
    close_of_null(device)
    print("closed", flush=True)


fill_of_null = null.fill


@hookimpl
def fill(device, dst, offset, nbytes, pattern, stream):
    ctx.close()
    fill_of_null(device, dst, offset, nbytes, pattern, stream)


null.close_device, null.fill = close_device, fill
with discovery.register("null", null):
    ctx = gc.Context("null")
    y = ctx.array(np.ones(8, np.float32))
    y.fill(1)
time.sleep(0.1)
print("end", flush=True)
"""


def test_an_exit_waits_for_what_is_being_released():
    done = subprocess.run([sys.executable, "-c", AT_EXIT], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "end\nclosed\n"), done.stderr
