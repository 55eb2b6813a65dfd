"""What a launch costs: enqueue, launch and wait, bound, one and sixteen arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import gpucore as gc
from gpucore_bench import kernels
from gpucore_bench.model import Arrays, Maker, Runner, Simple, Work
from gpucore_bench.peers import launches
from gpucore_bench.peers.timing import enqueueing

N = 256


def _arrays(ctx: gc.Context) -> list[gc.Array[Any]]:
    return [ctx.zeros(N, gc.f32) for _ in range(8)]


def _ours(kind: str, arguments: int) -> Maker:
    def make(work: Work, inputs: Arrays, ctx: gc.Context) -> Runner:
        arrays = _arrays(ctx)
        kernel: gc.Kernel = kernels.one_argument
        values: tuple[Any, ...] = (arrays[0],)
        if arguments != 1:
            kernel, values = kernels.sixteen_arguments, (*arrays, 1.0, 2.0, 3.0, 4.0, 1, 2, 3, 4)
        configured: gc.ConfiguredKernel = kernel[N // 256, 256]
        once: Callable[[], object]
        if kind == "bound":
            once = configured.bind(*values)
        else:

            def once() -> None:
                configured(*values)

        if kind == "wait":
            stream = ctx.default_stream

            def waited() -> None:
                configured(*values)
                stream.synchronize()

            return Simple(once=waited, fetch=arrays[0].numpy)
        return Simple(
            once=once, fetch=arrays[0].numpy, wait=ctx.synchronize, timed=enqueueing(once, ctx.synchronize)
        )

    return make


def works(context: Any, quick: bool) -> list[Work]:
    """One row a way of launching a kernel over one block."""
    on_host = context.device.kind == "cpu"

    def one(name: str, kind: str, arguments: int) -> Work:
        # ones, or the sum of the scalars
        value = 1.0 if arguments == 1 else 20.0
        makers = {"gpucore": _ours(kind, arguments), **launches.peers(kind, arguments, on_host)}
        return Work(name, "launch", N, dict, lambda i: np.full(N, value), makers)

    return [
        one("enqueue, 1 argument", "enqueue", 1),
        one("enqueue, 16 arguments", "enqueue", 16),
        one("bound, 1 argument", "bound", 1),
        one("bound, 16 arguments", "bound", 16),
        one("launch and wait", "wait", 1),
    ]
