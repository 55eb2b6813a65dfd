"""A device for the tests that need one; without it they are skipped for one reason, or fail if CUDA is
required."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "codegen" / "cuda")]


@pytest.fixture(scope="session")
def fixture(pytestconfig):
    """The opened device with a stream."""
    import gpucore_cuda

    found = gpucore_cuda.probe()
    if not found.available:
        reason = f"no CUDA device: {found.reason}"
        if "cuda" in (pytestconfig.getoption("--gpucore-require", default="") or ""):
            pytest.fail(f"{reason} (--gpucore-require)", pytrace=False)
        pytest.skip(reason)
    from device_fixture import DeviceFixture

    return DeviceFixture()
