"""Random kernels on the CPU against the interpreter, bit for bit."""

from __future__ import annotations

from typing import Any

import pytest

from gpucore.ir.passes.lower import LowerOptions, lower
from gpucore.math import library
from gpucore_fuzz import cases as fuzz


def executor(cpu: Any, small: bool) -> Any:
    def run(module: Any, grid: Any, block: Any, args: Any) -> None:
        options = LowerOptions(
            native=cpu.target.native, library=library, atomics=cpu.target.atomics, small=small
        )
        cpu.run(lower(module, options).module, tuple(grid), tuple(block), *args)

    return run


@pytest.mark.parametrize("seed", range(40))
def test_random_kernels_agree_with_the_interpreter(cpu: Any, seed: int) -> None:
    options: dict[str, Any] = {}
    if seed % 3 == 2:
        options["subgroup"] = (4, 8, 16, 32, 64)[seed // 3 % 5]
    mismatch = fuzz.differential(seed + 70_000, executor(cpu, seed % 2 == 0), **options)
    assert mismatch is None, str(mismatch)


@pytest.mark.parametrize("seed", [11, 18, 21, 28, 49, 54])
def test_conditions_decided_before_a_barrier_guard_what_stands_behind_it(cpu: Any, seed: int) -> None:
    mismatch = fuzz.check(fuzz.generate_block(seed), executor(cpu, seed % 2 == 0))
    assert mismatch is None, str(mismatch)
