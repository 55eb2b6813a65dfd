"""What makes a module slow to compile: functions that are called many times, functions of many loops.

Compilers inline and unroll with an effort that grows faster than the program.  A backend asks here what to compile once.
"""

from __future__ import annotations

from typing import Final

from gpucore.ir.nodes import Call, For, Function, Module, While, walk

__all__ = ["FEW_CALLS", "FEW_LOOPS", "compiled_once", "has_many_loops"]

FEW_CALLS: Final = 16
"""As many calls of one function are inlined: a call costs a kernel of few operations more than its compilation saves."""
FEW_LOOPS: Final = 64
"""As many loops of one function are a compiler's to unroll."""
_LITTLE_CODE: Final = 1024
"""Statements that one function's copies may come to, however many they are."""


def compiled_once(module: Module) -> frozenset[str]:
    """Names of the device functions that are to stay functions: their copies would be many, and much code.

    Parameters
    ----------
    module : Module
        Functions stand before those that call them.
    """
    calls: dict[str, dict[str, int]] = {}
    sizes: dict[str, int] = {}
    for function in (*module.functions, module.kernel):
        mine = calls[function.name] = {}
        size = 0
        for statement in walk(function.body):
            size += 1
            if isinstance(statement, Call):
                mine[statement.function] = mine.get(statement.function, 0) + 1
                size += sizes.get(statement.function, 0)
        sizes[function.name] = size
    copies = dict.fromkeys(sizes, 0)
    copies[module.kernel.name] = 1
    once: set[str] = set()
    for function in (module.kernel, *reversed(module.functions)):
        name = function.name
        if copies[name] > FEW_CALLS and copies[name] * sizes[name] > _LITTLE_CODE:
            once.add(name)
            copies[name] = 1
        for callee, count in calls[name].items():
            copies[callee] = copies.get(callee, 0) + count * copies[name]
    return frozenset(once)


def has_many_loops(function: Function, few: int = FEW_LOOPS) -> bool:
    """Whether a function has so many loops that a compiler is not to unroll them."""
    return sum(isinstance(statement, (For, While)) for statement in walk(function.body)) > few
