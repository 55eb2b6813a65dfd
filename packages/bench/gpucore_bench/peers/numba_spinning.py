"""Numba as it comes: its threads spin for a while before they sleep.

It runs in a process of its own, for threads that spin take a core from whoever is timed next, and the policy is fixed once
OpenMP is loaded.  A sample is answered when the threads have gone to sleep.
"""

from __future__ import annotations

import os
from time import perf_counter
from typing import Any

import numpy as np

from gpucore_bench.model import Arrays, Runner
from gpucore_bench.peers.host import Call
from gpucore_bench.peers.timing import rest

FIRST, WARM = 0.4, 0.005
"""Seconds of calls before the first sample and before each other: threads that slept wake up, and the scheduler finds each a
core of its own; two that spin upon one core take milliseconds a call.
"""
SAMPLE, BURST = 0.03, 0.001
"""Seconds of a sample and of its parts, the best of which counts, for the same reason."""
DISTURBED, LONGEST = 3.0, 0.3
"""A sample this many times slower than the best so far goes on, for so many seconds at most."""
PATIENCE = 5.0
"""Seconds after which threads that still spin are an error: the others would be measured without that core."""


def make(name: str, size: int, inputs: Arrays, device: Any, options: dict[str, Any]) -> Runner:
    """A runner whose samples end with all threads asleep."""
    os.environ.pop("OMP_WAIT_POLICY", None)
    arguments = tuple(a if isinstance(a, str) else np.dtype(a[0]).type(a[1]) for a in options["arguments"])
    outputs = {key: (tuple(shape), dtype) for key, (shape, dtype) in options["outputs"].items()}
    runner = Call(name, arguments, options["result"], outputs).runner(inputs, options["fastmath"])
    once, warm, fastest = runner.once, FIRST, float("inf")

    def asleep() -> None:
        if not rest(PATIENCE):
            raise RuntimeError(f"threads of Numba still spin after {PATIENCE:g} s")

    def timed(repeats: int) -> float:
        nonlocal warm, fastest
        started = perf_counter()
        while perf_counter() < started + warm:
            once()
        warm, calls, best = WARM, 1, float("inf")
        started = perf_counter()
        while (
            best == float("inf")
            or perf_counter() < started + SAMPLE
            or (best > DISTURBED * fastest and perf_counter() < started + LONGEST)
        ):
            begun = perf_counter()
            for _ in range(calls):
                once()
            seconds = perf_counter() - begun
            if seconds > BURST / 2:
                best = min(best, seconds / calls)
            calls = max(int(calls * BURST / seconds), 1)
        fastest = min(fastest, best)
        asleep()
        return best * repeats

    runner.timed = timed
    runner.wait = asleep
    return runner
