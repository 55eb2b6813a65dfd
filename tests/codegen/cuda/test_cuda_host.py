"""The text of random kernels, run by compilers of the host: it means what the interpreter says, and C++ defines it."""

from __future__ import annotations

import itertools
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from host_executor import OPTIMISED, SANITIZED, HostError, Program, compare, random_programs, runs_here

import gpucore as gc
from gpucore_fuzz import cases as fuzz

sys.path.insert(0, str(Path(__file__).parents[2] / "backends" / "shared"))
import test_wide_consumers as wide

compilers = [
    pytest.param(c, marks=pytest.mark.skipif(shutil.which(c) is None, reason=f"{c} is not installed"))
    for c in ("g++", "clang++")
]


@pytest.mark.parametrize("compiler", compilers)
@pytest.mark.parametrize("flags", [OPTIMISED, SANITIZED], ids=["optimised", "sanitized"])
def test_random_kernels_mean_the_same_and_are_defined(compiler, flags):
    seed = 70_000 + 1_000 * (compiler == "clang++") + 500 * (flags is SANITIZED)
    found = compare(random_programs(seed, 15), compiler, flags)
    assert not found, "\n\n".join(map(str, found))


@pytest.mark.parametrize("compiler", compilers)
@pytest.mark.parametrize("flags", [OPTIMISED, SANITIZED], ids=["optimised", "sanitized"])
def test_narrow_results_wrap_whatever_reads_them(compiler, flags):
    """The kernels of the shared suite, a quarter of the operations for each dtype and way to compile them."""
    turn = 2 * (compiler == "clang++") + (flags is SANITIZED)
    programs = []
    for n, (name, operation) in enumerate(itertools.product(("i8", "i16", "u8", "u16"), wide.OPERATIONS)):
        if n // 3 % 4 == turn:
            case = consumer_case(name, operation)
            programs.append(Program(case, guarded=bool(n % 2)))
    found = compare(programs, compiler, flags)
    assert not found, "\n\n".join(map(str, found))


def consumer_case(name: str, operation: str) -> fuzz.Case:
    d = getattr(gc, name)
    array = gc.Array
    consumers = wide.consumers_of(name)
    module = wide.make(name, operation, consumers).ir(
        array[d], array[d], array[gc.f32], array[gc.i32], gc.Array[gc.i64, 2], array[gc.i32]
    )
    x, y, f = wide.operands(wide.Integer(name))
    out = np.zeros((len(x), len(consumers)), np.int64)
    table = np.arange(65536 + 32768, dtype=np.int32)
    arrays = [
        np.array(x, d.numpy),
        np.array(y, d.numpy),
        np.array(f, np.float32),
        table,
        out,
        np.zeros(2, np.int32),
    ]
    return fuzz.Case(module, (-(-len(x) // 8),), (8,), tuple(arrays))


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
def test_what_is_undefined_or_wrong_is_found(monkeypatch):
    """The harness itself: a text that shifts too far is refused by the sanitizer, one that computes wrongly is told."""
    programs = [Program(c, guarded=False) for c in map(fuzz.generate, range(60)) if runs_here(c)][:24]
    plain = Program.text.fget
    guard = re.compile(r"\bu(?:32|64)\(\w+\) < \d+u(?:ll)? \?")
    unguarded = property(lambda self: guard.sub("true ?", plain(self)))
    monkeypatch.setattr(Program, "text", unguarded)
    with pytest.raises(HostError, match="runtime error"):
        compare(programs, "g++", SANITIZED)
    different = property(lambda self: plain(self).replace(" & ", " | "))
    monkeypatch.setattr(Program, "text", different)
    assert compare(programs, "g++", OPTIMISED)
