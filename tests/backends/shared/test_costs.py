"""What launches and copies cost on each backend, counted: Python calls, hooks, memory.  Nothing here is timed."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

import gpucore as gc

SMALL = 256


def one(x: gc.Array[gc.f32]):
    i = gc.global_id(0)
    if i < x.shape[0]:
        x[i] = 1.0


def axpy(x: gc.Array[gc.f32], y: gc.Array[gc.f32], a: gc.f32):
    i = gc.global_id(0)
    if i < y.shape[0]:
        y[i] = a * x[i] + y[i]


def sixteen(
    a: gc.Array[gc.f32], b: gc.Array[gc.f32], c: gc.Array[gc.f32], d: gc.Array[gc.f32],
    e: gc.Array[gc.f32], f: gc.Array[gc.f32], g: gc.Array[gc.f32], h: gc.Array[gc.f32],
    k: gc.f32, m: gc.f32, n: gc.f32, o: gc.f32, p: gc.i32, q: gc.i32, r: gc.i32, s: gc.i32,
):  # fmt: skip
    i = gc.global_id(0)
    if i < a.shape[0]:
        a[i] = b[i] + c[i] + d[i] + e[i] + f[i] + g[i] + h[i] + k + m + n + o + gc.f32(p + q + r + s)


KERNELS: dict[str, SimpleNamespace] = {}


@pytest.fixture
def kernels(gpucore_backend):
    """Kernels that no other backend launches: those of contexts that take turns cost a call more."""
    if gpucore_backend not in KERNELS:
        KERNELS[gpucore_backend] = SimpleNamespace(**{f.__name__: gc.kernel(f) for f in (one, axpy, sixteen)})
    return KERNELS[gpucore_backend]


@pytest.fixture
def context(gpucore_context):
    """The context, with nothing of earlier tests left to do."""
    gpucore_context.synchronize()
    return gpucore_context


@pytest.fixture
def actions(context, kernels):
    """Launches and copies by name."""
    x, y = context.ones(SMALL, gc.f32), context.ones(SMALL, gc.f32)
    many = [context.ones(SMALL, gc.f32) for _ in range(8)]
    host = np.ones(SMALL, np.float32)
    one, axpy, sixteen = kernels.one, kernels.axpy, kernels.sixteen
    bound, ahead, numbers = axpy[1, SMALL].bind(x, y, 0.5), axpy.over(SMALL), itertools.cycle([0.25, 0.5])
    return {
        "1 argument": lambda: one[1, SMALL](x),
        "16 arguments": lambda: sixteen[1, SMALL](*many, 1.0, 1.0, 1.0, 1.0, 1, 1, 1, 1),
        "arguments that change": lambda: axpy[1, SMALL](x, y, next(numbers)),
        "over": lambda: axpy.over(SMALL)(x, y, 0.5),
        "configured ahead": lambda: ahead(x, y, 0.5),
        "bound": lambda: bound(),
        "from an ndarray": lambda: x.copy_from(host),
        "to an ndarray": lambda: y.copy_to(host),
        "numpy": lambda: y.numpy(),
        "from an array": lambda: x.copy_from(y),
        "fill": lambda: x.fill(1.0),
    }


def test_a_new_grid_or_range_compiles_no_python(context, kernels, monkeypatch):
    one, axpy = kernels.one, kernels.axpy
    x, y = context.ones(SMALL, gc.f32), context.ones(SMALL, gc.f32)

    def launch(n):
        one[n, 8](x)
        one.over(n)(x)
        axpy[n, 8].bind(x, y, 0.5)()

    for warm in (1, 2, 3):
        launch(warm)
    texts, original = [], compile

    def noted(source, *args, **kwargs):
        texts.append(source)
        return original(source, *args, **kwargs)

    monkeypatch.setattr("builtins.compile", noted)
    for n in range(4, 12):
        launch(n)
    context.synchronize()
    assert texts == []
    np.testing.assert_array_equal(y.numpy()[:8], 1 + 11 * 0.5)


LAUNCHES = ("1 argument", "16 arguments", "arguments that change", "over", "configured ahead", "bound")
COPIES = ("from an ndarray", "to an ndarray", "numpy", "from an array", "fill")


@pytest.mark.parametrize("name", LAUNCHES)
def test_a_launch_is_at_most_two_python_calls_of_core(context, actions, count, name):
    calls = min((count.calls(actions[name], warm=1).python for _ in range(8)), key=len)
    context.synchronize()
    core = {"configured ahead": ["launch"], "bound": ["__call__"], "over": ["over", "launch"]}.get(
        name, ["__getitem__", "launch"]
    )
    assert calls[: len(core)] == core
    # of the backend: packing where the arguments changed, and the driver's binding
    assert len(calls) <= len(core) + 3, calls


@pytest.mark.parametrize("name", COPIES)
def test_a_small_copy_or_fill_is_at_most_four_python_calls_of_core(context, actions, count, name):
    calls = min((count.calls(actions[name], warm=1).python for _ in range(8)), key=len)
    context.synchronize()
    if name == "fill":
        assert calls[:5] == ["fill", "fill", "scalar_bytes", "_writer", "fill"]
    else:
        assert calls.index("copy") <= 4, calls
    # of the backend: its hook, what the hook stands for, and a few more of its own or of the driver's binding
    assert len(calls) <= 20, calls


@pytest.mark.parametrize("name", COPIES)
def test_copies_after_a_checked_kernel_was_read_cost_what_they_did_before(
    context, kernels, actions, count, name
):
    def calls() -> list[str]:
        return min((count.calls(actions[name], warm=1).python for _ in range(8)), key=len)

    checked = context.options(check=True)
    kernels.one[1, SMALL](checked.ones(SMALL, gc.f32))
    context.synchronize()
    with_records = calls()
    context.default_stream._records, kept = None, context.default_stream._records
    try:
        assert with_records == calls()
    finally:
        context.default_stream._records = kept


@pytest.mark.parametrize("name", [*LAUNCHES, *COPIES])
def test_nothing_goes_through_pluggy(context, actions, hook_calls, name):
    for _ in range(3):
        actions[name]()
    context.synchronize()
    assert hook_calls == []


@pytest.mark.parametrize("name", [*LAUNCHES, *COPIES])
def test_no_memory_of_the_backend_is_taken(context, actions, monkeypatch, name):
    taken = []
    original = context._state.alloc
    actions[name]()
    monkeypatch.setattr(context._state, "alloc", lambda *args: taken.append(args) or original(*args))
    before = context.pool.stats()
    for _ in range(100):
        actions[name]()
    context.synchronize()
    assert taken == []
    assert context.pool.stats() == before


@pytest.mark.parametrize("name", [*LAUNCHES, *COPIES])
def test_thousands_of_them_leave_no_memory_behind(context, actions, count, name):
    def some() -> None:
        for _ in range(50):
            actions[name]()
        context.synchronize()

    assert count.blocks(some, 100 if name in LAUNCHES else 20) < 100
