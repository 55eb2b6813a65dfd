"""Large copies of pageable host memory by way of pinned memory, which several threads fill and empty.

The driver does the same with one thread: 6 GB/s up and 12 down on an H200, whose bus carries 55.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from itertools import starmap
from math import isqrt
from operator import call
from typing import TYPE_CHECKING, Any, Final, Protocol

from cuda.bindings import driver as cu

from gpucore.plugin_api import take
from gpucore_cuda.copy_threads import MOST_SLOTS, CopyJob, CopyThreads, copy_threads, cores_beside

if TYPE_CHECKING:
    from gpucore_cuda.handles import CudaStream

__all__ = ["LEAST_BYTES", "Staging", "is_registered"]

LEAST_BYTES: Final = 1 << 20
"""Copies from this size on are staged here."""
RING_BYTES: Final = 16 << 20
LEAST_PART_BYTES: Final = 32 << 10
PARTS: Final = 32
MOST_BYTES_UP: Final = 1 << 20
MOST_BYTES_DOWN: Final = 256 << 10
"""How large parts are: in uploads the device takes up what is there, in downloads each is waited for with others."""
HELPED_BYTES: Final = 256 << 10
"""The thread that calls the driver moves parts up to this size, too, while none is ready to be sent."""
SMALL_BYTES_UP: Final = 4 << 20
PIECE_BYTES_UP: Final = 512 << 10
"""Uploads up to this size are sent in pieces of that, the first and the last of which are half as large."""
GAP_BYTES: Final = 256 << 10
"""What the threads move between two of the device's copies."""
WAIT_SPIN: Final = 8000
"""How often the threads of a download look for what the device has copied before they sleep."""
THREADS: Final = 8
MOST_LANES: Final = 3
"""How many copies are staged at a time; further ones are the driver's."""
EVENTS: Final = 16
_PORTABLE: Final = 0x01  # CU_MEMHOSTALLOC_PORTABLE
_DISABLE_TIMING: Final = 0x2  # CU_EVENT_DISABLE_TIMING
_MEMORY_TYPE: Final = cu.CUpointer_attribute.CU_POINTER_ATTRIBUTE_MEMORY_TYPE
_HOST: Final = 1  # CU_MEMORYTYPE_HOST


class Driver(Protocol):
    """What calls the driver in a device's context."""

    def call(self, function: Callable[..., Any], *args: Any) -> Any: ...

    def again(self, answer: tuple[Any, ...], function: Callable[..., Any], *args: Any) -> Any: ...

    def attempt(self, function: Callable[..., Any], *args: Any) -> Any: ...

    def quiet(self, function: Callable[..., Any], *args: Any) -> object: ...


def is_registered(device: Driver, address: int) -> bool:
    """Whether host memory is pinned: copies from it may be read after the call returns."""
    answer = device.attempt(cu.cuPointerGetAttribute, _MEMORY_TYPE, address)
    return not answer[0] and int(answer[1]) == _HOST


class Ring:
    """Pinned memory that one copy uses at a time.

    Attributes
    ----------
    address : int
    last : CUevent
        After the device's last work on it, where ``is_marked``; an interrupt may have hidden it.
    is_busy : bool
        Whether the device may be at work on it.
    """

    def __init__(self, device: Driver) -> None:
        self.is_busy = self.is_marked = False
        self.address = int(device.call(cu.cuMemHostAlloc, RING_BYTES, _PORTABLE))
        try:
            self.last = device.call(cu.cuEventCreate, _DISABLE_TIMING)
        except BaseException:
            device.quiet(cu.cuMemFreeHost, self.address)
            raise

    def is_free(self) -> bool:
        """Whether the device is done with it."""
        if self.is_busy and self.is_marked and _has_passed(self.last):
            self.is_busy = False
        return not self.is_busy

    def take(self, device: Driver) -> None:
        """Wait until the device is done with it, for use by another copy."""
        if self.is_busy:
            if self.is_marked:
                _call(device, cu.cuEventSynchronize, self.last)
            else:
                device.call(cu.cuCtxSynchronize)
        self.is_marked, self.is_busy = False, True

    def mark(self, device: Driver, stream: CudaStream) -> None:
        """The stream has all the work on it now."""
        _call(device, cu.cuEventRecord, self.last, stream.handle)
        self.is_marked = True

    def close(self, device: Driver) -> None:
        """Give the memory back."""
        if self.is_busy:
            device.quiet(cu.cuCtxSynchronize)
        device.quiet(cu.cuEventDestroy, self.last)
        device.quiet(cu.cuMemFreeHost, self.address)


class Lane:
    """Two rings, and the threads that move parts between them and the host's memory."""

    def __init__(self, device: Driver) -> None:
        self._rings: list[Ring] = []
        self._events: deque[Any] = deque()
        try:
            self._rings.append(Ring(device))
            self._rings.append(Ring(device))
            self._used = self._rings[1]
            while len(self._events) < EVENTS:
                self._events.append(device.call(cu.cuEventCreate, _DISABLE_TIMING))
            self.threads: CopyThreads = copy_threads("gpucore-cuda-copy", min(THREADS, cores_beside()))
        except BaseException:
            self._give_back(device)
            raise

    def _ring(self, device: Driver) -> Ring:
        """A ring that the device is done with; it reads one while the other is filled."""
        other = self._rings[self._rings[0] is self._used]
        ring = other if other.is_free() or not self._used.is_free() else self._used
        ring.take(device)
        self._used = ring
        return ring

    def upload(
        self, device: Driver, target: int, host: int, nbytes: int, stream: CudaStream, keep: object
    ) -> bool:  # fmt: skip
        """Copy from memory of the host's, which has been read on return; False, and nothing copied, where that is pinned."""
        ring = self._ring(device)
        part = _part(nbytes // PARTS, LEAST_PART_BYTES, MOST_BYTES_UP)
        job = CopyJob(host, ring.address, nbytes, part, min(RING_BYTES // part, MOST_SLOTS), up=True)
        threads, count, slots, handle = self.threads, job.count, job.slots, stream.handle
        flying: deque[tuple[Any, int]] = deque()  # events, and the parts before them
        sent, ready = 0, min(count, slots)
        try:
            threads.begin(job, ready, keep)
            if is_registered(device, host):  # asked while the threads are at it: it takes 4 us
                ring.is_busy = False
                return False
            for end in _ends(nbytes, part, count):
                if end < count:
                    threads.move(sent, end)
                else:
                    threads.finish()
                at = sent * part
                _call(
                    device, cu.cuMemcpyAsync, target + at, ring.address + at, min(end * part, nbytes) - at, handle
                )  # fmt: skip
                sent = end
            while sent < count:
                if sent == ready:
                    _call(device, cu.cuEventSynchronize, flying[0][0])
                while ready < count and flying and (sent == ready or _has_passed(flying[0][0])):
                    ready = min(count, flying.popleft()[1] + slots)
                    threads.publish(ready)
                number = threads.moved(sent, wait=False)
                if not number:
                    if not sent or part <= HELPED_BYTES:  # to wake a thread takes 50 us
                        threads.help()
                    number = threads.moved(sent, wait=True)
                at = sent * part
                _call(
                    device, cu.cuMemcpyAsync, target + at, ring.address + sent % slots * part,
                    min(number * part, nbytes - at), handle,
                )  # fmt: skip
                sent += number
                if ready < count and len(flying) < EVENTS:
                    flying.append((self._record(device, stream), sent))
            ring.mark(device, stream)
        finally:
            threads.end()
        return True

    def download(
        self, device: Driver, host: int, source: int, nbytes: int, stream: CudaStream, keep: object
    ) -> bool:  # fmt: skip
        """Copy to memory of the host's, which is filled on return; False, and nothing copied there, where that is pinned."""
        ring = self._ring(device)
        part = _part(nbytes // PARTS, LEAST_PART_BYTES, MOST_BYTES_DOWN)
        job = CopyJob(host, ring.address, nbytes, part, min(RING_BYTES // part, MOST_SLOTS), False, WAIT_SPIN)
        threads, count, slots, handle = self.threads, job.count, job.slots, stream.handle
        # few, since the device pauses between them, yet the threads are not to have much left after the last
        together = min(max(1, isqrt(nbytes * GAP_BYTES) // part), slots // 4)
        flying: deque[tuple[Any, int]] = deque()
        sent = ready = moved = 0
        try:
            while moved < count:
                while sent < count and sent - moved < slots and len(flying) < EVENTS:
                    number = min(together, count - sent, slots - sent + moved, slots - sent % slots)
                    at = sent * part
                    _call(
                        device, cu.cuMemcpyAsync, ring.address + sent % slots * part, source + at,
                        min(number * part, nbytes - at), handle,
                    )  # fmt: skip
                    if not sent:
                        threads.begin(job, 0, keep)  # they wake while the device is at it
                        if is_registered(device, host):
                            ring.mark(device, stream)
                            return False
                    sent += number
                    flying.append((self._record(device, stream), sent))
                if flying:
                    event, ready = flying.popleft()
                    _call(device, cu.cuEventSynchronize, event)
                    threads.publish(ready)
                if ready == count:
                    threads.finish()
                    moved = count
                elif sent < count:
                    moved += threads.moved(moved, wait=not flying)
            ring.is_busy = False
        finally:
            threads.end()
        return True

    def _record(self, device: Driver, stream: CudaStream) -> Any:
        """An event after what was enqueued."""
        self._events.rotate()
        event = self._events[0]
        _call(device, cu.cuEventRecord, event, stream.handle)
        return event

    def close(self, device: Driver) -> None:
        """End the threads and give the memory back."""
        self.threads.end()
        self.threads.close()
        self._give_back(device)

    def _give_back(self, device: Driver) -> None:
        for ring in self._rings:
            ring.close(device)
        for event in self._events:
            device.quiet(cu.cuEventDestroy, event)


class Staging:
    """The lanes of a device, made when they are first wanted."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._free: deque[Lane] = deque()
        self._all: list[Lane] = []

    def copy(
        self, device: Driver, target: int, source: int, nbytes: int, stream: CudaStream, *, up: bool, keep: object
    ) -> bool:  # fmt: skip
        """Copy between host memory, which ``keep`` holds in place, and the device, in stream order.

        On return a source of the host's has been read, or a target of the host's filled. False where all lanes are in use, or
        the memory is pinned.
        """
        held: list[Lane] = []
        try:
            if not take(self._free, held):
                self._make(device)
                if not take(self._free, held):
                    return False
            lane = held[0]
            copy = lane.upload if up else lane.download
            return copy(device, target, source, nbytes, stream, keep)
        finally:
            self._free.extend(held)

    def _make(self, device: Driver) -> None:
        """Make one more lane, if there are not enough."""
        with self._lock:
            if len(self._all) < MOST_LANES:
                lane = Lane(device)
                # both or neither: an interrupt does not come within a call from C to C
                deque(starmap(call, ((self._all.append, lane), (self._free.append, lane))), maxlen=0)

    def close(self, device: Driver) -> None:
        """End the threads and give the memory back."""
        lanes, self._all = self._all, []
        self._free.clear()
        for lane in lanes:
            lane.close(device)


def _ends(nbytes: int, part: int, count: int) -> tuple[int, ...]:
    """By which parts the pieces of a small upload end; none of a larger one."""
    if nbytes > SMALL_BYTES_UP:
        return ()
    half = PIECE_BYTES_UP // 2 // part
    return (*range(half, count - half // 2, 2 * half), count)


def _part(wanted: int, least: int, most: int) -> int:
    """How large parts are: the power of two from the least to the most that is about what is wanted."""
    return min(max(1 << wanted.bit_length() - 1 if wanted else 0, least), most)


def _has_passed(event: Any) -> bool:
    """Whether the device has reached an event; an error is seen by who waits for it."""
    answer: tuple[Any] = cu.cuEventQuery(event)
    return not answer[0]


def _call(device: Driver, function: Callable[..., Any], *args: Any) -> None:
    """Call the driver; whether the device's context is current is asked where that fails."""
    answer = function(*args)
    if answer[0]:
        device.again(answer, function, *args)
