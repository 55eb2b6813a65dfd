"""The logical device: a VkDevice, its functions and queues, and what its results mean."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from threading import get_ident
from time import sleep
from typing import Any

from gpucore.errors import BackendUnavailableError, DeviceError, DeviceLostError
from gpucore_vulkan.device_features.physical_device import (
    FEATURE_STRUCTS,
    PhysicalDevice,
    enable,
    feature_chain,
)
from gpucore_vulkan.instance import Instance
from gpucore_vulkan.loader import DEVICE_LOST, Functions, result_name

__all__ = ["TIMESTAMPS", "LogicalDevice", "Queue"]

MAX_QUEUES = 8
MAX_COPY_QUEUES = 2
TIMESTAMPS = "VK_EXT_calibrated_timestamps"


class Queue:
    """A VkQueue; submissions to it are one at a time."""

    __slots__ = ("family", "handle", "lock", "timestamp_bits")

    def __init__(self, handle: Any, family: int, timestamp_bits: int) -> None:
        self.handle = handle
        self.family = family
        self.timestamp_bits = timestamp_bits
        self.lock = threading.RLock()


class LogicalDevice:
    """A VkDevice with its queues: what everything that is made on a device needs of it.

    Attributes
    ----------
    queues, copy_queues : list[Queue]
        Those of streams; those that only copy, for uploads and for downloads, where the device has such.
    barrier, last_barrier, copy_barrier, last_copy_barrier : object
        VkDependencyInfo between commands of a stream, and at the end of a command buffer; of a queue that only copies.
    recent : deque[str]
        The names of the last kernels launched, for the message when the device is lost.
    lost : str | None
        Why the device is gone.
    closed : bool
        Whether it is being destroyed: nothing is given back to it one by one.
    waiting, copying : dict[object, int]
        The threads of calls that look at semaphores without a stream's lock, and of copies: closing waits for them.
    """

    def __init__(self, instance: Instance, physical: PhysicalDevice) -> None:
        self.instance = instance
        self.physical = physical
        self.bound = instance.bound
        self.null = self.bound.ffi.NULL
        self.recent: deque[str] = deque(maxlen=8)
        self.lost: str | None = None
        self.closed = False
        self.waiting: dict[object, int] = {}
        self.copying: dict[object, int] = {}
        self._create()
        self._build_barriers()

    def _create(self) -> None:
        bound, physical = self.bound, self.physical
        ffi = bound.ffi
        family = self._compute_family()
        count = min(physical.families[family][1], MAX_QUEUES)
        priorities = ffi.new("float[]", [1.0] * max(count, MAX_COPY_QUEUES))
        wanted_queues = [(family, count)]
        wanted_queues += self._copy_families()
        queue_infos = ffi.new("VkDeviceQueueCreateInfo[]", len(wanted_queues))
        for entry, (number, queues) in zip(queue_infos, wanted_queues, strict=True):
            entry.sType = bound.lib.VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO
            entry.queueFamilyIndex, entry.queueCount, entry.pQueuePriorities = number, queues, priorities
        first, structs = feature_chain(self.instance, physical.version, physical.extensions)
        enable(structs, physical.features)
        wanted = ["VK_KHR_portability_subset", "VK_EXT_memory_budget", TIMESTAMPS]
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
            "VkDeviceCreateInfo", "DEVICE_CREATE_INFO", pNext=first, queueCreateInfoCount=len(wanted_queues),
            pQueueCreateInfos=queue_infos, enabledExtensionCount=len(names), ppEnabledExtensionNames=array,
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
        made = [[self._queue(number, n) for n in range(queues)] for number, queues in wanted_queues]
        self.queues: list[Queue] = made[0]
        self.copy_queues: list[Queue] = list(itertools.chain(*made[1:]))

    def _queue(self, family: int, number: int) -> Queue:
        out = self.bound.ffi.new("VkQueue*")
        self.vk.vkGetDeviceQueue(self.handle, family, number, out)
        return Queue(out[0], family, self.physical.families[family][2])

    def _copy_families(self) -> list[tuple[int, int]]:
        """Families that do nothing but copy, and how many of their queues are used: they are the copy engines, which run beside
        compute."""
        for number, (flags, queues, _) in enumerate(self.physical.families):
            # TRANSFER; whether SPARSE_BINDING and PROTECTED does not matter
            if queues and flags & 0x4 and not flags & ~0x1C:
                return [(number, min(queues, MAX_COPY_QUEUES))]
        return []

    def _compute_family(self) -> int:
        """A family with compute and timestamps, the general one first: it also has the fastest copies."""
        candidates = [(n, f) for n, f in enumerate(self.physical.families) if f[0] & 2]
        return max(candidates, key=lambda c: (c[1][2] > 0, bool(c[1][0] & 1), c[1][1], -c[0]))[0]

    def _build_barriers(self) -> None:
        """Barriers between commands of a stream: compute and transfer against the same, and against the
        host."""
        bound = self.bound
        stages = 0x800 | 0x1000  # COMPUTE_SHADER, ALL_TRANSFER
        # SHADER_WRITE and TRANSFER_WRITE; with their reads, by name: with MEMORY_READ, a kernel and its barrier take an H200 5.7
        # us instead of 2.5
        writes, anything = 0x40 | 0x1000, 0x20 | 0x40 | 0x800 | 0x1000
        with_host = anything | 0x2000 | 0x4000
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
        self.last_barrier = make(stages | 0x4000, with_host)
        # of queues that only copy, which know no other stages
        stages, writes, anything = 0x1000, 0x1000, 0x800 | 0x1000
        self.copy_barrier = make(stages, anything)
        self.last_copy_barrier = make(stages | 0x4000, anything | 0x2000 | 0x4000)

    def alive(self) -> None:
        """Fail fast once the device is lost or closed."""
        if self.lost is not None:
            raise DeviceLostError(self.lost, code=DEVICE_LOST, name="VK_ERROR_DEVICE_LOST")
        if self.closed:
            raise DeviceError(f"{self.physical.info.name} was closed")

    def check(self, code: int, what: str) -> None:
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

    def wait_for_users(self) -> None:
        """Wait until no other thread is in a wait or a copy; whoever comes from now on finds everything closed."""
        own = get_ident()
        while any(thread != own for users in (self.waiting, self.copying) for thread in list(users.values())):
            sleep(200e-6)

    def destroy(self) -> None:
        """Destroy it; all that was made on it is gone."""
        self.vk.vkDestroyDevice(self.handle, self.null)
