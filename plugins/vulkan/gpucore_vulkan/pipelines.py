"""What pipelines of a device share: their layout, the driver's cache, and the list of what is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpucore_vulkan.storage import PipelineCache

if TYPE_CHECKING:
    from gpucore_vulkan.logical_device import LogicalDevice

__all__ = ["PipelineContext"]


class PipelineContext:
    """What pipelines of a device share.

    Attributes
    ----------
    layout : object
        The VkPipelineLayout of all kernels: push constants and nothing else.
    executables : set
        The loaded kernels, for the end of the device.
    """

    def __init__(self, logical: LogicalDevice) -> None:
        self.logical = logical
        self.layout = self._make_layout()
        self.cache = PipelineCache(logical)
        self.executables: set[Any] = set()

    def _make_layout(self) -> Any:
        logical, bound = self.logical, self.logical.bound
        size = min(logical.physical.push_constants, 256)
        span = bound.new("VkPushConstantRange", stageFlags=0x20, offset=0, size=size)
        info = bound.new(
            "VkPipelineLayoutCreateInfo", "PIPELINE_LAYOUT_CREATE_INFO", pushConstantRangeCount=1,
            pPushConstantRanges=span,
        )  # fmt: skip
        out = bound.ffi.new("VkPipelineLayout*")
        logical.check(
            logical.vk.vkCreatePipelineLayout(logical.handle, info, logical.null, out),
            "vkCreatePipelineLayout",
        )
        return out[0]

    def close(self) -> None:
        """Destroy everything; no launch is pending."""
        self.cache.close()
        for executable in list(self.executables):
            executable.close()
        self.logical.vk.vkDestroyPipelineLayout(self.logical.handle, self.layout, self.logical.null)
