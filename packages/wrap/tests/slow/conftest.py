"""Builds of the slow tests: each with its own flags."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gpucore_wrap import generate, load_spec
from gpucore_wrap.output import compare, write


@pytest.fixture
def make() -> Callable[..., Path]:
    """Generates and builds a specification with flags; the folder to import from."""

    def get(spec: Path, folder: Path, flags: str, **environment: str) -> Path:
        tree = generate(load_spec(spec), folder)
        write(compare(tree.files, folder), folder)
        done = subprocess.run(
            [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
            cwd=folder,
            capture_output=True,
            text=True,
            env={**os.environ, "CFLAGS": flags, "LDFLAGS": flags, **environment},
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return folder / "src"

    return get
