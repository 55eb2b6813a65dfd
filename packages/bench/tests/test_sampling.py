"""How ``gpucore bench`` samples contenders and judges them by the limits. Nothing here depends on how fast anything is."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from gpucore_bench.measure import measure
from gpucore_bench.model import Report, Row, Simple, Work
from gpucore_bench.table import table

sys.path.insert(0, str(Path(__file__).parent))

from contenders import Clock, everyone, work  # noqa: E402


def judged(monkeypatch: pytest.MonkeyPatch, rates: dict[int, float], **given: Any) -> Row:
    """A row of 1 s beside a limit of 100 bytes and 100 operations a second; copies of a size reach the given rates."""
    from gpucore_bench.limits import Limits

    context = SimpleNamespace(
        device=SimpleNamespace(kind="cpu", memory_info=lambda: SimpleNamespace(free=1 << 40)),
        options=lambda math: None,
    )
    limits = Limits(context, True)  # type: ignore[arg-type]
    limits.moments = [
        {"bytes_per_second": 80.0, "flops_per_second": 100.0},
        {"bytes_per_second": 100.0, "flops_per_second": 60.0},
    ]
    monkeypatch.setattr(limits, "_bytes_per_second", lambda n, repeats: rates.get(8 * n, 50.0))
    row = Row(
        "stream", "w", 1, "c", median=1.0, bytes_moved=given["bytes_moved"], flops=given.get("flops", 0)
    )
    limits.judge(row, Work("w", "stream", 1, dict, None, {}, **given))
    return row


def test_the_limit_is_what_the_device_did_at_its_best_moment(monkeypatch: pytest.MonkeyPatch):
    row = judged(monkeypatch, {}, bytes_moved=90, flops=10)
    assert (row.limit, row.fraction, row.notes) == ("bandwidth", pytest.approx(0.9), "")
    row = judged(monkeypatch, {}, bytes_moved=20, flops=70)
    assert (row.limit, row.fraction, row.notes) == ("arithmetic", pytest.approx(0.7), "")


@pytest.mark.parametrize(
    ("rates", "given", "why"),
    [
        ({128: 300.0}, {"bytes_moved": 128}, "cache"),
        ({512: 300.0}, {"bytes_moved": 128}, "cache"),
        ({128: 300.0}, {"bytes_moved": 256, "working_set": 128}, "cache"),
        ({128: 300.0}, {"bytes_moved": 256, "bytes_written": 0}, "reads more"),
        ({}, {"bytes_moved": 192, "bytes_written": 64}, "reads more"),
        ({}, {"bytes_moved": 128}, "faster"),
        ({}, {"bytes_moved": 0, "flops": 128}, "more multiply-adds"),
    ],
)
def test_a_row_beyond_the_limit_says_why(
    rates: dict[int, float], given: dict[str, int], why: str, monkeypatch: pytest.MonkeyPatch
):
    row = judged(monkeypatch, rates, **given)
    assert row.fraction is not None
    assert row.fraction > 1
    assert why in row.notes
    row.low = row.high = row.median
    console = Console(width=110)
    with console.capture() as captured:
        console.print(table(Report({"backend": "b", "device": "d"}, rows=[row])))
    words = " ".join(captured.get().split())
    letter = why[0]
    assert f"{row.fraction:.0%}{letter}" in words
    assert f"{letter}: " in words
    assert why in words


def test_limits_that_one_moment_alone_reached_are_shown_beside_the_usual_ones():
    moments = [{"bytes_per_second": b, "flops_per_second": 1e11} for b in (5e10, 8e10, 5.5e10)]
    limits = {"bytes_per_second": 8e10, "flops_per_second": 1e11}
    console = Console(width=110)
    with console.capture() as captured:
        console.print(
            table(
                Report(
                    {"backend": "b", "device": "d"},
                    limits,
                    [Row("g", "w", 1, "c", 1.0, 1.0, 1.0)],
                    moments=moments,
                )
            )
        )
    words = " ".join(captured.get().split())
    assert "copy 80 GB/s at best (55 as a rule), multiply-add 100 Gflop/s" in words


def test_a_work_is_sampled_often_where_it_is_cheap_and_thrice_where_it_is_not(
    monkeypatch: pytest.MonkeyPatch,
):
    from gpucore_bench import measure as module

    now = [0.0]
    monkeypatch.setattr(module, "perf_counter", lambda: now[0])
    monkeypatch.setattr(module, "rest", lambda patience: True)

    def maker(seconds: float) -> Any:
        def make(work: Work, inputs: Any, context: Any) -> Simple:
            def timed(repeats: int) -> float:
                now[0] += seconds * repeats
                return seconds * repeats

            return Simple(lambda: None, lambda: np.array([1.0, 2.0, 3.0]), timed=timed)

        return make

    cheap = measure(work(gpucore=maker(1e-6), numpy=maker(2e-6)), None, everyone, quick=True)
    assert [row.samples for row in cheap] == [15, 15]
    mixed = measure(work(gpucore=maker(1e-4), numpy=maker(2.0)), None, everyone, quick=True)
    assert [row.samples for row in mixed] == [3, 3]
    assert [row.median for row in mixed] == [pytest.approx(1e-4), pytest.approx(2.0)]
    dear = measure(work(gpucore=maker(1.0), numpy=maker(2.0)), None, everyone, quick=True)
    assert [row.samples for row in dear] == [3, 3]


def test_a_first_run_that_was_held_up_does_not_set_the_length_of_samples():
    ran: list[int] = []

    def make(work: Work, inputs: Any, context: Any) -> Simple:
        def timed(repeats: int) -> float:
            ran.append(repeats)
            return 5.0 if len(ran) == 1 else 1e-6 * repeats

        return Simple(lambda: None, lambda: np.array([1.0, 2.0, 3.0]), timed=timed)

    (row,) = measure(work(gpucore=make), None, everyone, quick=True)
    assert row.high == pytest.approx(1e-6)
    assert row.samples == 15
    assert ran[-1] > 1000


def test_contenders_are_closed_when_the_user_ends_the_run():
    first = Clock(1e-3, [1, 2, 3])

    def ended(work: Any, inputs: Any, context: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(work(gpucore=first.maker, numpy=ended), None, everyone, quick=True)
    assert first.closed == [True]


def test_a_peer_that_fails_at_its_end_keeps_its_figures_and_harms_nobody():
    second = Clock(1e-3, [1, 2, 3])

    def failing(work: Any, inputs: Any, context: Any) -> Any:
        def release() -> None:
            raise RuntimeError("cannot let go")

        return Simple(
            lambda: None, lambda: np.array([1.0, 2.0, 3.0]), timed=lambda n: n * 1e-3, release=release
        )

    rows = measure(work(a=failing, b=second.maker), None, everyone, quick=True)
    assert [row.median for row in rows] == [pytest.approx(1e-3), pytest.approx(1e-3)]
    assert rows[0].error == "at its end: RuntimeError: cannot let go"
    assert second.closed == [True]


def test_the_operations_of_mandelbrot_are_those_of_its_answer():
    from gpucore_bench.groups import compute

    small = compute._mandelbrot(32, 50)
    clock = Clock(1.0, small.expected({}))
    (row,) = measure(Work(**(vars(small) | {"makers": {"gpucore": clock.maker}})), None, everyone, quick=True)
    assert row.flops == 8 * small.expected({}).sum() > 0


@pytest.mark.parametrize(
    ("kind", "free", "smallest", "largest"),
    [
        ("cpu", 20 << 30, 1 << 10, 1 << 26),
        ("cpu", 100 << 30, 1 << 10, 1 << 28),
        ("software", 100 << 30, 1 << 10, 1 << 24),
        ("discrete", 100 << 30, 1 << 10, 1 << 28),
        ("discrete", 4 << 30, 1 << 10, 1 << 26),
    ],
)
def test_streams_are_measured_from_1_ki_to_256_mi_elements_as_the_memory_allows(
    kind: str, free: int, smallest: int, largest: int
):
    from gpucore_bench.groups import stream

    context = SimpleNamespace(
        device=SimpleNamespace(kind=kind, memory_info=lambda: SimpleNamespace(free=free))
    )
    sizes = stream.sizes(context, False)
    assert (sizes[0], sizes[-1]) == (smallest, largest)
    assert len(stream.sizes(context, True)) == 1


def test_what_is_unsteady_is_marked():
    def row(contender: str, low: float, high: float) -> Row:
        return Row("launch", "w", 1, contender, median=1.0, low=low, high=high, samples=5, ratio=3.0)

    report = Report({"backend": "cpu", "device": "d"}, {}, [row("steady", 0.9, 1.2), row("wild", 0.5, 1.6)])
    console = Console(width=110)
    with console.capture() as captured:
        console.print(table(report))
    lines = captured.get().splitlines()
    assert any("wild" in line and "3.00~" in line for line in lines)
    assert not any(
        "steady" in line and "~" in line for line in lines if "wild" not in line and "unsteady" not in line
    )
    assert "spinning" not in captured.get()
