"""The opened device: what it can do, its heap, its streams and its pool."""

from __future__ import annotations

import contextlib
import os
import platform
import reprlib
import sys
import threading
import uuid
import weakref
from collections import deque
from typing import TYPE_CHECKING

from gpucore.errors import ConfigError
from gpucore.hookspecs import DeviceCapabilities, DeviceHealth, DeviceInfo, Target
from gpucore.plugin_api import plugin_settings
from gpucore_cpu.host import ATOMICS, host_target
from gpucore_cpu.runtime import copies
from gpucore_cpu.runtime.memory import Allocation, Heap, memory_info
from gpucore_cpu.runtime.pool import Pool
from gpucore_cpu.runtime.streams import Stream

if TYPE_CHECKING:
    from gpucore_cpu.runtime.launch import Executable

__all__ = ["Device", "capabilities", "device_count", "device_infos", "health"]

SHARED_MEMORY = 64 * 1024
_EVERYTHING = frozenset({"storage", "arithmetic", "atomic", "shared", "subgroup"})
_NO_ATOMICS = _EVERYTHING - {"atomic"}

capabilities = DeviceCapabilities(
    names=frozenset(
        {
            "strict",
            "fast",
            "pinned_memory",
            "unified_memory",
            "process_memory",
            "device_health",
            "host_addressable",
            "import_memory",
            "peer_copy",
            "peer_events",
            "peer_memory",
            "timestamps",
            "graphs",
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


_MOST_DEVICES = 64


def device_count() -> int:
    """How many devices the backend shows: one, or what ``GPUCORE_CPU_DEVICES`` or ``cpu_devices`` in a file says.

    Raises
    ------
    ConfigError
        For what is no such number; it names what set it.
    """
    setting = plugin_settings("cpu", ("devices",)).get("devices")
    if setting is None:
        return 1
    value, source = setting.value, setting.source
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST_DEVICES:
        raise ConfigError(
            f"{source} wants a whole number from 1 to {_MOST_DEVICES}, not {reprlib.repr(value)}"
        )
    return value


def device_infos() -> tuple[DeviceInfo, ...]:
    """The devices of this backend: one machine, as often as the settings say."""
    import llvmlite.binding as llvm

    name = processor_name()
    version = ".".join(map(str, llvm.llvm_version_info))
    identity = f"gpucore-cpu/{platform.node()}/{name}/{os.cpu_count()}"
    return tuple(
        DeviceInfo(
            ordinal=ordinal,
            name=name + suffix,
            uuid=str(uuid.uuid5(uuid.NAMESPACE_OID, identity + suffix)),
            kind="cpu",
            driver=f"LLVM {version}",
            backend="cpu",
        )
        for ordinal in range(device_count())
        for suffix in (f" #{ordinal}" if ordinal else "",)
    )


class _SharedPool:
    """The one pool of the devices that are open: they are one machine."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._pool: Pool | None = None
        self._users = 0

    def take(self) -> Pool:
        """The pool, for one device more."""
        with self._lock:
            if self._pool is None:
                made = Pool()
                # a finalizer may have opened a device meanwhile
                self._pool = self._pool or made
            self._users += 1
            return self._pool

    def give_back(self) -> None:
        """One device less; the last one ends the threads."""
        with self._lock:
            self._users -= 1
            pool = self._pool if self._users == 0 else None
            if pool is not None:
                self._pool = None
        if pool is not None:
            pool.close()


_pool = _SharedPool()


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
        self.pool = _pool.take()
        self._open = True
        self._streams: weakref.WeakSet[Stream] = weakref.WeakSet()
        self._lock = threading.RLock()
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
        if self._open:
            self._open = False
            _pool.give_back()


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
