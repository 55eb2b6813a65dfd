"""Plugins that end the program, and output that nobody can write: one message, and the rest works."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

METADATA = "Metadata-Version: 2.1\nName: bad\nVersion: 1.0\n"
OPEN = """
import gpucore as gc
from gpucore.backends import discovery
from gpucore.testing import null
with discovery.register("null", null):
    with gc.Context() as ctx:
        print(ctx.backend, *ctx.passed_over)
"""


def environment(tmp_path: Path, plugin: str) -> dict[str, str]:
    information = tmp_path / "bad-1.0.dist-info"
    information.mkdir()
    (tmp_path / "bad_plugin.py").write_text(plugin, "utf-8")
    (information / "METADATA").write_text(METADATA, "utf-8")
    (information / "entry_points.txt").write_text("[gpucore.backends]\nbad = bad_plugin\n", "utf-8")
    return {**os.environ, "PYTHONPATH": str(tmp_path), "GPUCORE_DISABLE_BACKENDS": "cpu,cuda,vulkan"}


@pytest.mark.parametrize(
    "raised", ["KeyboardInterrupt", "SystemExit(3)", "GeneratorExit", "BaseException('x')"]
)
def test_whatever_a_plugin_raises_at_import_another_backend_is_opened(tmp_path, raised):
    done = subprocess.run(
        [sys.executable, "-c", OPEN],
        env=environment(tmp_path, f"raise {raised}"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("null") and "fails at import" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent in the manner of POSIX")
def test_ctrl_c_while_a_plugin_is_imported_ends_the_program(tmp_path):
    slow = "import time\nprint('importing', flush=True)\ntime.sleep(60)\n"
    child = subprocess.Popen(
        [sys.executable, "-c", OPEN], env=environment(tmp_path, slow), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stdout.readline().strip() == "importing"
    time.sleep(0.1)
    child.send_signal(signal.SIGINT)
    said, errors = child.communicate(timeout=60)
    assert "null" not in said
    assert child.returncode != 0 and "KeyboardInterrupt" in errors


COMMAND = [sys.executable, "-m", "gpucore"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a full disk is played by /dev/full")
@pytest.mark.parametrize("arguments", [["--help"], ["info"], ["cache", "stats"]])
def test_a_full_disk_is_one_message(arguments):
    with open("/dev/full", "w") as full:
        done = subprocess.run([*COMMAND, *arguments], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("Error: the output cannot be written")
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr


def test_doctor_says_that_the_cache_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("", "utf-8")
    place = {**os.environ, "GPUCORE_CACHE_DIR": str(tmp_path / "file" / "inside")}
    done = subprocess.run([*COMMAND, "doctor"], env=place, capture_output=True, text=True)
    assert "cache  not used" in done.stdout
    assert "GPUCORE_CACHE_DIR" in done.stdout
