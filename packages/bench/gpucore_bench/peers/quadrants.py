"""Quadrants, in a process of its own: plain and with its ``fast_math``, which is its default.

It runs on the processor beside a host's device, else on CUDA; where there is a Vulkan device, on that as well.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from gpucore_bench.model import Arrays, Maker, MissingPeerError, Runner, Simple
from gpucore_bench.peers import need, raw_vulkan, remote
from gpucore_bench.peers.timing import enqueueing


def peer(name: str, **options: Any) -> dict[str, Maker]:
    """The plain contender, and the same on the Vulkan device that gpucore runs on."""
    return {
        label: remote.peer(label, "quadrants", "quadrants", name, fast=False, vulkan=vulkan, **options)[label]
        for label, vulkan in (("quadrants", False), ("quadrants vulkan", True))
    }


def both(name: str, **options: Any) -> dict[str, Maker]:
    """Plain and with ``fast_math``."""
    fast = remote.peer("quadrants fast", "quadrants", "quadrants", name, fast=True, vulkan=False, **options)
    return peer(name, **options) | fast


def _start(device: Any, fast: bool, vulkan: bool) -> Any:
    """Quadrants upon its device; it would fall back to the processor in silence."""
    if vulkan:
        raw = raw_vulkan.RawVulkan(device.uuid)
        os.environ["QD_VISIBLE_DEVICE"] = str(raw.place)
        raw.close()
    qd = need("quadrants")
    on_host = device.kind in ("cpu", "software")
    wanted = qd.vulkan if vulkan else qd.cpu if on_host else qd.cuda
    qd.init(arch=wanted, fast_math=fast, log_level=qd.ERROR)
    found = qd.lang.impl.current_cfg().arch
    if vulkan and found != qd.vulkan:
        raise MissingPeerError("it cannot start Vulkan")
    if not vulkan and not on_host and found != qd.cuda:
        raise MissingPeerError("no CUDA device")
    return qd


def make(name: str, size: int, inputs: Arrays, device: Any, options: dict[str, Any]) -> Runner:
    """Runs in the worker."""
    qd = _start(device, options["fast"], options["vulkan"])
    from gpucore_bench.peers import quadrants_kernels

    kernel = getattr(quadrants_kernels, options.get("kernel", name))
    arrays: dict[str, Any] = {}
    for key, value in inputs.items():
        arrays[key] = qd.ndarray(qd.f32, value.shape)
        arrays[key].from_numpy(value)
    for key, (shape, dtype) in options.get("outputs", {}).items():
        arrays[key] = qd.ndarray(getattr(qd, dtype), tuple(shape))
        arrays[key].fill(0)
    arguments = [arrays[a] if isinstance(a, str) else a for a in options["arguments"]]

    def once() -> None:
        kernel(*arguments)

    def waited() -> None:
        kernel(*arguments)
        qd.sync()

    def fetch() -> Any:
        return np.asarray(arrays[options["result"]].to_numpy())

    kind = options.get("launch")
    if kind == "wait":
        return Simple(once=waited, fetch=fetch, release=qd.reset)
    timed = enqueueing(once, qd.sync) if kind == "enqueue" else None
    return Simple(once=once, fetch=fetch, wait=qd.sync, timed=timed, release=qd.reset)


def launches(kind: str, arguments: int, n: int) -> dict[str, Maker]:
    """A launch over ``n`` elements: ``kind`` is enqueue or wait."""
    names = "abcdefgh"[: 1 if arguments == 1 else 8]
    scalars = () if arguments == 1 else (1.0, 2.0, 3.0, 4.0, 1, 2, 3, 4)
    return peer(
        "one" if arguments == 1 else "sixteen", launch=kind, outputs={name: ([n], "f32") for name in names},
        arguments=[*names, *scalars], result="a",
    )  # fmt: skip
