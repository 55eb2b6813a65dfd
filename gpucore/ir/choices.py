"""What is decided of a module before code is made of it.

Code may depend on what the target has: it stands in branches on conditions that :func:`asked` makes, of which :func:`chosen`
leaves one side. Compilers inline and unroll with an effort that grows faster than the program; a backend asks here what to
compile once.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from gpucore.ir.dtypes import bool_
from gpucore.ir.nodes import (
    Block,
    Call,
    Const,
    For,
    Function,
    If,
    Loc,
    Module,
    Value,
    While,
    memories_of,
    walk,
)

__all__ = ["CHOICES", "FEW_CALLS", "FEW_LOOPS", "asked", "chosen", "compiled_once", "has_many_loops"]

CHOICES = frozenset({"tile.f16", "tile.bf16", "tile.i8", "tile=lanes", "sums=lanes", "scans=lanes"})
"""Features of a :class:`gpucore.hookspecs.Target` that choose code."""

FEW_CALLS: Final = 16
"""As many calls of one function are inlined: a call costs a kernel of few operations more than its compilation saves."""
FEW_LOOPS: Final = 64
"""As many loops of one function are a compiler's to unroll."""
_LITTLE_CODE: Final = 1024
"""Statements that one function's copies may come to, however many they are."""


def asked(name: str, feature: str, loc: Loc | None) -> Const:
    """Whether the target has a feature: false until it is known."""
    return Const(Value(f"{name}?{feature}", bool_), False, loc)


def chosen(kernel: Function, features: frozenset[str] = frozenset()) -> Function:
    """Leave of each such branch, high level, the code for a target with these features."""
    if not any("?" in s.result.name for s in walk(kernel.body) if type(s) is Const):
        return kernel
    body = _block(kernel.body, features)
    before, after = ({m.name for s in walk(block) for m in memories_of(s)} for block in (kernel.body, body))
    memories = tuple(m for m in kernel.memories if m.name in after or m.name not in before)
    return replace(kernel, memories=memories, body=body)


def _block(block: Block, features: frozenset[str]) -> Block:
    out: Block = ()
    for s in block:
        match s:
            case Const(result=Value(name=name)) if "?" in name:
                pass
            case If(condition=Value(name=name), then=then, orelse=orelse) if "?" in name:
                out += _block(then if name.partition("?")[2] in features else orelse, features)
            case If(then=then, orelse=orelse):
                out += (replace(s, then=_block(then, features), orelse=_block(orelse, features)),)
            case For(body=body):
                out += (replace(s, body=_block(body, features)),)
            case While(header=header, body=body):
                out += (replace(s, header=_block(header, features), body=_block(body, features)),)
            case _:
                out += (s,)
    return out


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
