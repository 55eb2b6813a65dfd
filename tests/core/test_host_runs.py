"""One launch on the host's data: ``run`` on any device or in the interpreter, and ``interpret`` of configured launches."""

import numpy as np
import pytest

import gpucore as gc


@gc.kernel
def saxpy(x: gc.Array[gc.f32], y: gc.Array[gc.f32], a: gc.f32 = 2.0) -> None:
    i = gc.global_id(0)
    y[i] = a * x[i] + y[i]


@gc.kernel
def split(x: gc.Array[gc.i32], low: gc.Array[gc.i32], high: gc.Array[gc.i32], at: gc.constexpr) -> None:
    i = gc.global_id(0)
    low[i] = x[i] % at
    high[i] = x[i] // at


@gc.kernel
def corners(x: gc.Array[gc.i32, 4]) -> None:
    a, b, c, d = gc.global_id(0), gc.global_id(1), gc.global_id(2), gc.global_id(3)
    x[a, b, c, d] = gc.i32(a * 1000 + b * 100 + c * 10 + d)


def data():
    return np.arange(5, dtype=np.float32), np.ones(5, np.float32)


@pytest.mark.parametrize("on", ["null", "null:0", "interpret"])
def test_run_gives_what_the_kernel_wrote_and_leaves_its_arguments_alone(ctx, on):
    x, y = data()
    result = saxpy.over(5).run(on=on, y=y, x=x, a=3.0)
    assert list(result) == ["y"]
    np.testing.assert_array_equal(result["y"], 3 * x + 1)
    assert (y == 1).all()
    np.testing.assert_array_equal(saxpy[5, 1].run(on=on, x=x, y=y)["y"], 2 * x + 1)


@pytest.mark.parametrize("on", ["null", "interpret"])
def test_run_gives_every_array_that_is_written(ctx, on):
    x = np.array([0, 7, 12], np.int32)
    result = split.over(3).run(on=on, x=x, low=np.zeros_like(x), high=np.zeros_like(x), at=5)
    assert {name: array.tolist() for name, array in result.items()} == {"low": [0, 2, 2], "high": [0, 1, 2]}


def test_run_takes_strided_ndarrays_and_arrays_of_a_context(ctx):
    x, y = np.arange(10, dtype=np.float32)[::2], np.ones(5, np.float32)
    for on in ("null", "interpret"):
        np.testing.assert_array_equal(saxpy.over(5).run(on=on, x=x, y=ctx.array(y))["y"], 2 * x + 1)


@pytest.mark.parametrize("on", ["cpu", "interpret"])
@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"y": None}, r"saxpy: missing arguments: y; write \.run\(on='\w+', x=\.\.\., y=\.\.\., a=\.\.\.\)"),
        ({"yy": 1, "y": None}, "saxpy has no parameter 'yy', did you mean 'y'"),
        ({"b": 1}, "saxpy has no parameter 'b'; it takes x, y, a"),
        ({"x": np.zeros(5)}, r"'x' wants dtype f32, but the array holds f64; write \.astype\(np\.float32\)"),
        ({"x": [1.0, 2.0]}, r"'x' is an array, not list; write np\.array\(\.\.\., np\.float32\)"),
        ({"a": "2"}, "the argument 'a' is an f32, which '2' of type str is not"),
        ({"x": np.zeros((5, 1), np.float32)}, "'x' wants 1 axis, but the array has 2"),
    ],
)
def test_run_says_what_is_wrong_with_the_arguments(on, wrong, told):
    x, y = data()
    arguments = {name: value for name, value in {"x": x, "y": y, **wrong}.items() if value is not None}
    with pytest.raises(gc.LaunchError, match=told):
        saxpy.over(5).run(on=on, **arguments)


def test_run_says_where_it_cannot_run(ctx):
    x, y = data()
    with pytest.raises(gc.LaunchError, match="did you mean 'interpret'"):
        saxpy.over(5).run(on="interpreter", x=x, y=y)
    with pytest.raises(gc.BackendNotFoundError):
        saxpy.over(5).run(on="abacus", x=x, y=y)
    with pytest.raises(gc.LaunchError, match="run takes no stream"):
        saxpy.over(5, stream=ctx.stream()).run(x=x, y=y)


def test_configured_launches_are_interpreted_on_ndarrays_and_arrays(ctx):
    x, y = data()
    on_device = ctx.array(y)
    saxpy.over(5).interpret(ctx.array(x), on_device, 3.0)
    saxpy[5, 1].interpret(x, y, a=3.0)
    np.testing.assert_array_equal(on_device.numpy(), 3 * x + 1)
    np.testing.assert_array_equal(y, 3 * x + 1)
    both = ctx.array(x)
    saxpy.over(5).interpret(both, both)
    np.testing.assert_array_equal(both.numpy(), 3 * x)
    with pytest.raises(gc.LaunchError, match="takes no stream"):
        saxpy.over(5, stream=ctx.stream()).interpret(x, y)


def test_a_range_of_four_axes_is_interpreted_and_a_range_without_its_ids_is_refused():
    x = np.zeros((2, 3, 2, 4), np.int32)
    corners.over(x.shape).interpret(x)
    np.testing.assert_array_equal(x, np.tensordot([1000, 100, 10, 1], np.indices(x.shape), 1))
    with pytest.raises(gc.LaunchError, match=r"never reads gc\.global_id\(1\)"):
        saxpy.over((5, 2)).interpret(*data())


def test_the_interpreter_of_a_launch_finds_what_a_device_would_not_say():
    with pytest.raises(gc.KernelBoundsError):
        saxpy.over(6).interpret(*data())
