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
    """A command pool, and its buffers that nothing uses; made when the first is wanted. The stream's lock guards it."""

    def __init__(self, logical: LogicalDevice, family: int) -> None:
        self._logical = logical
        self._family = family
        self._pool: Any = None
        self.begin = logical.vk.vkBeginCommandBuffer
        self.begin_info = logical.bound.new("VkCommandBufferBeginInfo", "COMMAND_BUFFER_BEGIN_INFO", flags=1)
        self.spare: list[Any] = []

    def begun(self) -> Any:
        """A buffer to record into."""
        if not self.spare:
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
        if self._pool is None:
            info = bound.new(
                "VkCommandPoolCreateInfo", "COMMAND_POOL_CREATE_INFO", flags=_TRANSIENT_AND_RESET,
                queueFamilyIndex=self._family,
            )  # fmt: skip
            pool = bound.ffi.new("VkCommandPool*")
            device.check(
                vk.vkCreateCommandPool(device.handle, info, device.null, pool), "vkCreateCommandPool"
            )
            self._pool = pool[0]
        out = bound.ffi.new("VkCommandBuffer[]", AT_ONCE)
        info = bound.new(
            "VkCommandBufferAllocateInfo", "COMMAND_BUFFER_ALLOCATE_INFO", commandPool=self._pool,
            commandBufferCount=AT_ONCE,
        )  # fmt: skip
        device.check(vk.vkAllocateCommandBuffers(device.handle, info, out), "vkAllocateCommandBuffers")
        self.spare += list(out)

    def destroy(self) -> None:
        """Give everything back to the driver."""
        if self._pool is not None:
            device = self._logical
            device.vk.vkDestroyCommandPool(device.handle, self._pool, device.null)
