"""A low-level module as one CUDA C++ translation unit."""

from __future__ import annotations

from gpucore.hookspecs import CompileOptions, Target
from gpucore.ir import Module
from gpucore.ir.clike import Rendered, render_unit
from gpucore_cuda.renderer.dialect import CudaDialect


def capability_number(arch: str) -> int:
    """``90`` for ``"sm_90"`` or ``"sm_90a"``."""
    return int("".join(c for c in arch if c.isdigit()))


def render_module(
    target: Target, module: Module, options: CompileOptions, *, threads: int | None = None,
    guarded: bool = False,
) -> Rendered:  # fmt: skip
    """Render a low-level module; a pure function of its arguments.

    Parameters
    ----------
    threads : int | None
        Keep to the registers that a block of so many threads has, where ``options`` names no block.
    guarded : bool
        Write operations so that ptxas does not combine them, see :mod:`gpucore_cuda.assembler`.
    """
    dialect = CudaDialect(target.arch, capability_number(target.arch), options.block, guarded=guarded)
    return render_unit(dialect, module, block=options.block, threads=threads)
