"""Host memory as device memory, and what the operating system says of it."""

from __future__ import annotations

import ctypes
import os
import sys
import threading

import numpy as np

from gpucore.errors import OutOfMemoryError
from gpucore.hookspecs import HostBuffer, MemoryInfo, MemoryKind

__all__ = ["Allocation", "Heap", "address_of", "memory_info", "repeated"]

ALIGNMENT = 256
_BYTE = ctypes.c_char


class Allocation:
    """Aligned host memory; ``address`` and ``host`` are the same number.

    ``owner`` keeps the memory: None once it was freed.  ``heap`` counts it, until it is freed or, where an interrupt came before
    anybody had it, dropped.
    """

    __slots__ = ("address", "heap", "host", "nbytes", "owner")

    def __init__(self, address: int, nbytes: int, owner: object) -> None:
        self.address: int | None = address
        self.host: int | None = address
        self.nbytes = nbytes
        self.owner: object = owner
        self.heap: Heap | None = None

    def __del__(self) -> None:
        heap = getattr(self, "heap", None)  # absent where an interrupt came first
        if heap is not None:
            heap.count_out(self)


class Heap:
    """Allocates, and counts what it has handed out."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.used = 0

    def alloc(self, nbytes: int, kind: MemoryKind) -> Allocation:
        """Memory aligned to 256 bytes; all of it is pinned and unified in that host and device are one.

        Raises
        ------
        OutOfMemoryError
            When the operating system refuses, or the machine has less memory in all.
        """
        try:
            # an allocator that overcommits promises memory that the machine does not have
            if nbytes > memory_info().total:
                raise MemoryError
            # NumPy asks for huge pages, which the streaming kernels profit from
            owner = np.empty(nbytes + ALIGNMENT, dtype=np.uint8)
        except (MemoryError, ValueError):
            info = memory_info()
            raise OutOfMemoryError(
                f"cannot allocate {nbytes} bytes on the CPU: {info.free} of {info.total} bytes are free",
                requested=nbytes, used=self.used, limit=info.total,
            ) from None  # fmt: skip
        start = owner.__array_interface__["data"][0]
        allocation = Allocation(-(-start // ALIGNMENT) * ALIGNMENT, nbytes, owner)
        with self._lock:
            allocation.heap, self.used = (
                self,
                self.used + nbytes,
            )  # one step: no interrupt comes between two stores
        return allocation

    def free(self, allocation: Allocation) -> None:
        """Give memory back."""
        if allocation.owner is None:
            return
        allocation.owner = None
        self.count_out(allocation)

    def count_out(self, allocation: Allocation) -> None:
        """Count it no more; twice does nothing."""
        with self._lock:
            if allocation.heap is self:
                allocation.heap, self.used = None, self.used - allocation.nbytes


def address_of(buffer: HostBuffer) -> int:
    """Where a host buffer begins."""
    try:
        # a sixth of what __array_interface__ costs
        return ctypes.addressof(_BYTE.from_buffer(buffer))
    except TypeError:  # read-only
        address: int = np.frombuffer(buffer, dtype=np.uint8).__array_interface__["data"][0]
        return address


def repeated(pattern: bytes, nbytes: int) -> bytes:
    """What to repeat to fill ``nbytes`` with the pattern: a single byte where it is one, else a block of some size."""
    if len(set(pattern)) == 1:
        return pattern[:1]
    return pattern * max(1, min(nbytes, 4096) // len(pattern))


def memory_info() -> MemoryInfo:
    """Free and total physical memory of the machine."""
    if sys.platform == "win32":
        return _windows()
    page = os.sysconf("SC_PAGE_SIZE")
    total = page * os.sysconf("SC_PHYS_PAGES")
    if sys.platform == "darwin":
        return MemoryInfo(free=_darwin_free(page, total), total=total)
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return MemoryInfo(free=min(total, int(line.split()[1]) * 1024), total=total)
    except (OSError, ValueError):
        pass  # no procfs: the free pages, without what caches could give back
    return MemoryInfo(free=page * os.sysconf("SC_AVPHYS_PAGES"), total=total)


def _darwin_free(page: int, total: int) -> int:
    libc = ctypes.CDLL(None)
    value = ctypes.c_uint32()
    size = ctypes.c_size_t(4)
    if libc.sysctlbyname(
        b"vm.page_free_count", ctypes.byref(value), ctypes.byref(size), None, ctypes.c_size_t(0)
    ):
        return total
    return min(total, value.value * page)


def _windows() -> MemoryInfo:
    class Status(ctypes.Structure):
        _fields_ = [
            ("length", ctypes.c_uint32), ("load", ctypes.c_uint32), ("total", ctypes.c_uint64),
            ("available", ctypes.c_uint64), ("rest", ctypes.c_uint64 * 5),
        ]  # fmt: skip

    status = Status(length=ctypes.sizeof(Status))
    kernel32 = getattr(ctypes, "windll").kernel32  # noqa: B009  (absent from the type stubs elsewhere)
    kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
    return MemoryInfo(free=status.available, total=status.total)
