"""Looking for devices: what is there, and where nothing is, why and what to do."""

from __future__ import annotations

from typing import Any

from gpucore.errors import GpucoreError
from gpucore.hookspecs import DeviceInfo, ProbeResult
from gpucore_cuda.targets import OLDEST
from gpucore_cuda.versions import INSTALL

DRIVER_NEEDED = (13, 0)
_UPDATE = "install an NVIDIA driver of version 580 or later (CUDA 13)"

OLD_DRIVER = ("the NVIDIA driver is older than CUDA 13", _UPDATE)

_KNOWN = {
    100: (
        "the driver finds no CUDA device",
        "attach an NVIDIA GPU, or check CUDA_VISIBLE_DEVICES and nvidia-smi",
    ),
    35: ("the NVIDIA driver is too old", _UPDATE),
    3: ("the NVIDIA driver is not initialised", "check nvidia-smi; in a container, start it with GPU access"),
    34: ("a stub libcuda was loaded instead of the driver", "take the toolkit's stubs off the library path"),
    46: ("every CUDA device is busy or in exclusive mode", "free the device: nvidia-smi shows who holds it"),
    802: (
        "the system is not ready to start CUDA",
        "start nvidia-fabricmanager, or wait until it has started",
    ),
    803: (
        "libcuda and the kernel driver are of different versions",
        "reboot, or reinstall the NVIDIA driver",
    ),
    804: ("the compatibility libcuda does not work on this hardware", "use the driver's own libcuda"),
    999: (
        "the driver failed to start",
        "check nvidia-smi and dmesg; often a reboot after a driver update is due",
    ),
}


def explain(code: int | None, error: BaseException | None) -> tuple[str, str]:
    """The reason and the fix for a driver that does not start."""
    if code is not None:
        if code in _KNOWN:
            reason, fix = _KNOWN[code]
            return f"{reason} (CUDA error {code})", fix
        return f"the NVIDIA driver does not start (CUDA error {code})", "check nvidia-smi"
    first = str(error).strip().split("\n")[0]
    return (
        f"the NVIDIA driver library (libcuda) is not there: {first}",
        "install the NVIDIA driver 580 or later; in a container, start it with GPU access (--gpus all)",
    )


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
    return ProbeResult(False, *_KNOWN[100])


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
