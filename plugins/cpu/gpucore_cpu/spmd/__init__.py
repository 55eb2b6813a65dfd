"""IR to LLVM IR: each gang of threads becomes vectors, as ispc does it.

:func:`lower` is a pure function of the module and the target; nothing here imports LLVM.
"""

from gpucore_cpu.spmd.lowering import Rendered, gang_width, lower

__all__ = ["Rendered", "gang_width", "lower"]
