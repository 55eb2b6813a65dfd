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
from itertools import islice
from threading import get_ident
from time import sleep
from typing import TYPE_CHECKING, Final

from gpucore.errors import DeviceError
from gpucore.plugin_api import PartWorkers, take
from gpucore_vulkan.memory import Piece

if TYPE_CHECKING:
    from gpucore_vulkan.memory import MemoryManager
    from gpucore_vulkan.streams import Stream

__all__ = ["SMALL_BYTES", "Staging", "record_copy"]

PART_BYTES: Final = 2 << 20
LEAST_PART_BYTES: Final = 1 << 20
WORKERS: Final = 8
SMALL_BYTES: Final = 64 << 10
"""Copies up to this size have pieces of their own, which are small and always at hand."""


class StagingPiece:
    """Pinned memory, and the part of a copy that it holds.

    Attributes
    ----------
    stream, value : Stream | None, int | None
        The stream and value after which it is free again; all that the stream was given where the value is None.
    at, size : int
        Where the part begins in the copy, and how long it is.
    """

    __slots__ = ("at", "mapped", "memory", "size", "stream", "value")

    def __init__(self, memory: Piece) -> None:
        if memory.mapped is None:
            raise DeviceError("staging memory is not mapped")
        self.memory = memory
        self.mapped = memory.mapped
        self.stream: Stream | None = None
        self.value: int | None = None
        self.at = self.size = 0

    def wait(self) -> None:
        """Wait until the device is done with it; an interrupt may have hidden the value."""
        stream = self.stream
        if stream is None:
            return
        if self.value is None:
            stream.synchronize()
        else:
            stream.poll(self.value)


class Staging:
    """Pinned pieces, and the threads that move parts of copies through them.

    Pieces come back at the end of a queue: the one at its head has been free, or in flight, the longest. The driver is called by
    the thread that asks for the copy: each call gives up the GIL, and to get it back among threads that want it takes an H200's
    host 20 us, as long as it takes to move 200 KiB.
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
                self._large.append(StagingPiece(self._memory.alloc(PART_BYTES, "pinned")))
                self._made += 1

    def _part_size(self, nbytes: int) -> int:
        self._prepare()
        return max(LEAST_PART_BYTES, min(PART_BYTES, -(-nbytes // self._workers.count)))

    # --- copies --------------------------------------------------------------------------------------
    def upload(self, dst: Piece, to: int, address: int, nbytes: int, stream: Stream, keep: object) -> None:
        """Copy from host memory, which ``keep`` holds in place and which is free again on return."""
        moved: deque[StagingPiece] = deque()
        caller, ended = get_ident(), False

        def send() -> None:
            """Send the device's copies of what was moved, together: to send takes longer than to record."""
            held: deque[StagingPiece] = deque()
            try:
                _pass_all(moved, held)
                if held:
                    _send(stream, [(dst, to + piece.at, piece.memory, 0, piece) for piece in held])
            finally:
                self._large.extend(held)

        def part(at: int, size: int) -> None:
            held: deque[StagingPiece] = deque()
            try:
                while not _pass_on(self._large, held):
                    if moved:  # their caller is busy
                        send()
                    else:
                        sleep(50e-6)
                piece = held[0]
                piece.wait()
                ctypes.memmove(piece.mapped, address + at, size)
                piece.at, piece.size = at, size
                _pass_on(held, moved)
            finally:
                self._large.extend(held)
            if get_ident() == caller:
                send()
            elif ended:  # an interrupt ended the copy
                _pass_all(moved, self._large)

        try:
            self._workers.move(nbytes, self._part_size(nbytes), part, keep)
            send()
        finally:
            ended = True
            _pass_all(moved, self._large)

    def download(self, address: int, src: Piece, at: int, nbytes: int, stream: Stream, keep: object) -> None:
        """Copy to host memory, which ``keep`` holds in place and which is filled on return."""
        if nbytes <= SMALL_BYTES:
            self._download_small(address, src, at, nbytes, stream)
            return
        size = self._part_size(nbytes)
        held: deque[StagingPiece] = deque()
        try:
            self._hold(-(-nbytes // size), held)
            pieces = list(held)
            for start in range(0, nbytes, len(pieces) * size):
                length = min(len(pieces) * size, nbytes - start)
                self._download_some(pieces, address + start, src, at + start, length, size, stream, keep)
        finally:
            self._large.extend(held)

    def _hold(self, count: int, held: deque[StagingPiece]) -> None:
        """Take up to so many pieces, one at least."""
        while not _pass_on(self._large, held):
            sleep(50e-6)
        while len(held) < count and _pass_on(self._large, held):
            pass

    def _download_some(
        self, pieces: list[StagingPiece], address: int, src: Piece, at: int, nbytes: int, size: int, stream: Stream,
        keep: object,
    ) -> None:  # fmt: skip
        """Copy as many parts as there are pieces; twice as many are sent each time, so that the first are there soon."""

        def part(offset: int, length: int) -> None:
            piece = pieces[offset // size]
            piece.wait()
            ctypes.memmove(address + offset, piece.mapped, length)

        parts = list(zip(pieces, range(0, nbytes, size), strict=False))
        done, count = 0, 1
        while done < len(parts):
            copies = []
            for piece, offset in parts[done : done + count]:
                piece.wait()  # the last user's copy, whichever stream that was on
                piece.size = min(size, nbytes - offset)
                copies.append((piece.memory, 0, src, at + offset, piece))
            _send(stream, copies)
            done, count = done + count, 2 * count
        self._workers.move(nbytes, size, part, keep)

    def _download_small(self, address: int, src: Piece, at: int, nbytes: int, stream: Stream) -> None:
        """A copy that takes but one piece, with as few calls as can be: they are most of its time."""
        held: list[StagingPiece] = []
        try:
            try:
                held.extend(islice(iter(self._small.popleft, None), 1))  # as take() does
            except IndexError:
                held.append(StagingPiece(self._memory.alloc(SMALL_BYTES, "pinned")))
            piece = held[0]
            if piece.stream is not None:  # an interrupt left it in flight
                piece.wait()
            piece.stream, piece.value = stream, None
            with stream.lock:
                record_copy(stream, piece.memory, 0, src, at, nbytes)
                stream._flush()
                value = stream.value
            stream.wait(value)
            ctypes.memmove(address, piece.mapped, nbytes)
            piece.stream = None
        finally:
            self._small.extend(held)

    def close(self) -> None:
        """End the threads; the memory goes with the device."""
        self._workers.close()


def _send(stream: Stream, copies: list[tuple[Piece, int, Piece, int, StagingPiece]]) -> None:
    """Send copies to or from pieces, each with its target, source and offsets; they do not wait for one another."""
    with stream.lock:
        for number, (dst, to, src, at, piece) in enumerate(copies):
            piece.stream, piece.value = stream, None
            record_copy(stream, dst, to, src, at, piece.size, is_apart=number == 0)
        stream._flush()
        value = stream.value
    for *_, piece in copies:
        piece.value = value


def _pass_on(source: deque[StagingPiece], target: deque[StagingPiece]) -> bool:
    """Move the first of a queue to the end of another, which no interrupt divides; False where there is none."""
    return take(source, target)  # type: ignore[arg-type]  # it extends what it is given


def _pass_all(source: deque[StagingPiece], target: deque[StagingPiece]) -> None:
    while _pass_on(source, target):
        pass


def record_copy(
    stream: Stream, dst: Piece, to: int, src: Piece, at: int, nbytes: int, is_apart: bool = True
) -> None:
    """Record a copy between allocations (stream's lock held), ordered after the last command where it ``is_apart``."""
    region = stream.region((src.offset + at, dst.offset + to, nbytes))
    stream.record(stream.logical.vk.vkCmdCopyBuffer, src.buffer, dst.buffer, 1, region, is_apart=is_apart)
