"""The interpreter: the definition of what a kernel means; its interface, and its memory of generated code.

:func:`interpret` turns a module into Python functions on the user's own lines and runs every thread of
every block, suspended and resumed at barriers.  It checks what devices do not: bounds, asserts, data
races, divergent barriers, shared memory read before it was written.
"""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np

from gpucore.errors import LaunchError
from gpucore.ir import nodes as ir
from gpucore.ir.interpreter.codegen import compile_module
from gpucore.ir.interpreter.machine import Launch
from gpucore.ir.interpreter.program import Program, axes
from gpucore.ir.passes.sites import PRINT_WORDS, decode_prints, has_prints, lower_prints

__all__ = ["interpret"]


class _Programs:
    """Generated code by module object: equal modules may differ in their locations, and so in their code."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.lock = threading.RLock()
        self.kept: OrderedDict[tuple[int, bool], tuple[ir.Module, Program]] = OrderedDict()

    def get(self, module: ir.Module, races: bool) -> Program:
        key = (id(module), races)
        with self.lock:
            entry = self.kept.get(key)
            if entry is not None:
                self.kept.move_to_end(key)
                return entry[1]
        program = compile_module(module, races)
        with self.lock:
            self.kept[key] = (module, program)  # holding the module keeps its id from being used again
            while len(self.kept) > self.limit:
                self.kept.popitem(last=False)
        return program


_programs = _Programs(limit=256)


def interpret(
    module: ir.Module,
    grid: int | Sequence[int],
    block: int | Sequence[int],
    args: Sequence[Any],
    *,
    subgroup_size: int = 32,
    detect_races: bool = True,
) -> None:
    """Run a kernel over a grid, in place on ndarrays.

    Parameters
    ----------
    module : Module
        Verified, of either level; in strict mode linked with the math library.
    grid, block : int or sequence of int
        Blocks, and threads of a block, in array order: the last axis is the fastest.
    args : sequence
        In the order of ``module.kernel.params``: a C-contiguous ndarray for an array (bf16 also as uint16;
        at the low level any ndarray, seen as flat memory), a Python or NumPy number for a scalar.
    subgroup_size : int
        Any positive number; a width that the kernel itself asks for goes first.
    detect_races : bool
        Also look for data races and for shared memory read before it was written.

    Raises
    ------
    LaunchError
        Arguments that do not fit the kernel.
    KernelBoundsError, KernelAssertionError
        An index out of bounds, an assert that does not hold; both are always checked.
    DataRaceError, KernelRuntimeError
        Two accesses that nothing orders; undefined shared memory.
    BarrierDivergenceError
        Threads of a block at different barriers, or finished while others wait.
    """
    if has_prints(module):
        _printing(module, grid, block, args, subgroup_size=subgroup_size, detect_races=detect_races)
        return
    width = module.subgroup if module.subgroup is not None else subgroup_size
    if isinstance(width, bool) or not isinstance(width, int) or width < 1:
        raise LaunchError(f"a subgroup has at least one lane, not {width!r}")
    shape = axes(grid, module.ndim, "grid"), axes(block, module.ndim, "block")
    program = _programs.get(module, detect_races)
    Launch(module, program, *shape, args, width=width, races=detect_races).run()


def _printing(module: ir.Module, grid: Any, block: Any, args: Sequence[Any], **options: Any) -> None:
    """Run a kernel that prints, and write what it printed, up to its error where it has one."""
    lowered, sites = lower_prints(module, is_range=False)
    words = np.zeros(PRINT_WORDS, np.uint32)
    try:
        interpret(lowered, grid, block, [*args, words], **options)
    finally:
        sys.stdout.write(decode_prints(words, lambda launch: (module.kernel.name, sites)))
