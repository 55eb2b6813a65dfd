"""Looking for devices: what is there, and where nothing is, why and what to do."""

from __future__ import annotations

from typing import Any

from gpucore.errors import GpucoreError
from gpucore.hookspecs import DeviceInfo, ProbeResult
from gpucore_cuda.startup import DRIVER_NEEDED, KNOWN, OLD_DRIVER, explain
from gpucore_cuda.targets import OLDEST
from gpucore_cuda.versions import INSTALL


def probe() -> ProbeResult:
    """What devices there are; never raises."""
    try:
        return _probe()
    except GpucoreError as error:
        return ProbeResult(False, str(error), "check nvidia-smi")
    except Exception as error:  # noqa: BLE001  the contract: a probe never raises
        return ProbeResult(
            False, f"probing failed: {type(error).__name__}: {error}", f"reinstall it: {INSTALL}"
        )


def _probe() -> ProbeResult:
    try:
        from cuda.bindings import driver as cu
    except ImportError as error:
        return ProbeResult(False, f"cuda-python is not installed ({error})", INSTALL)
    try:
        (result,) = cu.cuInit(0)
    except Exception as error:  # noqa: BLE001  the bindings' loader raises types of its own when libcuda is not there
        return ProbeResult(False, *explain(None, error))
    if int(result):
        return ProbeResult(False, *explain(int(result), None))

    from gpucore_cuda.driver import driver_version, plain

    version = driver_version()
    if version < DRIVER_NEEDED:
        return ProbeResult(False, f"{OLD_DRIVER[0]}: it offers CUDA {version[0]}.{version[1]}", OLD_DRIVER[1])
    from gpucore.errors import NotSupportedError
    from gpucore_cuda.compiler import nvrtc_version

    try:
        nvrtc_version()
    except NotSupportedError as error:
        return ProbeResult(False, str(error).split("; ")[0], "pip install nvidia-cuda-nvrtc")
    count = int(plain(cu.cuDeviceGetCount(), "cuDeviceGetCount"))
    devices: list[DeviceInfo] = []
    old: list[DeviceInfo] = []
    for ordinal in range(count):
        info, capability = _describe(cu, ordinal, version)
        (devices if capability >= OLDEST else old).append(info)
    if devices:
        return ProbeResult(True, devices=tuple(devices))
    if old:
        return ProbeResult(
            False,
            f"{old[0].name} is older than compute capability 7.5, the oldest that NVRTC 13 compiles for",
            "use a GPU of the Turing generation or later, or another backend",
        )
    return ProbeResult(False, *KNOWN[100])


def _describe(cu: Any, ordinal: int, version: tuple[int, int]) -> tuple[DeviceInfo, tuple[int, int]]:
    from gpucore_cuda.driver import device_name, device_uuid, plain

    handle = plain(cu.cuDeviceGet(ordinal), "cuDeviceGet")

    def attribute(name: str) -> int:
        key = getattr(cu.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}")
        return int(plain(cu.cuDeviceGetAttribute(key, handle), "cuDeviceGetAttribute"))

    info = DeviceInfo(
        ordinal=ordinal,
        name=device_name(handle),
        uuid=device_uuid(handle),
        kind="integrated" if attribute("INTEGRATED") else "discrete",
        driver=_driver_text(version),
        backend="cuda",
    )
    return info, (attribute("COMPUTE_CAPABILITY_MAJOR"), attribute("COMPUTE_CAPABILITY_MINOR"))


def _driver_text(version: tuple[int, int]) -> str:
    from gpucore_cuda.health import driver_text

    number = driver_text()
    cuda = f"CUDA {version[0]}.{version[1]}"
    return f"NVIDIA {number}, {cuda}" if number else cuda
