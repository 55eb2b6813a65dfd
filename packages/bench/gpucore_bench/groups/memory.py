"""What an allocation costs: the pool's hit, and the driver's allocation beneath it."""

from __future__ import annotations

from typing import Any

import gpucore as gc
from gpucore_bench.model import Arrays, Maker, Runner, Simple, Work
from gpucore_bench.peers import need, need_cuda_device


def _ours(cached: bool) -> Maker:
    def make(work: Work, inputs: Arrays, ctx: gc.Context) -> Runner:
        def once() -> None:
            ctx.empty(work.size, gc.u8).free()
            if not cached:
                ctx.pool.trim()

        return Simple(once=once, wait=ctx.synchronize)

    return make


def _cupy(cached: bool) -> Maker:
    def make(work: Work, inputs: Arrays, context: Any) -> Runner:
        cupy = need("cupy")
        need_cuda_device(cupy)
        pool = cupy.get_default_memory_pool()

        def once() -> None:
            array = cupy.empty(work.size, "u1")
            del array
            if not cached:
                pool.free_all_blocks()

        return Simple(once=once)

    return make


def works(context: Any, quick: bool) -> list[Work]:
    """Allocate and free at two sizes."""
    result = []
    for cached in (True, False):
        for n in (1 << 12, 1 << 26):
            name = "allocate and free, " + ("cached" if cached else "from the driver")
            result.append(
                Work(name, "memory", n, dict, None, {"gpucore": _ours(cached), "cupy": _cupy(cached)})
            )
    return result
