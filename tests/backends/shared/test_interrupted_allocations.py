"""An interrupt at each place of an allocation, from the core's first step to the driver's call: no memory is lost."""

from __future__ import annotations

import collections
import ctypes
import functools
import signal
import sys
import weakref

import pytest
from interrupts import Interrupted

import gpucore as gc
from gpucore.backends import discovery

MODULES = (
    "gpucore.runtime.memory_",
    "gpucore.runtime.memory_block",
    "gpucore.runtime.device",
    "gpucore.backends.hooks",
)

needs_places = pytest.mark.skipif(
    sys.version_info < (3, 12), reason="the places are those of Python 3.12 and later"
)


def memory_of(ctx):
    """Bytes held of the device once the cache was given back; the backend's next allocation collects what was lost."""
    ctx.empty(1, gc.i32).free()
    ctx.pool.trim()
    return ctx.device.process_memory()


@needs_places
@pytest.mark.parametrize("nbytes", [1000, 40 << 20], ids=["of a block", "of its own"])
@pytest.mark.parametrize("kept", [False, True], ids=["from the driver", "from the cache"])
def test_an_interrupted_allocation_loses_nothing(gpucore_backend, nbytes, kept):
    ctx = gc.Context(gpucore_backend)  # no other test's arrays lie in its pool
    if "process_memory" not in ctx.device.capabilities:
        pytest.skip("the device does not say what the process holds")
    module = discovery.installed()[gpucore_backend][0].value.partition(":")[0]

    def allocate():
        ctx.empty(nbytes, gc.u8).free()
        if not kept:
            ctx.pool.trim()

    def after(interrupted):
        figures = ctx.pool.stats()
        assert (figures["used"], figures["allocations"]) == (0, 0)
        if not kept or interrupted:
            assert memory_of(ctx) == before
            assert ctx.pool.stats()["cached"] == 0

    allocate()
    before = memory_of(ctx)
    Interrupted(*MODULES, module).run(allocate, after, least=20, whole_between=True)
    ctx.close()


class Last:
    """Goes last in, first out, and brings the signal."""


@pytest.fixture
def drop_under_a_signal(monkeypatch):
    """``drop(things)``: let go of them, with a signal that came right before the first goes and raises KeyboardInterrupt."""
    if sys.platform == "win32":
        pytest.skip("Windows raises no signals from C that Python handles later")

    def interrupt(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupt)
    swallowed = []
    monkeypatch.setattr(sys, "unraisablehook", swallowed.append)
    # called by C alone, so that Python's handler waits until the next step of Python's, which must not be a finalizer's
    come = collections.defaultdict(functools.partial(ctypes.CDLL(None)["raise"], int(signal.SIGUSR1)))

    def drop(things):
        last = Last()
        reference = weakref.ref(last, come.__getitem__)
        hash(reference)  # which a dead one has no more
        things.append(last)
        del last
        with pytest.raises(KeyboardInterrupt):
            things.clear()
        assert reference() is None
        assert not swallowed

    yield drop
    signal.signal(signal.SIGUSR1, before)


def test_a_signal_as_an_array_goes_loses_no_memory(gpucore_backend, drop_under_a_signal):
    with gc.Context(gpucore_backend) as ctx:
        drop_under_a_signal([ctx.zeros(1000, gc.f32)])
        drop_under_a_signal([ctx.zeros(1000, gc.f32), ctx.zeros(8, gc.i32)[::2]])
        pool = gc.MemoryPool(ctx, size=1 << 20)
        part = ctx.options(pool=pool)
        drop_under_a_signal([part.zeros(1000, gc.f32)])
        for one in (ctx.pool, pool):
            assert (one.stats()["used"], one.stats()["allocations"]) == (0, 0)
