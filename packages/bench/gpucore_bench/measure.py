"""Check the contenders of one work, then time them in turn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from gpucore_bench.model import MissingPeerError, PeerError, Row, Runner, Work, difference, summarise
from gpucore_bench.peers.timing import rest

MOST_REPEATS = 100_000

LONGEST_REST = 0.3
"""Seconds that threads of a contender, gpucore's among them, are given to stop spinning before the next one is timed."""


@dataclass(frozen=True)
class Effort:
    """How long a work is sampled.

    Attributes
    ----------
    sample : float
        Seconds that one sample takes where a run is shorter.
    most, fewest : int
        Samples of every contender: as many as ``seconds`` allow.
    seconds : float
        After this long no more samples are taken than the fewest.
    """

    sample: float
    most: int
    fewest: int
    seconds: float


THOROUGH = Effort(0.02, 15, 5, 6.0)
QUICK = Effort(0.004, 15, 3, 0.3)


def measure(work: Work, context: Any, wanted: Callable[[str], bool], quick: bool) -> list[Row]:
    """Rows for every contender that is wanted; what is missing, fails or is wrong becomes a row that says so."""
    inputs = work.inputs()
    expected = work.expected(inputs) if work.expected is not None else None
    flops = work.flops
    if work.count_flops is not None and expected is not None:
        flops = work.count_flops(expected)
    ready: list[tuple[Row, Runner]] = []
    rows: list[Row] = []
    try:
        for contender, make in work.makers.items():
            if not wanted(contender):
                continue
            row = Row(
                work.group, work.name, work.size, contender,
                bytes_moved=work.bytes_moved, flops=flops, items=work.items,
            )  # fmt: skip
            rows.append(row)
            # whatever a peer raises becomes its row
            try:
                runner = make(work, inputs, context)
                ready.append((row, runner))
                found = runner.result()
                if expected is not None and found is not None:
                    wrong = difference(found, expected)
                    if wrong > work.tolerance:
                        row.error = (
                            f"wrong result: differs from NumPy by {wrong:.1e} (allowed {work.tolerance:.0e})"
                        )
            except MissingPeerError as missing:
                row.error, row.missing = str(missing), True
            except Exception as error:  # noqa: BLE001
                row.error = first_line(error)
            if row.error and ready and ready[-1][0] is row:
                _close(*ready.pop())
        _time(ready, QUICK if quick else THOROUGH)
    finally:
        for row, runner in ready:
            _close(row, runner)
    _compare(rows)
    return rows


def _close(row: Row, runner: Runner) -> None:
    try:
        runner.close()
    except Exception as error:  # noqa: BLE001 - becomes its row
        row.error = row.error or f"at its end: {first_line(error)}"


def _compare(rows: list[Row]) -> None:
    """Ratios of like with like: a contender with its own fast flags beside gpucore's best, any other beside strict."""
    ours = {r.contender: r.median for r in rows if r.contender.startswith("gpucore") and r.median}
    if not ours:
        return
    best = min(ours.values())
    strict = ours.get("gpucore strict", best)
    for row in rows:
        if row.median and not row.contender.startswith("gpucore"):
            row.ratio = row.median / (best if "fast" in row.contender else strict)


def _time(ready: list[tuple[Row, Runner]], effort: Effort) -> None:
    """Samples of every contender in turn; one that fails leaves the others to go on."""
    timed = [_Timed(row, runner) for row, runner in ready]
    for each in timed:
        each.choose_repeats(effort.sample)
    begun = perf_counter()
    while True:
        going = [each for each in timed if not each.row.error]
        taken = min((len(each.seconds) for each in going), default=effort.most)
        if taken >= effort.most or (taken >= effort.fewest and perf_counter() - begun > effort.seconds):
            break
        for each in going:
            if len(each.seconds) <= taken:  # those that run long are one ahead
                each.sample()
    for each in timed:
        if not each.row.error:
            summarise(each.row, each.seconds)


class _Timed:
    """A contender while it is timed."""

    def __init__(self, row: Row, runner: Runner) -> None:
        self.row, self.runner = row, runner
        self.repeats = 1
        self.target = 0.0
        self.seconds: list[float] = []

    def _run(self, repeats: int) -> float | None:
        """Seconds for one run of ``repeats``; None once it has failed."""
        if self.row.error:
            return None
        try:
            return max(self.runner.run(repeats) / repeats, 1e-9)
        except Exception as error:  # noqa: BLE001 - becomes its row
            self.row.error = first_line(error)
            return None

    def choose_repeats(self, target: float) -> None:
        """As many runs as take the target's seconds; a long one is a sample already."""
        self.target = target
        once = self._run(1)
        if once is not None and once > 20 * target:
            self.seconds.append(once)
            return
        self._fit(self._run(1))

    def _fit(self, once: float | None) -> None:
        if once is not None and once < self.target / 20:
            once = self._run(20)
        if once is not None:
            self.repeats = min(max(int(self.target / once), 1), MOST_REPEATS)

    def sample(self) -> None:
        """One sample of so many runs."""
        once = self._run(self.repeats)
        if once is not None and len(self.seconds) == 1 and once < self.seconds[0] / 10:
            # the first was held up, and made the runs of a sample too few
            self.seconds.clear()
            self._fit(once)
        elif once is not None:
            self.seconds.append(once)
        rest(LONGEST_REST)


def first_line(error: BaseException) -> str:
    """The kind of an error and the first line of what it says."""
    lines = str(error).strip().splitlines()
    said = lines[0] if lines else ""
    return (said if isinstance(error, PeerError) else f"{type(error).__name__}: {said}")[:160]
