"""numba-vulkan, in a process of its own, on the Vulkan device of this name, timed by its own events."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpucore_bench.model import Arrays, Maker, MissingPeerError, Runner, Simple
from gpucore_bench.peers import need, remote
from gpucore_bench.peers.timing import enqueueing


def peer(name: str, **options: Any) -> dict[str, Maker]:
    """The contender for a work."""
    return remote.peer("numba-vulkan", "numba_vulkan", "numba_vulkan", name, **options)


def make(name: str, size: int, inputs: Arrays, device: Any, options: dict[str, Any]) -> Runner:
    """Runs in the worker."""
    nv = need("numba_vulkan")
    places = [n for n, each in enumerate(nv.list_devices()) if each.name == device.name]
    if not places:
        raise MissingPeerError("it does not show this device")
    nv.select_device(places[0])
    from gpucore_bench.peers import numba_vulkan_kernels

    if name == "saxpy":
        x, y = nv.to_device(inputs["x"]), nv.to_device(inputs["y"])
        saxpy, a = numba_vulkan_kernels.saxpy.forall(size), np.float32(1.5)
        first, last = nv.event(), nv.event()

        def timed(repeats: int) -> float:
            first.record()
            for _ in range(repeats):
                saxpy(x, y, a)
            last.record()
            return float(nv.event_elapsed_time(first, last)) * 1e-3

        return Simple(once=lambda: saxpy(x, y, a), fetch=y.copy_to_host, wait=nv.synchronize, timed=timed)

    array = nv.to_device(np.zeros(size, np.float32))
    kernel, wait = numba_vulkan_kernels.one[1, size], nv.synchronize

    def once() -> None:
        kernel(array)

    def waited() -> None:
        kernel(array)
        wait()

    if options["launch"] == "wait":
        return Simple(once=waited, fetch=array.copy_to_host)
    return Simple(once=once, fetch=array.copy_to_host, wait=wait, timed=enqueueing(once, wait))
