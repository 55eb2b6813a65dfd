"""Large copies of pageable host memory by way of pinned memory, which several threads fill and empty.

The driver does the same with one thread: 6 GB/s up and 12 down on an H200, whose bus carries 55.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections import deque
from collections.abc import Callable
from time import sleep
from typing import TYPE_CHECKING, Any, Final, Protocol

from cuda.bindings import driver as cu

from gpucore.plugin_api import PartWorkers, take

if TYPE_CHECKING:
    from gpucore_cuda.handles import CudaStream

__all__ = ["LEAST_BYTES", "LEAST_BYTES_UP", "Staging"]

LEAST_BYTES: Final = 2 << 20
"""Downloads from this size on are staged here."""
LEAST_BYTES_UP: Final = 12 << 20
"""Uploads are, which the driver makes better below: 8 MiB on an H200 at 0.28 of what pinned memory takes, staged at 0.20."""
PART_BYTES: Final = 2 << 20
LEAST_PART_BYTES: Final = 1 << 20
WORKERS: Final = 8
_PORTABLE: Final = 0x01  # CU_MEMHOSTALLOC_PORTABLE
_DISABLE_TIMING: Final = 0x2  # CU_EVENT_DISABLE_TIMING


class Driver(Protocol):
    """What calls the driver in a device's context."""

    def call(self, function: Callable[..., Any], *args: Any) -> Any: ...

    def again(self, answer: tuple[Any, ...], function: Callable[..., Any], *args: Any) -> Any: ...

    def quiet(self, function: Callable[..., Any], *args: Any) -> object: ...


class _Piece:
    """Pinned memory, the event after which the device is done with it, and how much of it is in use."""

    __slots__ = ("address", "event", "size")

    def __init__(self, address: int, event: Any) -> None:
        self.address = address
        self.event = event
        self.size = 0


class Staging:
    """Pinned pieces of one device, made when first wanted, and the threads that move parts of copies through them.

    In a download the driver is called by the thread that asks for it: each call gives up the GIL, and to get it back among
    threads that want it takes an H200's host 20 us, as long as it takes to move 200 KiB. In an upload each thread sends what it
    has moved, which is faster all the same: 16 MiB at 0.38 of pinned memory with parts of 2 MiB, 0.19 where one thread sends.
    """

    def __init__(self) -> None:
        self._workers = PartWorkers("gpucore-cuda-copy", min(WORKERS, os.cpu_count() or 1))
        self._lock = threading.RLock()
        self._free: deque[_Piece] = deque()
        self._all: list[_Piece] = []

    def _prepare(self, device: Driver) -> None:
        """Make the pieces, two a thread: one to move while the other is in flight."""
        if len(self._all) == 2 * self._workers.count:
            return
        with self._lock:
            while len(self._all) < 2 * self._workers.count:
                address = int(device.call(cu.cuMemHostAlloc, PART_BYTES, _PORTABLE))
                try:
                    piece = _Piece(address, device.call(cu.cuEventCreate, _DISABLE_TIMING))
                except BaseException:
                    device.quiet(cu.cuMemFreeHost, address)
                    raise
                self._all.append(piece)
                self._free.append(piece)

    def copy(
        self, device: Driver, target: int, source: int, nbytes: int, stream: CudaStream, *, up: bool, keep: object
    ) -> None:  # fmt: skip
        """Copy between host memory, which ``keep`` holds in place, and the device, in stream order.

        On return a source of the host's has been read, or a target of the host's filled.
        """
        self._prepare(device)
        size = max(LEAST_PART_BYTES, min(PART_BYTES, -(-nbytes // (2 * self._workers.count))))
        if up:
            self._upload(device, target, source, nbytes, size, stream, keep)
        else:
            self._download(device, target, source, nbytes, size, stream, keep)

    def _upload(
        self, device: Driver, target: int, source: int, nbytes: int, size: int, stream: CudaStream, keep: object
    ) -> None:  # fmt: skip
        def part(at: int, length: int) -> None:
            held: deque[_Piece] = deque()
            try:
                while not _pass_on(self._free, held):
                    sleep(50e-6)
                piece = held[0]
                # the last user's copy, whichever stream that was on
                _call(device, cu.cuEventSynchronize, piece.event)
                ctypes.memmove(piece.address, source + at, length)
                piece.size = length
                _send(device, target + at, piece.address, piece, stream)
            finally:
                self._free.extend(held)

        self._workers.move(nbytes, size, part, keep)

    def _download(
        self, device: Driver, target: int, source: int, nbytes: int, size: int, stream: CudaStream, keep: object
    ) -> None:  # fmt: skip
        held: deque[_Piece] = deque()
        try:
            self._hold(-(-nbytes // size), held)
            pieces = list(held)
            for start in range(0, nbytes, len(pieces) * size):
                length = min(len(pieces) * size, nbytes - start)
                self._download_some(
                    device, pieces, target + start, source + start, length, size, stream, keep
                )
        finally:
            self._free.extend(held)

    def _hold(self, count: int, held: deque[_Piece]) -> None:
        """Take up to so many pieces, one at least."""
        while not _pass_on(self._free, held):
            sleep(50e-6)
        while len(held) < count and _pass_on(self._free, held):
            pass

    def _download_some(
        self, device: Driver, pieces: list[_Piece], target: int, source: int, nbytes: int, size: int, stream: CudaStream,
        keep: object,
    ) -> None:  # fmt: skip
        """Copy as many parts as there are pieces."""

        def part(at: int, length: int) -> None:
            piece = pieces[at // size]
            _call(device, cu.cuEventSynchronize, piece.event)
            ctypes.memmove(target + at, piece.address, length)

        for piece, at in zip(pieces, range(0, nbytes, size), strict=False):
            # the last user's copy, whichever stream that was on
            _call(device, cu.cuEventSynchronize, piece.event)
            piece.size = min(size, nbytes - at)
            _send(device, piece.address, source + at, piece, stream)
        self._workers.move(nbytes, size, part, keep)

    def close(self, device: Driver) -> None:
        """End the threads and give the pieces back."""
        self._workers.close()
        pieces, self._all = self._all, []
        self._free.clear()
        for piece in pieces:
            device.quiet(cu.cuEventSynchronize, piece.event)
            device.quiet(cu.cuEventDestroy, piece.event)
            device.quiet(cu.cuMemFreeHost, piece.address)


def _send(device: Driver, target: int, source: int, piece: _Piece, stream: CudaStream) -> None:
    """Enqueue the device's copy to or from a piece."""
    try:
        _call(device, cu.cuMemcpyAsync, target, source, piece.size, stream.handle)
    finally:
        # an interrupt may come in between: the piece is not free before the copy is done
        _call(device, cu.cuEventRecord, piece.event, stream.handle)


def _pass_on(source: deque[_Piece], target: deque[_Piece]) -> bool:
    """Move the first of a queue to the end of another, which no interrupt divides; False where there is none."""
    return take(source, target)  # type: ignore[arg-type]  # it extends what it is given


def _call(device: Driver, function: Callable[..., Any], *args: Any) -> None:
    """Call the driver; whether the device's context is current is asked where that fails."""
    answer = function(*args)
    if answer[0]:
        device.again(answer, function, *args)
