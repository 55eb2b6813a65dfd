"""Memory: raw allocations, copies and fills in stream order."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from cuda.bindings import driver as cu

from gpucore.errors import DeviceError, NotSupportedError, OutOfMemoryError
from gpucore.hookspecs import HostBuffer, MemoryInfo, MemoryKind
from gpucore_cuda.device import CudaDevice
from gpucore_cuda.driver import SUCCESS
from gpucore_cuda.handles import CudaAllocation, CudaStream
from gpucore_cuda.staging import LEAST_BYTES, is_registered

if TYPE_CHECKING:
    from gpucore_cuda.launching import PreparedLaunch

_PORTABLE_MAPPED = 0x01 | 0x02  # CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP
_ATTACH_GLOBAL = 0x1  # CU_MEM_ATTACH_GLOBAL
_INVALID_VALUE = int(cu.CUresult.CUDA_ERROR_INVALID_VALUE)
_AT_DEVICE = cu.CUmemLocationType.CU_MEM_LOCATION_TYPE_DEVICE
_AT_HOST = cu.CUmemLocationType.CU_MEM_LOCATION_TYPE_HOST
_BYTE = ctypes.c_char
_SMALL = 64 << 10
"""Up to here reading a host buffer takes less time than asking the driver whether it is pinned."""


def supports_unified(device: CudaDevice) -> bool:
    """Whether host and device may touch managed memory at the same time."""
    return bool(device.attribute("MANAGED_MEMORY", 0)) and bool(
        device.attribute("CONCURRENT_MANAGED_ACCESS", 0)
    )


def alloc(device: CudaDevice, nbytes: int, kind: MemoryKind) -> CudaAllocation:
    """Allocate; CUDA aligns to 256 bytes at least.

    Raises
    ------
    OutOfMemoryError
        Also where the size is past what the driver takes for one at all.
    """
    if device.dropped:
        collect(device)
    try:
        return _alloc(device, nbytes, kind)
    except DeviceError as error:
        if error.code == _INVALID_VALUE:
            raise OutOfMemoryError(f"{nbytes:,} bytes are more than the driver hands out: {error}") from error
        raise


def _alloc(device: CudaDevice, nbytes: int, kind: MemoryKind) -> CudaAllocation:
    if kind == "device":
        return _taken(device, CudaAllocation(nbytes, 0, None, kind), cu.cuMemAlloc, nbytes)
    if kind == "pinned":
        # with unified addressing, which every 64-bit platform has, the device sees it at the same address
        return _taken(
            device, CudaAllocation(nbytes, 0, None, kind), cu.cuMemHostAlloc, nbytes, _PORTABLE_MAPPED
        )
    if kind == "unified":
        if not supports_unified(device):
            raise NotSupportedError(
                f"{device.name} does not let host and device use managed memory at the same time",
                capability="unified_memory",
            )
        return _taken(
            device, CudaAllocation(nbytes, 0, None, kind), cu.cuMemAllocManaged, nbytes, _ATTACH_GLOBAL
        )
    raise NotSupportedError(f"CUDA has no memory of kind {kind!r}", capability=f"{kind}_memory")


def _taken(
    device: CudaDevice, allocation: CudaAllocation, function: Callable[..., Any], *args: Any
) -> CudaAllocation:
    """The allocation with what the driver gives for it."""
    allocation.dropped = device.dropped
    answer = device.attempt(_kept, allocation.answers, function, *args)
    if answer[0] != SUCCESS:
        allocation.dropped = None
        raise device.error(answer[0], function.__name__)
    allocation.address = int(answer[1])
    allocation.host = None if allocation.kind == "device" else allocation.address
    return allocation


def _kept(answers: list[tuple[Any, ...]], function: Callable[..., Any], *args: Any) -> tuple[Any, ...]:
    """The driver's answer, which is in the list before an interrupt can come: Python takes no step between the two."""
    answers.extend(map(function, *zip(args, strict=True)))
    return answers[-1]


def free(device: CudaDevice, allocation: CudaAllocation, stream: CudaStream | None) -> None:
    """Give memory back; cuMemFree waits for the device, so it never frees what work still uses."""
    allocation.owner = None
    if allocation.kind == "outside":
        return
    if allocation.kind == "pinned" and stream is not None:
        device.quiet(cu.cuStreamSynchronize, stream.handle)
    _free(device, allocation)


def _free(device: CudaDevice, allocation: CudaAllocation) -> None:
    device.quiet(cuMemFreeHost if allocation.kind == "pinned" else cuMemFree, allocation)
    allocation.dropped = None  # the device is lost, and its memory with it


# Named as errors are to name them.  An allocation is let go just before the driver's call: no step of Python lies between.
def cuMemFree(allocation: CudaAllocation) -> Any:
    address, allocation.dropped = int(allocation.answers[-1][1]), None
    return cu.cuMemFree(address)


def cuMemFreeHost(allocation: CudaAllocation) -> Any:
    address, allocation.dropped = int(allocation.answers[-1][1]), None
    return cu.cuMemFreeHost(address)


def collect(device: CudaDevice) -> None:
    """Free what an interrupt left to nobody, after the work that may use it."""
    if device.lost:
        device.dropped.clear()
    if not device.dropped or device.attempt(cu.cuCtxSynchronize)[0] != SUCCESS:
        return
    while device.dropped:
        allocation = device.dropped[0]  # it stays until it is freed: an interrupt may end this
        if allocation.dropped is not None and allocation.answers and allocation.answers[-1][0] == SUCCESS:
            _free(device, allocation)
        if device.dropped and device.dropped[0] is allocation:  # else a finalizer was faster
            device.dropped.popleft()


def memory_info(device: CudaDevice) -> MemoryInfo:
    """Free and total bytes of the device."""
    free_bytes, total = device.call(cu.cuMemGetInfo)
    return MemoryInfo(free=int(free_bytes), total=int(total))


def host_address(buffer: HostBuffer | bytearray) -> int:
    """Where a host buffer lies."""
    try:
        # a sixth of what __array_interface__ costs
        return ctypes.addressof(_BYTE.from_buffer(buffer))
    except TypeError:  # read-only
        return int(np.frombuffer(buffer, np.uint8).__array_interface__["data"][0])


def copy(
    device: CudaDevice, dst: Any, dst_offset: int, src: Any, src_offset: int, nbytes: int, stream: CudaStream
) -> None:
    """See the hook ``copy``.

    Large copies of pageable memory go through pinned memory of our own.  The driver stages others: it returns once the
    source is in its staging buffers, and copies to pageable memory have ended when it returns.  A host buffer that is pinned
    after all is waited for; a small one is read into memory that is not, which costs less than asking.
    """
    if not nbytes:
        return
    if nbytes >= LEAST_BYTES and _staged(device, dst, dst_offset, src, src_offset, nbytes, stream):
        return
    wait = False
    if dst.__class__ is CudaAllocation:
        target = dst.address + dst_offset
    else:
        target, wait = host_address(dst) + dst_offset, True
    if src.__class__ is CudaAllocation:
        source = src.address + src_offset
    elif nbytes <= _SMALL and dst.kind == "device":
        staged = bytearray(src if len(src) == nbytes else src[src_offset : src_offset + nbytes])
        source = host_address(staged)
    else:
        source = host_address(src) + src_offset
        wait = dst.kind != "device" or is_registered(device, source)
    handle = stream.handle
    # a copy runs in its stream's context whichever is current; only without any does it fail
    answer = cu.cuMemcpyAsync(target, source, nbytes, handle)
    if answer[0]:
        device.again(answer, cu.cuMemcpyAsync, target, source, nbytes, handle)
    if wait:
        answer = cu.cuStreamSynchronize(handle)
        if answer[0]:
            device.again(answer, cu.cuStreamSynchronize, handle)


def _staged(
    device: CudaDevice, dst: Any, dst_offset: int, src: Any, src_offset: int, nbytes: int, stream: CudaStream
) -> bool:
    """Whether a copy between the device and pageable memory was made through pinned memory."""
    if src.__class__ is not CudaAllocation:
        if dst.kind != "device":
            return False
        host = host_address(src) + src_offset
        return device.staging.copy(device, dst.address + dst_offset, host, nbytes, stream, up=True, keep=src)
    if dst.__class__ is not CudaAllocation:
        if src.kind != "device":
            return False
        host = host_address(dst) + dst_offset
        return device.staging.copy(device, host, src.address + src_offset, nbytes, stream, up=False, keep=dst)
    return False


def prefetch(
    device: CudaDevice,
    allocation: CudaAllocation,
    offset: int,
    nbytes: int,
    to_host: bool,
    stream: CudaStream,
) -> None:
    """Move managed memory to the host or this device, in stream order."""
    location = cu.CUmemLocation()
    location.type = _AT_HOST if to_host else _AT_DEVICE
    location.id = 0 if to_host else device.ordinal
    device.call(cu.cuMemPrefetchAsync, allocation.address + offset, nbytes, location, 0, stream.handle)


def copy_peer(
    device: CudaDevice, dst: CudaAllocation, dst_offset: int, src_device: CudaDevice, src: CudaAllocation,
    src_offset: int, nbytes: int, stream: CudaStream,
) -> None:  # fmt: skip
    """Copy from another device; the driver goes directly where access is enabled and through the host where not."""
    if nbytes:
        if src_device not in device.peers:
            enable_peer(device, src_device)
        device.call(
            cu.cuMemcpyPeerAsync, dst.address + dst_offset, device.context, src.address + src_offset,
            src_device.context, nbytes, stream.handle,
        )  # fmt: skip


def enable_peer(device: CudaDevice, other: CudaDevice) -> None:
    """Map ``other``'s memory for ``device`` where that is possible: without it the driver copies through the host."""
    if device.ordinal != other.ordinal and can_access_peer(device, other):
        answer = device.attempt(cu.cuCtxEnablePeerAccess, other.context, 0)
        if answer[0] not in (SUCCESS, cu.CUresult.CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED):
            raise device.error(answer[0], "cuCtxEnablePeerAccess")
    device.peers.add(other)


def can_access_peer(device: CudaDevice, other: CudaDevice) -> bool:
    """Whether ``device`` may reach ``other``'s memory directly."""
    if device.ordinal == other.ordinal:
        return True
    return bool(int(device.call(cu.cuDeviceCanAccessPeer, device.handle, other.handle)))


def fill(
    device: CudaDevice, dst: CudaAllocation, offset: int, nbytes: int, pattern: bytes, stream: CudaStream
) -> None:
    """Repeat a pattern of 1, 2, 4 or 8 bytes; it is first cut to the shortest one that repeats to it."""
    if not nbytes:
        return
    pattern = shortest_pattern(pattern)
    address, width, handle = dst.address + offset, len(pattern), stream.handle
    if width == 8:
        prepared, slots = fill8_launch(device, address, pattern, nbytes)
        prepared(stream, *slots)
        return
    function: Callable[..., Any] = (
        cu.cuMemsetD8Async if width == 1 else cu.cuMemsetD16Async if width == 2 else cu.cuMemsetD32Async
    )
    value = memset_value(pattern)
    answer = function(address, value, nbytes // width, handle)
    if answer[0]:
        device.again(answer, function, address, value, nbytes // width, handle)


def shortest_pattern(pattern: bytes) -> bytes:
    """The shortest pattern that repeats to this one."""
    while len(pattern) > 1 and pattern[: len(pattern) // 2] == pattern[len(pattern) // 2 :]:
        pattern = pattern[: len(pattern) // 2]
    return pattern


def memset_value(pattern: bytes) -> int:
    """A pattern as the number that the driver takes."""
    return int.from_bytes(pattern, sys.byteorder)


_FILL8 = """\
extern "C" __global__ void gpucore_fill8(unsigned long long* out, unsigned long long count, unsigned long
long value) {
  const unsigned long long step = (unsigned long long)gridDim.x * blockDim.x;
  for (unsigned long long i = (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x; i < count; i +=
  step) {
    out[i] = value;
  }
}
"""


def fill8_launch(
    device: CudaDevice, address: int, pattern: bytes, nbytes: int
) -> tuple[PreparedLaunch, tuple[int, int, int]]:
    """The launch that fills with a pattern of 8 bytes, and its arguments: CUDA's memset ends at 4."""
    from gpucore.hookspecs import LaunchConfig, ObjectCode
    from gpucore_cuda.compiler import run_nvrtc
    from gpucore_cuda.launching import prepare
    from gpucore_cuda.loading import load

    with device.lock:
        executable = device.fill_kernel
        if executable is None:
            built = run_nvrtc(_FILL8, device.arch, ("--std=c++17",))
            params = [["scalar", "u64"]] * 3
            metadata = {
                "params": params,
                "dynamic_shared": 0,
                "sizes": [len(built.data)],
                "block": None,
                "native": True,
            }
            executable = load(device, ObjectCode(built.data, "gpucore_fill8", built.form, metadata))
            device.fill_kernel = executable
    count = nbytes // 8
    config = LaunchConfig((min(-(-count // 256), 16384),), (256,))
    return prepare(device, executable, config), (address, count, memset_value(pattern))
