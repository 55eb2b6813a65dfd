"""Copies and fills.

Pageable host memory goes through staging memory, save where device memory is the host's own (software devices
and integrated ones with cached memory), or is in the host's sight and the copy is small: there the host copies
itself, in the stream's order.
"""

from __future__ import annotations

import ctypes
from contextlib import nullcontext
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from gpucore.errors import DeviceError
from gpucore.hookspecs import Allocation, HostBuffer, LaunchConfig
from gpucore_vulkan.launching import PreparedLaunch, prepare_launch
from gpucore_vulkan.memory import Piece
from gpucore_vulkan.routines import copy_module, fill_module
from gpucore_vulkan.staging import record_copy
from gpucore_vulkan.streaming import streaming_read

if TYPE_CHECKING:
    from gpucore_vulkan.device import Device
    from gpucore_vulkan.streams import Stream

__all__ = ["copy", "copy_plan", "fill", "fill_plan"]

Launch: TypeAlias = tuple[PreparedLaunch, tuple[Any, ...]]
"""A launch and its arguments."""

INLINE_BYTES: Final = 4 << 10
"""Uploads up to this size travel inside the command buffer."""
WINDOW_WRITE_BYTES: Final = 64 << 10
"""Uploads up to this size the host makes itself where it sees device memory across the bus, which it writes quickly: on an H200
in 1 to 8 us, where a submission and its wait take 20."""
WINDOW_THREADS_BYTES: Final = 8 << 20
"""Uploads up to this size several threads make there: on an H200 26 GB/s, where one writes 13."""
WINDOW_READ_BYTES: Final = 8 << 10, 1 << 10
"""Downloads up to these sizes it makes itself there, too: from a stream that is idle, and from one that is to be waited for,
where the device's copy would follow what is sent anyway. On an H200 1 KiB in 5 us, 4 KiB in 11."""
WINDOW_LOAD_BYTES: Final = 1 << 10, 128
"""The same without loads that stream: 1 KiB in 18 us."""
WINDOW_READ_PIECE: Final = 512
"""Larger pieces are read with other instructions: 1 KiB in 30 us, twice 512 bytes in 17."""
APART_BYTES: Final = 512 << 10
"""From this size on a copy between device and pinned memory runs on a queue that only copies, beside the kernels of other
streams; to change queues within a stream takes the device some 10 us."""
KERNEL_BYTES: Final = 1 << 20
"""From this size on a kernel copies between two places on a graphics card.  The driver's own copies do not reach the
memory's rate everywhere: 0.85 TB/s on an H200, where a kernel does 4.3."""
COPY_WORDS, COPY_BLOCK, COPY_BLOCKS = 4, 128, 1 << 19
"""Words of 32 bits a thread, threads a block, most blocks a launch."""


def copy(
    device: Device,
    dst: Allocation | HostBuffer,
    dst_offset: int,
    src: Allocation | HostBuffer,
    src_offset: int,
    nbytes: int,
    stream: Stream,
) -> None:
    """Copy in stream order; see the hook."""
    copying, mine = device.logical.copying, object()
    # CPython 3.12.1 crashes where it collects a cycle through an error's traceback in which a memoryview is still held
    try:
        # closing the device waits for this, and freeing the memory for its lock
        copying[mine] = get_ident()
        device.logical.alive()
        if nbytes == 0:
            return
        if isinstance(dst, Piece) and isinstance(src, Piece):
            _between(device, dst, dst_offset, src, src_offset, nbytes, stream)
        elif isinstance(dst, Piece):
            with dst.lock:
                if dst.freed:
                    raise dst.gone()
                address, held = device.bound.address_of(src)
                try:
                    _upload(device, dst, dst_offset, address + src_offset, nbytes, stream, src)
                finally:
                    device.bound.ffi.release(held)
        elif isinstance(src, Piece):
            with src.lock:
                if src.freed:
                    raise src.gone()
                address, held = device.bound.address_of(dst)
                try:
                    _download(device, address + dst_offset, src, src_offset, nbytes, stream, dst)
                finally:
                    device.bound.ffi.release(held)
        else:
            raise DeviceError("a copy needs device memory on one side at least")
    finally:
        copying.pop(mine, None)


def _copied_by_host(dst: Piece, to: int, src: Piece, at: int, nbytes: int, stream: Stream) -> bool:
    """Whether the host made a small copy to or from pinned memory itself: the stream is idle, both are in sight."""
    if nbytes > WINDOW_WRITE_BYTES or "pinned" not in (dst.block.kind, src.block.kind):
        return False
    if dst.mapped is None or src.mapped is None or not (src.block.cached or nbytes <= _most_read(idle=True)):
        return False
    first, second = sorted({dst, src}, key=id) if dst is not src else (dst, None)
    with first.lock, second.lock if second is not None else nullcontext(), stream.lock:
        if dst.freed or src.freed:
            raise dst.gone()
        if not stream.idle():
            return False
        _read(dst.mapped + to, src.mapped + at, nbytes, src)
    return True


def _most_read(*, idle: bool) -> int:
    """Up to which size the host reads device memory across the bus itself."""
    return (WINDOW_LOAD_BYTES if streaming_read() is None else WINDOW_READ_BYTES)[not idle]


def _read(address: int, place: int, nbytes: int, src: Piece) -> None:
    """Copy from device memory in the host's sight."""
    if src.block.cached:
        ctypes.memmove(address, place, nbytes)
        return
    stream = streaming_read()
    if stream is not None:
        stream(address, place, nbytes)
        return
    for done in range(0, nbytes, WINDOW_READ_PIECE):
        ctypes.memmove(address + done, place + done, min(WINDOW_READ_PIECE, nbytes - done))


def _between(device: Device, dst: Piece, to: int, src: Piece, at: int, nbytes: int, stream: Stream) -> None:
    if _copied_by_host(dst, to, src, at, nbytes, stream):
        return
    first, second = src.offset + at, dst.offset + to
    overlap = src.buffer == dst.buffer and abs(first - second) < nbytes
    if overlap and first == second:
        return
    if overlap:
        # Vulkan forbids overlapping regions: go through memory of our own
        through = device.memory.alloc(nbytes, "device")
        try:
            with stream.lock:
                record_copy(stream, through, 0, src, at, nbytes)
                record_copy(stream, dst, to, through, 0, nbytes)
            stream.synchronize()
        finally:
            device.memory.free(through)
        return
    if nbytes >= APART_BYTES and device.logical.copy_queues:
        kinds = dst.block.kind, src.block.kind
        if "pinned" in kinds and "device" in kinds:
            queues = device.logical.copy_queues
            queue = queues[0] if kinds[0] == "device" else queues[-1]
            region = stream.region((first, second, nbytes))
            with stream.lock:
                stream.record_apart(
                    queue, device.logical.vk.vkCmdCopyBuffer, src.buffer, dst.buffer, 1, region
                )
                stream._flush()
                full = stream.is_full()
            if full:
                stream.make_room()
            return
    launches, done = copy_plan(device, dst, to, src, at, nbytes)
    for launch, slots in launches:
        launch(stream, *slots)
    if done == nbytes:
        return
    with stream.lock:
        record_copy(stream, dst, to + done, src, at + done, nbytes - done)
        full = stream.count >= stream.limit and stream.after()
    if full:
        stream.make_room()


def _kernel_copies(device: Device, dst: Piece, to: int, src: Piece, at: int) -> bool:
    """Whether a kernel copies faster than the driver: between two places in a graphics card's own memory."""
    if device.physical.info.kind != "discrete" or dst.block.kind != "device" or src.block.kind != "device":
        return False
    return (dst.offset + to) % 4 == 0 and (src.offset + at) % 4 == 0


def copy_plan(
    device: Device, dst: Piece, to: int, src: Piece, at: int, nbytes: int
) -> tuple[list[Launch], int]:
    """Launches that copy a part between two places that do not overlap, and how many bytes that is; none where the driver's
    own copy is better.
    """
    if nbytes < KERNEL_BYTES or not _kernel_copies(device, dst, to, src, at):
        return [], 0
    span = 4 * COPY_WORDS * COPY_BLOCK
    executable = device.routines.executable(copy_module(COPY_WORDS, COPY_BLOCK))
    launches: list[Launch] = []
    done = 0
    while nbytes - done >= span:
        blocks = min((nbytes - done) // span, COPY_BLOCKS)
        launch = prepare_launch(executable, LaunchConfig((blocks,), (COPY_BLOCK,)))
        words = blocks * span // 4
        launches.append((launch, (dst, to + done, words, src, at + done, words)))
        done += blocks * span
    return launches, done


def _upload(
    device: Device, dst: Piece, to: int, address: int, nbytes: int, stream: Stream, keep: object
) -> None:
    place, cached = dst.mapped, dst.block.cached
    if place is not None and (cached or nbytes <= WINDOW_THREADS_BYTES):
        with stream.lock:
            if stream.idle():
                if cached or nbytes <= WINDOW_WRITE_BYTES:
                    ctypes.memmove(place + to, address, nbytes)
                    return
                if device.staging.write(place + to, address, nbytes, keep):
                    return
    if nbytes <= INLINE_BYTES and nbytes % 4 == 0 and to % 4 == 0:
        data = device.bound.ffi.cast("void*", address)
        with stream.lock:
            stream.record(device.logical.vk.vkCmdUpdateBuffer, dst.buffer, dst.offset + to, nbytes, data)
            full = stream.count >= stream.limit and stream.after()
        if full:
            stream.make_room()
        return
    if place is not None and cached:
        stream.synchronize()
        ctypes.memmove(place + to, address, nbytes)
        return
    device.staging.upload(dst, to, address, nbytes, stream, keep)


def _download(
    device: Device, address: int, src: Piece, at: int, nbytes: int, stream: Stream, keep: object
) -> None:
    if src.mapped is not None:
        if src.block.cached:
            stream.synchronize()
            ctypes.memmove(address, src.mapped + at, nbytes)
            return
        if nbytes <= WINDOW_READ_BYTES[0]:
            with stream.lock:
                idle = stream.idle()
            if nbytes <= _most_read(idle=idle):
                if not idle:
                    stream.synchronize()
                _read(address, src.mapped + at, nbytes, src)
                return
    device.staging.download(address, src, at, nbytes, stream, keep)


# --- fills -------------------------------------------------------------------------------------------
def fill(device: Device, dst: Piece, offset: int, nbytes: int, pattern: bytes, stream: Stream) -> None:
    """Repeat a pattern in stream order."""
    device.alive()
    if nbytes == 0:
        return
    found = fill_plan(device, dst, offset, nbytes, pattern)
    if isinstance(found, int):
        with stream.lock:
            stream.record(device.logical.vk.vkCmdFillBuffer, dst.buffer, dst.offset + offset, nbytes, found)
            full = stream.count >= stream.limit and stream.after()
        if full:
            stream.make_room()
        return
    launch, slots = found
    launch(stream, *slots)


def fill_plan(device: Device, dst: Piece, offset: int, nbytes: int, pattern: bytes) -> int | Launch:
    """How to repeat a pattern: the word that the driver's own fill takes, or a launch."""
    while len(pattern) > 1 and pattern[: len(pattern) // 2] == pattern[len(pattern) // 2 :]:
        pattern = pattern[: len(pattern) // 2]
    if offset % 4 == 0 and nbytes % 4 == 0 and len(pattern) <= 4:
        return int.from_bytes(pattern * (4 // len(pattern)), "little")
    size = len(pattern)
    executable = device.routines.executable(fill_module(8 * size))
    count = nbytes // size
    block = min(256, device.physical.invocations)
    launch = prepare_launch(executable, LaunchConfig((-(-count // block),), (block,)))
    return launch, (dst, offset, count, int.from_bytes(pattern, "little"))
