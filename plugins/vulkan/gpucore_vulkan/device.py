"""An opened device: the VkDevice, its queues, streams, memory and pipeline cache."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Mapping
from typing import Any

from gpucore.errors import BackendUnavailableError, DeviceError, DeviceLostError
from gpucore.hookspecs import DeviceCapabilities, Target
from gpucore_vulkan import storage
from gpucore_vulkan.events import TimestampPool
from gpucore_vulkan.instance import Instance, instance
from gpucore_vulkan.loader import DEVICE_LOST, Functions, Unavailable, result_name
from gpucore_vulkan.memory import MemoryManager
from gpucore_vulkan.physical import FEATURE_STRUCTS, Physical, enable, feature_chain, inspect
from gpucore_vulkan.streams import Stream

__all__ = ["Device", "Queue"]

MAX_QUEUES = 8


class Queue:
    """A VkQueue; submissions to it are one at a time."""

    __slots__ = ("family", "handle", "lock", "timestamp_bits")

    def __init__(self, handle: Any, family: int, timestamp_bits: int) -> None:
        self.handle = handle
        self.family = family
        self.timestamp_bits = timestamp_bits
        self.lock = threading.Lock()


class Device:
    """An opened device.

    Attributes
    ----------
    recent : deque[str]
        The names of the last kernels launched, for the message when the device is lost.
    lost : str | None
        Why the device is gone.
    """

    def __init__(self, ordinal: int, options: Mapping[str, Any]) -> None:
        try:
            self.instance: Instance = instance(options.get("validation"))
            handles = self.instance.physical_devices()
        except Unavailable as error:
            raise BackendUnavailableError(f"Vulkan cannot be used: {error}") from None
        if ordinal >= len(handles):
            raise BackendUnavailableError(
                f"Vulkan has {len(handles)} device(s); there is no number {ordinal}"
            )
        self.physical: Physical = inspect(self.instance, handles[ordinal], ordinal)
        if self.physical.problem is not None:
            raise BackendUnavailableError(" ".join(self.physical.problem))
        self.bound = self.instance.bound
        self.null = self.bound.ffi.NULL
        self.recent: deque[str] = deque(maxlen=8)
        self.lost: str | None = None
        self.closed = False
        self.strict_missing = ""
        self.lanes_in_order = True
        self._lock = threading.Lock()
        self._open()

    def _open(self) -> None:
        self._create()
        self._streams: list[Stream] = []
        self._idle_streams: list[Stream] = []
        self._build_barriers()
        self.memory = MemoryManager(self)
        self.layout = self._pipeline_layout()
        self.pipeline_cache = storage.PipelineCache(self)
        self.timestamps = TimestampPool(self)
        self._executables: set[Any] = set()
        self._staging: Any = None
        self._routines: dict[str, Any] = {}
        self._target: Target | None = None
        self._capabilities: DeviceCapabilities | None = None

    def _create(self) -> None:
        bound, physical = self.bound, self.physical
        ffi = bound.ffi
        family = self._compute_family()
        count = min(physical.families[family][1], MAX_QUEUES)
        priorities = ffi.new("float[]", [1.0] * count)
        queue_info = bound.new(
            "VkDeviceQueueCreateInfo", "DEVICE_QUEUE_CREATE_INFO", queueFamilyIndex=family, queueCount=count,
            pQueuePriorities=priorities,
        )  # fmt: skip
        first, structs = feature_chain(self.instance, physical.version, physical.extensions)
        enable(structs, physical.features)
        wanted = ["VK_KHR_portability_subset", "VK_EXT_memory_budget"]
        wanted += [
            extension
            for name, (_, _, extension) in FEATURE_STRUCTS.items()
            if extension
            and name in structs
            and (physical.version < (1 << 22 | 3 << 12) or name == "atomic_float")
        ]
        names = [ffi.new("char[]", text.encode()) for text in wanted if text in physical.extensions]
        array = ffi.new("char*[]", names or [ffi.NULL])
        info = bound.new(
            "VkDeviceCreateInfo", "DEVICE_CREATE_INFO", pNext=first, queueCreateInfoCount=1,
            pQueueCreateInfos=queue_info, enabledExtensionCount=len(names), ppEnabledExtensionNames=array,
        )  # fmt: skip
        out = ffi.new("VkDevice*")
        code = self.instance.vk.vkCreateDevice(physical.handle, info, ffi.NULL, out)
        if code < 0:
            raise BackendUnavailableError(
                f"{physical.info.name} cannot be opened: {result_name(code)}. "
                "Look for other programs that hold it, or bring its driver up to date."
            )
        del structs, priorities, names
        self.handle = out[0]
        self.vk = Functions(bound, self.instance.vk.vkGetDeviceProcAddr, self.handle, suffixed=True)
        self.queues: list[Queue] = []
        for number in range(count):
            queue = ffi.new("VkQueue*")
            self.vk.vkGetDeviceQueue(self.handle, family, number, queue)
            self.queues.append(Queue(queue[0], family, physical.families[family][2]))
        self._next_queue = itertools.cycle(self.queues)

    def _compute_family(self) -> int:
        """A family with compute and timestamps, the general one first: it also has the fastest copies."""
        candidates = [(n, f) for n, f in enumerate(self.physical.families) if f[0] & 2]
        return max(candidates, key=lambda c: (c[1][2] > 0, bool(c[1][0] & 1), c[1][1], -c[0]))[0]

    def _build_barriers(self) -> None:
        """Barriers between commands of a stream: compute and transfer against the same, and against the
        host."""
        bound = self.bound
        stages = 0x800 | 0x1000  # COMPUTE_SHADER, ALL_TRANSFER
        writes, anything = (
            0x40 | 0x1000,
            0x8000 | 0x10000,
        )  # SHADER_WRITE | TRANSFER_WRITE, MEMORY_READ | WRITE
        self._barriers: list[Any] = []

        def make(destination: int, access: int) -> Any:
            memory = bound.new(
                "VkMemoryBarrier2", "MEMORY_BARRIER_2", srcStageMask=stages, srcAccessMask=writes,
                dstStageMask=destination, dstAccessMask=access,
            )  # fmt: skip
            info = bound.new(
                "VkDependencyInfo", "DEPENDENCY_INFO", memoryBarrierCount=1, pMemoryBarriers=memory
            )
            self._barriers.append(memory)
            return info

        self.barrier = make(stages, anything)
        # with HOST: what was written is read there too
        self.last_barrier = make(stages | 0x4000, anything)

    def _pipeline_layout(self) -> Any:
        bound = self.bound
        self.push_bytes = min(self.physical.push_constants, 256)
        span = bound.new("VkPushConstantRange", stageFlags=0x20, offset=0, size=self.push_bytes)
        info = bound.new(
            "VkPipelineLayoutCreateInfo", "PIPELINE_LAYOUT_CREATE_INFO", pushConstantRangeCount=1,
            pPushConstantRanges=span,
        )  # fmt: skip
        out = bound.ffi.new("VkPipelineLayout*")
        self.check(
            self.vk.vkCreatePipelineLayout(self.handle, info, self.null, out), "vkCreatePipelineLayout"
        )
        return out[0]

    # --- errors --------------------------------------------------------------------------------------
    def alive(self) -> None:
        """Fail fast once the device is lost."""
        if self.lost is not None:
            raise DeviceLostError(self.lost, code=DEVICE_LOST, name="VK_ERROR_DEVICE_LOST")

    def check(self, code: int, what: str, stream: Stream | None = None) -> None:
        """Raise what a VkResult means."""
        if code >= 0:
            return
        if code == DEVICE_LOST:
            launches = ", ".join(self.recent) or "none"
            self.lost = (
                f"{self.physical.info.name} was lost during {what}; the last launches were: {launches}. "
                "Reset the device to go on."
            )
            self.alive()
        raise DeviceError(f"{what} failed: {result_name(code)}", code=code, name=result_name(code))

    # --- streams -------------------------------------------------------------------------------------
    def create_stream(self) -> Stream:
        """A stream; those given back before are used again, which keeps old events valid."""
        self.alive()
        with self._lock:
            for stream in self._idle_streams:
                if stream.completed() >= stream.value:
                    self._idle_streams.remove(stream)
                    return stream
            stream = Stream(self, next(self._next_queue))
            self._streams.append(stream)
            return stream

    def destroy_stream(self, stream: Stream) -> None:
        """Take a stream back; what was enqueued still completes."""
        if self.closed or self.lost is not None or stream.closed:
            return
        stream.flush()
        with self._lock:
            self._idle_streams.append(stream)

    def reset(self) -> None:
        """Make the device anew; all that was taken from it before is void."""
        with self._lock:
            self._teardown()
            self.lost = None
            self.recent.clear()
            self._open()

    # --- the end -------------------------------------------------------------------------------------
    def close(self) -> None:
        """Wait for all work and destroy everything."""
        if self.closed:
            return
        self.closed = True
        self._teardown()

    def _teardown(self) -> None:
        vk, handle = self.vk, self.handle
        vk.vkDeviceWaitIdle(handle)
        self.pipeline_cache.close()
        if self._staging is not None:
            self._staging.close()
        for executable in list(self._executables):
            executable.close()
        for stream in self._streams:
            stream.close()
        self.timestamps.close()
        vk.vkDestroyPipelineLayout(handle, self.layout, self.null)
        self.memory.close()
        vk.vkDestroyDevice(handle, self.null)
