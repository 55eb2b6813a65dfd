"""Copies of pageable host memory by way of pinned memory that the device can reach.

Large copies are cut in parts that several threads move at once, since one does not fill the bus; the device copies
some while threads move others.  Importing the caller's pages (VK_EXT_external_memory_host) would
spare the second copy, yet the driver would have to pin and release every page of every copy, which takes as long.
"""

from __future__ import annotations

import ctypes
import threading
from collections import deque
from itertools import islice, starmap
from math import isqrt
from operator import call
from typing import TYPE_CHECKING, Final

from gpucore.errors import DeviceError
from gpucore.plugin_api import take
from gpucore_vulkan.copy_threads import MOST_SLOTS, CopyJob, copy_threads, cores_beside
from gpucore_vulkan.memory import Piece

if TYPE_CHECKING:
    from gpucore_vulkan.memory import MemoryManager
    from gpucore_vulkan.streams import Stream

__all__ = ["SMALL_BYTES", "Staging", "record_copy"]

RING_BYTES: Final = 16 << 20
LEAST_PART_BYTES: Final = 32 << 10
PARTS: Final = 32
MOST_BYTES_UP: Final = 1 << 20
MOST_BYTES_DOWN: Final = 256 << 10
"""How large parts are: in uploads the device takes up what is there, in downloads each is waited for with others."""
HELPED_BYTES: Final = 256 << 10
"""The thread that calls the driver moves parts up to this size, too, while none is ready to be sent."""
SMALL_BYTES_UP: Final = 4 << 20
FIRST_BYTES_UP: Final = 512 << 10
"""Uploads up to this size are sent in at most two pieces, the first of which is a quarter, or this."""
WAIT_SPIN: Final = 8000
"""How often the threads of a download look for what the device has copied before they sleep."""
GAP_BYTES: Final = 1 << 20
"""What the threads move between two of the device's copies: a submission takes 20 us."""
THREADS: Final = 8
ALONE_BYTES: Final = 512 << 10
"""Copies up to this size are moved by their caller alone: to wake a thread takes 50 us."""
LEAST_WINDOW_BYTES: Final = 16 << 10
"""How large parts are at least where the threads write to the device's memory."""
MOST_LANES: Final = 3
"""How many copies are moved by several threads at a time; further ones by their callers."""
SMALL_BYTES: Final = 64 << 10
"""Copies up to this size have pieces of their own, which are small and always at hand."""


class StagingPiece:
    """Pinned memory that one copy uses at a time.

    Attributes
    ----------
    stream, value : Stream | None, int | None
        The stream and value after which the device is done with it; all that the stream was given where the value is None.
    """

    __slots__ = ("mapped", "memory", "stream", "value")

    def __init__(self, memory: Piece) -> None:
        if memory.mapped is None:
            raise DeviceError("staging memory is not mapped")
        self.memory = memory
        self.mapped = memory.mapped
        self.stream: Stream | None = None
        self.value: int | None = None

    def is_free(self) -> bool:
        """Whether the device is done with it."""
        return self.stream is None or (self.value is not None and self.stream.passed(self.value))

    def wait(self) -> None:
        """Wait until the device is done with it; an interrupt may have hidden the value."""
        stream = self.stream
        if stream is None:
            return
        if self.value is None:
            stream.synchronize()
        else:
            stream.wait(self.value)
        self.stream = None


class Lane:
    """Two rings, and the threads that move parts between them and the host's memory."""

    def __init__(self, memory: MemoryManager) -> None:
        self._rings = [StagingPiece(memory.alloc(RING_BYTES, "pinned")) for _ in range(2)]
        self._used = self._rings[1]
        self.threads = copy_threads("gpucore-vulkan-copy", min(THREADS, cores_beside()))

    def ring(self) -> StagingPiece:
        """A ring that the device is done with; it reads one while the other is filled."""
        other = self._rings[self._rings[0] is self._used]
        ring = other if other.is_free() or not self._used.is_free() else self._used
        ring.wait()
        self._used = ring
        return ring

    def upload(self, dst: Piece, to: int, address: int, nbytes: int, stream: Stream, keep: object) -> None:
        """Copy from memory of the host's, which has been read on return."""
        ring = self.ring()
        part = _part(nbytes // PARTS, LEAST_PART_BYTES, MOST_BYTES_UP)
        job = CopyJob(address, ring.mapped, nbytes, part, min(RING_BYTES // part, MOST_SLOTS), up=True)
        threads, count, slots = self.threads, job.count, job.slots
        flying: deque[tuple[int, int]] = deque()  # values, and the parts before them
        sent, ready = 0, min(count, slots)
        try:
            threads.begin(job, ready, keep)
            for end in _ends(nbytes, part, count):
                if end < count:
                    threads.move(sent, end)
                else:
                    threads.finish()
                at = sent * part
                size = min(end * part, nbytes) - at
                flying.append((_send(ring, stream, dst, to + at, ring.memory, at, size), end))
                sent = end
            while sent < count:
                if sent == ready:
                    stream.wait(flying[0][0])
                while ready < count and flying and (sent == ready or stream.passed(flying[0][0])):
                    ready = min(count, flying.popleft()[1] + slots)
                    threads.publish(ready)
                number = threads.moved(sent, wait=False)
                if not number:
                    if not sent or part <= HELPED_BYTES:
                        threads.help()
                    number = threads.moved(sent, wait=True)
                at = sent * part
                size = min(number * part, nbytes - at)
                value = _send(ring, stream, dst, to + at, ring.memory, sent % slots * part, size)
                sent += number
                flying.append((value, sent))
            ring.value = flying[-1][0]
        finally:
            threads.end()

    def write(self, place: int, address: int, nbytes: int, keep: object) -> None:
        """Copy to device memory in the host's sight, at once."""
        part = _part(nbytes // PARTS, LEAST_WINDOW_BYTES, MOST_BYTES_UP)
        job = CopyJob(address, place, nbytes, part, MOST_SLOTS, up=True)
        try:
            self.threads.begin(job, job.count, keep)
            self.threads.finish()
        finally:
            self.threads.end()

    def download(self, address: int, src: Piece, at: int, nbytes: int, stream: Stream, keep: object) -> None:
        """Copy to memory of the host's, which is filled on return."""
        ring = self.ring()
        part = _part(nbytes // PARTS, LEAST_PART_BYTES, MOST_BYTES_DOWN)
        job = CopyJob(
            address, ring.mapped, nbytes, part, min(RING_BYTES // part, MOST_SLOTS), False, WAIT_SPIN
        )
        threads, count, slots = self.threads, job.count, job.slots
        # few, since the device pauses between them, yet the threads are not to have much left after the last
        together = min(max(1, isqrt(nbytes * GAP_BYTES) // part), slots // 4)
        flying: deque[tuple[int, int]] = deque()
        sent = ready = moved = 0
        try:
            while moved < count:
                while sent < count and sent - moved < slots:
                    number = min(together, count - sent, slots - sent + moved, slots - sent % slots)
                    begins = sent * part
                    size = min(number * part, nbytes - begins)
                    value = _send(ring, stream, ring.memory, sent % slots * part, src, at + begins, size)
                    if not sent:
                        threads.begin(job, 0, keep)  # they wake while the device is at it
                    sent += number
                    flying.append((value, sent))
                if flying:
                    value, ready = flying.popleft()
                    stream.wait(value)
                    threads.publish(ready)
                if ready == count:
                    threads.finish()
                    moved = count
                elif sent < count:
                    moved += threads.moved(moved, wait=not flying)
            ring.stream = None
        finally:
            threads.end()


class Staging:
    """The lanes of a device, made when they are first wanted, and small pieces."""

    def __init__(self, memory: MemoryManager) -> None:
        self._memory = memory
        self._lock = threading.RLock()
        self._free: deque[Lane] = deque()
        self._all: list[Lane] = []
        self._small: deque[StagingPiece] = deque()

    def _take(self, held: list[Lane]) -> bool:
        """Take a lane; False where all are in use."""
        if take(self._free, held):
            return True
        with self._lock:
            if len(self._all) < MOST_LANES:
                lane = Lane(self._memory)
                # both or neither: an interrupt does not come within a call from C to C
                deque(starmap(call, ((self._all.append, lane), (self._free.append, lane))), maxlen=0)
        return take(self._free, held)

    # --- copies --------------------------------------------------------------------------------------
    def upload(self, dst: Piece, to: int, address: int, nbytes: int, stream: Stream, keep: object) -> None:
        """Copy from host memory, which ``keep`` holds in place and which is free again on return."""
        held: list[Lane] = []
        try:
            if not self._take(held):
                self._alone(dst, to, None, 0, address, nbytes, stream)
            elif nbytes <= ALONE_BYTES:
                ring = held[0].ring()
                ctypes.memmove(ring.mapped, address, nbytes)
                ring.value = _send(ring, stream, dst, to, ring.memory, 0, nbytes)
            else:
                held[0].upload(dst, to, address, nbytes, stream, keep)
        finally:
            self._free.extend(held)

    def write(self, place: int, address: int, nbytes: int, keep: object) -> bool:
        """Copy from host memory, which ``keep`` holds in place, to device memory in the host's sight by several threads at once.

        False where all lanes are in use.
        """
        held: list[Lane] = []
        try:
            if self._take(held):
                held[0].write(place, address, nbytes, keep)
                return True
        finally:
            self._free.extend(held)
        return False

    def download(self, address: int, src: Piece, at: int, nbytes: int, stream: Stream, keep: object) -> None:
        """Copy to host memory, which ``keep`` holds in place and which is filled on return."""
        if nbytes <= SMALL_BYTES:
            self._download_small(address, src, at, nbytes, stream)
            return
        held: list[Lane] = []
        try:
            if not self._take(held):
                self._alone(None, 0, src, at, address, nbytes, stream)
            elif nbytes <= ALONE_BYTES:
                ring = held[0].ring()
                ring.value = _send(ring, stream, ring.memory, 0, src, at, nbytes)
                ring.wait()
                ctypes.memmove(address, ring.mapped, nbytes)
            else:
                held[0].download(address, src, at, nbytes, stream, keep)
        finally:
            self._free.extend(held)

    def _alone(
        self, dst: Piece | None, to: int, src: Piece | None, at: int, address: int, nbytes: int, stream: Stream
    ) -> None:  # fmt: skip
        """A copy to or from the host's memory by the caller's thread alone, with memory of its own."""
        most = min(nbytes, RING_BYTES)
        piece = StagingPiece(self._memory.alloc(most, "pinned"))
        try:
            for done in range(0, nbytes, most):
                size = min(most, nbytes - done)
                if dst is not None:
                    ctypes.memmove(piece.mapped, address + done, size)
                    _send(piece, stream, dst, to + done, piece.memory, 0, size)
                    piece.wait()
                elif src is not None:
                    _send(piece, stream, piece.memory, 0, src, at + done, size)
                    piece.wait()
                    ctypes.memmove(address + done, piece.mapped, size)
        finally:
            piece.wait()
            self._memory.free(piece.memory)

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
        for lane in self._all:
            lane.threads.end()
            lane.threads.close()


def _ends(nbytes: int, part: int, count: int) -> tuple[int, ...]:
    """By which parts the pieces of a small upload end; none of a larger one."""
    if nbytes > SMALL_BYTES_UP:
        return ()
    first = max(nbytes // 4, FIRST_BYTES_UP) // part
    return (first, count) if first < count else (count,)


def _part(wanted: int, least: int, most: int) -> int:
    """How large parts are: the power of two from the least to the most that is about what is wanted."""
    return min(max(1 << wanted.bit_length() - 1 if wanted else 0, least), most)


def _send(
    piece: StagingPiece, stream: Stream, dst: Piece, to: int, src: Piece, at: int, nbytes: int
) -> int:  # fmt: skip
    """Send a copy to or from a piece; the stream's value after it."""
    piece.stream, piece.value = stream, None
    with stream.lock:
        record_copy(stream, dst, to, src, at, nbytes)
        stream._flush()
        return stream.value


def record_copy(
    stream: Stream, dst: Piece, to: int, src: Piece, at: int, nbytes: int, is_apart: bool = True
) -> None:
    """Record a copy between allocations (stream's lock held), ordered after the last command where it ``is_apart``."""
    region = stream.region((src.offset + at, dst.offset + to, nbytes))
    stream.record(stream.logical.vk.vkCmdCopyBuffer, src.buffer, dst.buffer, 1, region, is_apart=is_apart)
