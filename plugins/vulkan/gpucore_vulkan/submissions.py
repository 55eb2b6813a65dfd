"""What a stream gives to vkQueueSubmit2: structs that are built once, since building them takes ten times as long as the call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpucore_vulkan.logical_device import LogicalDevice

__all__ = ["Submission"]

_ALL_COMMANDS = 0x10000


class Submission:
    """The structs of one stream, whose fields alone change. The stream's lock guards them.

    Attributes
    ----------
    one : VkSubmitInfo2
        Of the command buffer in ``buffer``, which ends with the value of ``signal``; a stream fills them in itself.
    """

    def __init__(self, logical: LogicalDevice, semaphore: Any) -> None:
        self._bound = bound = logical.bound
        self._waits = bound.ffi.new("VkSemaphoreSubmitInfo[]", 8)
        self.signal = bound.new(
            "VkSemaphoreSubmitInfo", "SEMAPHORE_SUBMIT_INFO", semaphore=semaphore, stageMask=_ALL_COMMANDS
        )
        self.buffer = bound.new("VkCommandBufferSubmitInfo", "COMMAND_BUFFER_SUBMIT_INFO")
        self.one = self._new()
        self.one.pCommandBufferInfos, self.one.commandBufferInfoCount = self.buffer, 1
        self._many = self._new()

    def _new(self) -> Any:
        return self._bound.new(
            "VkSubmitInfo2",
            "SUBMIT_INFO_2",
            pWaitSemaphoreInfos=self._waits,
            pSignalSemaphoreInfos=self.signal,
            signalSemaphoreInfoCount=1,
        )

    def of_many(self, buffers: Any, count: int, waits: Mapping[Any, int], value: int) -> Any:
        """An array of VkCommandBufferSubmitInfo: it begins when ``waits``, by semaphore, are there, and ends with ``value``."""
        info = self._many
        self.put(info, waits)
        info.pCommandBufferInfos = buffers
        info.commandBufferInfoCount = count
        self.signal.value = value
        return info

    def put(self, info: Any, waits: Mapping[Any, int]) -> None:
        """Let a submission begin when ``waits`` are there."""
        count = info.waitSemaphoreInfoCount = len(waits)
        if count > len(self._waits):
            array = self._bound.ffi.new("VkSemaphoreSubmitInfo[]", count * 2)
            self.one.pWaitSemaphoreInfos = self._many.pWaitSemaphoreInfos = array
            self._waits = array
        stype = self.signal.sType
        for entry, (semaphore, value) in zip(self._waits, waits.items(), strict=False):
            entry.sType, entry.semaphore, entry.value, entry.stageMask = (
                stype,
                semaphore,
                value,
                _ALL_COMMANDS,
            )
