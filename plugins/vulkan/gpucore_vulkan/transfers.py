"""Copies and fills.

Pageable host memory goes through staging memory in pieces, save where device memory is the host's own
(software devices and integrated ones with cached memory): there the host copies itself, in the stream's
order.
"""

from __future__ import annotations

import ctypes
import os
import queue
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from gpucore.errors import DeviceError
from gpucore.hookspecs import Allocation, HostBuffer, LaunchConfig
from gpucore_vulkan import routines
from gpucore_vulkan.launching import prepare_launch
from gpucore_vulkan.memory import Piece

if TYPE_CHECKING:
    from gpucore_vulkan.device import Device
    from gpucore_vulkan.streams import Stream

__all__ = ["Staging", "copy", "fill"]

STAGING_BYTES: Final = 16 << 20
STAGING_PIECES: Final = 4
PART_BYTES: Final = 2 << 20
INLINE_BYTES: Final = 4 << 10
"""Uploads up to this size travel inside the command buffer."""
KERNEL_BYTES: Final = 1 << 20
"""From this size on a kernel copies between two places on a graphics card.  The driver's own copies do not reach the
memory's rate everywhere: 0.85 TB/s on an H200, where a kernel does 4.3."""
COPY_WORDS, COPY_BLOCK, COPY_BLOCKS = 4, 128, 1 << 19
"""Words of 32 bits a thread, threads a block, most blocks a launch."""


class Staging:
    """A few pinned pieces, each with the stream and value after which it is free again."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._workers = min(4, os.cpu_count() or 1)
        self._pool: ThreadPoolExecutor | None = None
        self._pieces: queue.LifoQueue[tuple[Piece, Stream | None, int]] = queue.LifoQueue()
        for _ in range(STAGING_PIECES):
            piece = device.memory.alloc(STAGING_BYTES, "pinned")
            self._pieces.put((piece, None, 0))

    def move(self, to: int, source: int, nbytes: int) -> None:
        """Copy host memory; large pieces by several threads, since one does not fill the bus."""
        parts = min(self._workers, nbytes // PART_BYTES)
        if parts < 2:
            ctypes.memmove(to, source, nbytes)
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="gpucore-vulkan-copy")
        size = -(-nbytes // parts)
        jobs = [
            self._pool.submit(ctypes.memmove, to + at, source + at, min(size, nbytes - at))
            for at in range(0, nbytes, size)
        ]
        for job in jobs:
            job.result()

    def close(self) -> None:
        """End the threads; the memory goes with the device."""
        if self._pool is not None:
            self._pool.shutdown()

    def take(self, block: bool = True) -> Piece | None:
        """A piece that no work uses; None if there is none and it is not to block."""
        try:
            piece, stream, value = self._pieces.get(block)
        except queue.Empty:
            return None
        if stream is not None:
            try:
                stream.wait(value)
            except DeviceError:
                self._pieces.put((piece, None, 0))
                raise
        return piece

    def give(self, piece: Piece, stream: Stream | None, value: int) -> None:
        """Give a piece back; it is free after the stream's value."""
        self._pieces.put((piece, stream, value))


def _staging(device: Device) -> Staging:
    with device._lock:
        if device._staging is None:
            device._staging = Staging(device)
        staging: Staging = device._staging
        return staging


def _record_copy(
    device: Device, stream: Stream, dst: Piece, to: int, src: Piece, at: int, nbytes: int
) -> None:
    """Record a copy between allocations (stream's lock held)."""
    region = device.bound.new(
        "VkBufferCopy", srcOffset=src.offset + at, dstOffset=dst.offset + to, size=nbytes
    )
    buffer = stream.next()
    device.vk.vkCmdCopyBuffer(buffer, src.buffer, dst.buffer, 1, region)


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
    device.alive()
    if nbytes == 0:
        return
    if isinstance(dst, Piece) and isinstance(src, Piece):
        _between(device, dst, dst_offset, src, src_offset, nbytes, stream)
    elif isinstance(dst, Piece):
        address, keep = device.bound.address_of(src)
        _upload(device, dst, dst_offset, address + src_offset, nbytes, stream)
        del keep
    elif isinstance(src, Piece):
        address, keep = device.bound.address_of(dst)
        _download(device, address + dst_offset, src, src_offset, nbytes, stream)
        del keep
    else:
        raise DeviceError("a copy needs device memory on one side at least")


def _between(device: Device, dst: Piece, to: int, src: Piece, at: int, nbytes: int, stream: Stream) -> None:
    first, second = src.offset + at, dst.offset + to
    overlap = src.buffer == dst.buffer and abs(first - second) < nbytes
    if overlap and first == second:
        return
    if overlap:
        # Vulkan forbids overlapping regions: go through memory of our own
        through = device.memory.alloc(nbytes, "device")
        try:
            with stream.lock:
                _record_copy(device, stream, through, 0, src, at, nbytes)
                _record_copy(device, stream, dst, to, through, 0, nbytes)
            stream.synchronize()
        finally:
            device.memory.free(through)
        return
    done = 0
    if nbytes >= KERNEL_BYTES and _kernel_copies(device, dst, to, src, at):
        done = _copy_by_kernel(device, dst, to, src, at, nbytes, stream)
        if done == nbytes:
            return
    with stream.lock:
        _record_copy(device, stream, dst, to + done, src, at + done, nbytes - done)
        if stream.count >= stream.limit:
            stream.after()


def _kernel_copies(device: Device, dst: Piece, to: int, src: Piece, at: int) -> bool:
    """Whether a kernel copies faster than the driver: between two places in a graphics card's own memory."""
    if device.physical.info.kind != "discrete" or dst.block.kind != "device" or src.block.kind != "device":
        return False
    return (dst.offset + to) % 4 == 0 and (src.offset + at) % 4 == 0


def _copy_by_kernel(
    device: Device, dst: Piece, to: int, src: Piece, at: int, nbytes: int, stream: Stream
) -> int:
    """Copy as many bytes as whole blocks cover; their number."""
    span = 4 * COPY_WORDS * COPY_BLOCK
    executable = routines.executable(device, routines.copy_module(COPY_WORDS, COPY_BLOCK))
    done = 0
    while nbytes - done >= span:
        blocks = min((nbytes - done) // span, COPY_BLOCKS)
        launch = prepare_launch(device, executable, LaunchConfig((blocks,), (COPY_BLOCK,)))
        words = blocks * span // 4
        launch(stream, dst, to + done, words, src, at + done, words)
        done += blocks * span
    return done


def _upload(device: Device, dst: Piece, to: int, address: int, nbytes: int, stream: Stream) -> None:
    place = dst.mapped
    if place is not None:
        with stream.lock:
            if stream.idle():
                ctypes.memmove(place + to, address, nbytes)
                return
    if nbytes <= INLINE_BYTES and nbytes % 4 == 0 and to % 4 == 0:
        data = device.bound.ffi.cast("void*", address)
        with stream.lock:
            device.vk.vkCmdUpdateBuffer(stream.next(), dst.buffer, dst.offset + to, nbytes, data)
            if stream.count >= stream.limit:
                stream.after()
        return
    if place is not None:
        stream.synchronize()
        ctypes.memmove(place + to, address, nbytes)
        return
    staging = _staging(device)
    done = 0
    while done < nbytes:
        size = min(STAGING_BYTES, nbytes - done)
        piece = staging.take()
        if piece is None or piece.mapped is None:
            raise DeviceError("staging memory is not mapped")
        value = 0
        try:
            staging.move(piece.mapped, address + done, size)
            with stream.lock:
                _record_copy(device, stream, dst, to + done, piece, 0, size)
                stream._flush()
                value = stream.value
        finally:
            staging.give(piece, stream if value else None, value)
        done += size


def _download(device: Device, address: int, src: Piece, at: int, nbytes: int, stream: Stream) -> None:
    if src.mapped is not None and src.block.cached:
        stream.synchronize()
        ctypes.memmove(address, src.mapped + at, nbytes)
        return
    staging = _staging(device)
    pending: list[tuple[Piece, int, int, int]] = []
    asked = done = 0
    try:
        while done < nbytes:
            while asked < nbytes and len(pending) < 2:
                piece = staging.take(block=not pending)
                if piece is None:
                    break
                size = min(STAGING_BYTES, nbytes - asked)
                pending.append((piece, asked, size, 0))
                with stream.lock:
                    _record_copy(device, stream, piece, 0, src, at + asked, size)
                    stream._flush()
                    pending[-1] = (piece, asked, size, stream.value)
                asked += size
            piece, offset, size, value = pending[0]
            stream.wait(value)
            if piece.mapped is None:
                raise DeviceError("staging memory is not mapped")
            staging.move(address + offset, piece.mapped, size)
            del pending[0]
            staging.give(piece, None, 0)
            done += size
    finally:
        for piece, _, _, value in pending:
            staging.give(piece, stream if value else None, value)


# --- fills -------------------------------------------------------------------------------------------
def fill(device: Device, dst: Piece, offset: int, nbytes: int, pattern: bytes, stream: Stream) -> None:
    """Repeat a pattern in stream order."""
    device.alive()
    if nbytes == 0:
        return
    while len(pattern) > 1 and pattern[: len(pattern) // 2] == pattern[len(pattern) // 2 :]:
        pattern = pattern[: len(pattern) // 2]
    if offset % 4 == 0 and nbytes % 4 == 0 and len(pattern) <= 4:
        word = int.from_bytes(pattern * (4 // len(pattern)), "little")
        with stream.lock:
            device.vk.vkCmdFillBuffer(stream.next(), dst.buffer, dst.offset + offset, nbytes, word)
            if stream.count >= stream.limit:
                stream.after()
        return
    _fill_by_kernel(device, dst, offset, nbytes, pattern, stream)


def _fill_by_kernel(
    device: Device, dst: Piece, offset: int, nbytes: int, pattern: bytes, stream: Stream
) -> None:
    size = len(pattern)
    executable = routines.executable(device, routines.fill_module(8 * size))
    count = nbytes // size
    block = min(256, device.physical.invocations)
    launch = prepare_launch(device, executable, LaunchConfig((-(-count // block),), (block,)))
    launch(stream, dst, offset, count, int.from_bytes(pattern, "little"))
