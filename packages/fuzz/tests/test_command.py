"""``gpucore fuzz``: a run with several processes, what it says and writes, and what becomes of processes that die or hang."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from gpucore.cli.app import app
from gpucore_fuzz import generators, processes
from gpucore_fuzz.model import Verdict
from gpucore_fuzz.processes import Job, verdicts


class Troubled:
    """A generator whose programs do what their seeds say."""

    summary = "trouble"

    def text(self, seed):
        return ""

    def open(self, target, *, checked, shrink):
        if target == "missing":
            raise OSError("no such device")
        return self

    def run(self, seed):
        if seed == 5:
            os._exit(77)
        if seed == 6:
            raise ValueError("a driver's word")
        if seed == 9:
            time.sleep(600)
        return Verdict(seed, "wrong" if seed == 3 else "right", f"digest {seed}", "text")

    def close(self):
        pass


@pytest.fixture
def troubled(monkeypatch):
    # processes are spawned and read the table anew, so this module puts itself into it there, too
    monkeypatch.setitem(generators.GENERATORS, "troubled", Troubled())
    monkeypatch.setattr(processes, "CHUNK", 4)
    original = processes._serve
    monkeypatch.setattr(processes, "_serve", serve_troubled)
    yield
    assert processes._serve is not original


def serve_troubled(pipe, job):
    generators.GENERATORS["troubled"] = Troubled()
    from gpucore_fuzz.processes import _serve

    _serve(pipe, job)


def test_every_seed_has_a_verdict_where_processes_die_raise_and_hang(troubled):
    job = Job("troubled", None, seconds=10.0)
    found = {v.seed: v for v in verdicts(job, range(12), 2)}
    assert sorted(found) == list(range(12))
    assert {s for s, v in found.items() if v.outcome == "wrong"} == {3, 5, 6, 9}
    assert "status 77" in found[5].text
    assert "a driver's word" in found[6].text
    assert "no answer within 10 s" in found[9].text


def test_a_target_that_cannot_be_opened_ends_the_run_with_its_reason(troubled):
    with pytest.raises(RuntimeError, match="missing cannot be opened: OSError: no such device"):
        list(verdicts(Job("troubled", "missing"), range(4), 2))


def test_a_run_that_is_out_of_time_has_run_the_first_seeds(troubled):
    found = sorted(v.seed for v in verdicts(Job("troubled", None), range(100, 200_000), 2, 1.5))
    assert found == list(range(100, 100 + len(found)))
    assert len(found) < 199_900


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
