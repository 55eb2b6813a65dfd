"""Cyclic garbage that holds memory of a device: no array gets memory that the driver has, or another array."""

from __future__ import annotations

import gc as collector

import pytest
from cyclic_garbage import CYCLES, collected

import gpucore as gc


@pytest.mark.parametrize("looks_on", ["nobody", "weak references", "a finalizer"])
def test_memory_in_cyclic_garbage_goes_to_the_pool_or_to_the_driver(gpucore_backend, looks_on):
    with gc.Context(gpucore_backend) as ctx, gc.Context(gpucore_backend) as second:
        figures = "process_memory" in ctx.device.capabilities
        before = []
        for _ in range(3):
            for cycle in CYCLES:
                collected(cycle, ctx, second, looks_on)
            collector.collect()
            gc.Context(gpucore_backend).close()  # closes what was dropped
            for context in (ctx, second):
                context.synchronize()
                context.pool.trim()
                assert context.pool.stats()["used"] == context.pool.stats()["cached"] == 0
            if figures:
                before.append(ctx.device.process_memory())
        assert before == sorted(before, reverse=True), "more memory is held each time"


def test_collections_at_each_allocation(gpucore_backend):
    before = collector.get_threshold()
    with gc.Context(gpucore_backend) as ctx, gc.Context(gpucore_backend) as second:
        collector.set_threshold(1, 1, 1)
        try:
            for cycle in CYCLES:
                collected(cycle, ctx, second, "weak references")
        finally:
            collector.set_threshold(*before)
    gc.Context(gpucore_backend).close()
