"""A CUDA device with its primary context, which is shared with other libraries of the process and left alone save for
being retained."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from cuda.bindings import driver as cu

from gpucore.errors import BackendUnavailableError, GpucoreError
from gpucore.hookspecs import HostBuffer, MemoryInfo, MemoryKind
from gpucore_cuda.driver import (
    LOST,
    SUCCESS,
    device_name,
    device_uuid,
    driver_version,
    initialise,
    make_error,
    plain,
)
from gpucore_cuda.handles import CudaAllocation, CudaEvent, CudaStream
from gpucore_cuda.staging import Staging
from gpucore_cuda.startup import DRIVER_NEEDED, OLD_DRIVER
from gpucore_cuda.targets import OLDEST


class MemoryFunctions(Protocol):
    """The hooks of memory, as :mod:`gpucore_cuda.memory` has them."""

    def alloc(self, device: CudaDevice, nbytes: int, kind: MemoryKind) -> CudaAllocation: ...
    def free(self, device: CudaDevice, allocation: CudaAllocation, stream: CudaStream | None) -> None: ...
    def collect(self, device: CudaDevice) -> None: ...
    def memory_info(self, device: CudaDevice) -> MemoryInfo: ...
    def copy(
        self, device: CudaDevice, dst: CudaAllocation | HostBuffer, dst_offset: int,
        src: CudaAllocation | HostBuffer, src_offset: int, nbytes: int, stream: CudaStream,
    ) -> None: ...  # fmt: skip
    def fill(
        self,
        device: CudaDevice,
        dst: CudaAllocation,
        offset: int,
        nbytes: int,
        pattern: bytes,
        stream: CudaStream,
    ) -> None: ...
    def prefetch(
        self,
        device: CudaDevice,
        allocation: CudaAllocation,
        offset: int,
        nbytes: int,
        to_host: bool,
        stream: CudaStream,
    ) -> None: ...
    def copy_peer(
        self, device: CudaDevice, dst: CudaAllocation, dst_offset: int, src_device: CudaDevice,
        src: CudaAllocation, src_offset: int, nbytes: int, stream: CudaStream,
    ) -> None: ...  # fmt: skip
    def can_access_peer(self, device: CudaDevice, other: CudaDevice) -> bool: ...
    def enable_peer(self, device: CudaDevice, other: CudaDevice) -> None: ...


class QueueFunctions(Protocol):
    """The hooks of streams and events, as :mod:`gpucore_cuda.streams` has them."""

    def create_stream(self, device: CudaDevice, priority: int) -> CudaStream: ...
    def import_stream(self, device: CudaDevice, handle: int) -> CudaStream: ...
    def destroy_stream(self, device: CudaDevice, stream: CudaStream) -> None: ...
    def synchronize_stream(self, device: CudaDevice, stream: CudaStream) -> None: ...
    def query_stream(self, device: CudaDevice, stream: CudaStream) -> bool: ...
    def create_event(self, device: CudaDevice, timing: bool) -> CudaEvent: ...
    def destroy_event(self, device: CudaDevice, event: CudaEvent) -> None: ...
    def record_event(self, device: CudaDevice, event: CudaEvent, stream: CudaStream) -> None: ...
    def wait_event(self, device: CudaDevice, stream: CudaStream, event: CudaEvent) -> None: ...
    def query_event(self, device: CudaDevice, event: CudaEvent) -> bool: ...
    def synchronize_event(self, device: CudaDevice, event: CudaEvent) -> None: ...
    def elapsed_time(self, device: CudaDevice, start: CudaEvent, end: CudaEvent) -> float: ...


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
    spare_streams : dict[int, deque[CUstream]]
        Those without work that were given back, by priority.
    staging : Staging
        Through which large copies of pageable memory go.
    memory : MemoryFunctions
    queues : QueueFunctions
        Where the hooks of memory, and of streams and events, are written; a hook finds them here, since an
        import statement takes longer than the driver does for a small copy.
    """

    def __init__(self, ordinal: int, memory: MemoryFunctions, queues: QueueFunctions) -> None:
        initialise()
        self.memory, self.queues = memory, queues
        self.ordinal = ordinal
        self.handle = plain(cu.cuDeviceGet(ordinal), "cuDeviceGet")
        self.name = device_name(self.handle)
        self.uuid = device_uuid(self.handle)
        attribute = self.attribute
        self.capability = (attribute("COMPUTE_CAPABILITY_MAJOR"), attribute("COMPUTE_CAPABILITY_MINOR"))
        _check_age(self.name, self.capability)
        self.lost = False
        self.streams: weakref.WeakSet[CudaStream] = weakref.WeakSet()
        self.spare_streams: dict[int, deque[Any]] = {}
        self.lock = threading.RLock()
        self.fill_kernel: Any = None
        self.peers: set[CudaDevice] = set()  # whose memory is mapped for this one
        self.dropped: deque[CudaAllocation] = deque()  # that an interrupt left to nobody
        self.staging = Staging()
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
        self.staging.close(self)
        self.memory.collect(self)
        for spare in self.spare_streams.values():
            while spare:
                self.quiet(cu.cuStreamDestroy, spare.pop())
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


def _check_age(name: str, capability: tuple[int, int]) -> None:
    if driver_version() < DRIVER_NEEDED:
        raise BackendUnavailableError(f"cuda: {OLD_DRIVER[0]}; {OLD_DRIVER[1]}")
    if capability < OLDEST:
        raise BackendUnavailableError(
            f"cuda: {name} has compute capability {capability[0]}.{capability[1]}; "
            f"NVRTC 13 compiles for {OLDEST[0]}.{OLDEST[1]} and later"
        )
