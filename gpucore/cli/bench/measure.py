"""Check the contenders of one work, then time them in turn."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

from gpucore.cli.bench.model import MissingPeerError, Row, Runner, Work, difference, summarise
from gpucore.errors import GpucoreError

TARGET_SECONDS, SAMPLES = 0.02, 15
QUICK_SECONDS, QUICK_SAMPLES = 0.004, 5
MOST_REPEATS = 100_000
ENOUGH_SECONDS, FEWEST_SAMPLES = 6.0, 5
"""Sampling a work ends after this long once every contender has the fewest samples."""


def measure(work: Work, context: Any, wanted: Callable[[str], bool], quick: bool) -> list[Row]:
    """Rows for every contender that is wanted; what is missing, fails or is wrong becomes a row that says so."""
    inputs = work.inputs()
    expected = work.expected(inputs) if work.expected is not None else None
    ready: list[tuple[Row, Runner]] = []
    rows: list[Row] = []
    for contender, make in work.makers.items():
        if not wanted(contender):
            continue
        row = Row(
            work.group,
            work.name,
            work.size,
            contender,
            bytes_moved=work.bytes_moved,
            flops=work.flops,
            items=work.items,
        )
        rows.append(row)
        try:
            runner = make(work, inputs, context)
        except MissingPeerError as missing:
            row.error, row.missing = str(missing), True
            continue
        except (
            GpucoreError,
            ImportError,
            RuntimeError,
            ValueError,
            TypeError,
            MemoryError,
            OSError,
        ) as error:
            row.error = first_line(error)
            continue
        try:
            found = runner.result()
        except Exception as error:  # noqa: BLE001 - whatever a peer raises becomes its row
            row.error = first_line(error)
            runner.close()
            continue
        if expected is not None and found is not None:
            wrong = difference(found, expected)
            if wrong > work.tolerance:
                row.error = f"wrong result: differs from NumPy by {wrong:.1e} (allowed {work.tolerance:.0e})"
                runner.close()
                continue
        ready.append((row, runner))
    _time(ready, QUICK_SECONDS if quick else TARGET_SECONDS, QUICK_SAMPLES if quick else SAMPLES)
    _compare(rows)
    return rows


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


def _time(ready: list[tuple[Row, Runner]], target: float, samples: int) -> None:
    repeats = []
    for _, runner in ready:
        runner.run(1)
        once = max(runner.run(1), 1e-9)
        if once < target / 20:
            once = max(runner.run(20) / 20, 1e-9)
        repeats.append(min(max(int(target / once), 1), MOST_REPEATS))
    seconds: list[list[float]] = [[] for _ in ready]
    begun = perf_counter()
    for taken in range(samples):
        if taken >= FEWEST_SAMPLES and perf_counter() - begun > ENOUGH_SECONDS:
            break
        for k, (_, runner) in enumerate(ready):
            seconds[k].append(runner.run(repeats[k]) / repeats[k])
    for (row, runner), found in zip(ready, seconds, strict=True):
        summarise(row, found)
        runner.close()


def first_line(error: BaseException) -> str:
    """The kind of an error and the first line of what it says."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:160]
