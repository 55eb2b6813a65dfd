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
from queue import Empty, SimpleQueue
from time import sleep
from typing import TYPE_CHECKING, Any, Final

from gpucore.errors import DeviceError
from gpucore_vulkan.memory import Piece
from gpucore_vulkan.uninterrupted import take

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


class _Parts:
    """The parts of one copy, which several threads take in turn.

    Threads of the pool are counted while they are at it, in a set: nothing is waited for that an interrupt could lose.
    What they use of the caller's memory is kept until the last has left.
    """

    def __init__(self, nbytes: int, size: int, move: Callable[[int, int], None], keep: object) -> None:
        self._offsets = iter(range(0, nbytes, size))
        self._nbytes, self._size, self._move, self._keep = nbytes, size, move, keep
        self._inside: set[int] = set()
        self._left: SimpleQueue[None] = SimpleQueue()
        self._over = False
        self._errors: list[BaseException] = []

    def work(self) -> None:
        """Move parts until there are no more."""
        for at in self._offsets:
            if self._over or self._errors:
                return
            self._move(at, min(self._size, self._nbytes - at))

    def help(self) -> None:
        """What a thread of the pool does."""
        ident = threading.get_ident()
        self._inside.add(ident)
        try:
            if not self._over:
                self.work()
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that asked
            self._errors.append(error)
        finally:
            self._inside.discard(ident)
            self._left.put(None)

    def finish(self, *, abandoned: bool) -> None:
        """Wait for the threads that are still at it; raise what went wrong in them."""
        self._over = True
        while self._inside:
            try:
                self._left.get(timeout=0.01)
            except Empty:
                continue
        if self._errors and not abandoned:
            raise self._errors[0]


def _serve(tasks: SimpleQueue[_Parts | None]) -> None:
    """A thread of the pool, until it is told to end."""
    while (parts := tasks.get()) is not None:
        parts.help()
        del parts


class Staging:
    """Pinned pieces, and the threads that move parts of copies through them.

    Pieces come back at the end of a queue: the one at its head has been free, or in flight, the longest.
    """

    def __init__(self, memory: MemoryManager) -> None:
        self._memory = memory
        self._workers = min(WORKERS, os.cpu_count() or 1)
        self._lock = threading.Lock()
        self._tasks: SimpleQueue[_Parts | None] = SimpleQueue()
        self._threads = 0
        self._large: deque[StagingPiece] = deque()
        self._small: deque[StagingPiece] = deque()
        self._made = 0

    def _prepare(self) -> None:
        """Make the large pieces, two a thread: one to move while the other is in flight."""
        with self._lock:
            while self._made < 2 * self._workers:
                self._large.append((self._memory.alloc(PART_BYTES, "pinned"), None, None))
                self._made += 1

    def _hire(self, count: int) -> None:
        """Start threads until there are as many."""
        with self._lock:
            while self._threads < count:
                self._threads += 1
                threading.Thread(
                    target=_serve, args=(self._tasks,), name="gpucore-vulkan-copy", daemon=True
                ).start()

    def _in_parts(self, nbytes: int, move: Callable[[int, int], None], keep: object) -> None:
        """Call ``move(offset, size)`` for all parts, several at a time; the first error is raised at the end."""
        self._prepare()
        size = max(LEAST_PART_BYTES, min(PART_BYTES, -(-nbytes // self._workers)))
        helpers = min(self._workers, -(-nbytes // size)) - 1
        parts = _Parts(nbytes, size, move, keep)
        if helpers < 1:
            parts.work()
            return
        self._hire(helpers)
        try:
            for _ in range(helpers):
                self._tasks.put(parts)
            parts.work()
        except BaseException:
            # the caller's memory is in use until all are done
            parts.finish(abandoned=True)
            raise
        parts.finish(abandoned=False)

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
                stream.wait(value, spin=False)
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
        for _ in range(self._threads):
            self._tasks.put(None)


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
    region: Any = stream.region
    region.srcOffset, region.dstOffset, region.size = src.offset + at, dst.offset + to, nbytes
    stream.logical.vk.vkCmdCopyBuffer(stream.next(), src.buffer, dst.buffer, 1, region)
