"""Clocks that contenders share."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter, process_time, sleep

BATCH = 64
"""Launches between two waits when enqueueing is measured, below any queue's depth."""


def enqueueing(once: Callable[[], object], wait: Callable[[], object]) -> Callable[[int], float]:
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


QUIET = 0.002
"""Seconds for which a process without spinning threads takes next to no processor time."""


def rest(patience: float) -> bool:
    """Wait until no thread of this process spins, lest it take a core from whoever is timed next; False where some go on."""
    begun = perf_counter()
    while True:
        used = process_time()
        sleep(QUIET)
        if process_time() - used < QUIET / 4:
            return True
        if perf_counter() - begun > patience:
            return False
