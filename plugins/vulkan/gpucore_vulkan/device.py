"""An opened device: the logical device and all that is made on it."""

from __future__ import annotations

import itertools
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from gpucore.errors import BackendUnavailableError
from gpucore.hookspecs import DeviceCapabilities, Target
from gpucore_vulkan.device_features.physical_device import PhysicalDevice, inspect
from gpucore_vulkan.device_features.targets import advertised_target
from gpucore_vulkan.events import TimestampPool
from gpucore_vulkan.instance import Instance, instance
from gpucore_vulkan.loader import Unavailable
from gpucore_vulkan.logical_device import LogicalDevice
from gpucore_vulkan.memory import MemoryManager
from gpucore_vulkan.pipelines import PipelineContext
from gpucore_vulkan.routines import Routines
from gpucore_vulkan.staging import Staging
from gpucore_vulkan.streams import Stream
from gpucore_vulkan.timestamps import CalibratedClock

__all__ = ["Device"]


_FOLDER = str(Path(__file__).parent)
_left: deque[Callable[[], None]] = deque()
"""What destroys devices that a finalizer closed in the middle of a call of its thread; done when a device is opened or closed
next."""


class Ending(Protocol):
    """What holds Vulkan objects of a device and gives them up when the device ends."""

    def end(self) -> None: ...


class Device:
    """An opened device.

    Attributes
    ----------
    logical : LogicalDevice
        The VkDevice; another one after a reset.
    graphs : set[Ending]
        What holds command buffers of its own, for the end of the device.
    target, capabilities
        What code is compiled for and what users are told, once asked for.
    """

    def __init__(self, ordinal: int, options: Mapping[str, Any]) -> None:
        _destroy_left()
        try:
            self.instance: Instance = instance(options.get("validation"))
            handles = self.instance.physical_devices()
        except Unavailable as error:
            raise BackendUnavailableError(f"Vulkan cannot be used: {error}") from None
        if ordinal >= len(handles):
            raise BackendUnavailableError(
                f"Vulkan has {len(handles)} device(s); there is no number {ordinal}"
            )
        self.physical: PhysicalDevice = inspect(self.instance, handles[ordinal], ordinal)
        if self.physical.problem is not None:
            raise BackendUnavailableError(" ".join(self.physical.problem))
        self.bound = self.instance.bound
        self._lock = threading.RLock()
        self._open()

    def _open(self) -> None:
        self.logical = logical = LogicalDevice(self.instance, self.physical)
        self._next_queue = itertools.cycle(logical.queues)
        self._streams: list[Stream] = []
        self._idle_streams: list[Stream] = []
        self.graphs: set[Ending] = set()
        self.memory = MemoryManager(logical)
        self.pipelines = PipelineContext(logical)
        self.timestamps = TimestampPool(logical)
        self.clock = CalibratedClock(logical, self.timestamps)
        self.staging = Staging(self.memory)
        self.routines = Routines(self.pipelines, advertised_target(self.physical))
        self.target: Target | None = None
        self.capabilities: DeviceCapabilities | None = None

    @property
    def lost(self) -> str | None:
        """Why the device is gone."""
        return self.logical.lost

    @property
    def closed(self) -> bool:
        """Whether the device was closed."""
        return self.logical.closed

    def alive(self) -> None:
        """Fail fast once the device is lost."""
        self.logical.alive()

    # --- streams -------------------------------------------------------------------------------------
    def create_stream(self) -> Stream:
        """A stream; those given back before are used again, which keeps old events valid."""
        self.alive()
        with self._lock:
            for stream in list(self._idle_streams):
                # it is gone where a finalizer took it meanwhile
                if stream.completed() >= stream.value and stream in self._idle_streams:
                    self._idle_streams.remove(stream)
                    return stream
            stream = Stream(self.logical, self.memory, next(self._next_queue))
            self._streams.append(stream)
            return stream

    def destroy_stream(self, stream: Stream) -> None:
        """Take a stream back; what was enqueued still completes."""
        if self.closed or self.lost is not None or stream.closed:
            return
        stream.flush()
        with self._lock:
            self._idle_streams.append(stream)

    def collect_memory(self) -> None:
        """Give back memory that an interrupt left to nobody, unless work is pending, which may use it."""
        if self.lost is not None:
            return
        for stream in list(self._streams):
            with stream.lock:
                if not stream.idle():
                    return
        self.memory.collect()

    def reset(self) -> None:
        """Make the device anew; all that was taken from it before is void."""
        with self._lock:
            # what was made before is void
            self.logical.lost = self.logical.lost or f"{self.physical.info.name} was reset since"
            self.logical.closed = True
            self._teardown()
            self._open()

    # --- the end -------------------------------------------------------------------------------------
    def close(self) -> None:
        """Wait for all work, and for other threads that wait or copy, and destroy everything."""
        with self._lock:
            if self.closed:
                return
            self.logical.closed = True
            self._teardown()

    def _teardown(self) -> None:
        logical = self.logical
        for stream in self._streams:
            stream.end()
        logical.wait_for_users()
        _left.append(
            partial(
                _destroy, logical, self._streams, self.graphs, self.pipelines, self.staging, self.timestamps, self.memory
            )
        )  # fmt: skip
        _destroy_left()


def _destroy(
    logical: LogicalDevice, streams: list[Stream], graphs: set[Ending], pipelines: PipelineContext, staging: Staging,
    timestamps: TimestampPool, memory: MemoryManager,
) -> None:  # fmt: skip
    """Give everything back to the driver."""
    logical.vk.vkDeviceWaitIdle(logical.handle)
    for graph in graphs:
        graph.end()
    graphs.clear()
    pipelines.close()
    staging.close()
    for stream in streams:
        stream.destroy()
    timestamps.close()
    memory.close()
    logical.destroy()


def _destroy_left() -> None:
    """Destroy what was closed, unless this thread is in the middle of another call, which may use it."""
    if _is_within(sys._getframe(1)):
        return
    while True:
        try:
            destroy = _left.popleft()
        except IndexError:
            return
        destroy()


def _is_within(frame: FrameType | None) -> bool:
    """Whether a thread was in the plugin already when a finalizer, or the handler of a signal, called it once more."""
    outside = False
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith(_FOLDER) and ": Vulkan launch of " not in name:
            outside = True
        elif outside:
            return True
        frame = frame.f_back
    return False
