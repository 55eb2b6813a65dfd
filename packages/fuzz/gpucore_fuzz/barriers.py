"""Random block kernels with fewer barriers, where the interpreter says that there is still no race."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Any

from gpucore.errors import GpucoreError
from gpucore.ir import nodes as ir
from gpucore.ir.interpreter import interpret
from gpucore_fuzz.values import copies

__all__ = ["BlockKernel", "with_fewer_barriers"]


@dataclass(frozen=True)
class BlockKernel:
    """A module with a launch; see :class:`gpucore_fuzz.cases.Case`."""

    module: ir.Module
    grid: tuple[int, ...]
    block: tuple[int, ...]
    args: tuple[Any, ...]


def with_fewer_barriers(rng: random.Random, kernel: BlockKernel) -> BlockKernel:
    """Leave out some barriers that this launch does not need.

    Atomics never race, but only those between two barriers are sure to commute.
    """
    statements = [*ir.walk(kernel.module.kernel.body)]
    if any(isinstance(s, (ir.Atomic, ir.AtomicCas)) and s.memory.name != "hits" for s in statements):
        return kernel
    for _ in range(4):
        function = kernel.module.kernel
        count = sum(isinstance(s, ir.Barrier) for s in ir.walk(function.body))
        if not count:
            break
        body = _without_barrier(function.body, [rng.randrange(count)])
        module = replace(kernel.module, kernel=replace(function, body=body))
        try:
            interpret(module, kernel.grid, kernel.block, copies(kernel.args))
        except GpucoreError:  # it was needed
            continue
        kernel = replace(kernel, module=module)
    return kernel


def _without_barrier(block: ir.Block, left: list[int]) -> ir.Block:
    """The block without one of its barriers; ``left`` holds how many stand before that one."""
    made: list[ir.Stmt] = []
    for s in block:
        if isinstance(s, ir.Barrier):
            left[0] -= 1
            if left[0] == -1:
                continue
        elif isinstance(s, ir.If):
            s = replace(s, then=_without_barrier(s.then, left), orelse=_without_barrier(s.orelse, left))
        elif isinstance(s, (ir.For, ir.While)):
            s = replace(s, body=_without_barrier(s.body, left))
        made.append(s)
    return tuple(made)
