"""What an array shows of itself."""

from dataclasses import replace

import numpy as np
import pytest

import gpucore as gc
from gpucore.testing import null


def test_values_shape_dtype_and_device_are_shown(ctx):
    text = repr(ctx.array(np.array([[1.5, 2], [3, 4]], np.float32)))
    assert (
        text.replace("\n      ", "")
        == "Array([[1.5, 2. ], [3. , 4. ]], shape=(2, 2), dtype=f32, device=null:0)"
    )


def test_of_a_large_array_both_ends_are_shown_and_copied(ctx):
    host = np.arange(300_000).reshape(300, 1000)
    array = ctx.array(host)
    with np.printoptions(threshold=1000):
        expected = np.array2string(host, separator=", ", prefix="Array(")
    assert repr(array) == f"Array({expected}, shape=(300, 1000), dtype=i64, device=null:0)"


@pytest.mark.parametrize("shape", [(7, 200), (8, 200), (6, 6, 40), (2000,), (1, 1, 2000)])
def test_the_summary_is_numpys_for_any_shape(ctx, shape):
    host = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    assert np.array2string(host, separator=", ", prefix="Array(") in repr(ctx.array(host))


def test_views_and_small_shapes(ctx):
    x = ctx.array(np.arange(6, dtype=np.int32))
    assert repr(x[::-2]).startswith("Array([5, 3, 1]")
    assert repr(ctx.zeros(0, gc.i32)).startswith("Array([], shape=(0,)")
    assert repr(ctx.array(3.0)).startswith("Array(3., shape=()")
    assert repr(ctx.ones(2, gc.bool_)).startswith("Array([ True,  True]")


def test_an_array_that_is_gone_says_why(ctx):
    x = ctx.ones(3, gc.f32)
    x.free()
    assert repr(x).startswith("<Array f32 (3,) on null:0, gone: ")


def test_showing_an_array_leaves_errors_for_the_next_wait(backend, monkeypatch):
    backend("null")

    @gc.kernel
    def store(x: gc.Array[gc.f32], i: gc.i32):
        x[i] = 1.0

    with gc.Context("null", check=True) as ctx:
        x = ctx.zeros(3, gc.f32)
        store[1, 1](x, 9)
        for _ in range(2):
            assert repr(x).startswith("Array([0., 0., 0.]")
            assert "a kernel failed: context.synchronize() raises its error" in repr(x)
            assert "a kernel failed" in x._repr_html_()
        with pytest.raises(gc.KernelBoundsError):
            ctx.synchronize()
        assert "failed" not in repr(x)


@pytest.mark.parametrize("name", ["shared", "apart"])
def test_other_arrays_of_the_context_say_that_a_kernel_failed(backend, name):
    def capabilities(device):
        raw = null.capabilities(device)
        return replace(raw, names=raw.names - {"pinned_memory"} if name == "apart" else raw.names)

    backend(name, capabilities=capabilities)

    @gc.kernel
    def store(x: gc.Array[gc.f32], i: gc.i32):
        x[i] = 1.0

    with gc.Context(name, check=True) as ctx:
        x, y = ctx.zeros(3, gc.f32), ctx.zeros(2, gc.f32)
        stream = ctx.stream()
        store.over(1, stream=stream)(x, 9)
        assert "a kernel failed" in repr(x)
        assert "a kernel failed" in repr(y)
        with pytest.raises(gc.KernelBoundsError):
            ctx.synchronize()


def test_a_failing_copy_does_not_make_repr_raise(ctx, monkeypatch):
    x = ctx.ones(3, gc.f32)

    def fail(*args):
        raise gc.DeviceError("the cable is out")

    monkeypatch.setattr(x.context._state.hooks, "copy", fail)
    monkeypatch.setattr(x.context._state, "copy", fail)
    assert "values not shown: the cable is out" in repr(x)


def test_notebooks_show_facts_and_values(ctx):
    html = ctx.array(np.array([1, 2], np.int8))._repr_html_()
    assert "i8 (2,)" in html and "[1, 2]" in html
    assert "null:0" in ctx.device._repr_html_()
