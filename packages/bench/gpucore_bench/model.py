"""What a benchmark is: work, contenders, samples, rows."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

_CHUNK = 1 << 18

CACHED = "data that stay in a cache"
READS = "reads more than it writes, which a copy does not"
FASTER = "faster than the device was whenever the limit was measured"
BETTER = "more multiply-adds than gpucore's own kernel of nothing else reaches"
"""Why a row may be beyond the limit."""
IN_SHORT = {
    CACHED: "cached",
    READS: "mostly reads",
    FASTER: "faster than at the limit's moments",
    BETTER: "more than the limit's kernel",
}

Arrays = Mapping[str, npt.NDArray[Any]]


class Runner(Protocol):
    """One contender, ready to run."""

    def run(self, repeats: int) -> float:
        """Run ``repeats`` times and wait; seconds in all (device time where the contender can tell)."""
        ...

    def result(self) -> npt.NDArray[Any] | None:
        """What one run computes, for the check; None where there is nothing to compare."""
        ...

    def close(self) -> None: ...


@dataclass
class Simple:
    """A runner made of functions: ``once`` enqueues, ``wait`` waits."""

    once: Callable[[], object]
    fetch: Callable[[], npt.NDArray[Any] | None] = lambda: None
    wait: Callable[[], object] = lambda: None
    timed: Callable[[int], float] | None = None
    release: Callable[[], object] = lambda: None

    def run(self, repeats: int) -> float:
        if self.timed is not None:
            return self.timed(repeats)
        from time import perf_counter

        once = self.once
        self.wait()
        start = perf_counter()
        for _ in range(repeats):
            once()
        self.wait()
        return perf_counter() - start

    def result(self) -> npt.NDArray[Any] | None:
        self.once()
        self.wait()
        return self.fetch()

    def close(self) -> None:
        self.release()


class MissingPeerError(Exception):
    """A contender that is not installed, or cannot do this work; the message says which."""


class PeerError(Exception):
    """What a contender elsewhere said of its failure, in full."""


Maker = Callable[["Work", Arrays, Any], Runner]


@dataclass(frozen=True)
class Work:
    """One thing to do, at one size, for every contender.

    Attributes
    ----------
    name, group : str
    size : int
        Elements, or whatever ``unit`` counts.
    inputs : Callable[[], Arrays]
    expected : Callable[[Arrays], ndarray]
        NumPy's answer, in double precision where that matters.
    tolerance : float
        Largest difference allowed, relative to the largest expected magnitude.
    bytes_moved, flops : int
        Each input read once, each output written once; arithmetic operations.
    count_flops : Callable[[ndarray], int], optional
        The operations where they follow from the answer.
    bytes_written : int, optional
        How many of the bytes moved are written; half of them unless given.
    working_set : int, optional
        Bytes of the memory touched, where some is both read and written; those moved unless given.
    makers : Mapping[str, Maker]
        Contenders by label; those of gpucore begin with ``gpucore``.
    """

    name: str
    group: str
    size: int
    inputs: Callable[[], Arrays]
    expected: Callable[[Arrays], npt.NDArray[Any]] | None
    makers: Mapping[str, Maker]
    tolerance: float = 1e-5
    bytes_moved: int = 0
    flops: int = 0
    items: int = 1
    """What one run counts as: microseconds are given for each item."""
    bytes_written: int | None = None
    working_set: int | None = None
    count_flops: Callable[[npt.NDArray[Any]], int] | None = None

    @property
    def bounded(self) -> bool:
        """Whether a limit of the device's bounds it."""
        return bool(self.bytes_moved or self.flops or self.count_flops)

    @property
    def footprint(self) -> int:
        """Bytes of the memory touched."""
        return self.bytes_moved if self.working_set is None else self.working_set

    @property
    def written(self) -> int:
        """Bytes written, as given or half of those moved."""
        return self.bytes_moved // 2 if self.bytes_written is None else self.bytes_written


@dataclass
class Row:
    """One contender's figures for one work; seconds are for one run."""

    group: str
    name: str
    size: int
    contender: str
    median: float | None = None
    low: float | None = None
    high: float | None = None
    samples: int = 0
    bytes_moved: int = 0
    flops: int = 0
    items: int = 1
    error: str = ""
    missing: bool = False
    """The contender is not installed or has no device here; nothing went wrong."""
    ratio: float | None = None
    """How many times faster gpucore is: its strict mode, beside contenders with fast flags of their own its best."""
    limit: str = ""
    fraction: float | None = None
    notes: str = ""
    """Why the fraction is above 1, where it is."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Report:
    """A run's rows and what they were measured on."""

    machine: dict[str, Any]
    limits: dict[str, float] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    """Peers that no benchmark of the selection has as a contender."""
    moments: list[dict[str, float]] = field(default_factory=list)
    """What the limits were each time they were measured; the best of each is in ``limits``."""
    interrupted: bool = False


def summarise(row: Row, seconds: list[float]) -> None:
    """Fill in median and quartiles."""
    row.samples = len(seconds)
    row.median = statistics.median(seconds)
    if len(seconds) > 1:
        quartiles = statistics.quantiles(seconds, n=4, method="inclusive")
        row.low, row.high = quartiles[0], quartiles[2]
    else:
        row.low = row.high = row.median


def difference(found: npt.NDArray[Any], expected: npt.NDArray[Any]) -> float:
    """Largest difference relative to the largest expected magnitude; infinite for wrong shapes or NaN."""
    if found.shape != expected.shape:
        return float("inf")
    if found.size == 0:
        return 0.0
    f, e = found.reshape(-1), expected.reshape(-1)

    def of_part(start: int) -> tuple[float, float]:
        part, want = (a[start : start + _CHUNK].astype(np.float64) for a in (f, e))
        return float(np.max(np.abs(want))), float(np.max(np.abs(part - want)))

    # by pieces that stay in a cache, on all cores: NumPy lets go of the GIL
    starts = range(0, f.size, _CHUNK)
    with ThreadPoolExecutor(min(len(starts), os.cpu_count() or 1)) as threads:
        scales, worsts = zip(*threads.map(of_part, starts), strict=True)
    worst = float(np.max(worsts))  # keeps a NaN
    return worst / max(1e-30, *scales) if np.isfinite(worst) else float("inf")
