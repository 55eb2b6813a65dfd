"""Events: a stream's semaphore and the value it takes, and for timing ones a timestamp."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

from gpucore.errors import DeviceError

if TYPE_CHECKING:
    from gpucore_vulkan.logical_device import LogicalDevice
    from gpucore_vulkan.streams import Stream

__all__ = ["Event", "TimestampPool"]

QUERIES: Final = 256


class TimestampPool:
    """Timestamp queries of a device, handed out one by one.  Thread-safe."""

    def __init__(self, logical: LogicalDevice) -> None:
        self.logical = logical
        self._lock = threading.RLock()
        self._pools: list[Any] = []
        self._free: list[tuple[Any, int]] = []
        self._later: dict[tuple[Any, int], tuple[Stream, int]] = {}

    def take(self) -> tuple[Any, int]:
        """A query that was reset: its pool and number.

        Reset by the host: a command that resets it would take its time between the work and the mark behind it.
        """
        with self._lock:
            while not self._free:  # a finalizer may take what was just freed
                for slot, (stream, value) in list(self._later.items()):
                    if stream.passed(value) and self._later.pop(slot, None) is not None:
                        self._free.append(slot)
                if not self._free:
                    self._make()
            slot = self._free.pop()
        self.logical.vk.vkResetQueryPool(self.logical.handle, *slot, 1)
        return slot

    def _make(self) -> None:
        device = self.logical
        info = device.bound.new(
            "VkQueryPoolCreateInfo", "QUERY_POOL_CREATE_INFO", queryType=2, queryCount=QUERIES
        )
        out = device.bound.ffi.new("VkQueryPool*")
        device.check(device.vk.vkCreateQueryPool(device.handle, info, device.null, out), "vkCreateQueryPool")
        self._pools.append(out[0])
        self._free += [(out[0], n) for n in range(QUERIES)]

    def give(self, stream: Stream, value: int, slot: tuple[Any, int]) -> None:
        """Give a query back once the stream has passed the value."""
        with self._lock:
            self._later[slot] = stream, value

    def give_back(self, slots: list[tuple[Any, int]]) -> None:
        """Give queries back that were read."""
        with self._lock:
            self._free += slots

    def close(self) -> None:
        """Destroy the pools."""
        device = self.logical
        for pool in self._pools:
            device.vk.vkDestroyQueryPool(device.handle, pool, device.null)


class Event:
    """A mark in a stream: passed once the stream's semaphore has ``value``."""

    __slots__ = ("logical", "pool", "slot", "stream", "timing", "value")

    def __init__(self, pool: TimestampPool, timing: bool) -> None:
        self.logical = pool.logical
        self.timing = timing
        self.pool = pool
        self.stream: Stream | None = None
        self.value = 0
        self.slot: tuple[Any, int] | None = None

    def _alive(self) -> None:
        if self.stream is not None:
            self.stream.alive()
        self.logical.alive()

    def record(self, stream: Stream) -> None:
        """Move the mark here and send on the stream's work."""
        device = self.logical
        device.alive()
        if not self.timing:
            with stream.lock:
                stream._flush()
                self.stream, self.value = stream, stream.value
                full = stream.is_full()
            if full:
                stream.make_room()
            return
        self.release()
        slot = self.pool.take()
        with stream.lock:
            stream.record(device.vk.vkCmdWriteTimestamp2, 0x10000, slot[0], slot[1])
            stream._flush()
            self.stream, self.value, self.slot = stream, stream.value, slot
            full = stream.is_full()
        if full:
            stream.make_room()

    def wait(self, stream: Stream) -> None:
        """Let a stream's later work wait for the mark."""
        self._alive()
        if self.stream is not None and self.value:
            stream.wait_for(self.stream.semaphore, self.value)

    def query(self) -> bool:
        """Whether the mark was passed."""
        self._alive()
        if self.stream is None:
            return True
        with self.stream.lock:
            return self.stream.completed() >= self.value

    def synchronize(self) -> None:
        """Block until the mark was passed."""
        self._alive()
        if self.stream is not None and self.value:
            self.stream.wait(self.value)

    def ticks(self) -> int:
        """The timestamp, once there."""
        device = self.logical
        if self.slot is None:
            raise DeviceError("an event must be made for timing and recorded before time can be measured")
        self.synchronize()
        out = device.bound.ffi.new("uint64_t*")
        code = device.vk.vkGetQueryPoolResults(
            device.handle, self.slot[0], self.slot[1], 1, 8, out, 8, 0x1 | 0x2
        )
        device.check(code, "vkGetQueryPoolResults")
        return int(out[0])

    def until(self, end: Event) -> float:
        """Milliseconds from this mark to another."""
        bits = self.logical.queues[0].timestamp_bits or 64
        span = 1 << bits
        elapsed = (end.ticks() - self.ticks()) % span
        if elapsed >= span // 2:
            elapsed -= span
        return elapsed * self.logical.physical.timestamp_period / 1e6

    def release(self) -> None:
        """Give the query back."""
        if self.slot is not None and self.stream is not None and not self.stream.closed:
            self.pool.give(self.stream, self.value, self.slot)
        self.slot = None
