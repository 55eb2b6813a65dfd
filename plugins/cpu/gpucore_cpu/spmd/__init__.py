"""IR to LLVM IR: each gang of threads becomes vectors, as ispc does it.

:func:`lower` is a pure function of the module and the target; nothing here imports LLVM.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from typing import Any

from gpucore import ir
from gpucore.hookspecs import Target
from gpucore.ir import written_arrays
from gpucore_cpu.spmd.analysis import Analysis, Shape, analyse, contains_barrier, with_locals_cleared
from gpucore_cpu.spmd.emitter import ModuleText
from gpucore_cpu.spmd.gangs import Layout
from gpucore_cpu.spmd.kernel import HEADER_WORDS, KernelEmitter
from gpucore_cpu.spmd.plan import make_plan
from gpucore_cpu.spmd.types import scalar_type

__all__ = ["Rendered", "gang_width", "lower"]

DEFAULT_SUBGROUP = 32
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

    What a kernel with loops or atomics writes may be wanted again, or must be seen in order.
    """
    stores: list[str] = []
    for statement in ir.walk(kernel.body):
        if isinstance(statement, (ir.For, ir.While, ir.Atomic, ir.AtomicCas, ir.Fence)):
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
    text.private, fixed_bytes = _private_offsets(kernel, text, plan.context.slots, shared_bytes)
    e = KernelEmitter(text, analysis, module, layout, plan, fixed_bytes)

    header = HEADER_WORDS
    loads = ["  %header = load ptr, ptr %args, align 8, !invariant.load !0"]
    params: list[str] = []
    arguments: list[str] = []

    def word(kind: str, base: str, number: int, name: str) -> None:
        loads.append(f"  %a.{name}.p = getelementptr i64, ptr {base}, i64 {number}")
        loads.append(f"  %a.{name} = load {kind}, ptr %a.{name}.p, align 8, !invariant.load !0")
        params.append(f"{kind} %{name}")
        arguments.append(f"{kind} %a.{name}")

    word("i64", "%header", 1, "tile")
    word("i64", "%header", 2, "tiles")
    for axis in range(module.ndim):
        word("i64", "%header", header + axis, f"grid{axis}")
        word("i64", "%header", header + module.ndim + axis, f"block{axis}")
        e.grid.append(f"%grid{axis}")
        e.dims.append(f"%block{axis}")

    word("i64", "%header", header + 2 * module.ndim, "cached")
    packing = _parameters(module, e, word)
    for number, (kind, _) in enumerate(zip(params, arguments, strict=True)):
        if kind.startswith("ptr "):
            noalias = "noalias " if module.noalias else ""
            params[number] = f"ptr {noalias}nocapture {kind.removeprefix('ptr ')}"
    e.sizes()
    e.set_memories(offsets)
    e.units()

    name = _symbol(kernel.name)
    signature = ", ".join([*params, "i64 %begin", "i64 %end", "ptr noalias %scratch"])
    # not inlined: one copy serves every path to it
    text.functions.append(e.finish(f"define internal void @body({signature}) noinline #0"))
    call = ", ".join([*arguments, "i64 %begin", "i64 %end", "ptr %scratch"])
    text.functions.append(_entries(name, loads, call, target))
    module_text = "\n\n".join(
        [
            f"; {module.kernel.name}: {layout} gangs of {width} lanes, math={module.math}",
            *text.globals,
            *text.functions,
            "\n".join(text.declarations.values()),
            'attributes #0 = { nounwind "no-builtins" "no-stack-arg-probe" }\n!0 = !{}\n'
            '!1 = distinct !{!1, !2}\n!2 = !{!"llvm.loop.unroll.disable"}\n!3 = !{i32 1}\n'
            "!4 = distinct !{!4}\n!5 = distinct !{!5, !4}\n!6 = !{!5}",
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
        "params": packing,
    }
    return Rendered(module_text + "\n", name, metadata)


def _symbol(name: str) -> str:
    return "gpucore_" + "".join(c if c.isalnum() or c == "_" else "_" for c in name)


def _parameters(module: ir.Module, e: KernelEmitter, word: Any) -> list[dict[str, Any]]:
    """Lay parameters out in words of the argument array; arrays with only the extents that are read."""
    read: dict[str, set[int]] = {}
    for statement in ir.walk(module.kernel.body):
        if isinstance(statement, ir.Extent):
            read.setdefault(statement.memory.name, set()).add(statement.axis)
    packing: list[dict[str, Any]] = []
    position = 2
    for number, parameter in enumerate(module.kernel.params):
        if isinstance(parameter, ir.Memory):
            word("ptr", "%args", position, f"m{number}")
            e.memories[parameter.name] = f"%m{number}"
            position += 1
            axes = sorted(read.get(parameter.name, ()))
            for axis in axes:
                word("i64", "%args", position, f"m{number}.{axis}")
                e.extents[parameter.name, axis] = f"%m{number}.{axis}"
                position += 1
            packing.append({"kind": "array", "rank": parameter.rank, "extents": axes})
        else:
            kind = scalar_type(parameter.dtype)
            if parameter.dtype.kind == "bool":
                word("i8", "%args", position, f"s{number}")
                e.define(parameter, e.tmp(f"icmp ne i8 %s{number}, 0"))
            else:
                word(kind, "%args", position, f"s{number}")
                e.define(parameter, f"%s{number}")
            position += 1
            packing.append({"kind": "scalar", "dtype": parameter.dtype.name})
    return packing


_STRICT_MXCSR = 0x1F80


def _entries(name: str, loads: list[str], call: str, target: Target) -> str:
    """The exported functions; they make sure that denormals are kept and rounding is to nearest."""
    lines = [
        f"define dso_local void @{name}.range(ptr %args, i64 %begin, i64 %end, ptr %scratch) #0 {{",
        "entry:",
        *loads,
    ]
    if target.arch == "x86_64":
        lines += [
            "  %csr = alloca i32, align 4",
            "  %strict = alloca i32, align 4",
            "  call void @llvm.x86.sse.stmxcsr(ptr %csr)",
            "  %old = load i32, ptr %csr, align 4",
            f"  %modes = and i32 %old, {0xFFC0}",  # masks, rounding, flush-to-zero, denormals-are-zero
            f"  %bad = icmp ne i32 %modes, {_STRICT_MXCSR}",
            "  br i1 %bad, label %set, label %run",
            "set:",
            f"  store i32 {_STRICT_MXCSR}, ptr %strict, align 4",
            "  call void @llvm.x86.sse.ldmxcsr(ptr %strict)",
            "  br label %run",
            "run:",
            f"  call void @body({call})",
            "  br i1 %bad, label %reset, label %done",
            "reset:",
            "  call void @llvm.x86.sse.ldmxcsr(ptr %csr)",
            "  br label %done",
            "done:",
            "  ret void",
            "}",
            "declare void @llvm.x86.sse.stmxcsr(ptr)",
            "declare void @llvm.x86.sse.ldmxcsr(ptr)",
        ]
    else:
        lines += [f"  call void @body({call})", "  ret void", "}"]
    lines += [
        "",
        f"define dso_local void @{name}(ptr %args) #0 {{",
        "entry:",
        "  %header = load ptr, ptr %args, align 8",
        "  %units = load i64, ptr %header, align 8",
        "  %scratch.p = getelementptr i64, ptr %args, i64 1",
        "  %scratch = load ptr, ptr %scratch.p, align 8",
        f"  call void @{name}.range(ptr %args, i64 0, i64 %units, ptr %scratch)",
        "  ret void",
        "}",
    ]
    return "\n".join(lines)
