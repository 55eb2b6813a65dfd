"""A whole module: its functions, entry point and modes."""

from __future__ import annotations

from typing import Final

from gpucore.hookspecs import CompileOptions, Target
from gpucore.ir import Module
from gpucore_vulkan.spirv.emitted import Emitted
from gpucore_vulkan.spirv.function import FunctionEmitter
from gpucore_vulkan.spirv.layout import SPEC_LOCAL
from gpucore_vulkan.spirv.unit import ModuleUnit

__all__ = ["ENTRY", "emit"]

ENTRY: Final = "main"


def emit(target: Target, module: Module, options: CompileOptions) -> Emitted:
    """SPIR-V words of a low-level module: a pure function of its arguments."""
    unit = ModuleUnit(target, module, options)
    asm, kernel = unit.asm, module.kernel
    for capability in ("Shader", "Int64", "PhysicalStorageBufferAddresses"):
        asm.capability(capability)
    main = asm.id()
    asm.name(main, kernel.name)
    for function in module.functions:
        asm.name(unit.function_id(function.name), function.name)
        asm.functions += FunctionEmitter(unit, function).emit(unit.function_id(function.name))
    asm.functions += FunctionEmitter(unit, kernel).emit(main)
    for number, function in unit.helpers:  # grows where one wants another
        asm.functions += FunctionEmitter(unit, function).emit(number)
    vector = asm.type("OpTypeVector", asm.uint(32), 3)
    sizes = [asm.spec_word(number, 1) for number in SPEC_LOCAL]
    local = asm.spec_composite(vector, *sizes)
    asm.decorate_builtin(local, "WorkgroupSize")
    asm.entry_point(main, ENTRY, unit.interface)
    asm.mode(main, "LocalSize", 1, 1, 1)
    _float_modes(unit, main)
    return Emitted(
        asm.assemble(), unit.layout, unit.indirect, unit.fold_offset, unit.linear,
        unit.subgroup_width if unit.linear else 0, unit.shared_bytes, module.ndim,
    )  # fmt: skip


def _float_modes(unit: ModuleUnit, main: int) -> None:
    """Ask for denormals, signed zeros, infinities and NaN to be kept, for each width that the module
    uses."""
    for bits in (16, 32, 64):
        if bits != 32 and not unit.asm.has_capability(f"Float{bits}"):
            continue
        for mode in ("DenormPreserve", "SignedZeroInfNanPreserve", "RoundingModeRTE"):
            if f"{mode}{bits}" in unit.target.features:
                unit.asm.capability(mode)
                unit.asm.mode(main, mode, bits)
