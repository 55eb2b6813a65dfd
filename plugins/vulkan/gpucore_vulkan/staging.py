"""Copies of pageable host memory by way of pinned memory that the device can reach.

Large copies are cut in parts that several threads move at once, since one does not fill the bus; the device copies
the part of one thread while others move theirs.  Importing the caller's pages (VK_EXT_external_memory_host) would
spare the second copy, yet the driver would have to pin and release every page of every copy, which takes as long.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final

from gpucore.errors import DeviceError
from gpucore_vulkan.memory import Piece

if TYPE_CHECKING:
    from gpucore_vulkan.memory import MemoryManager
    from gpucore_vulkan.streams import Stream

__all__ = ["SMALL_BYTES", "Staging", "record_copy"]

PART_BYTES: Final = 4 << 20
LEAST_PART_BYTES: Final = 512 << 10
WORKERS: Final = 8
SMALL_BYTES: Final = 64 << 10
"""Copies up to this size have pieces of their own, which are small and always at hand."""


class Staging:
    """Pinned pieces, each with the stream and value after which it is free again, and the threads that use them.

    Pieces come back at the end of a queue: the one at its head has been free, or in flight, the longest.  Those of
    ``small`` have :data:`SMALL_BYTES` and are free; who finds none makes one and leaves it there.
    """

    def __init__(self, memory: MemoryManager) -> None:
        self._memory = memory
        self._workers = min(WORKERS, os.cpu_count() or 1)
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._pieces: SimpleQueue[tuple[Piece, Stream | None, int]] = SimpleQueue()
        self._made = False
        self.small: list[Piece] = []

    def _prepare(self) -> None:
        """Make the pieces, two a thread: one to move while the other is in flight."""
        with self._lock:
            if not self._made:
                for _ in range(2 * self._workers):
                    self._pieces.put((self._memory.alloc(PART_BYTES, "pinned"), None, 0))
                self._made = True

    def take(self) -> Piece:
        """A piece that no work uses."""
        piece, stream, value = self._pieces.get()
        if stream is not None:
            try:
                stream.wait(value, spin=False)
            except BaseException:
                self.give(piece, stream, value)
                raise
        return piece

    def give(self, piece: Piece, stream: Stream | None, value: int) -> None:
        """Give a piece back; it is free after the stream's value."""
        self._pieces.put((piece, stream, value))

    def in_parts(self, nbytes: int, move: Callable[[int, int], None]) -> None:
        """Call ``move(offset, size)`` for all parts, several at a time; the first error is raised at the end."""
        self._prepare()
        size = max(LEAST_PART_BYTES, min(PART_BYTES, -(-nbytes // self._workers)))
        offsets = iter(range(0, nbytes, size))

        def work() -> None:
            # threads share the iterator: each takes the next part as it gets there
            for at in offsets:
                move(at, min(size, nbytes - at))

        helpers = min(self._workers, -(-nbytes // size)) - 1
        if helpers < 1:
            work()
            return
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="gpucore-vulkan-copy")
        jobs = [self._pool.submit(work) for _ in range(helpers)]
        try:
            work()
        finally:
            # the caller's memory is in use until all are done
            wait(jobs)
        for job in jobs:
            job.result()

    def upload(self, dst: Piece, to: int, address: int, nbytes: int, stream: Stream) -> None:
        """Copy from host memory, which is free again on return."""

        def move(at: int, size: int) -> None:
            piece = self.take()
            value = 0
            try:
                ctypes.memmove(_mapped(piece), address + at, size)
                with stream.lock:
                    record_copy(stream, dst, to + at, piece, 0, size)
                    stream._flush()
                    value = stream.value
            finally:
                self.give(piece, stream if value else None, value)

        self.in_parts(nbytes, move)

    def download(self, address: int, src: Piece, at: int, nbytes: int, stream: Stream) -> None:
        """Copy to host memory, which is filled on return."""
        if nbytes <= SMALL_BYTES:
            small = self.small
            try:
                piece = small.pop()
            except IndexError:
                piece = self._memory.alloc(SMALL_BYTES, "pinned")
            with stream.lock:
                record_copy(stream, piece, 0, src, at, nbytes)
                stream._flush()
                value = stream.value
            # after a failed wait the device might still write: the piece is not given back
            stream.wait(value)
            ctypes.memmove(address, _mapped(piece), nbytes)
            small.append(piece)
            return

        def move(offset: int, size: int) -> None:
            piece = self.take()
            value = 0
            try:
                with stream.lock:
                    record_copy(stream, piece, 0, src, at + offset, size)
                    stream._flush()
                    value = stream.value
                stream.wait(value, spin=False)
                ctypes.memmove(address + offset, _mapped(piece), size)
            finally:
                self.give(piece, stream if value else None, value)

        self.in_parts(nbytes, move)

    def close(self) -> None:
        """End the threads; the memory goes with the device."""
        if self._pool is not None:
            self._pool.shutdown()


def _mapped(piece: Piece) -> int:
    if piece.mapped is None:
        raise DeviceError("staging memory is not mapped")
    return piece.mapped


def record_copy(stream: Stream, dst: Piece, to: int, src: Piece, at: int, nbytes: int) -> None:
    """Record a copy between allocations (stream's lock held)."""
    region: Any = stream.region
    region.srcOffset, region.dstOffset, region.size = src.offset + at, dst.offset + to, nbytes
    stream.logical.vk.vkCmdCopyBuffer(stream.next(), src.buffer, dst.buffer, 1, region)
