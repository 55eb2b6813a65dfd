"""Memory figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpucore.errors import NotSupportedError
from gpucore.hookspecs import MemoryInfo

if TYPE_CHECKING:
    from gpucore_vulkan.device import Device

__all__ = ["memory_info", "process_memory"]


def _budget(device: Device) -> tuple[int, int] | None:
    """What the driver grants the process of the device's heap, and what it uses; None where it does not
    say."""
    if "VK_EXT_memory_budget" not in device.physical.extensions:
        return None
    bound = device.bound
    budget = bound.new(
        "VkPhysicalDeviceMemoryBudgetPropertiesEXT", "PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT"
    )
    properties = bound.new(
        "VkPhysicalDeviceMemoryProperties2", "PHYSICAL_DEVICE_MEMORY_PROPERTIES_2", pNext=budget
    )
    device.instance.vk.vkGetPhysicalDeviceMemoryProperties2(device.physical.handle, properties)
    heap = device.memory.device_heap
    return int(budget.heapBudget[heap]), int(budget.heapUsage[heap])


def memory_info(device: Device) -> MemoryInfo:
    """Free and total bytes of the device's heap; without the driver's word, what this process has left of
    it."""
    device.alive()
    heap = device.memory.device_heap
    total = device.physical.heaps[heap][0]
    figures = _budget(device)
    if figures is None:
        return MemoryInfo(max(total - device.memory.used[heap], 0), total)
    granted, used = figures
    return MemoryInfo(max(min(granted, total) - used, 0), total)


def process_memory(device: Device) -> int:
    """Bytes of the device's heap that this process holds."""
    device.alive()
    figures = _budget(device)
    if figures is None:
        raise NotSupportedError(
            f"{device.physical.info.name} does not tell this process's memory (VK_EXT_memory_budget)",
            capability="process_memory",
        )
    return figures[1]
