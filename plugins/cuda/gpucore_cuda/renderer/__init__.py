"""IR to CUDA C++: pure functions of (target, module, options), importable with no driver."""

from gpucore.ir.clike import Rendered
from gpucore_cuda.renderer.keys import FAST_NATIVE, NATIVE
from gpucore_cuda.renderer.module import capability_number, render_module

__all__ = ["FAST_NATIVE", "NATIVE", "Rendered", "capability_number", "render_module"]
