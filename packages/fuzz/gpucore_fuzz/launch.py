"""Cases of :mod:`gpucore_fuzz.cases` on a device, by the way that every launch takes."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpucore import Array, Context
from gpucore.ir import nodes as ir
from gpucore.testing.ir_kernel import kernel_from_module
from gpucore_fuzz.cases import Case, Mismatch, Run, check, generate_block
from gpucore_fuzz.values import owner

__all__ = ["block_case", "differs", "launcher", "report"]


def launcher(context: Context) -> Run:
    """An executor that launches on a context, checked if the context is."""

    def run(module: ir.Module, grid: tuple[int, ...], block: tuple[int, ...], args: list[Any]) -> None:
        kernel = kernel_from_module(module)
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
    again = f"gpucore fuzz --generator blocks --backend {backend} --seeds {found.case.seed}"
    return f"again: {again}{' --checked' if checked else ''}\n{found}"


def differs(context: Context, case: Case) -> Mismatch | None:
    """Run a case on a context and on the interpreter."""
    return check(case, launcher(context))
