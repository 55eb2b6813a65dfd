"""Arguments of the wrong kind to contexts, arrays, streams and events: refused in words, where they are given."""

import pickle

import numpy as np
import pytest

import gpucore as gc


@gc.kernel
def ones(y: gc.Array[gc.f32]):
    y[gc.global_id(0)] = 1.0


@pytest.mark.parametrize("stream", [3, 0, "default", True])
def test_what_is_no_stream_is_refused_by_every_call_that_takes_one(ctx, stream):
    y = ctx.zeros(3, gc.f32)
    host = y.numpy()
    other = gc.Context("null")
    for call in (
        lambda: ctx.array([1.0], stream=stream),
        lambda: y.numpy(stream=stream),
        lambda: y.copy_from(host, stream=stream),
        lambda: y.copy_to(host, stream=stream),
        lambda: y.fill(1, stream=stream),
        lambda: y.to(other, stream=stream),
    ):
        with pytest.raises(TypeError, match="takes a Stream"):
            call()
    other.close()


def test_an_array_goes_to_a_context_and_to_nothing_else(ctx):
    y = ctx.zeros(3, gc.f32)
    for target in (None, "cpu", gc.f64, y):
        with pytest.raises(TypeError, match=r"to\(\) takes a Context, not"):
            y.to(target)


def test_memory_is_shared_with_a_context_and_with_nothing_else(ctx):
    for target in (3, "null", gc.f64):
        with pytest.raises(TypeError, match="context= takes a Context"):
            gc.from_dlpack(np.ones(3), context=target)


def test_native_code_comes_with_a_language_and_signatures(ctx):
    with pytest.raises(TypeError, match="language is the name"):
        ctx.module("", language=3, signatures={})
    for signatures in (3, {"k": 3}, [gc.f32]):
        with pytest.raises(TypeError, match="signatures gives each kernel its parameters"):
            ctx.module("", language="spirv", signatures=signatures)


def test_time_is_measured_between_events(ctx):
    with pytest.raises(TypeError, match="takes the Event of the end, not 3"):
        ctx.event(timing=True).elapsed_time(3)


@pytest.mark.parametrize("priority", ["high", 1.5, None])
def test_a_priority_is_an_int(ctx, priority):
    with pytest.raises(TypeError, match="priority is an int"):
        ctx.stream(priority=priority)


@pytest.mark.parametrize("check", ["no", "0", 2, []])
def test_check_is_a_truth_value_and_no_word_for_one(ctx, check):
    with pytest.raises(gc.ConfigError, match="check is True or False"):
        gc.Context("null", check=check)
    with pytest.raises(gc.ConfigError, match="check is True or False"):
        ctx.options(check=check)
    assert ctx.options(check=True).check is True and ctx.options(check=False).check is False


def test_a_closed_context_is_not_entered(backend):
    backend("null")
    ctx = gc.Context("null")
    ctx.close()
    with pytest.raises(gc.LaunchError, match="closed"), ctx:
        pass


def test_no_dtype_is_no_dtype(ctx):
    with pytest.raises(TypeError, match="None is no element type"):
        ctx.zeros(3, None)


def test_parts_of_an_array_are_not_deleted(ctx):
    y = ctx.zeros(3, gc.f32)
    with pytest.raises(AttributeError, match="cannot be deleted"):
        del y.shape
    assert y.shape == (3,)


@pytest.mark.parametrize(
    "name", ["astype", "copy", "clone", "get", "cpu", "item", "tolist", "device", "ravel", "transpose"]
)
def test_what_arrays_of_other_libraries_have_is_said_in_ours(ctx, name):
    with pytest.raises(AttributeError, match=f"no attribute '{name}'; "):
        getattr(ctx.zeros(3, gc.f32), name)


def test_arrays_are_made_by_contexts_whatever_is_passed():
    for arguments in ((), (3,), ([1.0], gc.f32)):
        with pytest.raises(TypeError, match="made by a context"):
            gc.Array(*arguments)


def test_a_range_is_a_shape_and_no_array(ctx):
    y = ctx.zeros(3, gc.f32)
    with pytest.raises(gc.LaunchError, match=r"\.over\(array\.shape\)"):
        ones.over(y)
    ones.over(y.shape)(y)
    assert (y.numpy() == 1).all()


def test_options_of_the_decorator_are_looked_at_where_they_stand():
    for subgroup in (0, -8, "32", 8.0, True):
        with pytest.raises(gc.KernelTypeError, match="subgroup is the number of lanes"):
            gc.kernel(subgroup=subgroup)
    with pytest.raises(gc.KernelTypeError, match="source is the kernel's text"):
        gc.kernel(source=3)


def test_a_configured_kernel_travels_as_its_kernel_and_shape(ctx):
    y = ctx.zeros((4,), gc.f32)
    for configured in (ones[2, 2], ones.over(4)):
        configured(y)  # its class is one of its own by now
        assert pickle.loads(pickle.dumps(configured)) is configured
    with pytest.raises(TypeError, match="has a stream"):
        pickle.dumps(ones[2, 2, ctx.default_stream])


def test_what_lives_with_a_device_says_so_when_it_is_pickled(ctx):
    y = ctx.zeros(4, gc.f32)
    for thing in (ctx.event(), ctx.device, ctx.pool, ones.over(4).bind(y)):
        with pytest.raises(TypeError, match="device of this process"):
            pickle.dumps(thing)


def test_a_malformed_selector_names_the_variable_that_holds_it(backend, monkeypatch):
    backend("null")
    monkeypatch.setenv("GPUCORE_BACKEND", "null:")
    with pytest.raises(gc.ConfigError, match="GPUCORE_BACKEND says 'null:', but .* malformed"):
        gc.Context()


def test_off_is_off_in_capitals_too(backend, monkeypatch, tmp_path):
    backend("null")
    monkeypatch.setenv("GPUCORE_CACHE_DIR", "OFF")
    with gc.Context("null") as ctx:
        ones.over(3)(ctx.zeros(3, gc.f32))
    assert not list(tmp_path.rglob("OFF"))
