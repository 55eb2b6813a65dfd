"""Health and this process's memory, by NVML.  What NVML does not say is not made up."""

from __future__ import annotations

import os
import threading
from typing import Any

from gpucore.errors import NotSupportedError
from gpucore.hookspecs import DeviceHealth
from gpucore_cuda.device import CudaDevice

_lock = threading.RLock()


def _nvml() -> Any:
    """The initialised library.

    Raises
    ------
    NotSupportedError
    """
    try:
        import pynvml
    except ImportError as error:
        raise NotSupportedError(
            f"device monitoring needs nvidia-ml-py ({error}); install it with: pip install nvidia-ml-py",
            capability="device_health",
        ) from error
    with _lock:
        try:
            pynvml.nvmlInit()  # counted by NVML; it stays initialised for the life of the process
        except pynvml.NVMLError as error:
            raise NotSupportedError(f"NVML does not start: {error}", capability="device_health") from error
    return pynvml


def _handle(nvml: Any, device: CudaDevice) -> Any:
    for prefix in ("GPU-", "MIG-"):
        try:
            return nvml.nvmlDeviceGetHandleByUUID(f"{prefix}{device.uuid}")
        except nvml.NVMLError:
            continue
    raise NotSupportedError(f"NVML does not know the device {device.uuid}", capability="device_health")


def driver_text() -> str:
    """The driver's version such as ``"580.159.04"``, empty where NVML cannot say."""
    try:
        nvml = _nvml()
        version = nvml.nvmlSystemGetDriverVersion()
    except NotSupportedError:
        return ""
    except nvml.NVMLError:
        return ""
    return version.decode() if isinstance(version, bytes) else str(version)


def device_health(device: CudaDevice) -> DeviceHealth:
    """Whether the device works, with the figures that NVML has for it.

    ``ok`` is false once the context is lost, where uncorrected ECC errors were counted since the driver
    loaded, or where rows of memory wait for a remap that failed.

    Raises
    ------
    NotSupportedError
        Where NVML does not answer: an unknown state is not a good one.
    """
    nvml = _nvml()
    handle = _handle(nvml, device)
    details: dict[str, Any] = {}

    def note(name: str, ask: Any, *args: Any) -> None:
        try:
            details[name] = ask(handle, *args)
        except (nvml.NVMLError, AttributeError):
            return

    note("temperature_c", nvml.nvmlDeviceGetTemperature, nvml.NVML_TEMPERATURE_GPU)
    note("power_mw", nvml.nvmlDeviceGetPowerUsage)
    note("sm_clock_mhz", nvml.nvmlDeviceGetClockInfo, nvml.NVML_CLOCK_SM)
    note("memory_clock_mhz", nvml.nvmlDeviceGetClockInfo, nvml.NVML_CLOCK_MEM)
    note("performance_state", nvml.nvmlDeviceGetPerformanceState)
    note(
        "ecc_uncorrected", nvml.nvmlDeviceGetTotalEccErrors,
        nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC,
    )  # fmt: skip
    note(
        "ecc_corrected", nvml.nvmlDeviceGetTotalEccErrors,
        nvml.NVML_MEMORY_ERROR_TYPE_CORRECTED, nvml.NVML_VOLATILE_ECC,
    )  # fmt: skip
    remapped = getattr(nvml, "nvmlDeviceGetRemappedRows", None)
    if remapped is not None:
        try:
            _, _, pending, failed = remapped(handle)
            details["remap_pending"], details["remap_failed"] = bool(pending), bool(failed)
        except nvml.NVMLError:
            pass
    if not details:
        raise NotSupportedError("NVML gives no figures for this device", capability="device_health")
    details["context_lost"] = device.lost
    ok = not device.lost and not details.get("ecc_uncorrected") and not details.get("remap_failed")
    return DeviceHealth(ok=ok, details=details)


def process_memory(device: CudaDevice) -> int:
    """Bytes of device memory that this process holds, context included.

    Raises
    ------
    NotSupportedError
        Where NVML does not list this process (another PID namespace, WSL) or does not say how much it holds.
    """
    nvml = _nvml()
    handle = _handle(nvml, device)
    mine = os.getpid()
    try:
        running = [*nvml.nvmlDeviceGetComputeRunningProcesses(handle)]
    except nvml.NVMLError as error:
        raise NotSupportedError(
            f"NVML does not list processes: {error}", capability="process_memory"
        ) from error
    for process in running:
        if process.pid == mine:
            if process.usedGpuMemory is None:
                break
            return int(process.usedGpuMemory)
    raise NotSupportedError(
        "NVML does not say how much memory this process holds "
        "(another PID namespace, or a platform without it)",
        capability="process_memory",
    )
