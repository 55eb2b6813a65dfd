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

__all__ = ["LEAST_BYTES", "Staging"]

LEAST_BYTES: Final = 12 << 20
"""Copies from this size on are staged here: to wake the threads takes longer than smaller ones (8 MiB on an H200: 0.75 ms, the
driver 0.48; 16 MiB: 0.78 and 0.95)."""
PART_BYTES: Final = 4 << 20
LEAST_PART_BYTES: Final = 512 << 10
WORKERS: Final = 8
_PORTABLE: Final = 0x01  # CU_MEMHOSTALLOC_PORTABLE
_DISABLE_TIMING: Final = 0x2  # CU_EVENT_DISABLE_TIMING


class Driver(Protocol):
    """What calls the driver in a device's context."""

    def call(self, function: Callable[..., Any], *args: Any) -> Any: ...

    def quiet(self, function: Callable[..., Any], *args: Any) -> object: ...


class _Piece:
    """Pinned memory, and the event after which the device is done with it."""

    __slots__ = ("address", "event")

    def __init__(self, address: int, event: Any) -> None:
        self.address = address
        self.event = event


class Staging:
    """Pinned pieces of one device, made when first wanted, and the threads that move parts of copies through them."""

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
        move = self._up if up else self._down

        def part(at: int, size: int) -> None:
            held: list[_Piece] = []
            try:
                while not take(self._free, held):
                    sleep(50e-6)
                # the last user's copy, whichever stream that was on
                device.call(cu.cuEventSynchronize, held[0].event)
                move(device, target + at, source + at, size, stream, held[0])
            finally:
                self._free.extend(held)

        size = max(LEAST_PART_BYTES, min(PART_BYTES, -(-nbytes // self._workers.count)))
        self._workers.move(nbytes, size, part, keep)

    @staticmethod
    def _up(device: Driver, target: int, source: int, nbytes: int, stream: CudaStream, piece: _Piece) -> None:
        ctypes.memmove(piece.address, source, nbytes)
        try:
            device.call(cu.cuMemcpyAsync, target, piece.address, nbytes, stream.handle)
        finally:
            # an interrupt may come in between: the piece is not free before the copy is done
            device.call(cu.cuEventRecord, piece.event, stream.handle)

    @staticmethod
    def _down(
        device: Driver, target: int, source: int, nbytes: int, stream: CudaStream, piece: _Piece
    ) -> None:
        try:
            device.call(cu.cuMemcpyAsync, piece.address, source, nbytes, stream.handle)
        finally:
            device.call(cu.cuEventRecord, piece.event, stream.handle)
        device.call(cu.cuEventSynchronize, piece.event)
        ctypes.memmove(target, piece.address, nbytes)

    def close(self, device: Driver) -> None:
        """End the threads and give the pieces back."""
        self._workers.close()
        pieces, self._all = self._all, []
        self._free.clear()
        for piece in pieces:
            device.quiet(cu.cuEventSynchronize, piece.event)
            device.quiet(cu.cuEventDestroy, piece.event)
            device.quiet(cu.cuMemFreeHost, piece.address)
