"""Cases of :mod:`gpucore.testing.fuzz` on a device, by the way that every launch takes.

``python -m gpucore.testing.fuzz_launch BACKEND FIRST COUNT`` runs the block kernels of some seeds; see ``--help``.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from gpucore.ir import nodes as ir
from gpucore.lang import traits
from gpucore.lang.types import Parameter
from gpucore.launch.kernel import Kernel
from gpucore.launch.specialization import LanguageSpecialization
from gpucore.runtime.array import Array
from gpucore.runtime.context import Context
from gpucore.testing.fuzz import Case, Mismatch, Run, check, generate_block, shrink
from gpucore.testing.fuzz_values import owner

if TYPE_CHECKING:
    from gpucore.hookspecs import Target
    from gpucore.lang.types import ArgumentType

__all__ = ["block_case", "differs", "launcher", "report"]


class ModuleSource:
    """A kernel source that is a module already."""

    def __init__(self, module: ir.Module) -> None:
        self.parameters = tuple(
            Parameter(p.name, "array", p.dtype, p.rank)
            if isinstance(p, ir.Memory)
            else Parameter(p.name, "scalar", p.dtype)
            for p in module.kernel.params
        )
        written = ir.written_arrays(module)
        self._specialization = LanguageSpecialization("fuzzed", module, module, written, traits(module), self)

    def watched(self) -> tuple[tuple[Any, str, Any], ...]:
        return ()

    def constants(self) -> tuple[Any, ...]:
        return ()

    def specialize(
        self, types: tuple[ArgumentType, ...], ndim: int, math: str, target: Target | None
    ) -> LanguageSpecialization:
        return self._specialization


def launcher(context: Context) -> Run:
    """An executor that launches on a context, checked if the context is."""

    def run(module: ir.Module, grid: tuple[int, ...], block: tuple[int, ...], args: list[Any]) -> None:
        kernel = Kernel(ModuleSource(module), "fuzzed")
        wholes: dict[int, tuple[Any, Array[Any]]] = {}
        given = []
        for arg in args:
            if isinstance(arg, np.ndarray):
                whole = owner(arg)
                on_device = wholes.setdefault(id(whole), (whole, context.array(whole)))[1]
                if whole.shape != arg.shape:
                    first = (
                        arg.__array_interface__["data"][0] - whole.__array_interface__["data"][0]
                    ) // arg.itemsize
                    on_device = on_device.reshape(-1)[first : first + arg.size].reshape(arg.shape)
                arg = on_device
            given.append(arg)
        configured = kernel[grid, block] if block else kernel.over(grid)
        configured(*given)
        for whole, on_device in wholes.values():
            whole[...] = on_device.numpy()

    return run


def block_case(context: Context, seed: int) -> Case:
    """The block kernel of a seed; every fourth one with subgroups of a width that the device has."""
    widths = sorted(context.device.capabilities.subgroup_sizes)
    width = widths[seed // 4 % len(widths)] if widths and seed % 4 == 0 else None
    return generate_block(seed, subgroup=width)


def report(found: Mismatch, backend: str, *, checked: bool) -> str:
    """A mismatch, with its kernel and how to see it again."""
    again = f"python -m gpucore.testing.fuzz_launch {backend} {found.case.seed} 1 --shrink"
    return f"again: {again}{' --checked' if checked else ''}\n{found}"


def differs(context: Context, case: Case) -> Mismatch | None:
    """Run a case on a context and on the interpreter."""
    return check(case, launcher(context))


def _small(context: Context, found: Mismatch) -> Mismatch:
    case = shrink(found.case, lambda smaller: differs(context, smaller) is not None)
    return differs(context, case) or found


def main(arguments: list[str] | None = None) -> int:
    """Run seeds; the number of those that fail is the exit status."""
    parser = argparse.ArgumentParser(prog="python -m gpucore.testing.fuzz_launch", description=__doc__)
    parser.add_argument("backend")
    parser.add_argument("first", type=int)
    parser.add_argument("count", type=int)
    parser.add_argument("--checked", action="store_true", help="every launch checked, not one in five")
    parser.add_argument("--shrink", action="store_true", help="make failing kernels small")
    wanted = parser.parse_args(arguments)
    failed = 0
    with Context(wanted.backend) as plain, Context(wanted.backend, check=True) as careful:
        for seed in range(wanted.first, wanted.first + wanted.count):
            checked = wanted.checked or seed % 5 == 3
            context = careful if checked else plain
            found = differs(context, block_case(context, seed))
            if found is None:
                continue
            failed += 1
            if wanted.shrink:
                found = _small(context, found)
            sys.stdout.write(report(found, wanted.backend, checked=checked) + "\n")
            sys.stdout.flush()
    sys.stdout.write(f"{failed} of {wanted.count} differ\n")
    return min(failed, 100)


if __name__ == "__main__":
    sys.exit(main())
