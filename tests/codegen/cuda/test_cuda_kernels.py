"""Every kernel of the shared tests, the semantics table and the examples compiles to cubins.

See ``cubin_backend.py``: each runs in a process of its own, on the interpreter, lowered as for CUDA.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
# test_cuda_tiles compiles products of tiles, which the interpreter takes minutes for
EXAMPLES = [path for path in sorted((ROOT / "examples").glob("*.py")) if path.stem != "tile_matmul"]


def run(*command: str, **env: str) -> str:
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    done = subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        timeout=1800,  # a guard against hanging, not a measure
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path, "GPUCORE_CACHE_DIR": "off", **env},
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def kernels(said: str) -> int:
    found = re.findall(r"compiled (\d+) kernels", said)
    assert found, said[-2000:]
    return int(found[-1])


@pytest.mark.parametrize(
    ("suite", "architectures"),
    [
        (
            "tests/backends/shared",
            "sm_90",
        ),  # its thousand kernels for one; the table and the examples are compiled for all
        ("gpucore/testing/conformance", "sm_75 sm_80 sm_90 sm_120"),
    ],
    ids=["shared", "conformance"],
)
def test_kernels_of_the_suites_compile_and_mean_the_same(suite, architectures):
    options = ("-q", "-p", "cubin_backend", "-p", "no:cacheprovider", "--gpucore-backends=cubin")
    # what a launch costs on this stand-in, which interprets, says nothing; how processes end is not the compiler's, nor are
    # streams, groups, memory and profiles, whose tests interpret large launches of a few plain kernels; and suites of many
    # small kernels take too long: test_cuda_host and test_cuda_random stand for them, and the table for random numbers
    left_out = (
        "asyncio", "costs", "exit", "exit_with_threads", "contexts", "graph_replay", "groups", "interrupted_allocations",
        "memory", "overlap", "profiles", "streams", "wide_consumers", "consumers", "conversions_in_a_row", "values", "blocks",
        "random",
    )  # fmt: skip
    ignored = [f"--ignore=tests/backends/shared/test_{name}.py" for name in left_out]
    said = run(
        "-m", "pytest", *options, "--gpucore-require=cubin", *ignored, suite,
        GPUCORE_TEST_ARCHITECTURES=architectures,
    )  # fmt: skip
    assert kernels(said) > 0


def test_kernels_of_the_semantics_table_compile_for_every_architecture():
    """That they mean the same: ``pytest -p cubin_backend --gpucore-backends=cubin gpucore/testing/semantics``."""
    assert kernels(run(str(HERE / "cubin_backend.py"), "--table")) > 400


def test_kernels_of_the_demo_compile_for_every_architecture():
    pytest.importorskip("PIL", reason="the demo's extra is not installed")
    assert kernels(run(str(HERE / "cubin_backend.py"), "--demo")) >= 4


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_kernels_of_the_examples_compile_for_every_architecture(path):
    said = run(str(HERE / "cubin_backend.py"), str(path), GPUCORE_BACKEND="cubin")
    assert kernels(said) > 0
