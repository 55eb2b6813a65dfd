"""What a launch costs: enqueue, launch and wait, bound, one and sixteen arguments."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

import gpucore as gc
from gpucore.cli.bench import kernels
from gpucore.cli.bench.model import Arrays, Maker, Runner, Simple, Work
from gpucore.cli.bench.peers import launches, raw_vulkan
from gpucore.cli.bench.peers.host import numba_peer

N = 256
BATCH = 64
"""Launches between two waits when enqueueing is measured, below any queue's depth."""


def _arrays(ctx: gc.Context) -> list[gc.Array[Any]]:
    return [ctx.zeros(N, gc.f32) for _ in range(8)]


def _enqueue(once: Callable[[], object], wait: Callable[[], object]) -> Callable[[int], float]:
    """Seconds of the caller's time for ``repeats`` enqueues; waits between batches are not counted."""

    def timed(repeats: int) -> float:
        total, left = 0.0, repeats
        while left:
            n = min(left, BATCH)
            start = perf_counter()
            for _ in range(n):
                once()
            total += perf_counter() - start
            wait()
            left -= n
        return total

    return timed


def _ours(kind: str, arguments: int) -> Maker:
    def make(work: Work, inputs: Arrays, ctx: gc.Context) -> Runner:
        arrays = _arrays(ctx)
        if arguments == 1:
            configured, values = kernels.one_argument[N // 256, 256], (arrays[0],)
        else:
            configured = kernels.sixteen_arguments[N // 256, 256]
            values = (*arrays, 1.0, 2.0, 3.0, 4.0, 1, 2, 3, 4)  # type: ignore[assignment]
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
            once=once, fetch=arrays[0].numpy, wait=ctx.synchronize, timed=_enqueue(once, ctx.synchronize)
        )

    return make


def _numba_arguments(work: Work, arrays: dict[str, Any]) -> tuple[Any, ...]:
    arrays["a"] = np.zeros(N, np.float32)
    return (arrays["a"],)


def works(context: Any, quick: bool) -> list[Work]:
    """One row a way of launching a kernel over one block."""

    def ones(i: Arrays) -> Any:
        return np.ones(N)

    def sums(i: Arrays) -> Any:
        return np.full(N, 20.0)

    on_host = context.device.kind == "cpu"  # fmt: skip
    numba = {"numba parallel": numba_peer("empty", False, _numba_arguments, "a")} if on_host else {}

    def raw(makers: Callable[..., dict[str, Maker]], *options: Any) -> dict[str, Maker]:
        """Peers that a processor without a driver cannot have."""
        return {} if on_host else makers(*options)

    return [
        Work(
            "enqueue, 1 argument", "launch", N, dict, ones,
            {"gpucore": _ours("enqueue", 1), **launches.enqueue(_enqueue), **raw(raw_vulkan.enqueue, BATCH, False), **numba},
        ),
        Work("enqueue, 16 arguments", "launch", N, dict, sums, {"gpucore": _ours("enqueue", 16)}),
        Work(
            "bound, 1 argument", "launch", N, dict, ones,
            {"gpucore": _ours("bound", 1), **launches.prepacked(_enqueue), **raw(raw_vulkan.enqueue, BATCH, True)},
        ),
        Work("bound, 16 arguments", "launch", N, dict, sums, {"gpucore": _ours("bound", 16)}),
        Work(
            "launch and wait", "launch", N, dict, ones,
            {"gpucore": _ours("wait", 1), **launches.wait(), **raw(raw_vulkan.wait), **numba},
        ),
    ]  # fmt: skip
