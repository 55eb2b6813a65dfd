"""Every program in the documents runs, and what is not run says why."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import doc_pages
import pytest

LIBRARIES = {"CuPy": "cupy", "Numba": "numba", "PyTorch": "torch", "Warp": "warp"}
RUN = "import runpy, sys; [runpy.run_path(file, run_name='__main__') for file in sys.argv[1:]]"


@pytest.mark.parametrize("page", doc_pages.pages())
def test_the_programs_of_a_page_run(page: str, tmp_path: Path, gpucore_context) -> None:
    env = os.environ | {"GPUCORE_BACKEND": gpucore_context.backend, "GPUCORE_CPU_DEVICES": "2"}
    files = []
    for name, code in doc_pages.programs(page).items():
        files.append(tmp_path / f"{name}.py")
        # two devices are there on any machine if they are CPUs
        files[-1].write_text(code.replace('"cuda:', '"cpu:').replace('"vulkan,cpu"', '"cpu"'), "utf-8")
    command = [sys.executable, "-c", RUN, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=env, cwd=tmp_path)
    assert done.returncode == 0, f"{page}:\n{done.stderr}"


@pytest.mark.parametrize("page", doc_pages.pages())
def test_what_is_not_run_says_why(page: str) -> None:
    for block in doc_pages.blocks(page):
        if block.excuse:
            assert block.excuse in doc_pages.REASONS, f"{page}: {block.excuse!r} is no reason"
            library = LIBRARIES.get(block.excuse)
            assert library is None or library in block.code or "gpucore" not in block.code
        elif block.elsewhere:
            assert (doc_pages.ROOT / block.elsewhere).is_file()
        else:
            assert block.note in ("", "inside a kernel"), f"{page}: nobody reads the comment {block.note!r}"
