"""Kernels of many loops and calls, which backends compile with less effort: the same bits."""

from __future__ import annotations

import numpy as np

import gpucore as gc
from gpucore.ir.growth import FEW_CALLS, FEW_LOOPS


def kernel(lines):
    text = "\n    ".join(
        [
            "def k(x: gc.Array[gc.f32], y: gc.Array[gc.f32], m: gc.i32) -> None:",
            "i = gc.global_id(0)",
            "a = x[i]",
            *lines,
        ]
    )
    text += "\n    y[i] = a"
    space = {"gc": gc}
    exec(compile(text, "<kernel>", "exec"), space)
    return gc.kernel(source=text)(space["k"])


def test_more_loops_than_a_compiler_is_let_unroll(same):
    many = kernel(
        [
            f"for j{n} in range(m):\n        a = a * 0.75 + x[(i + j{n}) % 8] / {n + 3}"
            for n in range(FEW_LOOPS + 1)
        ]
    )
    same(many, 1, 8, np.linspace(-3, 3, 8).astype(np.float32), np.zeros(8, np.float32), 3)


def test_more_calls_than_are_inlined(same):
    many = kernel([f"a = gc.sin(a * 900.0 + {n}.5)" for n in range(FEW_CALLS + 1)])
    same(many, 1, 8, np.linspace(-3, 3, 8).astype(np.float32), np.zeros(8, np.float32), 3)
