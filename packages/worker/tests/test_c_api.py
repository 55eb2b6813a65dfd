"""The C ABI: a small C program, compiled, answers a prompt as Python does."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gpucore_worker import load_model

pytest.importorskip("cffi", reason="the C library is built by cffi")
pytest.importorskip("setuptools", reason="the C library is built by setuptools")


@pytest.mark.skipif(
    shutil.which("cc") is None or sys.platform != "linux", reason="needs a C compiler on Linux"
)
def test_a_c_program_gets_the_answer_and_the_codes_of_python(tmp_path, tiny_path):
    folder = tmp_path / "c"
    built = subprocess.run(
        [sys.executable, "-m", "gpucore_worker.c_api", str(folder)], capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    program = tmp_path / "worker"
    subprocess.run(
        ["cc", "-Wall", "-Wextra", "-Werror", "-std=c99", str(Path(__file__).with_name("worker.c")), f"-I{folder}",
         f"-L{folder}", "-lgpucore_worker", f"-Wl,-rpath,{folder}", "-o", str(program)],
        check=True,
    )  # fmt: skip
    done = subprocess.run([str(program), str(tiny_path), "the other"], capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr.decode()
    with load_model(tiny_path, "cpu") as model:
        expected = "".join(model.generate("the other", max_tokens=8))
    assert done.stdout.decode() == (
        f"no room: 5 said\ntext: {expected}\nmemory: 1 1 1\nfreed: 5\nno file: 3\nNULL: 5 5\ndevice: 1\ntoo long: 4\n"
        "message: invalid parameter\nunloaded: 5\nmemory back: 1\ndestroyed: 5\n"
    )
