"""Random kernels on the CPU against the interpreter, bit for bit."""

from __future__ import annotations

from typing import Any

import pytest

from gpucore.ir.passes.lower import LowerOptions, lower
from gpucore.math import library
from gpucore.testing import fuzz


@pytest.mark.parametrize("seed", range(40))
def test_random_kernels_agree_with_the_interpreter(cpu: Any, seed: int) -> None:
    options: dict[str, Any] = {}
    if seed % 3 == 2:
        options["subgroup"] = (4, 8, 16, 32, 64)[seed // 3 % 5]

    def run(module: Any, grid: Any, block: Any, args: Any) -> None:
        lowered = lower(
            module,
            LowerOptions(
                native=cpu.target.native, library=library, atomics=cpu.target.atomics, small=seed % 2 == 0
            ),
        )
        cpu.run(lowered.module, tuple(grid), tuple(block), *args)

    mismatch = fuzz.differential(seed + 70_000, run, **options)
    assert mismatch is None, str(mismatch)
