"""Graphs: a hundred small kernels as one launch, beside the same launches one by one; what an update costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import gpucore as gc
from gpucore_bench import kernels
from gpucore_bench.model import Arrays, Maker, Runner, Simple, Work
from gpucore_bench.peers import need, need_cuda_device

KERNELS, SIZE = 100, 1024


def _ours(how: str) -> Maker:
    def make(work: Work, inputs: Arrays, ctx: gc.Context) -> Runner:
        x, y = ctx.array(inputs["x"]), ctx.array(inputs["y"])
        launch = kernels.saxpy.over(SIZE)
        launch(x, y, 0.0)
        ctx.synchronize()
        once: Callable[[], object]
        if how == "bound":
            bound = launch.bind(x, y, 1.0)

            def once() -> None:
                for _ in range(KERNELS):
                    bound()
        else:
            with ctx.graph() as graph:
                factor = graph.scalar("factor", 1.0)
                for number in range(KERNELS):
                    launch(x, y, factor if number == 0 else 1.0)
            once = (lambda: graph.update(factor=1.0)) if how == "update" else graph.launch
        wait: Callable[[], object] = ctx.synchronize

        def waited() -> None:
            once()
            ctx.synchronize()

        def fetch() -> Any:
            y.copy_from(inputs["y"])
            (graph.launch if how == "update" else once)()
            return y.numpy()

        return Simple(once=once if how == "update" else waited, fetch=fetch, wait=wait)

    return make


def _cupy() -> Maker:
    def make(work: Work, inputs: Arrays, context: Any) -> Runner:
        cupy = need("cupy")
        need_cuda_device(cupy)
        x, y = cupy.asarray(inputs["x"]), cupy.asarray(inputs["y"])
        kernel = cupy.ElementwiseKernel("float32 x, float32 a", "float32 y", "y = a * x + y", "saxpy")
        stream = cupy.cuda.Stream(non_blocking=True)
        with stream:
            kernel(x, np.float32(0), y)
            stream.begin_capture()
            for _ in range(KERNELS):
                kernel(x, np.float32(1), y)
            graph = stream.end_capture()

        def once() -> None:
            graph.launch(stream)
            stream.synchronize()

        def fetch() -> Any:
            y.set(inputs["y"])
            once()
            return cupy.asnumpy(y)

        return Simple(once=once, fetch=fetch, wait=stream.synchronize)

    return make


def works(context: Any, quick: bool) -> list[Work]:
    """A launch with its wait, and one update of a scalar."""

    def inputs() -> Arrays:
        return {"x": np.ones(SIZE, np.float32), "y": np.zeros(SIZE, np.float32)}

    def expected(arrays: Arrays) -> Any:
        return arrays["y"] + KERNELS * arrays["x"]

    launched = {"gpucore": _ours("graph"), "gpucore bound": _ours("bound"), "cupy": _cupy()}
    return [
        Work(f"{KERNELS} kernels and wait", "graph", SIZE, inputs, expected, launched),
        Work("update a scalar", "graph", SIZE, inputs, expected, {"gpucore": _ours("update")}),
    ]
