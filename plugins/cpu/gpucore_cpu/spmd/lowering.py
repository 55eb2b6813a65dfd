"""Lowering: a module of the IR as LLVM IR, with what a launch must know of it."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from typing import Any

from gpucore import ir
from gpucore.hookspecs import Target
from gpucore.ir import written_arrays
from gpucore.ir.choices import has_many_loops
from gpucore_cpu.spmd.analysis import Analysis, Shape, analyse, contains_barrier, with_locals_cleared
from gpucore_cpu.spmd.coordinates import Coordinates, Layout
from gpucore_cpu.spmd.entry_points import entry_points, gang_by_gang
from gpucore_cpu.spmd.functions import Collaborators, collaborate
from gpucore_cpu.spmd.gangs import Gangs
from gpucore_cpu.spmd.kernel import Kernel
from gpucore_cpu.spmd.module_text import ModuleText
from gpucore_cpu.spmd.parameters import Parameters
from gpucore_cpu.spmd.plan import Plan, make_plan
from gpucore_cpu.spmd.records import Records
from gpucore_cpu.spmd.state import FunctionState
from gpucore_cpu.spmd.tables import emit_tables
from gpucore_cpu.spmd.types import ERROR_RECORD

__all__ = ["Rendered", "gang_width", "lower"]

DEFAULT_SUBGROUP = 32
LOOPS_AROUND = 256
"""A kernel of more loops runs each gang by a call: up to 5 % slower where loops are short, and compiled in linear time."""
_SHARED_ALIGN = 64
_STACK_BYTES = 64 << 10
"""Bytes of local memory that a gang has on the stack at most; threads' stacks may be as small as 512 KiB."""
_SMALLEST_STREAM = 16
"""Bytes of a vector from which processors can write it past the caches."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """LLVM IR and what a launch must know of it."""

    text: str
    entry: str
    metadata: Mapping[str, Any]


def _uses_subgroups(module: ir.Module) -> bool:
    return any(isinstance(s, ir.Subgroup) for s in ir.walk(module.kernel.body))


def gang_width(module: ir.Module, target: Target) -> int:
    """Lanes of a gang: the subgroup's width where there are subgroup operations, else what fills a
    register."""
    if _uses_subgroups(module):
        return module.subgroup or DEFAULT_SUBGROUP
    bits = next((int(f.removeprefix("vector=")) for f in target.features if f.startswith("vector=")), 128)
    statements = [s for f in (module.kernel, *module.functions) for s in ir.walk(f.body)]
    wide = sum(
        1
        for s in statements
        if (isinstance(s, (ir.Op, ir.Load)) and s.result.dtype.name in ("f64", "u64"))
        or _is_wide_arithmetic(s)
    )
    arithmetic = sum(1 for s in statements if isinstance(s, (ir.Op, ir.Load)))
    return max(4, bits // (64 if wide * 2 > arithmetic else 32))


def _is_wide_arithmetic(statement: ir.Stmt) -> bool:
    # i64 additions and comparisons mostly belong to indices, which stay scalar
    return (
        isinstance(statement, ir.Op)
        and statement.result.dtype.name == "i64"
        and statement.op not in ("add", "add.raw", "sub", "cast", "mul", "mul.raw")
    )


def _layout(module: ir.Module) -> Layout:
    if _uses_subgroups(module):
        return "linear"
    for statement in ir.walk(module.kernel.body):
        if isinstance(statement, ir.ThreadIndex) and statement.kind in ("thread_id", "block_id"):
            return "rows"
    shared = any(m.space == "shared" for m in module.kernel.memories)
    if shared or any(map(contains_barrier, module.kernel.body)):
        return "rows"
    return "flat"


def _thread_shape(statement: ir.ThreadIndex, layout: Layout, ndim: int) -> Shape:
    if statement.kind in ("block_id", "block_dim", "grid_dim"):
        return Shape.UNIFORM
    if layout == "linear" and ndim > 1:
        return Shape.VARYING
    return Shape.AFFINE if statement.axis == ndim - 1 else Shape.GANG


def _shared_offsets(kernel: ir.Function) -> tuple[dict[str, int], int]:
    offsets: dict[str, int] = {}
    size = 0
    for memory in kernel.memories:
        if memory.space != "shared":
            continue
        offsets[memory.name] = size
        count = memory.dtype.itemsize
        for extent in memory.shape:
            count *= extent
        size += -(-count // _SHARED_ALIGN) * _SHARED_ALIGN
    return offsets, size


def _private_offsets(
    kernel: ir.Function, text: ModuleText, kept: Container[str], start: int
) -> tuple[dict[tuple[str, str], int], int]:
    """Where in the scratch memory, from ``start`` on, local memories lie that the stack is too small for, and
    where they end.

    Small memories stay on the stack, where LLVM can keep them in registers; ``kept`` lie in gangs' records.
    """
    sizes = [
        (math.prod(memory.shape) * memory.dtype.itemsize * text.width, function.name, memory.name)
        for function in (kernel, *text.device_functions.values())
        for memory in function.memories
        if memory.space == "local" and not (function is kernel and f"&{memory.name}" in kept)
    ]
    offsets: dict[tuple[str, str], int] = {}
    stack, end = 0, start
    for size, function_name, name in sorted(sizes):
        stack += size
        if stack > _STACK_BYTES:
            offsets[function_name, name] = end
            end += -(-size // _SHARED_ALIGN) * _SHARED_ALIGN
    return offsets, end


def _traffic(kernel: ir.Function, analysis: Analysis) -> dict[str, int]:
    """Bytes that a thread moves to or from each array of which neighbouring threads touch neighbouring
    elements."""
    return {
        s.memory.name: s.memory.dtype.itemsize
        for s in ir.walk(kernel.body)
        if isinstance(s, (ir.Load, ir.Store))
        and s.memory.space == "global"
        and analysis.shapes.get(s.indices[0].name) == Shape.AFFINE
    }


def _streamed(kernel: ir.Function, width: int, traffic: Mapping[str, int]) -> frozenset[str]:
    """Arrays that large launches write past the caches: written once, in whole vectors, and not read.

    What a kernel with loops or atomics writes may be wanted again, or must be seen in order; that there was an error is in order
    with nothing.
    """
    stores: list[str] = []
    for statement in ir.walk(kernel.body):
        if isinstance(statement, (ir.For, ir.While, ir.Atomic, ir.Fence)) or (
            isinstance(statement, ir.AtomicCas) and statement.memory.name != ERROR_RECORD
        ):
            return frozenset()
        if isinstance(statement, ir.Store):
            stores.append(statement.memory.name)
    loaded = {s.memory.name for s in ir.walk(kernel.body) if isinstance(s, ir.Load)}
    return frozenset(
        name
        for name, size in traffic.items()
        if stores.count(name) == 1 and name not in loaded and size * width >= _SMALLEST_STREAM
    )


def lower(target: Target, module: ir.Module) -> Rendered:
    """Render a low-level module as LLVM IR.

    Returns
    -------
    Rendered
        The text, the kernel's symbol, and metadata: how parameters are packed, scratch bytes, the layout of
        gangs.
    """
    module = replace(module, kernel=with_locals_cleared(module.kernel))
    kernel = module.kernel
    width = gang_width(module, target)
    layout = _layout(module)
    fast = module.math == "fast"
    text = ModuleText(target.features, fast, width, module.noalias, written_arrays(module))
    if any(m.space == "local" for f in (kernel, *module.functions) for m in f.memories):
        text.apart = ", !noalias !6"
    text.device_functions = {f.name: with_locals_cleared(f) for f in module.functions}
    multiple = any(map(contains_barrier, kernel.body))
    analysis = analyse(
        kernel,
        {p.name: Shape.UNIFORM for p in kernel.params if isinstance(p, ir.Value)},
        lambda s: _thread_shape(s, layout, module.ndim),
        outer=multiple,
    )
    traffic = _traffic(kernel, analysis)
    if layout == "flat" and target.arch == "x86_64":
        text.streamed = _streamed(kernel, width, traffic)
    plan = make_plan(kernel, analysis, width)
    offsets, shared_bytes = _shared_offsets(kernel)
    text.private, fixed_bytes = _private_offsets(kernel, text, plan.context.fields, shared_bytes)
    state = FunctionState.begin(text, kernel, analysis)
    written = collaborate(state)
    coordinates = Coordinates(state, layout, module.ndim)
    written.statements.handle(
        {ir.ThreadIndex: coordinates.emit_thread, ir.Extent: coordinates.emit_extent}, {}
    )
    parameters = Parameters(state, coordinates, noalias=module.noalias)
    coordinates.measure()
    _locate_memories(written, plan, offsets)
    single = layout == "flat" and not multiple and has_many_loops(kernel, LOOPS_AROUND)
    _emit_kernel(written, plan, coordinates, fixed_bytes, single)

    name = _symbol(kernel.name)
    function, work = ("gang", ("i64 %unit", "i64 %x")) if single else ("body", ("i64 %begin", "i64 %end"))
    signature = ", ".join([*parameters.signature, *work, "ptr noalias %scratch"])
    # not inlined: one copy serves every path to it
    text.functions.append(state.writer.finish(f"define internal void @{function}({signature}) noinline #0"))
    if single:
        text.functions.append(gang_by_gang(parameters.signature, width))
    call = ", ".join([*parameters.arguments, "i64 %begin", "i64 %end", "ptr %scratch"])
    text.functions.append(entry_points(name, parameters.loads, call, target))
    module_text = "\n\n".join(
        [
            f"; {module.kernel.name}: {layout} gangs of {width} lanes, math={module.math}",
            *text.globals,
            *text.functions,
            "\n".join(text.declarations.values()),
            'attributes #0 = { nounwind "no-builtins" "no-stack-arg-probe" }\n!0 = !{}\n'
            '!1 = distinct !{!1, !2}\n!2 = !{!"llvm.loop.unroll.disable"}\n!3 = !{i32 1}\n'
            "!4 = distinct !{!4}\n!5 = distinct !{!5, !4}\n!6 = !{!5}\n"
            '!7 = !{!"branch_weights", i32 1, i32 1048575}\n!8 = !{!"branch_weights", i32 1048575, i32 1}',
        ]
    )
    metadata = {
        "ndim": module.ndim,
        "layout": layout,
        "width": width,
        "shared": fixed_bytes,
        "context": plan.context.size if plan.multiple else 0,
        "loops": any(isinstance(s, (ir.For, ir.While)) for s in ir.walk(kernel.body)),
        "traffic": sum(traffic.values()) if text.streamed else 0,
        "params": parameters.packing,
    }
    return Rendered(module_text + "\n", name, metadata)


def _symbol(name: str) -> str:
    return "gpucore_" + "".join(c if c.isalnum() or c == "_" else "_" for c in name)


def _locate_memories(written: Collaborators, plan: Plan, shared: Mapping[str, int]) -> None:
    """Addresses of const, shared and local memories; gangs' records hold the others."""
    state = written.state
    emit_tables(state)
    for memory in state.function.memories:
        if memory.space == "shared":
            address = f"getelementptr i8, ptr %scratch, i64 {shared[memory.name]}"
            state.memories[memory.name] = state.writer.tmp(address)
        elif memory.space == "local" and f"&{memory.name}" not in plan.context.fields:
            state.memories[memory.name] = written.local.reserve(memory)


def _emit_kernel(
    written: Collaborators, plan: Plan, coordinates: Coordinates, fixed_bytes: int, single: bool
) -> None:
    state, statements = written.state, written.statements
    records = Records(state, plan, coordinates, statements, written.variables, fixed_bytes)
    if plan.multiple:
        statements.watch(records.keep)
    gangs = Gangs(state, plan, coordinates, written.exits, statements, records, single)
    whole = Kernel(state, plan, coordinates, statements, records, gangs)
    if single:
        whole.emit_gang()
    else:
        whole.emit_units()
