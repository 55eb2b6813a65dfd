"""LLVM IR to object code, by llvmlite, with LLVM's new pass manager.

Calls of llvmlite are made by :func:`.uninterrupted`: it guards LLVM with a lock, which an exception at the wrong moment would
leave taken, and LLVM crashes when its objects go in the wrong order.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import llvmlite.binding as llvm
from llvmlite.binding.ffi import ObjectRef
from llvmlite.binding.newpassmanagers import NewPassManager

from gpucore.errors import CompileError
from gpucore.hookspecs import CompileOptions, ObjectCode, Target
from gpucore.ir import Module
from gpucore.ir.choices import has_many_loops
from gpucore_cpu.byte_shuffles import guard_byte_shuffles
from gpucore_cpu.prefetches import add_prefetches
from gpucore_cpu.uninterrupted import uninterrupted

__all__ = ["assemble", "compile_module", "initialise", "target_machine"]


@functools.cache
def initialise() -> None:
    """Start LLVM's native code generator, once a process."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()


def target_machine(target: Target) -> llvm.TargetMachine:
    """A code generator for the target's processor; position independent, since objects are loaded
    anywhere."""
    initialise()
    known = {f for f in target.features if "=" not in f}
    features = ",".join(sorted(f if f.startswith("-") else "+" + f for f in known))
    cpu = next((f.removeprefix("cpu=") for f in target.features if f.startswith("cpu=")), "")
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=cpu, features=features, opt=2, reloc="pic", codemodel="small"
    )


def optimise(module: llvm.ModuleRef, machine: llvm.TargetMachine) -> None:
    """Run LLVM's passes: the code is vector code already, so its vectorisers stay off.

    Each pass builder leaves 1.5 KB: llvmlite's ``LLVMPY_CreatePassBuilder`` makes callbacks that nothing deletes.  A builder
    cannot serve a second run, which would call what the first one left there of its stack.
    """
    tuning = llvm.create_pipeline_tuning_options(speed_level=2)
    tuning.loop_vectorization = False
    tuning.slp_vectorization = False
    tuning.loop_unrolling = True
    tuning.loop_interleaving = False
    with tuning, llvm.create_pass_builder(machine, tuning) as builder:
        manager = builder.getModulePassManager()
        try:
            manager.run(module, builder)
        finally:
            _close(manager)


def _close(manager: llvm.ModulePassManager) -> None:
    """Free LLVM's passes: 85 KB a kernel, which llvmlite keeps, since its class finds the empty method of a base first."""
    if type(manager)._dispose is ObjectRef._dispose:
        NewPassManager._dispose(manager)
    manager.close()


def simplify(module: llvm.ModuleRef, machine: llvm.TargetMachine) -> None:
    """Run the passes whose time grows with the code and no faster, for kernels of very many loops.

    LLVM's own list looks at each loop as a part of the loop over the gangs that holds them all, which takes the square of
    their number.  NewGVN is not among them: it ends the process, by an assertion, where a chain of values runs through two
    hundred loops, and what it would find the core's passes have found before.
    """
    tuning = llvm.create_pipeline_tuning_options(speed_level=2)
    with tuning, llvm.create_pass_builder(machine, tuning) as builder:
        manager = llvm.create_new_module_pass_manager()
        try:
            manager.add_always_inliner_pass()
            manager.add_sroa_pass()
            for _ in range(2):
                manager.add_simplify_cfg_pass()
                manager.add_instruction_combine_pass()
            manager.add_sccp_pass()
            manager.add_aggressive_dce_pass()
            manager.run(module, builder)
        finally:
            _close(manager)


def assemble(text: str) -> bytes:
    """Compile LLVM IR of the plugin's own, which needs no optimisation, to a relocatable object for this machine."""

    def emit() -> bytes:
        initialise()
        machine = llvm.Target.from_default_triple().create_target_machine(
            opt=1, reloc="pic", codemodel="small"
        )
        with llvm.create_context() as context, llvm.parse_assembly(text, context) as parsed:
            data: bytes = machine.emit_object(parsed)
        return data

    return uninterrupted(emit)


def compile_module(target: Target, module: Module, options: CompileOptions) -> ObjectCode:
    """Compile a low-level module to a relocatable object.

    Raises
    ------
    CompileError
        With the LLVM IR and what LLVM said.
    """
    from gpucore_cpu.spmd import lower  # a warm start finds its objects in the cache and never renders

    rendered = lower(target, module)
    try:
        passes = simplify if has_many_loops(module.kernel) else optimise
        data = uninterrupted(_emit, target, rendered.text, passes)
    except RuntimeError as error:
        raise CompileError(
            f"LLVM refused the kernel {module.kernel.name!r}", source=rendered.text, log=str(error)
        ) from error
    return ObjectCode(data, rendered.entry, "object", dict(rendered.metadata))


def _emit(target: Target, text: str, passes: Callable[[llvm.ModuleRef, llvm.TargetMachine], None]) -> bytes:
    machine = target_machine(target)
    # LLVM contexts are not thread-safe; one a compilation lets threads compile at the same time.
    # Both are closed here, the module before its context: a cyclic collection would take either first
    with llvm.create_context() as context, llvm.parse_assembly(text, context) as parsed:
        parsed.triple = machine.triple
        parsed.data_layout = str(machine.target_data)
        passes(parsed, machine)
        optimised = str(parsed) if "avx512bw" in target.features else ""
        guarded = add_prefetches(
            guard_byte_shuffles(optimised)
        )  # vectors of 64 bytes are there from avx512bw on
        if guarded == optimised:
            data: bytes = machine.emit_object(parsed)
        else:
            with llvm.parse_assembly(guarded, context) as opaque:
                data = machine.emit_object(opaque)
    return data
