"""``gpucore fuzz``: a run with several processes, what it says and writes, and what becomes of processes that die or hang."""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gpucore.cli.app import app
from gpucore_fuzz import generators, processes
from gpucore_fuzz.model import Verdict
from gpucore_fuzz.processes import Job, NotOpenedError, verdicts


class Troubled:
    """A generator whose programs do what their seeds say."""

    summary = "trouble"
    where = ("troubled", "a device")

    def text(self, seed):
        return ""

    def check(self, target, checked):
        pass

    def open(self, target, *, checked):
        if target == "missing":
            raise OSError("no such device")
        if target == "asleep":
            time.sleep(600)
        return self

    def run(self, seed):
        if seed == 5:
            os._exit(77)
        if seed == 6:
            atexit.register(time.sleep, 600)
            raise ValueError("a driver's word")
        if seed == 7:
            os._exit(1)
        if seed == 9:
            time.sleep(600)
        return Verdict(seed, "wrong" if seed in (3, 4) else "right", f"digest {seed}", "text")

    def smaller(self, verdict):
        if verdict.seed == 4:
            time.sleep(600)
        return replace(verdict, text="less text")

    def close(self):
        pass


@pytest.fixture
def troubled(monkeypatch):
    # processes are spawned and read the table anew, so this module puts itself into it there, too
    monkeypatch.setitem(generators.GENERATORS, "troubled", Troubled())
    original = processes._serve
    monkeypatch.setattr(processes, "_serve", serve_troubled)
    yield
    assert processes._serve is not original


def serve_troubled(pipe, job):
    generators.GENERATORS["troubled"] = Troubled()
    from gpucore_fuzz.processes import _serve

    _serve(pipe, job)


@pytest.mark.parametrize("count", [1, 3])
def test_every_seed_has_a_verdict_where_processes_die_raise_and_hang(troubled, count):
    job = Job("troubled", None, seconds=10.0)
    found = {v.seed: v for v in verdicts(job, range(12), count)}
    assert sorted(found) == list(range(12))
    assert {s for s, v in found.items() if v.outcome == "wrong"} == {3, 4, 5, 6, 7}
    assert {s for s, v in found.items() if v.outcome == "hung"} == {9}
    assert (found[3].text, found[4].text) == ("less text", "text")
    assert "status 77" in found[5].text
    assert "a driver's word" in found[6].text
    assert "status 1" in found[7].text
    assert "no answer within 10 s" in found[9].text


def test_a_target_that_cannot_be_opened_ends_the_run_with_its_reason(troubled):
    with pytest.raises(NotOpenedError, match="missing cannot be opened: OSError: no such device"):
        list(verdicts(Job("troubled", "missing"), range(4), 2))
    with pytest.raises(NotOpenedError, match="asleep cannot be opened: no answer within"):
        list(verdicts(Job("troubled", "asleep", opening=2.0), range(4), 2))


def test_a_run_that_is_out_of_time_has_run_the_first_seeds(troubled):
    found = sorted(v.seed for v in verdicts(Job("troubled", None), range(100, 10**9), 2, 1.5))
    assert found == list(range(100, 100 + len(found)))


PROGRAM = """
import math
import os
import time
from pathlib import Path

import gpucore_fuzz.processes as processes
import gpucore_fuzz.run as run
from gpucore_fuzz.generators import GENERATORS
from gpucore_fuzz.model import Verdict

processes.GRACE_SECONDS = 3.0
run.WRITTEN_EVERY = 0.0
LOST = Path(__file__).with_name("lost")
open_worker = processes._Pool._open


def opened(pool, worker, message):
    if pool.end < math.inf:  # that machines are slow to start a process is not looked at here
        pool.end = time.monotonic() + 3.0
    open_worker(pool, worker, message)


processes._Pool._open = opened


class Sleepy:
    summary = "programs that do not end"
    where = ("sleepy", "a device")

    def check(self, target, checked):
        pass

    def open(self, target, *, checked):
        if LOST.exists():
            raise OSError("the device is lost")
        return self

    def run(self, seed):
        if seed == 8:
            LOST.touch()
            os._exit(9)
        if seed == 3:
            time.sleep(600)
        return Verdict(seed, "right")

    def close(self):
        pass


GENERATORS["sleepy"] = Sleepy()

if __name__ == "__main__":
    from gpucore.cli.app import app

    app()
"""


def fuzz_sleepy(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    program = folder / "sleepy.py"
    program.write_text(PROGRAM)
    command = [sys.executable, str(program), "fuzz", "-g", "sleepy", "-b", "sleepy"]
    command += ["--json", str(folder / "report.json"), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def report_of(folder: Path, programs: int = 0) -> dict[str, Any]:
    """The report, once it is there and has so many programs."""
    path = folder / "report.json"
    while not path.exists() or json.loads(path.read_text())[0]["programs"] < programs:
        time.sleep(0.05)
    (report,) = json.loads(path.read_text())
    return report


@pytest.mark.parametrize("count", ["1", "2"])
def test_a_program_that_hangs_at_the_end_of_a_run_is_named_and_the_run_ends(tmp_path: Path, count):
    with fuzz_sleepy(tmp_path, "--seeds", "0:8", "--seconds", "100", "-p", count) as run:
        said, _ = run.communicate(timeout=100)
    assert run.returncode == 1, said
    assert "hung: gpucore fuzz --generator sleepy --backend sleepy --seeds 3" in said
    assert "no answer within" in said
    report = report_of(tmp_path)
    assert report["hung_seeds"] == [3] and report["wrong"] == 0
    assert report["programs"] >= 4


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals to other processes")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_run_that_is_ended_says_and_writes_what_it_did(tmp_path: Path, number, status):
    with fuzz_sleepy(tmp_path, "--seeds", "0:8", "-p", "1") as run:
        report_of(tmp_path, 3)
        run.send_signal(number)
        said, _ = run.communicate(timeout=100)
    assert run.returncode == status, said
    assert "random programs" in said and "report" in said
    report = report_of(tmp_path)
    assert (report["programs"], report["seeds"]) == (3, [0, 3])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals to other processes")
def test_processes_of_a_run_that_was_killed_end_and_let_its_output_go(tmp_path: Path):
    with fuzz_sleepy(tmp_path, "--seeds", "0:8", "-p", "2") as run:
        report_of(tmp_path, 6)  # all but the one that sleeps and the next of its process
        run.kill()
        run.communicate(timeout=100)  # until nobody has the output open


def test_a_device_that_is_lost_in_a_run_does_not_take_the_results_with_it(tmp_path: Path):
    with fuzz_sleepy(tmp_path, "--seeds", "4:20", "-p", "1") as run:
        said, _ = run.communicate(timeout=100)
    assert run.returncode == 1, said
    assert "cannot be opened: OSError: the device is lost" in said
    report = report_of(tmp_path)
    assert (report["programs"], report["wrong_seeds"]) == (5, [8])


def test_a_run_says_what_it_did_and_writes_it(tmp_path: Path):
    path = tmp_path / "report.json"
    arguments = ["fuzz", "-b", "cpu", "-g", "blocks", "--seeds", "0:6", "--json", str(path)]
    answer = CliRunner().invoke(app, arguments)
    assert answer.exit_code == 0, answer.output
    (report,) = json.loads(path.read_text())
    assert (report["programs"], report["wrong"], report["seeds"]) == (6, 0, [0, 6])
    assert report["digest"][:16] in answer.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-g", "block"], "there is no generator 'block'"),
        (["--seeds", "9:3"], "holds no seed"),
        (["--seeds", "some"], "is not a range of seeds"),
        (["-g", "ir", "-b", "interpreter"], "compares a device with the interpreter"),
        (["-g", "ir", "-b", "cpu", "--checked"], "divide by zero on purpose"),
    ],
)
def test_wrong_arguments_are_refused_with_what_to_write(arguments, said):
    answer = CliRunner().invoke(app, ["fuzz", *arguments])
    assert answer.exit_code != 0
    assert said in answer.output


def test_a_run_without_a_program_is_an_error() -> None:
    done = CliRunner().invoke(app, ["fuzz", "-b", "cpu", "-g", "values", "--seeds", "0:4", "--seconds", "0"])
    assert done.exit_code == 1
    assert "no program ran in the time given: values on cpu" in done.output
