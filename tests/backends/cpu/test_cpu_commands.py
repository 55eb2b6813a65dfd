"""What the command line and ``run`` do where the CPU backend is installed."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

import gpucore as gc
from gpucore.cli import report  # noqa: F401 - has the command
from gpucore.cli.app import app


@gc.kernel
def double(x: gc.Array[gc.f32], y: gc.Array[gc.f32]) -> None:
    i = gc.global_id(0)
    y[i] = 2 * x[i]


def test_what_is_piped_has_whole_lines_and_settings_of_plugins_are_listed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("GPUCORE_CPU_DEVICES", raising=False)
    done = subprocess.run(
        [sys.executable, "-m", "gpucore", "info"],
        env=os.environ | {"COLUMNS": "80", "GPUCORE_DISABLE_BACKENDS": "cuda,vulkan"},
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    with gc.Context("cpu") as context:
        assert f" {context.device.uuid} " in done.stdout
    assert (
        done.stdout.splitlines()[0].startswith("gpucore ")
        and platform.platform() in done.stdout.splitlines()[0]
    )
    assert "cpu_devices = not set  (default)" in done.stdout


def test_a_plugins_setting_is_listed_with_the_variable_that_sets_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GPUCORE_CPU_DEVICES", "3")
    listed = CliRunner().invoke(app, ["info", "--json"])
    assert json.loads(listed.stdout)["settings"]["cpu_devices"] == {
        "value": "3",
        "origin": "the environment variable GPUCORE_CPU_DEVICES",
    }


def test_run_takes_the_cpu_where_nothing_is_said() -> None:
    x = np.arange(5, dtype=np.float32)
    assert double.over(5).run(x=x, y=np.zeros_like(x))["y"].tolist() == [0, 2, 4, 6, 8]
