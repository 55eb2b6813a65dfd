"""Rendering and compiling: pure functions of target, module and options; no driver is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gpucore.errors import CompileError, NotSupportedError
from gpucore.hookspecs import CompileOptions, ObjectCode, Target
from gpucore.ir import For, Module, While, walk
from gpucore_vulkan.device_features.probe_loops import UNREPORTED
from gpucore_vulkan.spirv import emit
from gpucore_vulkan.spirv.disassemble import disassemble, instructions, read_string
from gpucore_vulkan.spirv.layout import native_layout
from gpucore_vulkan.spirv.module import ENTRY

__all__ = ["compile_module", "compile_source", "render"]


def render(target: Target, module: Module, options: CompileOptions) -> str:
    """The SPIR-V assembly of a low-level module."""
    return disassemble(emit(target, module, options).words)


def _has_sites(module: Module) -> bool:
    functions = (module.kernel, *module.functions)
    return any(isinstance(s, (For, While)) and s.site for f in functions for s in walk(f.body))


def compile_module(target: Target, module: Module, options: CompileOptions) -> ObjectCode:
    """The SPIR-V words of a low-level module and how a launch packs its arguments."""
    if UNREPORTED in target.features and _has_sites(module):
        raise NotSupportedError(
            f"the driver ends the loops of a thread after {target.loop_limit:,} iterations and hides it; the kernel "
            f"{module.kernel.name!r} may have more, so it cannot run here",
            capability="loop_limit",
        )
    made = emit(target, module, options)
    return ObjectCode(
        data=made.words,
        entry=ENTRY,
        format="spirv",
        metadata={
            "name": module.kernel.name,
            **made.layout.metadata(),
            "size": made.layout.size if made.indirect else made.fold_offset,
            "indirect": made.indirect,
            "fold_offset": made.fold_offset,
            "linear": made.linear,
            "subgroup": made.subgroup,
            "shared": made.shared,
            "ndim": made.ndim,
            "native": False,
        },
    )


def compile_source(
    target: Target,
    source: str | bytes,
    language: str,
    signature: Mapping[str, Sequence[Any]],
    options: CompileOptions,
) -> Mapping[str, ObjectCode]:
    """Native SPIR-V: the words as they are, one ObjectCode for each entry point of the signature.

    A kernel finds its arguments in the push constants: for each parameter in order an array's 64-bit device
    address or a scalar, aligned to its own size.  It has the local size of its ``LocalSize`` mode, which
    launches must match, or takes it from the specialisation constants 0, 1 and 2 (x, y, z) behind
    ``WorkgroupSize``.

    Raises
    ------
    CompileError
        When the words are no SPIR-V, or lack an entry point that the signature names.
    """
    if language != "spirv":
        raise NotSupportedError(
            f"Vulkan takes native kernels as SPIR-V, not {language!r}", capability=f"source_{language}"
        )
    if isinstance(source, str):
        raise CompileError(
            "SPIR-V is given as bytes, the words of a module",
            source=source,
            log="Assemble text first: spirv-as --target-env vulkan1.2 kernel.spvasm -o kernel.spv",
        )
    words = bytes(source)
    entries, sizes, specialised = _entry_points(words)
    compiled: dict[str, ObjectCode] = {}
    for name, parameters in signature.items():
        if name not in entries:
            have = ", ".join(sorted(entries)) or "none"
            raise CompileError(
                f"the SPIR-V module has no compute entry point {name!r}", source=disassemble(words),
                log=f"entry points of the module: {have}",
            )  # fmt: skip
        layout = native_layout(tuple(parameters))
        compiled[name] = ObjectCode(
            data=words,
            entry=name,
            format="spirv",
            metadata={
                "name": name,
                **layout.metadata(),
                "size": layout.size + -layout.size % 4,
                "indirect": False,
                "fold_offset": 0,
                "linear": False,
                "subgroup": 0,
                "shared": 0,
                "ndim": 0,
                "native": True,
                "local_size": None if specialised else sizes.get(entries[name]),
            },
        )
    return compiled


def _entry_points(words: bytes) -> tuple[dict[str, int], dict[int, list[int]], bool]:
    """Compute entry points by name, their fixed local sizes, and whether a WorkgroupSize built-in overrides
    them."""
    entries: dict[str, int] = {}
    sizes: dict[int, list[int]] = {}
    specialised = False
    for opcode, operands in instructions(words):
        if opcode == 15 and operands[0] == 5:
            entries[read_string(operands, 2)[0]] = operands[1]
        elif opcode == 16 and operands[1] == 17:
            sizes[operands[0]] = list(operands[2:5])
        elif opcode == 71 and operands[1:3] == (11, 25):
            specialised = True
    return entries, sizes, specialised
