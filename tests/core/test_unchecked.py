"""check=False compiles no checks and looks into no access; check="auto" runs the same code where nothing is left to check."""

import numpy as np
import pytest

import gpucore as gc
import gpucore.cache
from gpucore.ir.bounds import analysis
from gpucore.ir.text import print_module
from gpucore.testing import null


@gc.kernel
def scale(x: gc.Array[gc.f32], y: gc.Array[gc.f32]) -> None:
    i = gc.global_id(0)
    if i < x.shape[0]:
        y[i] = 2 * x[i]


@gc.kernel
def histogram(x: gc.Array[gc.u8], bins: gc.Array[gc.i32]) -> None:
    i = gc.global_id(0)
    gc.atomic_add(bins, x[i], 1)


@gc.kernel
def gather(x: gc.Array[gc.f32], index: gc.Array[gc.i32], y: gc.Array[gc.f32]) -> None:
    i = gc.global_id(0)
    y[i] = x[index[i]]


@gc.kernel
def rotate(x: gc.Array[gc.f32], y: gc.Array[gc.f32], by: gc.i32) -> None:
    tile = gc.shared(8, gc.f32)
    t = gc.thread_id(0)
    tile[t] = x[gc.global_id(0)]
    gc.barrier()
    y[gc.global_id(0)] = tile[(t + by) % 8]


def launches(ctx):
    """Kernels that nobody has compiled yet, configured, and their arguments."""
    scale_, histogram_, gather_, rotate_ = (
        gc.kernel(k.__wrapped__) for k in (scale, histogram, gather, rotate)
    )
    x, y = ctx.ones(64, gc.f32), ctx.zeros(64, gc.f32)
    return {
        "scale": (scale_.over(64), (x, y)),
        "histogram": (histogram_.over(64), (ctx.zeros(64, gc.u8), ctx.zeros(256, gc.i32))),
        "gather": (gather_.over(64), (x, ctx.array(np.arange(64, dtype=np.int32)), y)),
        "rotate": (rotate_[8, 8], (x, y, 3)),
    }


@pytest.fixture
def compiled(backend, monkeypatch):
    """The low-level modules that the backend is given, as text."""
    monkeypatch.setenv("GPUCORE_CACHE_DIR", "off")
    texts = []

    def compile(target, module, options):
        texts.append(print_module(module, locations=False))
        return null.compile(target, module, options)

    backend("counted", compile=compile)
    return texts


def texts_of(compiled, **options):
    found = {}
    gpucore.cache.clear()
    with gc.Context("counted", **options) as ctx:
        for name, (launch, args) in launches(ctx).items():
            compiled.clear()
            launch(*args)
            found[name] = list(compiled)
    return found


@pytest.mark.parametrize("how", ["argument", "environment"])
def test_unchecked_code_has_no_checks_and_no_access_is_looked_into(compiled, monkeypatch, how):
    monkeypatch.setattr(analysis, "analyse", None)
    if how == "environment":
        monkeypatch.setenv("GPUCORE_CHECK", "0")
    found = texts_of(compiled, **({"check": False} if how == "argument" else {}))
    for name, texts in found.items():
        assert len(texts) == 1, name
        assert "$error" not in texts[0]


def test_where_nothing_is_left_to_check_the_code_is_that_without_checks(compiled):
    unchecked, auto = texts_of(compiled, check=False), texts_of(compiled)
    for name in ("scale", "histogram", "rotate"):
        assert auto[name] == unchecked[name], name
    assert auto["gather"] != unchecked["gather"]
    assert "$error" in auto["gather"][0]
