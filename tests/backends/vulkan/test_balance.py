"""What is made through the driver is destroyed: counted by the calls, so that no tool and no size of a process decides."""

from __future__ import annotations

import gc as collector
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gpucore as gc
from gpucore_vulkan.loader import Functions

N = 1024
MADE = re.compile(r"vk(Create|Allocate|Destroy|Free)([A-Z]\w*)")
NAMES = {"ComputePipelines": "Pipeline"}
APART = {"CommandBuffers", "Instance", "Device"}
"""Command buffers go with their pool; the process has one instance, and the device ends last."""


class Handles:
    """Handles of each kind that the driver made and did not destroy."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.alive: Counter[str] = Counter()
        self.made: Counter[str] = Counter()
        plain = Functions.__getattr__

        def counted(functions: Functions, name: str) -> Any:
            function, match = plain(functions, name), MADE.fullmatch(name)
            if match is None or match[2] in APART:
                return function
            kind = NAMES.get(match[2], match[2])
            change = (
                self._making(kind, function)
                if match[1] in ("Create", "Allocate")
                else self._ending(kind, function)
            )
            setattr(functions, name, change)
            return change

        monkeypatch.setattr(Functions, "__getattr__", counted)

    def _making(self, kind: str, function: Callable[..., int]) -> Callable[..., int]:
        def call(*args: Any) -> int:
            code = function(*args)
            if code >= 0:
                self.alive[kind] += 1
                self.made[kind] += 1
            return code

        return call

    def _ending(self, kind: str, function: Callable[..., None]) -> Callable[..., None]:
        def call(device: Any, handle: Any, *args: Any) -> None:
            if handle:
                self.alive[kind] -= 1
            function(device, handle, *args)

        return call


def fresh_kernel() -> gc.Kernel:
    """A kernel that no other round has."""
    number = next(fresh_kernel.numbers)

    @gc.kernel
    def add(x: gc.Array[gc.i32]) -> None:
        i = gc.global_id(0)
        if i < x.shape[0]:
            x[i] += number

    return add


fresh_kernel.numbers = iter(range(1, 1 << 30))


def round_of_work(ctx: gc.Context) -> None:
    x = ctx.zeros(N, gc.i32)
    for _ in range(20):
        stream = ctx.stream()
        fresh_kernel().over(N, stream=stream)(x)
        event = ctx.event(timing=True)
        stream.record(event)
        ctx.default_stream.wait(event)
        y = ctx.array(np.ones(N, np.int32), stream=stream)
        y.copy_to(np.empty(N, np.int32), stream=stream)
    large = ctx.empty(40 << 20, gc.u8)
    with ctx.graph() as graph:
        fresh_kernel().over(N)(x)
    graph.launch()
    ctx.synchronize()
    del large, graph
    collector.collect()
    ctx.pool.trim()
    ctx.synchronize()


def count_handles() -> None:
    """Rounds of work in a context that is the process's first: a device that is open already has looked its functions up."""
    with pytest.MonkeyPatch.context() as patch:
        handles = Handles(patch)
        with gc.Context("vulkan") as ctx:
            for _ in range(3):  # streams and command pools are used again
                round_of_work(ctx)
            before, made = handles.alive.copy(), handles.made.copy()
            for _ in range(4):
                round_of_work(ctx)
            assert handles.alive == before
            assert handles.made["Pipeline"] - made["Pipeline"] == 4 * 21
            assert handles.made["Memory"] > made["Memory"]
        assert +handles.alive == Counter(), "handles outlive the device"
        assert min(handles.alive.values()) == 0, "something was destroyed twice"


def test_rounds_of_streams_and_kernels_destroy_what_they_make(gpucore_backend):
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


if __name__ == "__main__":
    count_handles()
