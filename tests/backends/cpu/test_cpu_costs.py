"""How often launches and copies on the CPU enter native code."""

from __future__ import annotations

import ctypes
import itertools
import types

import numpy as np
import pytest

import gpucore as gc
from gpucore_cpu.runtime import copies
from gpucore_cpu.runtime.gate import native

SMALL, LARGE = 256, 1 << 20


@gc.kernel
def axpy(x: gc.Array[gc.f32], y: gc.Array[gc.f32], a: gc.f32):
    i = gc.global_id(0)
    if i < y.shape[0]:
        y[i] = a * x[i] + y[i]


@pytest.fixture
def entries(monkeypatch):
    """The names of native functions in the order of their calls."""
    seen: list[str] = []

    def written_down(name, function):
        def call(*args):
            seen.append(name)
            return function(*args)

        return call

    functions = native()
    for name, what in {
        "try_launch": "kernel",
        "try_move": "memmove",
        "try_fill": "memset",
        "fill": "memset",
    }.items():
        monkeypatch.setattr(functions, name, written_down(what, getattr(functions, name)))
    counted = types.SimpleNamespace(**vars(ctypes))
    counted.memmove = written_down("memmove", ctypes.memmove)
    monkeypatch.setattr(copies, "ctypes", counted)
    return seen


@pytest.fixture
def context(entries):
    with gc.Context("cpu") as opened:
        yield opened


def test_a_small_launch_enters_native_code_once(context, entries):
    x, y = context.ones(SMALL, gc.f32), context.ones(SMALL, gc.f32)
    numbers = itertools.cycle([0.25, 0.5])
    launches = {
        "checked": lambda: axpy[1, SMALL](x, y, 0.5),
        "changing": lambda: axpy[1, SMALL](x, y, next(numbers)),
        "over": lambda: axpy.over(SMALL)(x, y, 0.5),
        "bound": axpy[1, SMALL].bind(x, y, 0.5),
    }
    for name, action in launches.items():
        action()
        entries.clear()
        action()
        assert entries == ["kernel"], name


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_a_copy_is_one_move_and_a_fill_one_set(context, entries, size):
    x, y, host = context.ones(size, gc.f32), context.ones(size, gc.f32), np.ones(size, np.float32)
    for name, action in {
        "from an ndarray": lambda: x.copy_from(host),
        "to an ndarray": lambda: x.copy_to(host),
        "numpy": lambda: x.numpy(),
        "from an array": lambda: x.copy_from(y),
        "fill": lambda: x.fill(0.0),
    }.items():
        action()
        context.synchronize()
        entries.clear()
        action()
        context.synchronize()
        assert entries == ["memset" if name == "fill" else "memmove"], name
