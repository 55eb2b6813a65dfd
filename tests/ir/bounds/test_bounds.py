"""Which accesses are proven to stay inside their arrays: known cases, and the same again by Z3 and by the interpreter."""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path
from random import Random
from types import ModuleType

import numpy as np
import pytest

import gpucore as gc
from gpucore.ir.bounds.analysis import analyse
from gpucore.ir.interpreter import interpret
from gpucore.launch.launch_conditions import LaunchBounds

HERE = Path(__file__).parent
ROOT = HERE.parents[2]

pytestmark = pytest.mark.filterwarnings("ignore::gpucore.errors.RaceWarning")


def module_at(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"bounds_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


random_kernels = module_at(HERE / "random_kernels.py")
benchmark = module_at(ROOT / "benchmarks" / "bounds.py")

F1, F2, I1 = gc.Array[gc.f32], gc.Array[gc.f32, 2], gc.Array[gc.i32]
NUMERICAL = {
    "saxpy": ((F1, F1, gc.f32), 1, None, "launch"),
    "stencil": ((F2, F2), 2, None, "proven launch"),
    "clamped_stencil": ((F2, F2), 2, None, "launch"),
    "periodic_stencil": ((F1, F1), 1, None, "launch"),
    "heat_3d": ((gc.Array[gc.f32, 3], gc.Array[gc.f32, 3]), 3, None, "proven launch"),
    "gather": ((F1, I1, F1), 1, None, "launch device"),
    "sparse_product": ((I1, I1, F1, F1, F1), 1, None, "launch device"),
    "bisection": ((F1, F1, I1), 1, None, "launch"),
    "histogram": ((gc.Array[gc.u8], gc.Array[gc.u32]), 1, None, "launch"),
    "matmul": ((F2, F2, F2), 2, None, "launch"),
    "matmul_tiled": ((F2, F2, F2), 2, (16, 16), "proven"),
    "triangular_solve": ((F2, F2), 1, None, "launch"),
    "nbody": ((F2, F2), 1, None, "launch"),
    "block_scan": ((F1, F1), 1, (256,), "proven"),
    "row_scan": ((F2, F2), 1, None, "launch"),
    "transpose": ((F2, F2), 2, None, "launch"),
    "convolution": ((F1, F1, F1), 1, None, "proven launch"),
    "follow": ((I1, I1, gc.i32), 1, None, "launch device"),
}
"""Argument types, axes, the block (None for a range), and where their accesses are checked."""


def linked(name: str) -> tuple[object, bool, tuple[int, ...] | None]:
    types_, ndim, block, _ = NUMERICAL[name]
    return getattr(benchmark, name).ir(*types_, ndim=ndim), block is None, block


@pytest.mark.parametrize("name", NUMERICAL)
def test_where_accesses_of_numerical_kernels_are_checked(name):
    module, is_range, block = linked(name)
    bounds = analyse(module, is_range=is_range, small=True, block=block)
    found = {access.where for access in bounds.accesses.values()}
    assert found == set(NUMERICAL[name][3].split())


# --- a second opinion
@pytest.mark.parametrize("name", NUMERICAL)
def test_a_solver_agrees_on_numerical_kernels(name):
    pytest.importorskip("z3", reason="z3-solver is part of the extra `test`")
    oracle = module_at(HERE / "oracle.py")
    module, is_range, block = linked(name)
    counts = oracle.judge(module, is_range=is_range, block=block)
    assert counts["proved"] + counts["unrolled"] + counts["unknown"] + counts["device"] > 0


def test_a_solver_agrees_on_random_kernels():
    pytest.importorskip("z3", reason="z3-solver is part of the extra `test`")
    oracle = module_at(HERE / "oracle.py")
    total = 0
    for seed in range(12):
        module = random_module(seed)
        if module is not None:
            counts = oracle.judge(module, is_range=False)
            total += counts["proved"] + counts["unrolled"]
    assert total > 15


def test_the_solver_finds_a_wrong_proof(monkeypatch):
    """Of an analysis that takes every access for proven."""
    pytest.importorskip("z3", reason="z3-solver is part of the extra `test`")
    from gpucore.ir.bounds import analysis

    oracle = module_at(HERE / "oracle.py")
    monkeypatch.setattr(analysis.Prover, "prove", lambda self, goal: analysis.TRUE)
    with pytest.raises(AssertionError, match="is proven, but leaves it"):
        oracle.judge(linked("gather")[0], is_range=True)


def random_module(seed):
    text = random_kernels.text_of(seed)
    try:
        with random_kernels.kernel_of(text) as kernel:
            return kernel.ir(*random_kernels.TYPES, ndim=1)
    except (gc.KernelSyntaxError, gc.KernelTypeError):
        return None


def random_launch(rng):
    values = (0, 1, 2, 3, -1, 5, 100, 2**31 - 1, -(2**31))
    x = np.array([rng.choice(values) for _ in range(rng.choice((0, 1, 2, 3, 5, 8, 9, 16, 20)))], np.int32)
    y = np.zeros((rng.choice((1, 2, 3, 8, 17)), rng.choice((1, 2, 5, 8))), np.int32)
    n, m = (
        rng.choice((-1, 0, 1, 2, 3, 5, 8, 9, 16, 20)),
        rng.choice((0, 1, 2, 3, -1, 4, 8, 2**31 - 1, -(2**31))),
    )
    grid, block = rng.choice(((1, 1), (1, 8), (2, 4), (3, 5)))
    return {"x": x, "y": y, "n": n, "m": m}, types.SimpleNamespace(shape=None, grid=(grid,), block=(block,))


def test_the_interpreter_agrees_on_random_kernels():
    """Where the host says that nothing is left to check, no thread leaves an array; where a launch must fail, one does."""
    clean = certain = wrong = 0
    for seed in range(100, 150):
        module = random_module(seed)
        if module is None:
            continue
        bounds = analyse(module, is_range=False, small=True)
        launch = LaunchBounds(bounds, "auto", "k")
        rng = Random(seed)
        for _ in range(4):
            arguments, configured = random_launch(rng)
            reads = tuple(
                arguments[t.name].shape[t.axis] if t.kind == "extent" else arguments[t.name]
                for t in launch.terms
            )
            failure = level = None
            try:
                level = launch.level(configured, reads)
            except gc.KernelBoundsError as error:
                failure = error
            error = interpreted(module, configured, arguments)
            if failure is not None:
                certain += 1
                assert error is not None, f"{failure}\n{module}"
            elif level is False:
                clean += 1
                assert error is None, f"{error}\n{arguments}\n{module}"
            elif error is not None:
                wrong += 1
                checked = ("device",) if level == "device" else ("launch", "device")
                assert any(
                    access.where in checked and access.memory.name == error.array
                    for access in bounds.accesses.values()
                    if access.loc.line == error.lineno
                ), f"{error}\n{arguments}\n{module}"
    assert clean > 20
    assert certain > 5
    assert wrong > 20


def interpreted(module, configured, arguments):
    try:
        copies = [value.copy() if isinstance(value, np.ndarray) else value for value in arguments.values()]
        interpret(module, configured.grid, configured.block, copies, detect_races=False)
    except gc.KernelBoundsError as error:
        return error
    return None
