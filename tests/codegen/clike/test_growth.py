"""Kernels of many calls and loops: what is called often is compiled once, and many loops are not unrolled."""

from __future__ import annotations

import pytest

import gpucore as gc
from gpucore.hookspecs import CompileOptions
from gpucore.ir import Module
from gpucore.ir.choices import FEW_CALLS, FEW_LOOPS, compiled_once, has_many_loops
from gpucore.ir.passes import LowerOptions, lower
from gpucore.math import library
from gpucore_cuda.renderer import NATIVE, render_module
from gpucore_cuda.targets import make_target

SM = make_target("sm_90")


def low(lines: list[str]) -> Module:
    """A kernel of these lines on ``a``, lowered for CUDA."""
    text = "\n    ".join(["def k(x: gc.Array[gc.f32], m: gc.i32) -> None:", "a = x[0]", *lines, "x[0] = a"])
    space = {"gc": gc}
    exec(compile(text, "<kernel>", "exec"), space)
    kernel = gc.kernel(source=text)(space["k"])
    module = kernel._language()._for((gc.Array[gc.f32, 1], gc.i32), 1, "strict", SM).module
    return lower(module, LowerOptions(native=NATIVE, atomics=SM.atomics, library=library, small=True)).module


def sines(count: int) -> Module:
    return low([f"a = gc.sin(a + {n}.5)" for n in range(count)])


def loops(count: int) -> Module:
    return low([f"for j{n} in range(m):\n        a = a * 0.5 + x[j{n}]" for n in range(count)])


def cuda(module: Module) -> str:
    return render_module(SM, module, CompileOptions()).source


@pytest.mark.parametrize(
    ("count", "once"), [(1, False), (FEW_CALLS, False), (FEW_CALLS + 1, True), (200, True)]
)
def test_what_is_called_often_and_is_much_code_is_compiled_once(count, once):
    module = sines(count)
    assert ("sin.f32" in compiled_once(module)) is once
    assert ("__noinline__ f32 sin_f32(" in cuda(module)) is once


def test_what_is_little_code_is_inlined_however_often_it_is_called():
    names = {name.split(".")[0] for name in compiled_once(sines(200))}
    assert names == {"sin"}


def test_a_function_is_counted_through_those_that_call_it():
    many = low([f"a = gc.sin(a + {n}.5) + gc.cos(a + {n}.5)" for n in range(FEW_CALLS)])
    assert compiled_once(many) == frozenset()


@pytest.mark.parametrize(("count", "many"), [(1, False), (FEW_LOOPS, False), (FEW_LOOPS + 1, True)])
def test_many_loops_are_not_unrolled(count, many):
    module = loops(count)
    assert has_many_loops(module.kernel) is many
    assert cuda(module).count('_Pragma("unroll 1") for (') == (count if many else 0)
