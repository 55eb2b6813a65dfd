"""IR to SPIR-V: needs no driver."""

from gpucore_vulkan.spirv.emitted import Emitted
from gpucore_vulkan.spirv.module import emit

__all__ = ["Emitted", "emit"]
