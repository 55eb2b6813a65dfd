"""Copies between host and device: pageable and pinned, both ways, small and large."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import gpucore as gc
from gpucore_bench.model import Arrays, Maker, Runner, Simple, Work
from gpucore_bench.peers import need, need_cuda_device


def _ours(direction: str, pinned: bool) -> Maker:
    def make(work: Work, inputs: Arrays, ctx: gc.Context) -> Runner:
        if pinned and "pinned_memory" not in ctx.device.capabilities:
            raise gc.NotSupportedError("the device has no pinned memory", capability="pinned_memory")
        host = ctx.pinned(work.size, gc.f32) if pinned else np.empty(work.size, np.float32)
        host[:] = inputs["x"]
        device = ctx.array(inputs["x"])
        back = ctx.pinned(work.size, gc.f32) if pinned else np.empty(work.size, np.float32)
        once: Callable[[], object]
        if direction == "to device":
            once = lambda: device.copy_from(host)  # noqa: E731
            fetch: Callable[[], Any] = device.numpy
        else:
            once = lambda: device.copy_to(back)  # noqa: E731
            fetch = lambda: np.array(back)  # noqa: E731
        return Simple(once=once, fetch=fetch, wait=ctx.synchronize)

    return make


def _cupy(direction: str, pinned: bool) -> Maker:
    def make(work: Work, inputs: Arrays, context: Any) -> Runner:
        cupy = need("cupy")
        need_cuda_device(cupy)
        if pinned:
            memory = cupy.cuda.alloc_pinned_memory(4 * work.size)
            host = np.frombuffer(memory, np.float32, work.size)
        else:
            host = np.empty(work.size, np.float32)
        host[:] = inputs["x"]
        device = cupy.asarray(inputs["x"])
        stream = cupy.cuda.get_current_stream()
        once: Callable[[], object]
        if direction == "to device":
            once = lambda: device.set(host, stream)  # noqa: E731
            fetch: Callable[[], Any] = device.get
        else:
            once = lambda: device.get(stream, out=host, blocking=False)  # noqa: E731
            fetch = lambda: np.array(host)  # noqa: E731
        return Simple(once=once, fetch=fetch, wait=stream.synchronize)

    return make


def works(context: Any, quick: bool) -> list[Work]:
    """Both directions, pageable and pinned."""
    sizes: tuple[int, ...] = (1 << 10, 1 << 22) if quick else (1 << 8, 1 << 14, 1 << 20, 1 << 26)
    if context.device.kind == "cpu":  # fmt: skip
        sizes = tuple(min(n, 1 << 24) for n in sizes)

    def inputs(n: int) -> Callable[[], Arrays]:
        return lambda: {"x": np.random.default_rng(n).random(n, dtype=np.float32)}

    result = []
    for direction in ("to device", "to host"):
        for pinned in (False, True):
            for n in sizes:
                name = f"{'pinned' if pinned else 'pageable'} {direction}"
                makers = {"gpucore": _ours(direction, pinned), "cupy": _cupy(direction, pinned)}
                result.append(Work(name, "transfer", n, inputs(n), lambda i: i["x"], makers, 0.0, 4 * n))
    return result
