"""Random kernels, lowered as for CUDA: they compile, and mean on the interpreter what they meant before."""

from __future__ import annotations

import pytest

from gpucore.hookspecs import CompileOptions
from gpucore.ir.interpreter import interpret
from gpucore.ir.passes.lower import LowerOptions, lower
from gpucore.math import library
from gpucore_cuda.compiler import compile_module
from gpucore_cuda.targets import make_target
from gpucore_fuzz import cases as fuzz


@pytest.mark.parametrize("seed", range(40))
def test_a_random_kernel_compiles_and_keeps_its_meaning(seed):
    target = make_target(("sm_75", "sm_80", "sm_90", "sm_120")[seed % 4])
    options = {"subgroup": 32} if seed % 3 == 2 else {}

    def run(module, grid, block, args):
        known = block if seed % 2 else None
        wanted = LowerOptions(
            native=target.native,
            library=library,
            atomics=target.atomics,
            small=seed % 2 == 0,
            block=known,
        )
        lowered = lower(module, wanted).module
        compile_module(target, lowered, CompileOptions(block=known))
        interpret(lowered, grid, block, args, detect_races=False)

    mismatch = fuzz.differential(seed + 30_000, run, **options)
    assert mismatch is None, str(mismatch)
