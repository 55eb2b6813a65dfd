"""Kernels of many loops and calls, which backends compile with less effort: the same bits."""

from __future__ import annotations

import numpy as np

import gpucore as gc
from gpucore.ir.choices import FEW_CALLS, FEW_LOOPS


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


def test_loops_of_every_kind_one_behind_the_other(same):
    """As many that leave early, meet others or hold loops as a driver may take for one chain."""
    kinds = [
        "for j{n} in range(m + i):\n        a = a * 0.75 + x[(i + j{n}) % 8]",
        "for j{n} in range(m + 4):\n        if j{n} > i:\n            break\n        a = a * 0.5 + {n}.0",
        "for j{n} in range(m + 4):\n        if (j{n} + i) % 2 == 0:\n            continue\n        a = a * 0.5 - {n}.0",
        "t{n} = i\n    while t{n} > 0:\n        t{n} = t{n} // 2\n        a = a + 0.25",
        "for j{n} in range(m):\n        for h{n} in range(i):\n            a = a * 0.5 + x[h{n}]",
        "for j{n} in range(m):\n        gc.barrier()\n        a = a + 0.5",
        "for j{n} in range(8, 0, -3):\n        a = a + x[j{n} - 1]",
    ]
    many = kernel([kind.format(n=10 * row + n) for row in range(5) for n, kind in enumerate(kinds)])
    same(many, 1, 8, np.linspace(-3, 3, 8).astype(np.float32), np.zeros(8, np.float32), 3)


def test_a_kernel_left_from_loops_one_behind_the_other(same):
    leaves = "\n        if j{n} * {n} == i * 7:\n            y[i] = a * {n}.0\n            return\n        a = a + 1.0"
    many = kernel([f"for j{n} in range(m):" + leaves.format(n=n) for n in range(1, 18)])
    same(many, 1, 16, np.linspace(-3, 3, 16).astype(np.float32), np.zeros(16, np.float32), 4)
