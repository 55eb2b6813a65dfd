"""What a kernel captured is looked at again at each launch, wherever it lives: a change is another kernel."""

import math
import sys
import types

import numpy as np
import pytest

import gpucore as gc

Cast = gc.i32
Curve = math.sqrt


class Settings:
    count = 4
    Cast = gc.i32
    mode = "wide"

    class Inner:
        scale = np.float32(2)


settings = types.SimpleNamespace(Cast=gc.i32, scale=np.float32(2), count=np.int64(2), mode="wide")
module = types.ModuleType("a_module_of_the_users")


@gc.func
def once(v):
    return v + 1.0


@gc.func
def twice(v):
    return v + 2.0


module.step, module.scale = once, np.float32(2)


@gc.kernel
def global_dtype(y: gc.Array[gc.f64]):
    y[0] = gc.f64(Cast(y[0]))


@gc.kernel
def global_function(y: gc.Array[gc.f64]):
    y[0] = Curve(y[0] * 0.0 + 4.0)


@gc.kernel
def class_number(y: gc.Array[gc.f64]):
    y[0] = Settings.count


@gc.kernel
def class_dtype(y: gc.Array[gc.f64]):
    y[0] = gc.f64(Settings.Cast(y[0]))


@gc.kernel
def class_word(y: gc.Array[gc.f64]):
    y[0] = 1.0 if Settings.mode == "wide" else 2.0


@gc.kernel
def inner_class(y: gc.Array[gc.f64]):
    y[0] = gc.f64(Settings.Inner.scale)


@gc.kernel
def namespace_dtype(y: gc.Array[gc.f64]):
    y[0] = gc.f64(settings.Cast(y[0]))


@gc.kernel
def namespace_float(y: gc.Array[gc.f64]):
    y[0] = gc.f64(settings.scale)


@gc.kernel
def namespace_integer(y: gc.Array[gc.f64]):
    y[0] = gc.f64(settings.count)


@gc.kernel
def namespace_word(y: gc.Array[gc.f64]):
    y[0] = 1.0 if settings.mode == "wide" else 2.0


@gc.kernel
def module_function(y: gc.Array[gc.f64]):
    y[0] = module.step(y[0] * 0.0)


@gc.kernel
def module_float(y: gc.Array[gc.f64]):
    y[0] = gc.f64(module.scale)


HERE = sys.modules[__name__]


@pytest.mark.parametrize(
    ("kernel", "place", "name", "value", "before", "after"),
    [
        (global_dtype, HERE, "Cast", gc.i8, 300, 127),
        (global_function, HERE, "Curve", gc.exp2, 2, 16),
        (class_number, Settings, "count", 5, 4, 5),
        (class_dtype, Settings, "Cast", gc.i8, 300, 127),
        (class_word, Settings, "mode", "narrow", 1, 2),
        (inner_class, Settings.Inner, "scale", np.float32(3), 2, 3),
        (namespace_dtype, settings, "Cast", gc.i8, 300, 127),
        (namespace_float, settings, "scale", np.float32(3), 2, 3),
        (namespace_integer, settings, "count", np.int64(3), 2, 3),
        (namespace_word, settings, "mode", "narrow", 1, 2),
        (module_function, module, "step", twice, 1, 2),
        (module_float, module, "scale", np.float32(3), 2, 3),
    ],
    ids=lambda v: v.__name__ if isinstance(v, gc.Kernel) else "",
)
def test_a_change_is_seen_at_the_next_launch_and_not_by_what_was_bound(
    ctx, monkeypatch, kernel, place, name, value, before, after
):
    def result(launch):
        y.fill(300.7)
        launch()
        return y.numpy()[0]

    y = ctx.zeros(1, gc.f64)
    assert result(lambda: kernel[1, 1](y)) == before == result(lambda: kernel[1, 1](y))
    bound = kernel[1, 1].bind(y)
    monkeypatch.setattr(place, name, value)
    assert result(lambda: kernel[1, 1](y)) == after
    assert result(bound) == before
    monkeypatch.undo()
    assert result(lambda: kernel[1, 1](y)) == before


def test_attributes_of_other_objects_are_no_constants_and_the_error_says_so(ctx):
    class Plain:
        size = 3

    plain = Plain()

    @gc.kernel
    def kernel(y: gc.Array[gc.f64]):
        y[0] = plain.size

    with pytest.raises(
        gc.KernelSyntaxError, match=r"attributes of a Plain are not seen.*(?s:.)*size = plain\.size"
    ):
        kernel[1, 1](ctx.zeros(1, gc.f64))
