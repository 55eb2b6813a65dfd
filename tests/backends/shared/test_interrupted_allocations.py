"""An interrupt at each place of an allocation, from the core's first step to the driver's call: no memory is lost."""

from __future__ import annotations

import sys

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

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 12), reason="the places are those of Python 3.12 and later"
)


def memory_of(ctx):
    """Bytes held of the device once the cache was given back; the backend's next allocation collects what was lost."""
    ctx.empty(1, gc.i32).free()
    ctx.pool.trim()
    return ctx.device.process_memory()


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
