"""Every example runs as a user runs it, on every backend asked for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").rglob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_an_example_runs_and_says_something(path: Path, gpucore_context) -> None:
    # the pictures of the gallery are drawn and not shown
    env = os.environ | {"GPUCORE_BACKEND": gpucore_context.backend, "MPLBACKEND": "agg"}
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=120, env=env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
