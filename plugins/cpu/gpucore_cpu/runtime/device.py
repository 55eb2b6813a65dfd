"""The opened device: what it can do, its heap, its streams and its pool."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import threading
import uuid
import weakref
from collections import deque
from typing import TYPE_CHECKING

from gpucore.hookspecs import DeviceCapabilities, DeviceHealth, DeviceInfo, Target
from gpucore_cpu.host import ATOMICS, host_target
from gpucore_cpu.runtime import copies
from gpucore_cpu.runtime.memory import Allocation, Heap, memory_info
from gpucore_cpu.runtime.pool import Pool
from gpucore_cpu.runtime.streams import Stream

if TYPE_CHECKING:
    from gpucore_cpu.runtime.launch import Executable

__all__ = ["Device", "capabilities", "device_info", "health"]

SHARED_MEMORY = 64 * 1024
_EVERYTHING = frozenset({"storage", "arithmetic", "atomic", "shared", "subgroup"})
_NO_ATOMICS = _EVERYTHING - {"atomic"}

capabilities = DeviceCapabilities(
    names=frozenset(
        {
            "strict",
            "fast",
            "pinned_memory",
            "process_memory",
            "device_health",
            "host_addressable",
            "import_memory",
        }
    ),
    dtypes={
        **dict.fromkeys(("i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "f32", "f64"), _EVERYTHING),
        **dict.fromkeys(("bool", "f16", "bf16"), _NO_ATOMICS),
    },
    atomics=ATOMICS,
    subgroup_sizes=(32, 4, 8, 16, 64),
    max_block=(1024, 1024, 1024),
    max_threads_per_block=1024,
    shared_memory=SHARED_MEMORY,
    preferred_block=256,
    dlpack=(1, 0),
)


def processor_name() -> str:
    """The processor as its maker calls it."""
    if sys.platform == "linux":
        try:
            with open("/proc/cpuinfo", encoding="utf-8") as file:
                for line in file:
                    if line.startswith("model name"):
                        return line.split(":", 1)[1].strip()
        except OSError:
            pass  # no procfs
    return platform.processor() or platform.machine() or "CPU"


def device_info() -> DeviceInfo:
    """The one device of this backend."""
    import llvmlite.binding as llvm

    name = processor_name()
    version = ".".join(map(str, llvm.llvm_version_info))
    identity = str(uuid.uuid5(uuid.NAMESPACE_OID, f"gpucore-cpu/{platform.node()}/{name}/{os.cpu_count()}"))
    return DeviceInfo(
        ordinal=0, name=name, uuid=identity, kind="cpu", driver=f"LLVM {version}", backend="cpu"
    )


class Device:
    """An opened CPU.

    Attributes
    ----------
    copies : module
        Where copies and fills are written: the hooks find it here, since an import statement takes longer than a
        small copy.
    """

    def __init__(self) -> None:
        self.copies = copies
        self.target: Target = host_target()
        self.heap = Heap()
        self.pool = Pool()
        self._streams: weakref.WeakSet[Stream] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._ending: deque[Stream] = deque()

    def create_stream(self) -> Stream:
        """A new queue."""
        stream = Stream()
        with self._lock:
            self._streams.add(stream)
        return stream

    def end_stream(self, stream: Stream) -> None:
        """Take no more work for a queue; what it holds is still done."""
        stream.close()
        if not stream.ended:
            self._ending.append(stream)

    def settle(self) -> None:
        """Wait for the work of queues that were ended: it may use what is given back now."""
        for stream in tuple(self._ending):
            stream.join()
            with contextlib.suppress(ValueError):  # another thread was faster
                self._ending.remove(stream)

    def free(self, allocation: Allocation) -> None:
        """Give memory back."""
        if self._ending:
            self.settle()
        self.heap.free(allocation)

    def unload(self, executable: Executable) -> None:
        """Unload code that no launch will use any more."""
        if self._ending:
            self.settle()
        executable.close()

    def close(self) -> None:
        """Let queued work finish and end all threads."""
        with self._lock:
            streams = list(self._streams)
        for stream in streams:
            stream.close()
        for stream in streams:
            stream.join()
        self._ending.clear()
        self.pool.close()


def health(device: Device) -> DeviceHealth:
    """Load averages and memory: a CPU that runs this is well."""
    info = memory_info()
    details: dict[str, object] = {
        "cores": device.pool.cores,
        "memory_free": info.free,
        "memory_total": info.total,
        "allocated": device.heap.used,
    }
    if hasattr(os, "getloadavg"):
        details["load"] = os.getloadavg()[0]
    return DeviceHealth(ok=True, details=details)
