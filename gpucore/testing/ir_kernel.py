"""Kernels from modules of the IR, for tools that make modules themselves: fuzzers, readers of other languages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpucore.ir import nodes as ir
from gpucore.lang import traits
from gpucore.lang.types import Parameter
from gpucore.launch.kernel import Kernel
from gpucore.launch.specialization import LanguageSpecialization

if TYPE_CHECKING:
    from gpucore.hookspecs import Target
    from gpucore.lang.types import ArgumentType

__all__ = ["kernel_from_module"]


class ModuleSource:
    """A kernel source that is a module already."""

    def __init__(self, module: ir.Module, name: str) -> None:
        self.parameters = tuple(
            Parameter(p.name, "array", p.dtype, p.rank)
            if isinstance(p, ir.Memory)
            else Parameter(p.name, "scalar", p.dtype)
            for p in module.kernel.params
        )
        written = ir.written_arrays(module)
        self._specialization = LanguageSpecialization(name, module, module, written, traits(module), self)

    def watched(self, types: tuple[ArgumentType, ...]) -> tuple[tuple[Any, str, Any], ...]:
        return ()

    def constants(self, types: tuple[ArgumentType, ...]) -> tuple[Any, ...]:
        return ()

    def specialize(
        self, types: tuple[ArgumentType, ...], ndim: int, math: str, target: Target | None
    ) -> LanguageSpecialization:
        return self._specialization


def kernel_from_module(module: ir.Module, name: str | None = None) -> Kernel:
    """A kernel that is launched as those of the kernel language are, with the checks, passes and cache of any launch.

    Parameters
    ----------
    module : Module
        Of the high level, verified (:func:`gpucore.ir.verify.verify`), with its math functions linked or none in it.
    name : str, optional
        What errors and profiles call it; the name of the module's kernel by default.
    """
    return Kernel(ModuleSource(module, name or module.kernel.name), name or module.kernel.name)
