"""Finalizers and handlers of signals may use a context, wherever in the library they run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gpucore.backends import discovery

PROGRAM = Path(__file__).parent / "finalizer_program.py"


@pytest.mark.skipif(
    sys.version_info < (3, 12), reason="places are told by sys.monitoring, which Python 3.12 has"
)
@pytest.mark.parametrize("folders", ["plugin", "core and plugin"])
def test_a_finalizer_at_each_place_finds_what_it_computed_and_spoils_nothing(
    folders, gpucore_backend, tmp_path
):
    if discovery.installed()[gpucore_backend][0].distribution is None:
        pytest.skip("the backend is registered in this process alone")
    if folders != "plugin" and gpucore_backend != "cpu":
        pytest.skip("the core is the same on every backend, and the CPU is the quickest")
    environment = {**os.environ, "GPUCORE_CACHE_DIR": str(tmp_path)}
    if folders != "plugin":
        environment["PLACES_OF_THE_CORE"] = "1"
    if gpucore_backend == "vulkan" and validation_layer():
        environment["GPUCORE_VULKAN_VALIDATION"] = "1"
    done = subprocess.run(
        [sys.executable, PROGRAM, gpucore_backend],
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert "open_and_close" in done.stdout


@pytest.mark.skipif(
    sys.version_info < (3, 12), reason="places are told by sys.monitoring, which Python 3.12 has"
)
def test_a_context_closed_in_the_middle_of_a_call_of_its_own_thread_crashes_nothing(
    gpucore_backend, tmp_path
):
    if discovery.installed()[gpucore_backend][0].distribution is None:
        pytest.skip("the backend is registered in this process alone")
    done = subprocess.run(
        [sys.executable, PROGRAM, gpucore_backend, "close"],
        env={**os.environ, "GPUCORE_CACHE_DIR": str(tmp_path)}, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert "wait" in done.stdout


def validation_layer() -> bool:
    """Whether Vulkan's validation layer is installed, which says where command buffers are used wrongly."""
    from gpucore_vulkan.instance import instance
    from gpucore_vulkan.loader import Unavailable

    try:
        instance(True)
    except Unavailable:
        return False
    return True
