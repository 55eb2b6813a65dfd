"""The groups of benchmarks, each a module with ``works(context, quick) -> list[Work]``."""

from __future__ import annotations

import dataclasses
import importlib
from typing import Any

from gpucore_bench.model import Work

HOST_ONLY = ("torch cpu",)
"""Contenders that run on the processor alone: shown beside processors and software devices."""
DEVICE_ONLY = ("vulkan-cffi", "vkdispatch", "numba-vulkan", "quadrants vulkan")
"""Contenders that need a driver's device: not shown where gpucore runs on the processor without one."""
PROCESSOR_ONLY = ("numba parallel, spinning", "numba parallel fastmath, spinning")
"""Contenders that are there for what a meeting of threads costs: shown where gpucore's own threads do the work."""
NAMES = ("launch", "stream", "compute", "transfer", "graph", "pipeline", "compile", "memory", "start")


def works(group: str, context: Any, quick: bool) -> list[Work]:
    """The works of a group at the sizes that fit the device, with the contenders that suit it."""
    module = importlib.import_module(f"gpucore_bench.groups.{group}")
    unsuited: tuple[str, ...] = DEVICE_ONLY if context.device.kind == "cpu" else ()
    if context.device.kind not in ("cpu", "software"):
        unsuited += HOST_ONLY
    if context.device.kind != "cpu":
        unsuited += PROCESSOR_ONLY
    return [
        dataclasses.replace(work, makers={k: m for k, m in work.makers.items() if k not in unsuited})
        for work in module.works(context, quick)
    ]
