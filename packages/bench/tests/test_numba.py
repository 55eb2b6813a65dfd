"""Numba beside gpucore: waiting passively in the same process, and spinning in one of its own."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gpucore_bench import groups
from gpucore_bench.model import difference
from gpucore_bench.peers import timing
from gpucore_bench.peers.host import SPINNING_SIZE

SPINNING = ["numba parallel, spinning", "numba parallel fastmath, spinning"]


def device(kind: str) -> Any:
    free = SimpleNamespace(free=8 << 30)
    return SimpleNamespace(device=SimpleNamespace(kind=kind, memory_info=lambda: free, name="d", uuid="u"))


def spinning(context: Any, group: str) -> list[tuple[int, list[str]]]:
    works = groups.works(group, context, False)
    return [(each.size, [label for label in each.makers if "spinning" in label]) for each in works]


def test_it_spins_too_where_threads_meet_often():
    for size, labels in spinning(device("cpu"), "stream"):
        assert labels == (SPINNING if size <= SPINNING_SIZE else [])
    enqueue, _, bound, *_ = spinning(device("cpu"), "launch")
    assert enqueue[1] == SPINNING[:1]
    assert bound[1] == []


@pytest.mark.parametrize("kind", ["discrete", "software"])
def test_it_does_not_spin_beside_devices(kind: str):
    assert not any(labels for group in ("stream", "launch") for _, labels in spinning(device(kind), group))


def test_nobody_is_timed_while_threads_spin(monkeypatch):
    # clocks of its own: how much of a core a thread gets is the machine's affair
    now, used, spins = 0.0, 0.0, [True] * 4 + [False]

    def sleep(seconds: float) -> None:
        nonlocal now, used
        now += seconds
        used += seconds if spins.pop(0) else 0

    monkeypatch.setattr(timing, "sleep", sleep)
    monkeypatch.setattr(timing, "perf_counter", lambda: now)
    monkeypatch.setattr(timing, "process_time", lambda: used)
    assert timing.rest(5)
    assert spins == []
    spins += [True] * 1000
    assert not timing.rest(0.05)
    assert 0.05 < now - 5 * timing.QUIET < 0.5


@pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="needs Numba")
@pytest.mark.parametrize("name", ["copy", "saxpy", "triad", "reduction", "histogram", "transpose"])
def test_it_gives_numpys_result(name: str):
    work = next(each for each in groups.works("stream", device("cpu"), False) if each.name == name)
    inputs = work.inputs()
    runner = work.makers["numba parallel"](work, inputs, None)
    assert difference(runner.result(), work.expected(inputs)) <= work.tolerance
    runner.close()


@pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="needs Numba")
def test_it_computes_in_a_process_of_its_own_with_the_scalars_types():
    context = device("cpu")
    work = next(each for each in groups.works("stream", context, False) if each.name == "saxpy")
    inputs = work.inputs()
    runner = work.makers[SPINNING[0]](work, inputs, context)
    try:
        found = runner.result()
        np.testing.assert_array_equal(found, np.float32(1.5) * inputs["x"] + inputs["y"])
        assert runner.run(2) > 0
    finally:
        runner.close()
