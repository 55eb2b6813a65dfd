"""IR to SPIR-V: needs no driver."""

from gpucore_vulkan.spirv.module import Emitted, emit

__all__ = ["Emitted", "emit"]
