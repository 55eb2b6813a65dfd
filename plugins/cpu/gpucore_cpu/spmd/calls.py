"""Calls of device functions, each compiled for the shapes of its arguments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from gpucore import ir
from gpucore_cpu.spmd.analysis import Shape
from gpucore_cpu.spmd.module_text import ModuleText
from gpucore_cpu.spmd.state import FunctionState
from gpucore_cpu.spmd.types import scalar_type

__all__ = ["Calls", "CompileFunction", "needs_mask", "needs_scratch"]

CompileFunction: TypeAlias = Callable[[ModuleText, ir.Function, tuple[bool, ...]], tuple[str, Shape]]
"""Writes a device function for arguments that vary or do not; its symbol, and the shape of its result."""


def needs_mask(text: ModuleText, function: ir.Function) -> bool:
    """Whether idle lanes could matter: they could keep a loop running, take a slow path, or divide by
    zero."""
    for statement in ir.walk(function.body):
        match statement:
            case ir.For() | ir.While() | ir.If() | ir.Load():
                return True
            case ir.Op(op="quot.raw" | "rem.raw"):
                return True
            case ir.Call(function=name) if needs_mask(text, text.device_functions[name]):
                return True
    return False


def needs_scratch(text: ModuleText, function: ir.Function) -> bool:
    """Whether the function, or one that it calls, has a local memory too large for the stack."""
    if any((function.name, memory.name) in text.private for memory in function.memories):
        return True
    called = {s.function for s in ir.walk(function.body) if isinstance(s, ir.Call)}
    return any(needs_scratch(text, text.device_functions[name]) for name in called)


@dataclass(frozen=True, slots=True)
class Calls:
    """Writes calls."""

    state: FunctionState
    compile: CompileFunction

    def emit(self, statement: ir.Call) -> str:
        """Call a device function, compiled for the shapes of these arguments."""
        text, types, values = self.state.text, self.state.types, self.state.values
        function = text.device_functions[statement.function]
        varying = tuple(values.shape(a) >= Shape.AFFINE for a in statement.args)
        wanted = values.shape(statement.result)
        if not any(varying) and wanted == Shape.VARYING:
            varying = (True,) * len(varying)
        name, shape = self._compiled(function, varying)
        args = ["ptr %scratch"] if needs_scratch(text, function) else []
        for value, vector in zip(statement.args, varying, strict=True):
            args.append(f"{types.of(value.dtype, vector)} {values.operand(value, vector)}")
        if any(varying) and needs_mask(text, function):
            args.append(f"{types.mask} {self.state.masks.operand()}")
        assert function.result is not None
        kind = types.of(function.result, shape == Shape.VARYING)
        called = self.state.writer.tmp(f"call fastcc {kind} {name}({', '.join(args)})")
        if shape == Shape.VARYING and wanted != Shape.VARYING:
            # alike in all lanes, though memory of its own kept it in a vector
            return self.state.writer.tmp(f"extractelement {kind} {called}, i64 0")
        if wanted == Shape.VARYING and shape != Shape.VARYING:
            return values.splat(scalar_type(function.result), called)
        return called

    def _compiled(self, function: ir.Function, varying: tuple[bool, ...]) -> tuple[str, Shape]:
        compiled = self.state.text.compiled
        key = (function.name, varying)
        if key not in compiled:
            compiled[key] = self.compile(self.state.text, function, varying)
        return compiled[key]
