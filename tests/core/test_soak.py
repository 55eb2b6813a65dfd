"""What ``benchmarks/soak.py`` says of series whose drift is known."""

from __future__ import annotations

import importlib.util
import math
import random
import sys
from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / "benchmarks" / "soak.py"


@pytest.fixture(scope="module")
def soak():
    if not FILE.exists():
        pytest.skip("there is no checkout")
    spec = importlib.util.spec_from_file_location("soak", FILE)
    module = sys.modules["soak"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["soak"]


def series(seed, likeness, minutes, percent=0.0):
    """Rows of a run: noise of one percent, each line like the one before to a degree, some spoilt, and a drift in an hour."""
    noise, rest, rows = random.Random(seed), 0.0, []
    for minute in range(minutes):
        rest = likeness * rest + math.sqrt(1 - likeness**2) * noise.gauss(0, 0.01)
        spoilt = 0.3 if noise.random() < 0.04 else 0.0
        ratio = math.exp(rest + spoilt + percent / 100 * minute / 60)
        rows.append(
            {
                "minute": minute,
                "processor": ratio,
                "wall": ratio,
                "MiB": 100.0,
                "objects": 50_000,
                "rounds": 100,
            }
        )
    return rows


@pytest.mark.parametrize("likeness", [0.0, 0.5])
def test_the_interval_holds_the_true_drift(soak, likeness):
    held = 0
    for seed in range(100):
        _, low, high = soak.drift(series(seed, likeness, 60, percent=3.0))["processor_percent"]
        held += low <= 3.0 <= high
    assert held >= 88, "of 95 that are promised"


@pytest.mark.parametrize("likeness", [0.0, 0.5])
def test_a_slow_leak_is_found_in_an_hour(soak, likeness):
    """Rounds that take 6 percent longer after an hour, where a line varies by one."""
    found = [soak.drift(series(seed, likeness, 60, percent=6.0))["wall_percent"][1] > 0 for seed in range(40)]
    assert sum(found) >= 36


def test_the_verdict_says_it_plainly(soak):
    assert "rounds take longer" in soak.verdicts(series(1, 0.0, 60, percent=8.0))[0]
    assert "no drift" in soak.verdicts(series(1, 0.0, 60))[1]
    assert "run it longer" in soak.verdicts(series(1, 0.0, 6))[0], "a short run cannot say"
    assert "no growth seen" in soak.verdicts(series(1, 0.0, 60))[2]


def test_a_leak_that_slows_down_is_no_noise(soak):
    rows = series(3, 0.0, 12)
    for row in rows:
        row["processor"] *= 1 + row["minute"] ** 0.7
    assert "rounds take longer" in soak.verdicts(rows)[0]
