"""What ``gpucore info`` says."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import pytest
from click.testing import CliRunner
from rich.console import Console

import gpucore as gc
from gpucore import config
from gpucore.cli import report
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


def test_every_setting_is_shown_with_where_it_comes_from(backend, monkeypatch, tmp_path):
    backend("null")
    monkeypatch.setenv("GPUCORE_BACKEND", "null")
    monkeypatch.setenv("GPUCORE_DISABLE_BACKENDS", "cpu,cuda,vulkan")
    users = tmp_path / "no-settings-of-the-users" / "gpucore" / "gpucore.toml"
    users.parent.mkdir(parents=True)
    users.write_text("cache_limit = '1 MiB'\n")
    (tmp_path / "work" / "gpucore.toml").write_text("log = 'error'\ncache_dir = '/tmp/planted'\n")
    (tmp_path / "work").chmod(0o777)
    monkeypatch.delenv("GPUCORE_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.warns(RuntimeWarning, match="cache_dir is not taken"):
        text = run("info")
    assert f"cache_limit = 1048576  ({users})" in text
    assert f"log = error  ({tmp_path / 'work' / 'gpucore.toml'})" in text
    assert "math = strict  (default)" in text and "memory_limit = not set  (default)" in text
    assert "GPUCORE_BACKEND=null" in text
    assert "cache_dir = not set  (default)\n  not taken: " in text and "others may write" in text
    with pytest.warns(RuntimeWarning):
        settings = json.loads(run("info", "--json"))["settings"]
    assert settings["backend"] == {"value": "null", "origin": "the environment variable GPUCORE_BACKEND"}
    assert list(settings)[: len(config.keys())] == list(config.keys())  # those of plugins follow


@pytest.mark.parametrize(
    "command", [["info"], ["info", "--json"], ["doctor"], ["cache", "stats"], ["--help"]]
)
def test_a_command_runs_in_a_process_of_its_own(command):
    # in the process of the tests every module is imported already
    done = subprocess.run(
        [sys.executable, "-m", "gpucore", *command], capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    assert done.stdout


@pytest.mark.parametrize("width", [80, 200])
def test_a_narrow_window_splits_no_uuid(width):
    window = Console(width=width, force_terminal=True, file=io.StringIO(), color_system=None)
    uuid = "0123abcd-0000-0000-0000-00000000beef"
    device = {
        "ordinal": 0,
        "name": "a device with a rather long name",
        "kind": "discrete",
        "uuid": uuid,
        "driver": "a driver 1.2.3",
    }
    report._devices(window, [{"name": "null", "devices": [device], "available": True}])
    assert uuid in window.file.getvalue()


def test_pairs_of_devices_are_shown_with_what_trying_them_found(several, monkeypatch):
    from gpucore.runtime import peer

    monkeypatch.setattr(peer, "_found", peer._Found())
    monkeypatch.setattr(peer, "PATTERN_BYTES", 1 << 12)
    monkeypatch.setenv("GPUCORE_DISABLE_BACKENDS", "cpu,cuda,vulkan")
    selectors = several(3, can_access_peer=lambda device, other: {device.ordinal, other.ordinal} != {1, 2})
    assert "many:0 and many:1: not tried yet, as 2 other pairs; gpucore.peer_access(" in run("info")
    gc.peer_access(*selectors[:2])
    gc.peer_access(*selectors[1:])
    text = run("info")
    assert "many:0 and many:1: copies are direct\n" in text
    assert "many:1 and many:2: copies go through the host, because a direct copy from many:1" in text
    assert "many:0 and many:2: not tried yet; gpucore.peer_access('many:0', 'many:2')" in text
    pairs = {tuple(pair["devices"]): pair["access"] for pair in json.loads(run("info", "--json"))["pairs"]}
    assert pairs == {
        ("many:0", "many:1"): "direct", ("many:1", "many:2"): "staged", ("many:0", "many:2"): None
    }  # fmt: skip


def test_devices_of_two_backends_that_are_one_card_are_shown_as_one(backend, monkeypatch):
    monkeypatch.setenv("GPUCORE_DISABLE_BACKENDS", "cpu,cuda,vulkan")
    for name in ("first", "second"):
        backend(
            name, probe=lambda: ProbeResult(True, devices=(DeviceInfo(0, "a card", "0123-beef", "discrete"),))
        )
    assert "first:0 and second:0 are one card\n" in run("info")
