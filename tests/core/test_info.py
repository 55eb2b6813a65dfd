"""What ``gpucore info`` says."""

from __future__ import annotations

import json

from click.testing import CliRunner

import gpucore as gc
from gpucore.cli.app import app
from gpucore.hookspecs import DeviceInfo, ProbeResult


def run(*command: str) -> str:
    result = CliRunner().invoke(app, command, catch_exceptions=False, env={"COLUMNS": "100"})
    assert result.exit_code == 0, result.output
    return result.output


def test_the_choice_is_explained(backend, monkeypatch):
    backend("null")
    monkeypatch.setenv("GPUCORE_BACKEND", "null")
    monkeypatch.setenv("GPUCORE_DISABLE_BACKENDS", "cpu,cuda,vulkan")
    text = run("info")
    assert "why: the environment variable GPUCORE_BACKEND says 'null'" in text
    selected = json.loads(run("info", "--json"))["selected"]
    with gc.Context() as context:
        assert (selected["why"], selected["passed_over"]) == (context.why, list(context.passed_over))


def test_what_a_file_sets_is_shown_with_its_place(backend, monkeypatch, tmp_path):
    backend("null")
    monkeypatch.setenv("GPUCORE_BACKEND", "null")
    monkeypatch.setenv("GPUCORE_DISABLE_BACKENDS", "cpu,cuda,vulkan")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gpucore.toml").write_text('math = "fast"\ncheck = true\n')
    text = run("info")
    assert f"math = fast  ({tmp_path / 'gpucore.toml'})" in text
    assert "check = True" in text
    assert text.count("GPUCORE_BACKEND=null") == 1 and "backend = null" not in text


def test_a_uuid_is_shown_whole(backend, monkeypatch):
    uuid = "0123abcd-0000-0000-0000-00000000beef"
    backend(
        "null",
        probe=lambda: ProbeResult(
            True, devices=(DeviceInfo(0, "a device with a long name", uuid, "discrete"),)
        ),
    )
    monkeypatch.setenv("GPUCORE_BACKEND", "null")
    monkeypatch.setenv("GPUCORE_DISABLE_BACKENDS", "cpu,cuda,vulkan")
    result = CliRunner().invoke(app, ["info"], env={"COLUMNS": "80"})
    rows = [line.split("\u2502") for line in result.output.splitlines() if line.count("\u2502") == 7]
    assert uuid in "".join(cells[5].strip() for cells in rows)
