"""Loops on devices that end them without an error.

Some drivers stop every loop of a thread once its loops have run some number of iterations, all together, and go on
behind the loop: results are then wrong without a word.  For a target that says so (``loop_limit``) loops get the number
of a site, which the code that is made of them writes to the error record of :mod:`gpucore.ir.passes.checks` when the
device ends one.  How it finds that out is the backend's: counting iterations is not enough where threads that run
together share what is counted.

This is the last pass: loops carry their sites into the code as they are.
"""

from __future__ import annotations

import dataclasses
import math

from gpucore.ir.nodes import (
    Block,
    Call,
    Const,
    For,
    Function,
    If,
    InitLocal,
    Memory,
    Module,
    Stmt,
    While,
    walk,
)
from gpucore.ir.passes.checks import ERROR_ARRAY, Site

__all__ = ["iterations", "mark_loops"]


_SHARE = 4
"""Kernels proven to stay below this part of the limit are left alone: code that is made of other statements may have
loops too, for atomics as an example."""


def mark_loops(module: Module, limit: int, sites: tuple[Site, ...]) -> tuple[Module, tuple[Site, ...]]:
    """Give every loop a site, unless the kernel is proven to stay well below the limit.

    Parameters
    ----------
    module : Module
        At the low level.
    limit : int
        As in :class:`gpucore.hookspecs.Target`.
    sites : tuple[Site, ...]
        The sites that the error record has already; the new ones follow, and last, wherever there is a record, the
        one of loops that the backend makes itself.
    """
    unknown = Site("loop", None, None, ndim=module.ndim, message=f"{limit:,}")  # for ANY_LOOP
    if iterations(module) <= limit // _SHARE:
        recorded = any(p.name == ERROR_ARRAY.name for p in module.kernel.params)
        return module, (*sites, unknown) if recorded else sites
    marker = _Marker(limit, module.ndim, list(sites))
    functions = tuple(map(marker.function, module.functions))
    kernel = marker.function(module.kernel)
    if all(p.name != ERROR_ARRAY.name for p in kernel.params):
        kernel = dataclasses.replace(kernel, params=(*kernel.params, ERROR_ARRAY))
    return dataclasses.replace(module, kernel=kernel, functions=functions), (*marker.sites, unknown)


def iterations(module: Module) -> float:
    """How often loops go round in a thread at most, all of them together; infinite where that is not known."""
    known: dict[str, float] = {}
    for function in (*module.functions, module.kernel):
        numbers = {s.result.name: s.value for s in walk(function.body) if type(s) is Const}
        known[function.name] = _count(function.body, numbers, known) + sum(map(_elements, function.memories))
    return known[module.kernel.name]


def _count(block: Block, numbers: dict[str, int | float | bool], known: dict[str, float]) -> float:
    total = 0.0
    for s in block:
        match s:
            case For(start=start, stop=stop, step=step, body=body):
                bounds = [numbers.get(value.name) for value in (start, stop, step)]
                inner = 1 + _count(body, numbers, known)
                if None in bounds:
                    return math.inf
                first, end, by = (int(number) for number in bounds if number is not None)
                # the test that ends a loop counts too
                total += 1 + (inner * len(range(first, end, by)) if by else 0)
            case While():
                return math.inf
            case If(then=then, orelse=orelse):
                # threads that run together may take both ways
                total += _count(then, numbers, known) + _count(orelse, numbers, known)
            case Call(function=name):
                total += known[name]
            case InitLocal(memory=memory):
                total += _elements(memory)
    return total


def _elements(memory: Memory) -> int:
    return math.prod(memory.shape) if memory.space == "local" else 0


class _Marker:
    def __init__(self, limit: int, ndim: int, sites: list[Site]) -> None:
        self.limit = limit
        self.ndim = ndim
        self.sites = sites

    def function(self, function: Function) -> Function:
        body = self.block(function.body)
        return function if body == function.body else dataclasses.replace(function, body=body)

    def block(self, block: Block) -> Block:
        return tuple(map(self.statement, block))

    def statement(self, s: Stmt) -> Stmt:
        match s:
            case If(then=then, orelse=orelse):
                return dataclasses.replace(s, then=self.block(then), orelse=self.block(orelse))
            case For(body=body):
                site = self.site(s)
                return dataclasses.replace(s, body=self.block(body), site=site)
            case While(header=header, body=body):
                site = self.site(s)
                return dataclasses.replace(s, header=self.block(header), body=self.block(body), site=site)
            case _:
                return s

    def site(self, loop: For | While) -> int:
        file, line = (loop.loc.file, loop.loc.line) if loop.loc is not None else (None, None)
        self.sites.append(Site("loop", file, line, ndim=self.ndim, message=f"{self.limit:,}"))
        return len(self.sites)
