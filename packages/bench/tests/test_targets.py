"""The table of targets: what it asks for is measured, and it says what stands in the way of a target that is missed."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gpucore_bench import groups
from gpucore_bench.model import Row

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))

from targets import Reports, Target, targets  # noqa: E402

PLACES = [("cpu", "cpu", "AMD"), ("cuda", "discrete", "NVIDIA H200"), ("vulkan", "discrete", "NVIDIA H200"),
          ("vulkan", "software", "llvmpipe")]  # fmt: skip


def document(backend: str, kind: str, device: str, seconds: float = 1.0) -> dict[str, Any]:
    """A report in which every contender of every benchmark took the same time."""
    free = SimpleNamespace(free=64 << 30)
    context = SimpleNamespace(
        device=SimpleNamespace(kind=kind, name=device, uuid="u", memory_info=lambda: free)
    )
    rows = [
        Row(group, work.name, work.size, label, seconds, seconds, seconds, 5).as_json()
        for group in groups.NAMES
        for work in groups.works(group, context, False)
        for label in work.makers
    ]
    machine = {"backend": backend, "kind": kind, "device": device}
    return {"machine": machine, "limits": {}, "rows": rows}


@pytest.fixture(scope="module")
def documents() -> list[dict[str, Any]]:
    return [document(*place) for place in PLACES]


@pytest.mark.parametrize("target", targets(), ids=lambda target: target.what)
def test_every_target_is_answered_by_what_bench_measures(target: Target, documents: list[dict[str, Any]]):
    assert target.measure(Reports(documents)) is not None


@pytest.mark.parametrize("target", targets(), ids=lambda target: target.what)
def test_what_stands_in_the_way_is_said_of_a_missed_target_alone(target: Target):
    better, worse = (0.5, 1.5) if target.at_most else (1.5, 0.5)

    def found(factor: float) -> list[str]:
        measured = dataclasses.replace(target, measure=lambda reports: factor * target.limit)
        return [cell.strip() for cell in measured.line(Reports([])).strip("|").split("|")]

    assert found(better)[3:] == ["met", ""]
    assert found(1.0)[3:] == ["met", ""]
    assert found(worse)[3] == "**missed**"
    assert found(worse)[4] == (target.reason or "not known")


def test_what_was_not_measured_is_neither_met_nor_missed():
    for target in targets():
        assert target.line(Reports([])).endswith("| | not measured | |")


def test_a_near_miss_is_not_rounded_to_a_hit():
    target = Target("w", "at least 1", lambda reports: 0.9996, 1.0, False)
    assert "| 0.9996 | **missed**" in target.line(Reports([]))
    assert "| 1.00 | met" in dataclasses.replace(target, measure=lambda reports: 1.0004).line(Reports([]))


def test_numba_is_taken_at_its_better():
    rows = [
        Row("launch", "enqueue, 1 argument", 256, label, seconds).as_json()
        for label, seconds in [
            ("gpucore", 2e-6),
            ("numba parallel", 9e-6),
            ("numba parallel, spinning", 1e-6),
        ]
    ]
    reports = Reports([{"machine": {"kind": "cpu"}, "rows": rows}])
    (target,) = [t for t in targets() if t.what == "the same, checked, over Numba parallel"]
    assert target.measure(reports) == pytest.approx(2.0)
