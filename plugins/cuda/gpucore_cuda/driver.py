"""The CUDA driver: error codes as gpucore's errors, and what it says without a device.

``cuda.bindings`` is used below ``cuda.core`` throughout: error codes stay codes, and a launch costs one call.
"""

from __future__ import annotations

import uuid
from typing import Any

from cuda.bindings import driver as cu

from gpucore.errors import (
    BackendUnavailableError,
    DeviceError,
    DeviceLostError,
    GpucoreError,
    OutOfMemoryError,
)
from gpucore_cuda.startup import explain

SUCCESS = cu.CUresult.CUDA_SUCCESS

_LOST_NAMES = (
    "ASSERT", "CONTAINED", "CONTEXT_IS_DESTROYED", "DEVICE_UNAVAILABLE", "ECC_UNCORRECTABLE",
    "HARDWARE_STACK_ERROR", "ILLEGAL_ADDRESS", "ILLEGAL_INSTRUCTION", "INVALID_ADDRESS_SPACE", "INVALID_PC",
    "LAUNCH_FAILED", "LAUNCH_TIMEOUT", "MISALIGNED_ADDRESS", "MPS_CLIENT_TERMINATED", "MPS_RPC_FAILURE",
    "MPS_SERVER_NOT_READY", "NVLINK_UNCORRECTABLE", "TENSOR_MEMORY_LEAK",
)  # fmt: skip
LOST: frozenset[int] = frozenset(
    int(getattr(cu.CUresult, f"CUDA_ERROR_{name}"))
    for name in _LOST_NAMES
    if hasattr(cu.CUresult, f"CUDA_ERROR_{name}")
)
"""Errors after which the context, and all memory in it, is void: they stick to every later call."""

WRONG_CONTEXT: frozenset[int] = frozenset(
    int(getattr(cu.CUresult, f"CUDA_ERROR_{name}")) for name in ("INVALID_CONTEXT", "INVALID_HANDLE")
)
"""What the driver answers when another context, or none, is current in this thread."""

_OUT_OF_MEMORY = int(cu.CUresult.CUDA_ERROR_OUT_OF_MEMORY)


def error_name(code: int) -> str:
    """The driver's name for an error code."""
    try:
        return str(cu.CUresult(code).name)
    except ValueError:
        return f"CUDA_ERROR_{code}"


def error_text(code: int) -> str:
    """The driver's sentence for an error code, empty where it has none."""
    try:
        result, text = cu.cuGetErrorString(cu.CUresult(code))
    except (ValueError, RuntimeError):
        return ""
    return text.decode(errors="replace") if int(result) == 0 and text else ""


def make_error(code: int, doing: str, launches: str = "") -> GpucoreError:
    """The exception for an error code."""
    code = int(code)
    name, text = error_name(code), error_text(code)
    message = f"{doing} failed: {name} ({code}){': ' + text if text else ''}"
    if code == _OUT_OF_MEMORY:
        return OutOfMemoryError(message)
    if code in LOST:
        after = f"; last launches: {launches}" if launches else ""
        return DeviceLostError(
            f"the device is lost: {message}{after}; CUDA does not recover within a process, so start a new one",
            code=code,
            name=name,
        )
    return DeviceError(message, code=code, name=name)


def initialise() -> None:
    """``cuInit``.

    Raises
    ------
    BackendUnavailableError
        When there is no driver library, or it finds no device.
    """
    try:
        (result,) = cu.cuInit(0)
    except Exception as error:  # the bindings' loader raises types of its own when libcuda is not there
        reason, fix = explain(None, error)
        raise BackendUnavailableError(f"cuda: {reason}; {fix}") from error
    if int(result):
        reason, fix = explain(int(result), None)
        raise BackendUnavailableError(f"cuda: {reason}; {fix}")


def plain(result: tuple[Any, ...], doing: str) -> Any:
    """The payload of a driver call that needs no current context."""
    if result[0] != SUCCESS:
        raise make_error(result[0], doing)
    return result[1] if len(result) == 2 else result[1:]


def format_uuid(raw: Any) -> str:
    """A CUuuid in the form 8-4-4-4-12, lower case, as Vulkan's ``deviceUUID`` of the same card gives it."""
    data = getattr(raw, "bytes", raw)
    return str(uuid.UUID(bytes=bytes(data[:16])))


def device_name(handle: Any) -> str:
    """The name of a CUdevice."""
    raw = plain(cu.cuDeviceGetName(256, handle), "cuDeviceGetName")
    return bytes(raw).split(b"\0")[0].decode(errors="replace")


def device_uuid(handle: Any) -> str:
    """The UUID of a CUdevice (a MIG instance has its own)."""
    get = getattr(cu, "cuDeviceGetUuid_v2", None) or cu.cuDeviceGetUuid
    return format_uuid(plain(get(handle), "cuDeviceGetUuid"))


def driver_version() -> tuple[int, int]:
    """The CUDA version that the driver offers, as (13, 0)."""
    number = int(plain(cu.cuDriverGetVersion(), "cuDriverGetVersion"))
    return number // 1000, number % 1000 // 10
