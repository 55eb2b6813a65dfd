"""Loaded kernels."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from gpucore.errors import CompileError
from gpucore.hookspecs import ObjectCode
from gpucore.plugin_api import ArgumentPacker, PackedField

if TYPE_CHECKING:
    from gpucore_vulkan.pipelines import PipelineContext

__all__ = ["Executable"]

COMPUTE: Final = 0x20  # VK_SHADER_STAGE_COMPUTE_BIT


def packer_of(meta: Mapping[str, Any]) -> ArgumentPacker:
    """The packer for arguments as the object code's metadata lists them."""
    fields = [
        PackedField(number, part, code, dtype, offset) for number, part, code, dtype, offset in meta["fields"]
    ]
    return ArgumentPacker(meta["ranks"], fields, size=meta["size"])


class Executable:
    """A loaded kernel: a shader module, and a pipeline for every block shape it was launched with.

    Attributes
    ----------
    packer : ArgumentPacker
        Of its launch arguments.
    launch_classes : dict
        Of prepared launches, by whether the grid is past the device's limit.
    ready : dict
        By block, and whether the grid is past the limit: the class and the pipeline of launches that were checked.
    """

    def __init__(self, pipelines: PipelineContext, code: ObjectCode) -> None:
        self.pipelines = pipelines
        self.logical = device = pipelines.logical
        self.meta: dict[str, Any] = dict(code.metadata)
        self.name: str = self.meta["name"]
        self._entry = code.entry
        self.packer = packer_of(self.meta)
        self.launch_classes: dict[bool, type[Any]] = {}
        self.ready: dict[tuple[tuple[int, ...], bool], tuple[type[Any], Any]] = {}
        self._lock = threading.RLock()
        self._pipelines: dict[tuple[tuple[int, int, int], bool], Any] = {}
        device.alive()
        bound = device.bound
        words = bound.ffi.new("uint32_t[]", len(code.data) // 4)
        bound.ffi.memmove(words, code.data, len(code.data))
        info = bound.new(
            "VkShaderModuleCreateInfo", "SHADER_MODULE_CREATE_INFO", codeSize=len(code.data), pCode=words
        )
        out = bound.ffi.new("VkShaderModule*")
        result = device.vk.vkCreateShaderModule(device.handle, info, device.null, out)
        if result < 0 and result != -4:
            raise CompileError(
                f"{device.physical.info.name} refuses the SPIR-V of {self.name}", log=f"VkResult {result}"
            )
        device.check(result, "vkCreateShaderModule")
        self._module: Any = out[0]
        pipelines.executables.add(self)

    def pipeline(self, block: tuple[int, int, int], folded: bool) -> Any:
        """The pipeline for a block (x, y, z), made on first use."""
        key = (block, folded)
        with self._lock:
            known = self._pipelines.get(key)
            if known is not None:
                return known
            made = self._make(block, folded)
            known = self._pipelines.setdefault(key, made)
            if known is not made:  # a finalizer made it meanwhile
                self.logical.vk.vkDestroyPipeline(self.logical.handle, made, self.logical.null)
            return known

    def _make(self, block: tuple[int, int, int], folded: bool) -> Any:
        device, bound, meta = self.logical, self.logical.bound, self.meta
        ffi = bound.ffi
        threads = block[0] * block[1] * block[2]
        local = (threads, 1, 1) if meta["linear"] else block
        data = ffi.new("uint32_t[]", [*local, *block, int(folded)])
        entries = ffi.new("VkSpecializationMapEntry[]", 7)
        for number in range(7):
            entries[number].constantID, entries[number].offset, entries[number].size = number, 4 * number, 4
        special = bound.new(
            "VkSpecializationInfo", None, mapEntryCount=3 if meta["native"] else 7, pMapEntries=entries,
            dataSize=28, pData=data,
        )  # fmt: skip
        entry = ffi.new("char[]", self._entry.encode())
        info = bound.new(
            "VkComputePipelineCreateInfo", "COMPUTE_PIPELINE_CREATE_INFO", layout=self.pipelines.layout
        )
        stage = info.stage
        stage.sType = bound.lib.VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO
        stage.stage = COMPUTE
        stage.module = self._module
        stage.pName = entry
        stage.pSpecializationInfo = special
        width = meta["subgroup"]
        required = None
        if (
            width
            and "subgroupSizeControl" in device.physical.features
            and len(device.physical.subgroup_sizes) > 1
        ):
            required = bound.new(
                "VkPipelineShaderStageRequiredSubgroupSizeCreateInfo",
                "PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO", requiredSubgroupSize=width,
            )  # fmt: skip
            stage.pNext = required
        if width and threads % width == 0 and "computeFullSubgroups" in device.physical.features:
            stage.flags = 0x2
        out = ffi.new("VkPipeline*")
        code = device.vk.vkCreateComputePipelines(
            device.handle, self.pipelines.cache.for_pipeline(), 1, info, device.null, out
        )
        if code < 0 and code not in (-1, -2, -4):
            raise CompileError(
                f"{device.physical.info.name} cannot compile {self.name}", log=f"VkResult {code}"
            )
        device.check(code, "vkCreateComputePipelines")
        del required, entry, special, entries, data
        return out[0]

    def close(self) -> None:
        """Destroy the pipelines and the module; no launch is pending."""
        device = self.logical
        self.pipelines.executables.discard(self)
        with self._lock:
            self.ready.clear()
            for pipeline in self._pipelines.values():
                device.vk.vkDestroyPipeline(device.handle, pipeline, device.null)
            self._pipelines.clear()
            if self._module is not None:
                device.vk.vkDestroyShaderModule(device.handle, self._module, device.null)
                self._module = None
