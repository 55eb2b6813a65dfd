"""A low-level module as one CUDA C++ translation unit."""

from __future__ import annotations

import re
from dataclasses import replace

from gpucore.hookspecs import CompileOptions, Target
from gpucore.ir import Module
from gpucore.ir.clike import Rendered, render_unit
from gpucore_cuda.renderer.dialect import CudaDialect

_LOCAL = re.compile(r"^  (\w+) (\w+)\[(\d+)\]( = \{\})?;$", re.MULTILINE)
"""The declaration of memory of a thread."""


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
    rendered = render_unit(dialect, module, block=options.block, threads=threads)
    owners = sum(any(m.space == "local" for m in f.memories) for f in (module.kernel, *module.functions))
    return rendered if owners < 2 else replace(rendered, source=_with_places_apart(rendered.source))


def _with_places_apart(source: str) -> str:
    """The source with each array of a thread in a struct.

    NVVM of NVRTC 13.0 puts an array of the kernel and one of a function that it has inlined in one place while both are
    in use; of a struct's it knows better.  Those that it keeps in registers stay there.
    """
    return _LOCAL.sub(r"  struct { \1 a[\3]; } gc_of_\2\4; \1 (&\2)[\3] = gc_of_\2.a;", source)
