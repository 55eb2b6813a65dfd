"""The CUDA runtime through its generated package: without a GPU its errors, with one a saxpy."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
HEADERS = [Path(path) / "cu13" / "include" for path in importlib.util.find_spec("nvidia").submodule_search_locations or []] if (
    importlib.util.find_spec("nvidia")
) else []  # fmt: skip

pytestmark = pytest.mark.skipif(
    not any((path / "cuda_runtime_api.h").is_file() for path in HEADERS),
    reason="nvidia-cuda-runtime and nvidia-cuda-crt are not installed",
)

NO_GPU = """
import cuda_direct as c
assert c.version() >= 13000 and c.available() is False
failed = 0
calls = [c.device_count, c.get_device, lambda: c.set_device(0), c.synchronize, c.memory, lambda: c.malloc(4), c.CudaStream,
         lambda: c.CudaStream(c.StreamFlags.NON_BLOCKING), c.CudaEvent, lambda: c.load_module(b"x"), c.device_name]
for call in calls:
    try:
        call()
    except c.CudaError as error:
        assert error.code in (35, 100) and "cudaError" in str(error) and "CUDA" in str(error), error
        failed, told = failed + 1, error
assert failed == len(calls), failed
print("each call raised:", told)
"""


def test_the_cuda_runtime_without_pytorch(make: Callable[..., Path], tmp_path: Path) -> None:
    source = make(EXAMPLES / "cuda.yaml", tmp_path / "made", "-O1 -g0 -Wall -Wextra -Werror")
    environment = {**os.environ, "PYTHONPATH": str(source)}
    look = [sys.executable, "-c", "import cuda_direct; print(cuda_direct.available())"]
    gpu = (
        subprocess.run(look, capture_output=True, text=True, env=environment, check=True).stdout.strip()
        == "True"
    )
    command = [sys.executable, str(EXAMPLES / "cuda_saxpy.py")] if gpu else [sys.executable, "-c", NO_GPU]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
