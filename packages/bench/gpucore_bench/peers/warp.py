"""Warp, on the GPU timed by its own events and on a processor by the clock; plain and with its ``fast_math``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gpucore_bench.model import Arrays, Maker, MissingPeerError, Runner, Simple, Work
from gpucore_bench.peers import need
from gpucore_bench.peers.timing import enqueueing

Empty = Callable[[str, Any, str], Any]
"""Makes an output: ``empty(name, shape, dtype)``."""
Call = Callable[[dict[str, Any], Empty], tuple[Any, tuple[Any, ...]]]
"""Of the arrays and :data:`Empty`: the threads to launch and the arguments."""


def _device(context: Any) -> tuple[Any, Any]:
    """Warp and its device: the CPU beside a host's device, else the first of CUDA."""
    package = need("warp")
    package.config.log_level = package.LOG_ERROR
    package.init()
    if context.device.kind in ("cpu", "software"):
        return package, package.get_device("cpu")
    if not package.is_cuda_available():
        raise MissingPeerError("no CUDA device")
    return package, package.get_device("cuda:0")


def _kernel(name: str, fast: bool) -> Any:
    from gpucore_bench.peers import warp_kernels

    return warp_kernels.compiled(name, fast)


def peer(name: str, call: Call, result: str, fast: bool) -> Maker:
    """A kernel of :mod:`gpucore_bench.peers.warp_kernels`, launched as recorded beforehand."""

    def make(work: Work, inputs: Arrays, context: Any) -> Runner:
        wp, device = _device(context)
        kernel = _kernel(name, fast)
        arrays: dict[str, Any] = {key: wp.array(value, device=device) for key, value in inputs.items()}

        def empty(key: str, shape: Any, dtype: str) -> Any:
            arrays[key] = wp.empty(shape, dtype=getattr(wp, dtype), device=device)
            return arrays[key]

        threads, arguments = call(arrays, empty)
        once = wp.launch(kernel, threads, list(arguments), device=device, record_cmd=True).launch

        def wait() -> None:
            wp.synchronize_device(device)

        def fetch() -> Any:
            return np.array(arrays[result].numpy())

        if not device.is_cuda:
            return Simple(once=once, fetch=fetch, wait=wait, release=arrays.clear)
        first, last = (wp.Event(device, enable_timing=True) for _ in range(2))

        def timed(repeats: int) -> float:
            stream = device.stream
            stream.record_event(first)
            for _ in range(repeats):
                once()
            stream.record_event(last)
            return float(wp.get_event_elapsed_time(first, last)) * 1e-3

        return Simple(once=once, fetch=fetch, wait=wait, timed=timed, release=arrays.clear)

    return make


def both(name: str, call: Call, result: str) -> dict[str, Maker]:
    """Plain and with ``fast_math``."""
    return {"warp": peer(name, call, result, False), "warp fast": peer(name, call, result, True)}


def launches(kind: str, arguments: int, n: int) -> dict[str, Maker]:
    """A launch of ``n`` threads: ``kind`` is enqueue, bound (recorded beforehand) or wait."""

    def make(work: Work, inputs: Arrays, context: Any) -> Runner:
        wp, device = _device(context)
        arrays = [wp.zeros(n, dtype=wp.float32, device=device) for _ in range(1 if arguments == 1 else 8)]
        kernel = _kernel("one" if arguments == 1 else "sixteen", False)
        values = [*arrays, *(() if arguments == 1 else (1.0, 2.0, 3.0, 4.0, 1, 2, 3, 4))]
        launch = wp.launch
        stream = device.stream if device.is_cuda else None

        def checked() -> None:
            launch(kernel, n, values, device=device)

        def wait() -> None:
            if stream is not None:
                wp.synchronize_stream(stream)

        def waited() -> None:
            checked()
            wait()

        def fetch() -> Any:
            return np.array(arrays[0].numpy())

        if kind == "wait":
            return Simple(once=waited, fetch=fetch)
        once = (
            checked if kind == "enqueue" else launch(kernel, n, values, device=device, record_cmd=True).launch
        )
        return Simple(once=once, fetch=fetch, wait=wait, timed=enqueueing(once, wait))

    return {"warp": make}
