"""Copies of pageable host memory by way of pinned memory that the device can reach.

Large copies are cut in parts that several threads move at once, since one does not fill the bus; the device copies
the part of one thread while others move theirs.  Importing the caller's pages (VK_EXT_external_memory_host) would
spare the second copy, yet the driver would have to pin and release every page of every copy, which takes as long.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections import deque
from collections.abc import Callable
from itertools import islice
from time import sleep
from typing import TYPE_CHECKING, Final

from gpucore.errors import DeviceError
from gpucore.plugin_api import PartWorkers, take
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

StagingPiece = tuple[Piece, "Stream | None", "int | None"]
"""A pinned piece, and the stream and value after which it is free again; all that the stream was given where the value
is None."""


class Staging:
    """Pinned pieces, and the threads that move parts of copies through them.

    Pieces come back at the end of a queue: the one at its head has been free, or in flight, the longest.
    """

    def __init__(self, memory: MemoryManager) -> None:
        self._memory = memory
        self._workers = PartWorkers("gpucore-vulkan-copy", min(WORKERS, os.cpu_count() or 1))
        self._lock = threading.RLock()
        self._large: deque[StagingPiece] = deque()
        self._small: deque[StagingPiece] = deque()
        self._made = 0

    def _prepare(self) -> None:
        """Make the large pieces, two a thread: one to move while the other is in flight."""
        with self._lock:
            while self._made < 2 * self._workers.count:
                self._large.append((self._memory.alloc(PART_BYTES, "pinned"), None, None))
                self._made += 1

    def _in_parts(self, nbytes: int, move: Callable[[int, int], None], keep: object) -> None:
        """Call ``move(offset, size)`` for all parts, several at a time; the first error is raised at the end."""
        self._prepare()
        size = max(LEAST_PART_BYTES, min(PART_BYTES, -(-nbytes // self._workers.count)))
        self._workers.move(nbytes, size, move, keep)

    def _through(self, stream: Stream, use: Callable[[Piece], int | None]) -> None:
        """Call ``use`` with a large piece that no work uses.

        It returns the stream's value after which the piece is free again, None where it is at once.
        """
        held: list[StagingPiece] = []
        try:
            while not take(self._large, held):
                sleep(50e-6)
            piece, user, value = held[0]
            if user is not None:
                _wait(user, value)
            held[0] = (piece, stream, None)
            value = use(piece)
            held[0] = (piece, None if value is None else stream, value)
        finally:
            self._large.extend(held)

    # --- copies --------------------------------------------------------------------------------------
    def upload(self, dst: Piece, to: int, address: int, nbytes: int, stream: Stream, keep: object) -> None:
        """Copy from host memory, which ``keep`` holds in place and which is free again on return."""

        def move(at: int, size: int) -> None:
            def through(piece: Piece) -> int:
                ctypes.memmove(_mapped(piece), address + at, size)
                with stream.lock:
                    record_copy(stream, dst, to + at, piece, 0, size)
                    stream._flush()
                    return stream.value

            self._through(stream, through)

        self._in_parts(nbytes, move, keep)

    def download(self, address: int, src: Piece, at: int, nbytes: int, stream: Stream, keep: object) -> None:
        """Copy to host memory, which ``keep`` holds in place and which is filled on return."""
        if nbytes <= SMALL_BYTES:
            self._download_small(address, src, at, nbytes, stream)
            return

        def move(offset: int, size: int) -> None:
            def through(piece: Piece) -> None:
                with stream.lock:
                    record_copy(stream, piece, 0, src, at + offset, size)
                    stream._flush()
                    value = stream.value
                stream.poll(value)
                ctypes.memmove(address + offset, _mapped(piece), size)

            self._through(stream, through)

        self._in_parts(nbytes, move, keep)

    def _download_small(self, address: int, src: Piece, at: int, nbytes: int, stream: Stream) -> None:
        """A copy that takes but one piece, with as few calls as can be: they are most of its time."""
        held: list[StagingPiece] = []
        try:
            try:
                held.extend(islice(iter(self._small.popleft, None), 1))  # as take() does
            except IndexError:
                held.append((self._memory.alloc(SMALL_BYTES, "pinned"), None, None))
            piece, user, value = held[0]
            if user is not None:
                _wait(user, value)
            held[0] = (piece, stream, None)
            with stream.lock:
                record_copy(stream, piece, 0, src, at, nbytes)
                stream._flush()
                value = stream.value
            stream.wait(value)
            mapped = piece.mapped
            if mapped is not None:
                ctypes.memmove(address, mapped, nbytes)
            held[0] = (piece, None, None)
        finally:
            self._small.extend(held)

    def close(self) -> None:
        """End the threads; the memory goes with the device."""
        self._workers.close()


def _wait(stream: Stream, value: int | None) -> None:
    """Wait until a piece is free; an interrupt may have hidden the value."""
    if value is None:
        stream.synchronize()
    else:
        stream.wait(value, spin=False)


def _mapped(piece: Piece) -> int:
    if piece.mapped is None:
        raise DeviceError("staging memory is not mapped")
    return piece.mapped


def record_copy(stream: Stream, dst: Piece, to: int, src: Piece, at: int, nbytes: int) -> None:
    """Record a copy between allocations (stream's lock held)."""
    region = stream.region((src.offset + at, dst.offset + to, nbytes))
    stream.record(stream.logical.vk.vkCmdCopyBuffer, src.buffer, dst.buffer, 1, region)
