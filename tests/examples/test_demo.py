"""``gpucore demo``: the picture, the table, and one clear line for each bad input."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("PIL", reason="the demo needs Pillow: pip install 'gpucore[demo]'")
from PIL import Image  # noqa: E402

KERNELS = (
    "Gaussian blur",
    "Sobel edges",
    "Bilateral filter",
    "Histogram equalisation",
    "Bilinear resize",
    "Hillshade",
)


def demo(*arguments: object, backend: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"GPUCORE_BACKEND": backend, "COLUMNS": "200"}
    command = [sys.executable, "-m", "gpucore", "demo", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=env)


def test_the_demo_draws_a_picture_and_agrees_with_numpy(tmp_path: Path, gpucore_context) -> None:
    output = tmp_path / "picture.png"
    done = demo("--output", output, backend=gpucore_context.backend)
    assert done.returncode == 0, done.stdout + done.stderr
    for kernel in KERNELS:
        assert kernel in done.stdout
    assert done.stdout.count(" ok ") == len(KERNELS)
    assert re.search(r"sha256 [0-9a-f]{64}", done.stdout)
    with Image.open(output) as picture:
        assert picture.width > 1000
        assert np.asarray(picture).std() > 30


def test_a_small_picture_of_ones_own(tmp_path: Path, gpucore_context) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (37, 61, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "noise.png")
    done = demo(tmp_path / "noise.png", "-o", tmp_path / "out.png", backend=gpucore_context.backend)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "out.png").is_file()


@pytest.mark.parametrize("kind", ["missing", "broken", "truncated", "folder", "no-output-folder"])
def test_a_bad_file_gets_one_clear_line(tmp_path: Path, gpucore_context, kind: str) -> None:
    path, output = tmp_path / "input.jpg", tmp_path / "out.png"
    if kind == "broken":
        path.write_bytes(b"this is no picture")
    elif kind == "truncated":
        Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(path)
        path.write_bytes(path.read_bytes()[:200])
    elif kind == "folder":
        path.mkdir()
    elif kind == "no-output-folder":
        Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(path)
        output = tmp_path / "nowhere" / "out.png"
    done = demo(path, "-o", output, backend=gpucore_context.backend)
    assert done.returncode == 1
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("Error: ")
    assert not output.exists()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="/proc is a folder that takes no files")
def test_a_picture_that_cannot_be_written_gets_one_clear_line(gpucore_context) -> None:
    done = demo("-o", "/proc/x.png", backend=gpucore_context.backend)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines() == [
        "Error: /proc/x.png cannot be written or read: No such file or directory"
    ]


def test_an_unknown_backend_is_named_with_the_cure(tmp_path: Path, gpucore_context) -> None:
    done = demo("-o", tmp_path / "out.png", "--backend", "quantum", backend=gpucore_context.backend)
    assert done.returncode == 1
    assert "quantum" in done.stderr
    assert "Traceback" not in done.stderr
