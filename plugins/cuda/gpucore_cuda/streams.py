"""Streams and events."""

from __future__ import annotations

from collections import deque
from typing import Any

from cuda.bindings import driver as cu

from gpucore_cuda.device import CudaDevice
from gpucore_cuda.driver import SUCCESS
from gpucore_cuda.handles import CudaEvent, CudaStream

_NOT_READY = int(cu.CUresult.CUDA_ERROR_NOT_READY)
_NON_BLOCKING = 0x1  # CU_STREAM_NON_BLOCKING: no implicit order against the legacy default stream
_DISABLE_TIMING = 0x2  # CU_EVENT_DISABLE_TIMING
_MOST_SPARE = 8  # streams of a priority that are kept: to make one and give it back takes some 40 us


def create_stream(device: CudaDevice, priority: int) -> CudaStream:
    """A stream that waits for no other; CUDA's more urgent priorities are the smaller numbers."""
    least, greatest = (int(p) for p in device.call(cu.cuCtxGetStreamPriorityRange))
    chosen = max(greatest, min(least, -priority))
    spare = device.spare_streams.setdefault(chosen, deque())
    try:
        handle = spare.pop()
    except IndexError:
        handle = device.call(cu.cuStreamCreateWithPriority, _NON_BLOCKING, chosen)
    stream = CudaStream(handle, spare)
    with device.lock:
        device.streams.add(stream)
    return stream


def import_stream(device: CudaDevice, handle: int) -> CudaStream:
    """Wrap an outside stream; 0, 1 and 2 are CUDA's default streams."""
    stream = CudaStream(cu.CUstream(handle))
    with device.lock:
        device.streams.add(stream)
    return stream


def destroy_stream(device: CudaDevice, stream: CudaStream) -> None:
    """Keep it for another, where all its work is done, else release it; the driver completes what was enqueued."""
    if stream.owned:
        stream.owned, spare = False, stream.spare
        if spare is not None and len(spare) < _MOST_SPARE and not cu.cuStreamQuery(stream.handle)[0]:
            spare.append(stream.handle)
        else:
            device.quiet(cu.cuStreamDestroy, stream.handle)


def synchronize_stream(device: CudaDevice, stream: CudaStream) -> None:
    """Wait; the bindings release the GIL."""
    answer = cu.cuStreamSynchronize(stream.handle)
    if answer[0]:
        device.again(answer, cu.cuStreamSynchronize, stream.handle)


def query_stream(device: CudaDevice, stream: CudaStream) -> bool:
    """Whether everything enqueued is done."""
    answer = cu.cuStreamQuery(stream.handle)
    if answer[0] == SUCCESS:
        return True
    if int(answer[0]) == _NOT_READY:
        return False
    return _done(device, device.attempt(cu.cuStreamQuery, stream.handle), "cuStreamQuery")


def _done(device: CudaDevice, answer: tuple[Any, ...], doing: str) -> bool:
    if answer[0] == SUCCESS:
        return True
    if int(answer[0]) == _NOT_READY:
        return False
    raise device.error(answer[0], doing)


def create_event(device: CudaDevice, timing: bool) -> CudaEvent:
    """An event; without timing it is cheaper to wait for."""
    flags = 0 if timing else _DISABLE_TIMING
    return CudaEvent(device.call(cu.cuEventCreate, flags), timing)


def destroy_event(device: CudaDevice, event: CudaEvent) -> None:
    """Release it; the driver keeps what is still recorded until it has passed."""
    if event.handle is not None:
        handle, event.handle = event.handle, None
        device.quiet(cu.cuEventDestroy, handle)


def record_event(device: CudaDevice, event: CudaEvent, stream: CudaStream) -> None:
    """Mark this point of the stream."""
    # as a copy, it looks for a context only where that is missing
    answer = cu.cuEventRecord(event.handle, stream.handle)
    if answer[0]:
        device.again(answer, cu.cuEventRecord, event.handle, stream.handle)


def wait_event(device: CudaDevice, stream: CudaStream, event: CudaEvent) -> None:
    """Later work of the stream waits for the mark as it is now."""
    answer = cu.cuStreamWaitEvent(stream.handle, event.handle, 0)
    if answer[0]:
        device.again(answer, cu.cuStreamWaitEvent, stream.handle, event.handle, 0)


def query_event(device: CudaDevice, event: CudaEvent) -> bool:
    """Whether the mark was passed."""
    return _done(device, device.attempt(cu.cuEventQuery, event.handle), "cuEventQuery")


def synchronize_event(device: CudaDevice, event: CudaEvent) -> None:
    """Wait for the mark."""
    device.call(cu.cuEventSynchronize, event.handle)


def elapsed_time(device: CudaDevice, start: CudaEvent, end: CudaEvent) -> float:
    """Milliseconds between two marks."""
    device.call(cu.cuEventSynchronize, start.handle)
    device.call(cu.cuEventSynchronize, end.handle)
    return float(device.call(cu.cuEventElapsedTime, start.handle, end.handle))
