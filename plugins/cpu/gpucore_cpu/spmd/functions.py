"""Device functions: one LLVM function for each combination of uniform and varying arguments."""

from __future__ import annotations

import math

from gpucore import ir
from gpucore.ir.ops import is_routine
from gpucore_cpu.spmd.analysis import Shape, analyse
from gpucore_cpu.spmd.control import Lowerer
from gpucore_cpu.spmd.emitter import Emitter, ModuleText
from gpucore_cpu.spmd.types import literal, memory_type, scalar_type

__all__ = ["emit_call", "emit_constant_memories", "place_local"]

INLINE_LIMIT = 80
"""A function of at most that many statements is inlined always; of larger ones LLVM decides."""


def _thread_free(statement: ir.ThreadIndex) -> Shape:
    raise NotImplementedError("a device function asks for a thread coordinate")


def emit_constant_memories(
    text: ModuleText, memories: tuple[ir.Memory, ...], addresses: dict[str, str]
) -> None:
    """Tables become private globals; ``addresses`` gets their names."""
    for memory in memories:
        if memory.space != "const":
            continue
        name = f"@table.{len(text.globals)}"
        kind = memory_type(memory.dtype)
        values = ", ".join(f"{kind} {_element(memory, v)}" for v in memory.values)
        text.globals.append(
            f"{name} = private unnamed_addr constant [{len(memory.values)} x {kind}] [{values}], align 64"
        )
        addresses[memory.name] = name


def _element(memory: ir.Memory, value: int | float | bool) -> str:
    return str(int(value)) if memory.dtype.kind == "bool" else literal(memory.dtype, value)


def _needs_mask(text: ModuleText, function: ir.Function) -> bool:
    """Whether idle lanes could matter: they could keep a loop running, take a slow path, or divide by
    zero."""
    for statement in ir.walk(function.body):
        match statement:
            case ir.For() | ir.While() | ir.If() | ir.Load():
                return True
            case ir.Op(op="quot.raw" | "rem.raw"):
                return True
            case ir.Call(function=name) if _needs_mask(text, text.device_functions[name]):
                return True
    return False


def _needs_scratch(text: ModuleText, function: ir.Function) -> bool:
    """Whether the function, or one that it calls, has a local memory too large for the stack."""
    if any((function.name, memory.name) in text.private for memory in function.memories):
        return True
    called = {s.function for s in ir.walk(function.body) if isinstance(s, ir.Call)}
    return any(_needs_scratch(text, text.device_functions[name]) for name in called)


def place_local(e: Emitter, function: ir.Function, memory: ir.Memory) -> str:
    """The address of a local memory: on the stack, or in the scratch memory of this CPU thread.

    Gangs use the latter one after the other, and no function calls itself.
    """
    offset = e.text.private.get((function.name, memory.name))
    if offset is not None:
        return e.tmp(f"getelementptr i8, ptr %scratch, i64 {offset}")
    rows = math.prod(memory.shape)
    return e.alloca(f"[{rows} x {e.vec(memory_type(memory.dtype))}]", "local", 64)


def emit_call(e: Lowerer, statement: ir.Call) -> str:
    """Call a device function, compiled for the shapes of these arguments."""
    function = e.text.device_functions[statement.function]
    varying = tuple(e.shape(a) >= Shape.AFFINE for a in statement.args)
    if not any(varying) and e.shape(statement.result) == Shape.VARYING:
        varying = (True,) * len(varying)
    key = (function.name, varying)
    compiled = e.text.compiled.get(key)
    if compiled is None:
        compiled = e.text.compiled[key] = _compile(e.text, function, varying)
    name, shape = compiled
    args = ["ptr %scratch"] if _needs_scratch(e.text, function) else []
    for value, vector in zip(statement.args, varying, strict=True):
        kind = scalar_type(value.dtype)
        args.append(f"{e.vec(kind) if vector else kind} {e.operand(value, vector)}")
    if any(varying) and _needs_mask(e.text, function):
        args.append(f"{e.mask_type} {e.mask_operand()}")
    assert function.result is not None
    kind = scalar_type(function.result)
    kind = e.vec(kind) if shape == Shape.VARYING else kind
    called = e.tmp(f"call fastcc {kind} {name}({', '.join(args)})")
    if shape == Shape.VARYING and e.shape(statement.result) != Shape.VARYING:
        # alike in all lanes, though memory of its own kept it in a vector
        return e.tmp(f"extractelement {kind} {called}, i64 0")
    if e.shape(statement.result) == Shape.VARYING and shape != Shape.VARYING:
        return e.splat(scalar_type(function.result), called)
    return called


def _compile(text: ModuleText, function: ir.Function, varying: tuple[bool, ...]) -> tuple[str, Shape]:
    assert function.result is not None
    values = [p for p in function.params if isinstance(p, ir.Value)]
    shapes = {p.name: Shape.VARYING if v else Shape.UNIFORM for p, v in zip(values, varying, strict=True)}
    analysis = analyse(function, shapes, _thread_free)
    e = Lowerer(text, analysis)
    if is_routine(function.name):
        e.flags = ""
    e.used = frozenset(v.name for s in ir.walk(function.body) for v in ir.operands_of(s))
    emit_constant_memories(text, function.memories, e.memories)
    params = ["ptr %scratch"] if _needs_scratch(text, function) else []
    for number, (value, vector) in enumerate(zip(values, varying, strict=True)):
        kind = scalar_type(value.dtype)
        params.append(f"{e.vec(kind) if vector else kind} %p{number}")
        e.define(value, f"%p{number}")
    for memory in function.memories:
        if memory.space == "local":
            e.memories[memory.name] = place_local(e, function, memory)
    shape = analysis.result
    if shape >= Shape.AFFINE:
        shape = Shape.VARYING
    kind = scalar_type(function.result)
    kind = e.vec(kind) if shape == Shape.VARYING else kind
    address = e.alloca(kind, "result")
    e.result = (address, kind)
    if any(varying) and _needs_mask(text, function):
        params.append(f"{e.mask_type} %mask")
        e.mask = "%mask"
    if analysis.returns:
        e.live = e.alloca(e.mask_type, "alive")
        e.store(e.mask_type, e.mask_operand(), e.live)
    e.block(function.body)
    e.place(e.exit_label)
    e.line(f"ret {kind} {e.load(kind, address)}")
    name = f'@"{function.name}.{"".join("v" if v else "u" for v in varying)}"'
    size = sum(1 for _ in ir.walk(function.body))
    inline = " alwaysinline" if size <= INLINE_LIMIT else ""
    text.functions.append(e.finish(f"define internal fastcc {kind} {name}({', '.join(params)}){inline} #0"))
    return name, shape
