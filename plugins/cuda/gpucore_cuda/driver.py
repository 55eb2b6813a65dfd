"""The CUDA driver: error codes as gpucore's errors, and a device with its primary context.

``cuda.bindings`` is used below ``cuda.core`` throughout: error codes stay codes, a launch costs one call,
and the
primary context, which is shared with other libraries of the process, is left alone save for being retained.
"""

from __future__ import annotations

import threading
import uuid
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cuda.bindings import driver as cu

from gpucore.errors import (
    BackendUnavailableError,
    DeviceError,
    DeviceLostError,
    GpucoreError,
    OutOfMemoryError,
)
from gpucore_cuda.probing import DRIVER_NEEDED, OLD_DRIVER, explain
from gpucore_cuda.targets import OLDEST

if TYPE_CHECKING:
    from gpucore_cuda.streams import CudaStream

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


class CudaDevice:
    """An opened device: its number, properties, and retained primary context.

    Attributes
    ----------
    ordinal : int
    handle : CUdevice
    context : CUcontext
    name, uuid : str
    capability : tuple[int, int]
    lost : bool
        Whether a sticky error was seen.
    streams : WeakSet
        Streams of this device, for naming the last launches.
    memory, queues : module
        Where the hooks of memory, and of streams and events, are written; a hook finds them here, since an
        import statement takes longer than the driver does for a small copy.
    """

    def __init__(self, ordinal: int) -> None:
        from gpucore_cuda import memory, streams

        initialise()
        self.memory, self.queues = memory, streams
        self.ordinal = ordinal
        self.handle = plain(cu.cuDeviceGet(ordinal), "cuDeviceGet")
        self.name = device_name(self.handle)
        self.uuid = device_uuid(self.handle)
        attribute = self.attribute
        self.capability = (attribute("COMPUTE_CAPABILITY_MAJOR"), attribute("COMPUTE_CAPABILITY_MINOR"))
        _check_age(self.name, self.capability)
        self.lost = False
        self.streams: weakref.WeakSet[CudaStream] = weakref.WeakSet()
        self.lock = threading.RLock()
        self.fill_kernel: Any = None
        self.peers: set[CudaDevice] = set()  # whose memory is mapped for this one
        self._retain()

    def __repr__(self) -> str:
        return f"<CUDA device {self.ordinal}: {self.name}>"

    @property
    def arch(self) -> str:
        """``"sm_90"``."""
        return f"sm_{self.capability[0]}{self.capability[1]}"

    def attribute(self, name: str, default: int | None = None) -> int:
        """A device attribute by its name without ``CU_DEVICE_ATTRIBUTE_``."""
        key = getattr(cu.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}", None)
        if key is None and default is not None:
            return default
        return int(plain(cu.cuDeviceGetAttribute(key, self.handle), f"cuDeviceGetAttribute({name})"))

    # --- the context
    def _retain(self) -> None:
        self.context = plain(cu.cuDevicePrimaryCtxRetain(self.handle), "cuDevicePrimaryCtxRetain")
        self._context_value = int(self.context)

    def close(self) -> None:
        """Release the primary context; this thread does not keep it current."""
        result, current = cu.cuCtxGetCurrent()
        if result == SUCCESS and int(current) == self._context_value:
            cu.cuCtxSetCurrent(cu.CUcontext(0))
        cu.cuDevicePrimaryCtxRelease(self.handle)

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a driver function with this device's context current; its payload.

        A thread that has no current context gets this one for good; one that has another gets that back.

        Raises
        ------
        DeviceError, DeviceLostError, OutOfMemoryError
        """
        result = self.attempt(function, *args)
        if result[0] != SUCCESS:
            raise self.error(result[0], function.__name__)
        return result[1] if len(result) == 2 else result[1:]

    def attempt(self, function: Callable[..., Any], *args: Any) -> Any:
        """As ``call``, giving the driver's whole answer, errors included."""
        result, current = cu.cuCtxGetCurrent()
        if result != SUCCESS:
            return (result,)
        value = int(current)
        if value == self._context_value:
            return function(*args)
        if not value:
            (result,) = cu.cuCtxSetCurrent(self.context)
            return function(*args) if result == SUCCESS else (result,)
        (result,) = cu.cuCtxPushCurrent(self.context)
        if result != SUCCESS:
            return (result,)
        try:
            return function(*args)
        finally:
            cu.cuCtxPopCurrent()

    def again(self, answer: tuple[Any, ...], function: Callable[..., Any], *args: Any) -> Any:
        """Once more with this device's context current, after a call that did not look for it failed.

        Raises
        ------
        DeviceError, DeviceLostError, OutOfMemoryError
            Where it was current, or its absence was not the trouble.
        """
        result, current = cu.cuCtxGetCurrent()
        if result != SUCCESS or int(current) != self._context_value:
            answer = self.attempt(function, *args)
        if answer[0] != SUCCESS:
            raise self.error(answer[0], function.__name__)
        return answer

    def quiet(self, function: Callable[..., Any], *args: Any) -> None:
        """Call a function that gives something back; once the device is lost there is nothing to give."""
        if self.lost:
            return
        result = self.attempt(function, *args)
        if result[0] != SUCCESS:
            error = self.error(result[0], function.__name__)
            if not self.lost:
                raise error

    def error(self, code: int, doing: str) -> GpucoreError:
        """The exception for an error code; a sticky one marks the device as lost."""
        code = int(code)
        launches = ""
        if code in LOST:
            self.lost = True
            with self.lock:
                launches = ", ".join(sorted({s.last for s in self.streams if s.last}))
        return make_error(code, doing, launches)


def open_device(ordinal: int) -> CudaDevice:
    """Open device ``ordinal``.

    Raises
    ------
    BackendUnavailableError
        With the cause and the fix.
    """
    try:
        return CudaDevice(ordinal)
    except DeviceError as error:
        raise BackendUnavailableError(
            f"cuda:{ordinal} cannot be opened: {error}; check nvidia-smi"
        ) from error


def _check_age(name: str, capability: tuple[int, int]) -> None:
    if driver_version() < DRIVER_NEEDED:
        raise BackendUnavailableError(f"cuda: {OLD_DRIVER[0]}; {OLD_DRIVER[1]}")
    if capability < OLDEST:
        raise BackendUnavailableError(
            f"cuda: {name} has compute capability {capability[0]}.{capability[1]}; "
            f"NVRTC 13 compiles for {OLDEST[0]}.{OLDEST[1]} and later"
        )


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
