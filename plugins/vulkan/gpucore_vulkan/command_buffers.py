"""Command buffers of a stream for the queues of one family, used again once their work is done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from gpucore_vulkan.logical_device import LogicalDevice

__all__ = ["CommandBuffers"]

AT_ONCE: Final = 8
"""Allocating one buffer takes the driver about as long as allocating eight."""
_TRANSIENT_AND_RESET: Final = 0x3


class CommandBuffers:
    """A command pool, and its buffers that nothing uses; made when the first is wanted. The stream's lock guards it.

    The driver writes where an interrupt behind its call does not lose what it made.
    """

    def __init__(self, logical: LogicalDevice, family: int) -> None:
        self._logical = logical
        self._family = family
        self._pool = logical.bound.ffi.new("VkCommandPool*")
        self._out = logical.bound.ffi.new("VkCommandBuffer[]", AT_ONCE)
        self.begin = logical.vk.vkBeginCommandBuffer
        self.begin_info = logical.bound.new("VkCommandBufferBeginInfo", "COMMAND_BUFFER_BEGIN_INFO", flags=1)
        self.spare: list[Any] = []

    def begun(self) -> Any:
        """A buffer to record into."""
        while not self.spare:
            self.allocate()
        buffer = self.spare.pop()
        code = self.begin(buffer, self.begin_info)
        if code:
            self._logical.check(code, "vkBeginCommandBuffer")
        return buffer

    def allocate(self) -> None:
        """Make some more."""
        device = self._logical
        bound, vk = device.bound, device.vk
        if self._pool[0] == bound.ffi.NULL:
            info = bound.new(
                "VkCommandPoolCreateInfo", "COMMAND_POOL_CREATE_INFO", flags=_TRANSIENT_AND_RESET,
                queueFamilyIndex=self._family,
            )  # fmt: skip
            code = vk.vkCreateCommandPool(device.handle, info, device.null, self._pool)
            device.check(code, "vkCreateCommandPool")
        out = self._out
        if out[0] == bound.ffi.NULL:  # else it was filled when an interrupt came
            info = bound.new(
                "VkCommandBufferAllocateInfo", "COMMAND_BUFFER_ALLOCATE_INFO", commandPool=self._pool[0],
                commandBufferCount=AT_ONCE,
            )  # fmt: skip
            device.check(vk.vkAllocateCommandBuffers(device.handle, info, out), "vkAllocateCommandBuffers")
        made, following = list(out), bound.ffi.new("VkCommandBuffer[]", AT_ONCE)
        # in one step: see Stream for where others may come in between
        if self._out is out:
            self._out = following
            self.spare.extend(made)

    def destroy(self) -> None:
        """Give everything back to the driver."""
        device = self._logical
        pool, self._pool = self._pool, device.bound.ffi.new("VkCommandPool*")
        device.vk.vkDestroyCommandPool(device.handle, pool[0], device.null)
