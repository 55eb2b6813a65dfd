"""IR to CUDA C++: pure functions of (target, module, options), importable with no driver."""

from gpucore_cuda.renderer.module import Rendered, capability_number, render_module
from gpucore_cuda.renderer.ops import FAST_NATIVE, NATIVE

__all__ = ["FAST_NATIVE", "NATIVE", "Rendered", "capability_number", "render_module"]
