"""Pipelines: uploads, kernels and downloads of successive items, overlapping or one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import gpucore as gc
from gpucore_bench import kernels
from gpucore_bench.model import Arrays, Maker, Runner, Simple, Work
from gpucore_bench.ours import is_host
from gpucore_bench.peers import need, need_cuda_device

ITEMS = 32


def _ours(how: str) -> Maker:
    def make(work: Work, inputs: Arrays, ctx: gc.Context) -> Runner:
        n = work.size
        sources = [ctx.pinned(n, gc.f32) for _ in range(4)]
        for source in sources:
            source[:] = inputs["x"]
        last: list[Any] = [None]

        def step(stream: gc.Stream, x: gc.Array[Any]) -> gc.Array[Any]:
            y = ctx.empty(n, gc.f32)
            y.fill(1, stream=stream)
            kernels.saxpy.over(n, stream=stream)(x, y, 2.0)
            return y

        def items() -> Iterator[Any]:
            for number in range(ITEMS):
                yield sources[number % len(sources)]

        def piped() -> None:
            with ctx.pipeline(step, items(), depth=3) as results:
                for result in results:
                    last[0] = result

        x, target = ctx.empty(n, gc.f32), ctx.pinned(n, gc.f32)
        stream = ctx.default_stream

        def sequential() -> None:
            for source in items():
                x.copy_from(source)
                step(stream, x).copy_to(target)
                stream.synchronize()
            last[0] = target

        once: Callable[[], object] = piped if how == "pipeline" else sequential
        return Simple(once=once, fetch=lambda: np.array(last[0]), wait=ctx.synchronize)

    return make


def _cupy() -> Maker:
    def make(work: Work, inputs: Arrays, context: Any) -> Runner:
        cupy = need("cupy")
        need_cuda_device(cupy)
        n = work.size
        kernel = cupy.ElementwiseKernel("float32 x, float32 a", "float32 y", "y = a * x + 1", "scaled")

        def pinned() -> Any:
            return np.frombuffer(cupy.cuda.alloc_pinned_memory(4 * n), np.float32, n)

        streams = [cupy.cuda.Stream(non_blocking=True) for _ in range(3)]
        sources, targets = [pinned() for _ in streams], [pinned() for _ in streams]
        arrays = [(cupy.empty(n, cupy.float32), cupy.empty(n, cupy.float32)) for _ in streams]
        for source in sources:
            source[:] = inputs["x"]

        def once() -> None:
            for number in range(ITEMS):
                slot = number % len(streams)
                stream, (x, y) = streams[slot], arrays[slot]
                with stream:
                    stream.synchronize()
                    x.set(sources[slot], stream)
                    kernel(x, np.float32(2), y)
                    y.get(stream, out=targets[slot], blocking=False)
            for stream in streams:
                stream.synchronize()

        return Simple(once=once, fetch=lambda: np.array(targets[0]))

    return make


def works(context: Any, quick: bool) -> list[Work]:
    """Items of 16 MiB, smaller ones where a processor does the work."""
    n = 1 << (18 if is_host(context) else 20 if quick else 22)

    def inputs() -> Arrays:
        return {"x": np.random.default_rng(n).random(n, dtype=np.float32)}

    makers = {"gpucore": _ours("pipeline"), "gpucore sequential": _ours("sequential"), "cupy": _cupy()}
    return [
        Work(
            f"{ITEMS} items up, kernel, down",
            "pipeline",
            n,
            inputs,
            lambda i: 1 + 2 * i["x"],
            makers,
            1e-6,
            8 * n * ITEMS,
        )
    ]
