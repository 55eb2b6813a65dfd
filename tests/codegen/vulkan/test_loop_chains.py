"""Loops one behind the other: a driver that takes them for one chain gets a loop around each eighth."""

from __future__ import annotations

import pytest

from gpucore.ir.text import parse


def loops(count: int, inside: str = "", around: str = "") -> str:
    lines = ["  %a: i32 = const 0", "  %b: i32 = const 4", "  %c: i32 = const 1"]
    for n in range(count):
        lines.append(f"  for %i{n}: i32 = %a to %m step %c {{\n    {inside.format(n=n)}\n  }}")
    return "module ir=1 ndim=1 math=strict\n\nkernel @k(%m: i32) {\n" + "\n".join(lines) + "\n}\n"


@pytest.mark.parametrize(
    ("count", "inside", "added"),
    [
        (7, "", 0),
        (8, "", 1),
        (40, "", 5),
        (40, "for %h{n}: i32 = %a to %m step %c {{\n    }}", 0),  # these end chains by themselves
        (40, "barrier", 0),
    ],
)
def test_each_eighth_loop_gets_one_around_it(emitted, full_target, count, inside, added):
    from dataclasses import replace

    from gpucore.hookspecs import CompileOptions
    from gpucore_vulkan.spirv import emit
    from gpucore_vulkan.spirv.disassemble import disassemble

    module = parse(loops(count, inside))
    emitted(module)
    few = replace(full_target, features=full_target.features - {"ShortLoopChains"})
    with_, without = (
        disassemble(emit(target, module, CompileOptions()).words).count("OpLoopMerge")
        for target in (full_target, few)
    )
    assert with_ - without == added
