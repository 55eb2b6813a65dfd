"""Timestamps of a device on the host's clock (``VK_EXT_calibrated_timestamps``).

The clocks of device and host are read together whenever timestamps are; between two such readings the one is a straight line
of the other, so that a drift of the device's clock does not add up.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from gpucore_vulkan.logical_device import TIMESTAMPS

if TYPE_CHECKING:
    from gpucore_vulkan.device_features.physical_device import PhysicalDevice
    from gpucore_vulkan.events import TimestampPool
    from gpucore_vulkan.instance import Instance
    from gpucore_vulkan.logical_device import LogicalDevice
    from gpucore_vulkan.streams import Stream

__all__ = ["CalibratedClock", "Timestamp", "can_calibrate"]

_DEVICE_CLOCK: Final = 0  # VK_TIME_DOMAIN_DEVICE_EXT
_HOST_CLOCK: Final = (
    1  # VK_TIME_DOMAIN_CLOCK_MONOTONIC_EXT, which is what time.perf_counter_ns reads on Linux
)
_WITH_AVAILABILITY_AND_WAIT: Final = 0x1 | 0x2  # 64 bits, wait
_LONG: Final = 10_000_000
"""Nanoseconds between two readings of both clocks from which on their ratio is measured better than the driver states it."""


def can_calibrate(instance: Instance, physical: PhysicalDevice) -> bool:
    """Whether the device's clock and that of ``time.perf_counter_ns`` can be read together."""
    if TIMESTAMPS not in physical.extensions or sys.platform != "linux":
        return False
    if not physical.families or not any(family[2] for family in physical.families):
        return False
    ffi = instance.bound.ffi
    get = instance.vk.vkGetPhysicalDeviceCalibrateableTimeDomainsEXT
    count = ffi.new("uint32_t*")
    if get(physical.handle, count, ffi.NULL):
        return False
    domains = ffi.new("VkTimeDomainEXT[]", max(count[0], 1))
    if get(physical.handle, count, domains):
        return False
    return {_DEVICE_CLOCK, _HOST_CLOCK} <= {int(domains[n]) for n in range(count[0])}


class Timestamp:
    """A mark in a stream: its query, and the value that the stream's semaphore has once it was written."""

    __slots__ = ("slot", "stream", "value")

    def __init__(self, stream: Stream, value: int, slot: tuple[Any, int]) -> None:
        self.stream = stream
        self.value = value
        self.slot = slot


class CalibratedClock:
    """Marks points of streams and tells when they were passed."""

    def __init__(self, logical: LogicalDevice, pool: TimestampPool) -> None:
        self._logical = logical
        self._pool = pool
        self._lock = threading.RLock()
        self._mask = (1 << (logical.queues[0].timestamp_bits or 64)) - 1
        self._last: tuple[int, int] | None = None

    def record(self, stream: Stream, begins: bool) -> Timestamp:
        """Mark this point; what ``begins`` is sent with the work that follows, so that the time in between is not counted."""
        device = self._logical
        device.alive()
        slot = self._pool.take()
        full = False
        with stream.lock:
            # it is written once all commands before are done, and what ends needs no barrier that would be timed with it
            write = device.vk.vkCmdWriteTimestamp2
            copying = stream.mark_queue()
            if copying is not None:
                value = stream.record_apart(copying, write, 0x10000, slot[0], slot[1], is_apart=begins)
                if not begins:
                    stream._flush()
                return Timestamp(stream, value, slot)
            value = stream.record(write, 0x10000, slot[0], slot[1], is_apart=begins)
            made = Timestamp(stream, value, slot)
            if begins:
                stream.limit = max(stream.limit, stream.count + 2)
            elif stream.count >= stream.limit:
                full = stream.after()
        if full:
            stream.make_room()
        return made

    def _read_clocks(self) -> tuple[int, int]:
        """The device's ticks and the host's nanoseconds at one moment."""
        device = self._logical
        bound = device.bound
        infos = bound.ffi.new("VkCalibratedTimestampInfoEXT[]", 2)
        for number, domain in enumerate((_DEVICE_CLOCK, _HOST_CLOCK)):
            infos[number].sType = 1000184000
            infos[number].timeDomain = domain
        out = bound.ffi.new("uint64_t[]", 2)
        deviation = bound.ffi.new("uint64_t*")
        code = device.vk.vkGetCalibratedTimestampsEXT(device.handle, 2, infos, out, deviation)
        device.check(code, "vkGetCalibratedTimestampsEXT")
        return int(out[0]) & self._mask, int(out[1])

    def read(self, timestamps: Sequence[Timestamp]) -> list[int]:
        """When the marks were passed, in nanoseconds of ``time.perf_counter_ns``, waiting for them."""
        device = self._logical
        latest: dict[Stream, int] = {}
        for timestamp in timestamps:
            latest[timestamp.stream] = max(latest.get(timestamp.stream, 0), timestamp.value)
        for stream, value in latest.items():
            stream.alive()
            if stream.value < value:
                stream.flush()
            stream.wait(value)
        out = device.bound.ffi.new("uint64_t*")
        ticks = []
        for timestamp in timestamps:
            pool, number = timestamp.slot
            code = device.vk.vkGetQueryPoolResults(
                device.handle, pool, number, 1, 8, out, 8, _WITH_AVAILABILITY_AND_WAIT
            )
            device.check(code, "vkGetQueryPoolResults")
            ticks.append(int(out[0]) & self._mask)
        self._pool.give_back([timestamp.slot for timestamp in timestamps])
        with self._lock:
            return self._on_host(ticks)

    def _on_host(self, ticks: list[int]) -> list[int]:
        now, host = self._read_clocks()
        period = self._logical.physical.timestamp_period
        if self._last is not None and host - self._last[1] >= _LONG:
            span = (now - self._last[0]) & self._mask
            measured = (host - self._last[1]) / span if span else period
            # the counter may have wrapped in between
            period = measured if abs(measured - period) < 0.01 * period else period
        self._last = (now, host)
        return [host - round(((now - tick) & self._mask) * period) for tick in ticks]
