"""The public interface on Vulkan under the validation layer: not one message."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CODE = """
import sys
from gpucore.cli import main
sys.argv = ["gpucore", *{arguments!r}]
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
from gpucore_vulkan.instance import instance
said = [m for m in instance(True).messages if "DenormPreserve" not in m]
assert not said, said[:3]
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["demo", "--backend", "vulkan", "--output", "{folder}/demo.png"],
        ["conformance", "--backend", "vulkan"],
    ],
    ids=lambda a: a[0],
)
def test_commands_run_with_nothing_to_say(bench, layered, arguments, tmp_path):
    if not layered:
        pytest.skip("the validation layer is not installed")
    given = [a.format(folder=tmp_path) for a in arguments]
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(arguments=given)],
        env={**os.environ, "GPUCORE_VULKAN_VALIDATION": "1"}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
