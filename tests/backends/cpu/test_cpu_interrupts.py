"""Ctrl-C, whenever it comes, leaves nothing locked and nothing waiting."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("interrupted_program.py")
COUNT = int(os.environ.get("GPUCORE_TEST_INTERRUPTS", "48"))

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="interrupts come from a POSIX timer")


def interrupted(count: int, *actions: str) -> None:
    done = subprocess.run(
        [sys.executable, PROGRAM, str(count), "1", *actions],
        capture_output=True,
        text=True,
        timeout=600
        + 10 * count,  # a hang is found by the program itself; this is for a process that is deaf to that
    )
    # CPython ends a process by that signal where an interrupt ended `exec` of a text, also one that was caught
    assert done.returncode in (0, -signal.SIGINT), done.stderr
    assert int(done.stdout) == count


def test_everything_works_after_interrupts_of_everything() -> None:
    interrupted(COUNT)


def test_an_interrupt_while_a_context_opens_compiles_or_closes() -> None:
    interrupted(COUNT // 4, "open_and_close", "compile")


def test_an_interrupt_while_a_graph_is_recorded_or_a_profile_begins_or_ends() -> None:
    interrupted(COUNT // 4, "record_a_graph", "profile")


LOOP = """
import gpucore as gc

@gc.kernel
def add(x: gc.Array[gc.f32], a: gc.f32):
    i = gc.global_id(0)
    if i < x.shape[0]:
        x[i] += a

with gc.Context("cpu") as ctx:
    x = ctx.zeros(65536, gc.f32)
    print("ready", flush=True)
    while True:
        add.over(65536)(x, 1.0)
"""


def test_ctrl_c_ends_a_program_that_launches_for_ever(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(LOOP, "utf-8")
    child = subprocess.Popen(
        [sys.executable, tmp_path / "program.py"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    try:
        child.stdout.readline()
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=300)
    finally:
        child.kill()
    assert "KeyboardInterrupt" in said
