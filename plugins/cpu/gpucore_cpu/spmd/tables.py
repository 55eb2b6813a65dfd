"""Tables: memories of the space ``const``, which become private globals of the module."""

from __future__ import annotations

from gpucore import ir
from gpucore_cpu.spmd.state import FunctionState
from gpucore_cpu.spmd.types import literal, memory_type

__all__ = ["emit_tables"]


def emit_tables(state: FunctionState) -> None:
    """Write the function's tables; the state gets their addresses."""
    for memory in state.function.memories:
        if memory.space != "const":
            continue
        module = state.text
        name = f"@table.{len(module.globals)}"
        kind = memory_type(memory.dtype)
        values = ", ".join(f"{kind} {_element(memory, v)}" for v in memory.values)
        module.globals.append(
            f"{name} = private unnamed_addr constant [{len(memory.values)} x {kind}] [{values}], align 64"
        )
        state.memories[memory.name] = name


def _element(memory: ir.Memory, value: int | float | bool) -> str:
    return str(int(value)) if memory.dtype.kind == "bool" else literal(memory.dtype, value)
