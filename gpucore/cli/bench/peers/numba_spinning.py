"""Numba as it comes: its threads spin for a while before they sleep.

It runs in a process of its own, for threads that spin take a core from whoever is timed next, and the policy is fixed once
OpenMP is loaded.  A sample is answered when the threads have gone to sleep.
"""

from __future__ import annotations

import os
from time import perf_counter, process_time, sleep
from typing import Any

import numpy as np

from gpucore.cli.bench.model import Arrays, Runner
from gpucore.cli.bench.peers.host import Call

WARM = 0.005
"""Seconds of calls before a sample, in which the threads that slept wake up, each upon a core of its own."""
QUIET = 0.01
"""Seconds for which a process without spinning threads takes next to no processor time."""
PATIENCE = 5.0


def rest() -> None:
    """Wait until no thread of this process spins.

    Raises
    ------
    RuntimeError
        When they go on: the contenders that follow would be measured without that core.
    """
    begun = perf_counter()
    while True:
        used = process_time()
        sleep(QUIET)
        if process_time() - used < QUIET / 5:
            return
        if perf_counter() - begun > PATIENCE:
            raise RuntimeError(f"threads of Numba still spin after {PATIENCE:g} s")


def make(name: str, size: int, inputs: Arrays, device: Any, options: dict[str, Any]) -> Runner:
    """A runner whose samples end with all threads asleep."""
    os.environ.pop("OMP_WAIT_POLICY", None)
    arguments = tuple(a if isinstance(a, str) else np.dtype(a[0]).type(a[1]) for a in options["arguments"])
    outputs = {key: (tuple(shape), dtype) for key, (shape, dtype) in options["outputs"].items()}
    runner = Call(name, arguments, options["result"], outputs).runner(inputs, options["fastmath"])
    once = runner.once

    def timed(repeats: int) -> float:
        awake = perf_counter() + WARM
        while perf_counter() < awake:
            once()
        start = perf_counter()
        for _ in range(repeats):
            once()
        seconds = perf_counter() - start
        rest()
        return seconds

    runner.timed = timed
    runner.wait = rest
    return runner
