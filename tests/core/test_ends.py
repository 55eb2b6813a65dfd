"""Contexts that end in unusual ways."""

import gc as collector
import os
import subprocess
import sys
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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_child_closes_without_touching_the_device(tmp_path):
    script = tmp_path / "program.py"
    script.write_text(FORKS, "utf-8")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:2] == ["child: 0 devices closed, 0 reset", "parent: [1.0, 1.0, 1.0]"]


FORKS = """
import os
import gpucore as gc
from gpucore.backends import discovery
from gpucore.hookspecs import hookimpl
from gpucore.testing import null

from dataclasses import replace

closed, reset = [], []
capabilities = null.capabilities

@hookimpl
def close_device(device):
    closed.append(device)

@hookimpl
def reset_device(device):
    reset.append(device)

null.close_device, null.reset_device = close_device, reset_device
null.capabilities = hookimpl(
    lambda device: replace(capabilities(device), names=capabilities(device).names | {"device_reset"})
)
with discovery.register("null", null):
    ctx = gc.Context("null")
    x = ctx.ones(3, gc.f32)
    child = os.fork()
    if child == 0:
        try:
            ctx.device.reset()
        except gc.DeviceError as error:
            assert "forked" in str(error)
        ctx.close()
        print(f"child: {len(closed)} devices closed, {len(reset)} reset", flush=True)
        os._exit(0)
    os.waitpid(child, 0)
    print("parent:", x.numpy().tolist())
    ctx.close()
"""


def test_a_context_that_was_dropped_in_a_cycle_leaves_no_stream_and_no_memory(backend):
    backend("null")
    with gc.Context("null") as kept:
        opened = kept.device._handle.open
        before = dict(opened)
        for _ in range(3):
            context = gc.Context("null")
            context.zeros(4, gc.f32)
            context.itself = [context]
            del context
            collector.collect()
        gc.Context("null").close()  # closes what was dropped before
        assert opened == before
