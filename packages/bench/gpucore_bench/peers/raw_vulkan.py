"""Vulkan as one would write it by hand: the raw cffi functions of the package ``vulkan``, structs built beforehand.

This is what a launch costs where nothing stands between Python and the driver.  The wrappers of the package are not used, they
cost tens of microseconds a call.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any, Final

import numpy as np

from gpucore_bench.model import Arrays, Maker, MissingPeerError, Runner, Simple, Work
from gpucore_bench.peers import need
from gpucore_bench.peers.raw_vulkan_shader import ONE, SIXTEEN

LABEL: Final = "vulkan-cffi"
N: Final = 256
VULKAN_1_3: Final = (1 << 22) | (3 << 12)
COMPUTE: Final = 0x20
"""VK_SHADER_STAGE_COMPUTE_BIT, and VK_QUEUE_COMPUTE_BIT is 2."""
FOREVER: Final = (1 << 64) - 1
TRIALS: Final = 24
SCALARS: Final = (1.0, 2.0, 3.0, 4.0, 1, 2, 3, 4)
"""What follows the arrays in a launch of sixteen arguments."""


class _Functions:
    """Entry points by name, each looked up once."""

    def __init__(self, ffi: Any, get: Callable[[Any, bytes], Any], handle: Any) -> None:
        self._ffi, self._get, self._handle = ffi, get, handle

    def __getattr__(self, name: str) -> Any:
        pointer = self._get(self._handle, name.encode())
        if pointer == self._ffi.NULL:
            raise MissingPeerError(f"the Vulkan driver lacks {name}")
        function = self._ffi.cast(f"PFN_{name}", pointer)
        setattr(self, name, function)
        return function


def _check(code: int) -> None:
    if code < 0:
        raise RuntimeError(f"Vulkan failed with VkResult {code}")


class RawVulkan:
    """An instance, a device, a queue, one buffer and one pipeline; ``place`` is the device's among all that Vulkan shows."""

    def __init__(self, wanted: str, arguments: int = 1) -> None:
        self.arrays = 1 if arguments == 1 else 8
        self._shader = ONE if arguments == 1 else SIXTEEN
        # the module beneath the wrappers: the parsed headers and the loader library
        package = need("vulkan._vulkan")
        self.ffi, self._lib = package.ffi, package.lib
        self._kept: list[Any] = []
        self.between: tuple[Any, ...] = ()
        self._closers: list[Callable[[], object]] = []
        try:
            self._open(wanted)
        except BaseException:
            self.close()
            raise

    def new(self, kind: str, stype: str | None = None, **fields: Any) -> Any:
        """A struct that lives as long as this object, its ``sType`` set."""
        made = self.ffi.new(f"{kind}*")
        if stype is not None:
            made.sType = getattr(self._lib, f"VK_STRUCTURE_TYPE_{stype}")
        for name, value in fields.items():
            setattr(made, name, value)
        self._kept.append(made)
        return made

    def _make(self, create: Any, destroy: Any, kind: str, info: Any) -> Any:
        """Create a child of the device, destroyed at the end."""
        out = self.ffi.new(f"{kind}*")
        _check(create(self.device, info, self.ffi.NULL, out))
        handle = out[0]
        self._closers.append(lambda: destroy(self.device, handle, self.ffi.NULL))
        return handle

    def _open(self, wanted: str) -> None:
        ffi, null = self.ffi, self.ffi.NULL
        app = self.new("VkApplicationInfo", "APPLICATION_INFO", apiVersion=VULKAN_1_3)
        info = self.new("VkInstanceCreateInfo", "INSTANCE_CREATE_INFO", pApplicationInfo=app)
        out = ffi.new("VkInstance*")
        get = self._lib.vkGetInstanceProcAddr
        code = _Functions(ffi, get, null).vkCreateInstance(info, null, out)
        if code < 0:
            raise MissingPeerError(f"no Vulkan instance can be made (VkResult {code})")
        instance = out[0]
        self.of_instance = of_instance = _Functions(ffi, get, instance)
        self._closers.append(lambda: of_instance.vkDestroyInstance(instance, null))
        physical = self._physical(instance, wanted)
        family = self._family(physical)
        priority = ffi.new("float[]", [1.0])
        queues = self.new(
            "VkDeviceQueueCreateInfo", "DEVICE_QUEUE_CREATE_INFO", queueFamilyIndex=family, queueCount=1,
            pQueuePriorities=priority,
        )  # fmt: skip
        features = self.new(
            "VkPhysicalDeviceVulkan12Features", "PHYSICAL_DEVICE_VULKAN_1_2_FEATURES", bufferDeviceAddress=1,
            timelineSemaphore=1,
        )  # fmt: skip
        if self.modern:
            features.pNext = self.new(
                "VkPhysicalDeviceVulkan13Features", "PHYSICAL_DEVICE_VULKAN_1_3_FEATURES", synchronization2=1
            )
        info = self.new(
            "VkDeviceCreateInfo",
            "DEVICE_CREATE_INFO",
            pNext=features,
            queueCreateInfoCount=1,
            pQueueCreateInfos=queues,
        )
        made = ffi.new("VkDevice*")
        _check(of_instance.vkCreateDevice(physical, info, null, made))
        self.device = device = made[0]
        # of the device itself, past the loader's trampolines
        self.vk = vk = _Functions(ffi, of_instance.vkGetDeviceProcAddr, device)
        self._closers.append(lambda: vk.vkDestroyDevice(device, null))
        self._closers.append(lambda: vk.vkDeviceWaitIdle(device))
        queue = ffi.new("VkQueue*")
        vk.vkGetDeviceQueue(device, family, 0, queue)
        self.queue = queue[0]
        self._buffer(physical)
        self._pipeline()
        pool = self.new(
            "VkCommandPoolCreateInfo", "COMMAND_POOL_CREATE_INFO", flags=2, queueFamilyIndex=family
        )
        self.pool = self._make(vk.vkCreateCommandPool, vk.vkDestroyCommandPool, "VkCommandPool", pool)
        self._structs()

    def _physical(self, instance: Any, wanted: str) -> Any:
        ffi, vk = self.ffi, self.of_instance
        count = ffi.new("uint32_t*")
        _check(vk.vkEnumeratePhysicalDevices(instance, count, ffi.NULL))
        handles = ffi.new("VkPhysicalDevice[]", max(count[0], 1))
        _check(vk.vkEnumeratePhysicalDevices(instance, count, handles))
        for n in range(count[0]):
            ids = self.new("VkPhysicalDeviceIDProperties", "PHYSICAL_DEVICE_ID_PROPERTIES")
            both = self.new("VkPhysicalDeviceProperties2", "PHYSICAL_DEVICE_PROPERTIES_2", pNext=ids)
            vk.vkGetPhysicalDeviceProperties2(handles[n], both)
            if str(uuid.UUID(bytes=bytes(bytearray(ids.deviceUUID)))) == wanted:
                self.place = n
                self.modern = both.properties.apiVersion >= VULKAN_1_3
                return handles[n]
        raise MissingPeerError("Vulkan does not show this device")

    def _family(self, physical: Any) -> int:
        """The first family of queues that computes."""
        ffi, vk = self.ffi, self.of_instance
        count = ffi.new("uint32_t*")
        vk.vkGetPhysicalDeviceQueueFamilyProperties(physical, count, ffi.NULL)
        families = ffi.new("VkQueueFamilyProperties[]", max(count[0], 1))
        vk.vkGetPhysicalDeviceQueueFamilyProperties(physical, count, families)
        return next(n for n in range(count[0]) if families[n].queueFlags & 2)

    def _buffer(self, physical: Any) -> None:
        ffi, vk, device = self.ffi, self.vk, self.device
        # storage buffer with a device address
        info = self.new(
            "VkBufferCreateInfo", "BUFFER_CREATE_INFO", size=self.arrays * 4 * N, usage=0x20 | 0x20000
        )
        buffer = self._make(vk.vkCreateBuffer, vk.vkDestroyBuffer, "VkBuffer", info)
        needs = ffi.new("VkMemoryRequirements*")
        vk.vkGetBufferMemoryRequirements(device, buffer, needs)
        memory = ffi.new("VkPhysicalDeviceMemoryProperties*")
        self.of_instance.vkGetPhysicalDeviceMemoryProperties(physical, memory)
        fitting = [
            n for n in range(memory.memoryTypeCount)
            if needs.memoryTypeBits >> n & 1 and memory.memoryTypes[n].propertyFlags & 6 == 6
        ]  # fmt: skip
        # host-visible and coherent, in the device's own memory where there is such
        chosen = max(fitting, key=lambda n: memory.memoryTypes[n].propertyFlags & 1)
        flags = self.new("VkMemoryAllocateFlagsInfo", "MEMORY_ALLOCATE_FLAGS_INFO", flags=2)
        info = self.new(
            "VkMemoryAllocateInfo",
            "MEMORY_ALLOCATE_INFO",
            pNext=flags,
            allocationSize=needs.size,
            memoryTypeIndex=chosen,
        )
        piece = self._make(vk.vkAllocateMemory, vk.vkFreeMemory, "VkDeviceMemory", info)
        _check(vk.vkBindBufferMemory(device, buffer, piece, 0))
        mapped = ffi.new("void**")
        _check(vk.vkMapMemory(device, piece, 0, self.arrays * 4 * N, 0, mapped))
        everything = np.frombuffer(ffi.buffer(mapped[0], self.arrays * 4 * N), np.float32)
        everything[:] = 0
        self.array = everything[:N]
        where = self.new("VkBufferDeviceAddressInfo", "BUFFER_DEVICE_ADDRESS_INFO", buffer=buffer)
        address = int(vk.vkGetBufferDeviceAddress(device, where))
        self.values: tuple[Any, ...] = tuple(address + 4 * N * n for n in range(self.arrays))
        if self.arrays > 1:
            self.values += SCALARS
        self.form = struct.Struct("<Q" if self.arrays == 1 else "<8Q4f4i")

    def _pipeline(self) -> None:
        ffi, vk = self.ffi, self.vk
        words = ffi.new("uint32_t[]", len(self._shader) // 4)
        ffi.memmove(words, self._shader, len(self._shader))
        info = self.new(
            "VkShaderModuleCreateInfo", "SHADER_MODULE_CREATE_INFO", codeSize=len(self._shader), pCode=words
        )
        shader = self._make(vk.vkCreateShaderModule, vk.vkDestroyShaderModule, "VkShaderModule", info)
        pushed = self.new("VkPushConstantRange", stageFlags=COMPUTE, size=self.form.size)
        info = self.new(
            "VkPipelineLayoutCreateInfo",
            "PIPELINE_LAYOUT_CREATE_INFO",
            pushConstantRangeCount=1,
            pPushConstantRanges=pushed,
        )
        self.layout = self._make(
            vk.vkCreatePipelineLayout, vk.vkDestroyPipelineLayout, "VkPipelineLayout", info
        )
        entry = ffi.new("char[]", b"main")
        info = self.new("VkComputePipelineCreateInfo", "COMPUTE_PIPELINE_CREATE_INFO", layout=self.layout)
        info.stage.sType = self._lib.VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO
        info.stage.stage, info.stage.module, info.stage.pName = COMPUTE, shader, entry
        out = ffi.new("VkPipeline*")
        _check(vk.vkCreateComputePipelines(self.device, ffi.NULL, 1, info, ffi.NULL, out))
        self.pipeline = out[0]
        self._closers.append(lambda: vk.vkDestroyPipeline(self.device, out[0], ffi.NULL))

    def _structs(self) -> None:
        """What submitting needs: the structs are built once, two of their fields change."""
        ffi, vk = self.ffi, self.vk
        info = self.new(
            "VkCommandBufferAllocateInfo",
            "COMMAND_BUFFER_ALLOCATE_INFO",
            commandPool=self.pool,
            commandBufferCount=1,
        )
        self.buffers = ffi.new("VkCommandBuffer[]", 1)
        _check(vk.vkAllocateCommandBuffers(self.device, info, self.buffers))
        self.begin_info = self.new("VkCommandBufferBeginInfo", "COMMAND_BUFFER_BEGIN_INFO")
        # a shader's writes, seen by later shaders and by the host
        if self.modern:
            memory = self.new(
                "VkMemoryBarrier2", "MEMORY_BARRIER_2", srcStageMask=0x800, srcAccessMask=0x40, dstStageMask=0x800,
                dstAccessMask=0x60,
            )  # fmt: skip
            depends = self.new(
                "VkDependencyInfo", "DEPENDENCY_INFO", memoryBarrierCount=1, pMemoryBarriers=memory
            )
            # fewer arguments for cffi to convert
            self.barrier, self.between = vk.vkCmdPipelineBarrier2, (depends,)
        else:
            memory = self.new("VkMemoryBarrier", "MEMORY_BARRIER", srcAccessMask=0x40, dstAccessMask=0x60)
            self.barrier = vk.vkCmdPipelineBarrier
            self.between = (0x800, 0x800, 0, 1, memory, 0, ffi.NULL, 0, ffi.NULL)
        self.to_host = self.new("VkMemoryBarrier", "MEMORY_BARRIER", srcAccessMask=0x40, dstAccessMask=0x2000)
        fence = self.new("VkFenceCreateInfo", "FENCE_CREATE_INFO")
        self.fences = ffi.new(
            "VkFence[]", [self._make(vk.vkCreateFence, vk.vkDestroyFence, "VkFence", fence)]
        )
        self.plain = self.new(
            "VkSubmitInfo", "SUBMIT_INFO", commandBufferCount=1, pCommandBuffers=self.buffers
        )
        kind = self.new("VkSemaphoreTypeCreateInfo", "SEMAPHORE_TYPE_CREATE_INFO", semaphoreType=1)
        info = self.new("VkSemaphoreCreateInfo", "SEMAPHORE_CREATE_INFO", pNext=kind)
        semaphore = self._make(vk.vkCreateSemaphore, vk.vkDestroySemaphore, "VkSemaphore", info)
        self.semaphores, self.counter = ffi.new("VkSemaphore[]", [semaphore]), ffi.new("uint64_t[]", 1)
        values = self.new(
            "VkTimelineSemaphoreSubmitInfo", "TIMELINE_SEMAPHORE_SUBMIT_INFO", signalSemaphoreValueCount=1,
            pSignalSemaphoreValues=self.counter,
        )  # fmt: skip
        self.signalling = self.new(
            "VkSubmitInfo", "SUBMIT_INFO", pNext=values, commandBufferCount=1, pCommandBuffers=self.buffers,
            signalSemaphoreCount=1, pSignalSemaphores=self.semaphores,
        )  # fmt: skip
        self.waiting = self.new(
            "VkSemaphoreWaitInfo",
            "SEMAPHORE_WAIT_INFO",
            semaphoreCount=1,
            pSemaphores=self.semaphores,
            pValues=self.counter,
        )

    def begin(self) -> Any:
        """Open the command buffer, the pipeline bound."""
        buffer, vk = self.buffers[0], self.vk
        _check(vk.vkBeginCommandBuffer(buffer, self.begin_info))
        vk.vkCmdBindPipeline(buffer, 1, self.pipeline)
        return buffer

    def end(self) -> None:
        """Close it, the result visible to the host."""
        buffer, vk, null = self.buffers[0], self.vk, self.ffi.NULL
        vk.vkCmdPipelineBarrier(buffer, 0x800, 0x4000, 0, 1, self.to_host, 0, null, 0, null)
        _check(vk.vkEndCommandBuffer(buffer))

    def by_fence(self) -> Callable[[], None]:
        """A function that submits the command buffer and waits by a fence."""
        vk, device, queue, info, fences = self.vk, self.device, self.queue, self.plain, self.fences
        fence, submit, wait, reset = fences[0], vk.vkQueueSubmit, vk.vkWaitForFences, vk.vkResetFences

        def once() -> None:
            if (
                submit(queue, 1, info, fence)
                or wait(device, 1, fences, 1, FOREVER)
                or reset(device, 1, fences)
            ):
                raise RuntimeError("Vulkan lost the device")

        return once

    def by_semaphore(self) -> Callable[[], None]:
        """The same by a timeline semaphore."""
        vk, device, queue, info, waiting = self.vk, self.device, self.queue, self.signalling, self.waiting
        null, values, submit, wait = self.ffi.NULL, self.counter, vk.vkQueueSubmit, vk.vkWaitSemaphores

        def once() -> None:
            values[0] += 1
            if submit(queue, 1, info, null) or wait(device, waiting, FOREVER):
                raise RuntimeError("Vulkan lost the device")

        return once

    def close(self) -> None:
        """Destroy everything, the youngest first."""
        while self._closers:
            self._closers.pop()()


def _batches(repeats: int, batch: int) -> Iterator[int]:
    while repeats:
        yield min(repeats, batch)
        repeats -= min(repeats, batch)


def _quickest(choices: list[Callable[[], None]]) -> Callable[[], None]:
    """The way of waiting that this driver is quickest at; they alternate."""
    best = [float("inf")] * len(choices)
    for _ in range(TRIALS):
        for n, once in enumerate(choices):
            start = perf_counter()
            once()
            best[n] = min(best[n], perf_counter() - start)
    return choices[best.index(min(best))]


def wait() -> dict[str, Maker]:
    """One recorded dispatch, submitted and waited for, by whichever way of waiting is quicker."""

    def make(work: Work, inputs: Arrays, context: Any) -> Runner:
        raw = RawVulkan(context.device.uuid)
        vk, buffer = raw.vk, raw.begin()
        vk.vkCmdPushConstants(buffer, raw.layout, COMPUTE, 0, raw.form.size, raw.form.pack(*raw.values))
        vk.vkCmdDispatch(buffer, 1, 1, 1)
        raw.end()
        once = _quickest([raw.by_fence(), raw.by_semaphore()])
        raw.array[:] = 0
        return Simple(once=once, fetch=raw.array.copy, release=raw.close)

    return {LABEL: make}


def enqueue(batch: int, prepacked: bool, arguments: int) -> dict[str, Maker]:
    """Dispatches recorded one after the other, each ordered after the last, and submitted ``batch`` at a time.

    Recording and submitting are counted, waiting for the device is not.  ``prepacked`` leaves out packing the arguments and
    binding the pipeline again.
    """

    def make(work: Work, inputs: Arrays, context: Any) -> Runner:
        raw = RawVulkan(context.device.uuid, arguments)
        vk, layout, pipeline = raw.vk, raw.layout, raw.pipeline
        barrier, bind, push, dispatch = (
            raw.barrier, vk.vkCmdBindPipeline, vk.vkCmdPushConstants, vk.vkCmdDispatch,
        )  # fmt: skip
        between, values, pack, size = raw.between, raw.values, raw.form.pack, raw.form.size
        packed, buffer = pack(*values), raw.buffers[0]
        submit, queue, info, fences = vk.vkQueueSubmit, raw.queue, raw.plain, raw.fences

        def checked() -> None:
            barrier(buffer, *between)
            bind(buffer, 1, pipeline)
            push(buffer, layout, COMPUTE, 0, size, pack(*values))
            dispatch(buffer, 1, 1, 1)

        def bound() -> None:
            barrier(buffer, *between)
            push(buffer, layout, COMPUTE, 0, size, packed)
            dispatch(buffer, 1, 1, 1)

        record = bound if prepacked else checked

        def timed(repeats: int) -> float:
            total = 0.0
            for n in _batches(repeats, batch):
                start = perf_counter()
                raw.begin()
                for _ in range(n):
                    record()
                raw.end()
                code = submit(queue, 1, info, fences[0])
                total += perf_counter() - start
                _check(code)
                _check(vk.vkWaitForFences(raw.device, 1, fences, 1, FOREVER))
                _check(vk.vkResetFences(raw.device, 1, fences))
            return total

        return Simple(once=lambda: timed(1), fetch=raw.array.copy, timed=timed, release=raw.close)

    return {LABEL: make}
