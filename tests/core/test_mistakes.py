"""What users get wrong, or nearly wrong, outside kernels: it works, or the error says what to write instead."""

import copy
import itertools
import math
import pickle
import subprocess
import sys

import numpy as np
import pytest

import gpucore as gc

LIMIT = 1000.5

SCALARS = [
    2, 2.0, True, 2**40, 2**63, -(2**31), -(2**31) - 1, math.inf, *(np.dtype(name).type(1) for name in (
        "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32",
        "float64")), np.array(3.0, np.float32),
]  # fmt: skip


@gc.kernel
def scaled(y: gc.Array[gc.f64], value):
    y[gc.global_id(0)] = gc.f64(value)


# --- scalars -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("first", SCALARS, ids=lambda v: f"{type(v).__name__}-{v}")
def test_a_parameter_without_annotation_takes_any_scalar_after_any_other(ctx, first):
    y = ctx.zeros(1, gc.f64)
    for second in SCALARS:
        for value in (first, second, first):
            scaled[1, 1](y, value)
            assert y.numpy()[0] == float(value)
    scaled[1, 1].bind(y, first)()
    stream = ctx.stream()
    ctx.synchronize()
    scaled[1, 1, stream](y, first)
    assert y.numpy(stream=stream)[0] == float(first)


@pytest.mark.parametrize(
    "value", [2**64, -(2**63) - 1, (1, 2), "1", None, np.timedelta64(1, "s"), np.datetime64("now")]
)
def test_what_is_no_scalar_is_refused_by_name(ctx, value):
    y = ctx.zeros(1, gc.f64)
    scaled[1, 1](y, 1.0)
    with pytest.raises(gc.LaunchError, match="scaled: the argument 'value' is"):
        scaled[1, 1](y, value)


# --- compile-time values -----------------------------------------------------------------------------
def sign_of(value):
    return math.copysign(1, value) if isinstance(value, float) else 0


def test_compile_time_values_that_compare_equal_are_told_apart(ctx):
    @gc.kernel
    def kind(y: gc.Array[gc.f32], value: gc.constexpr):
        y[0] = 1.0 / value if value == value else gc.f32(7)

    y = ctx.zeros(1, gc.f32)
    for first, second in itertools.permutations([1.0, 0.5, float("0.5"), -0.5, math.nan, -math.nan], 2):
        for value in (first, second, first):
            kind[1, 1](y, value)
            assert y.numpy()[0] == (7 if value != value else np.float32(1 / value))


def test_compile_time_values_of_another_class_are_told_apart(ctx):
    @gc.kernel
    def doubled(y: gc.Array[gc.f64], value: gc.constexpr):
        y[0] = gc.f64(value * 2147483647 + value)

    y = ctx.zeros(1, gc.f64)
    results = {}
    for value in (1, 1.0, True, np.int32(1), np.float64(1), 1, True, 1.0):
        doubled[1, 1](y, value)
        results.setdefault(type(value), y.numpy()[0])
        assert results[type(value)] == y.numpy()[0]
    assert results[np.float64] == 2147483648 and results[np.int32] == -2147483648


def test_minus_zero_is_another_compile_time_value_than_zero(ctx):
    @gc.kernel
    def keep(y: gc.Array[gc.f32], value: gc.constexpr):
        y[0] = value[0]

    y = ctx.zeros(1, gc.f32)
    for value in (0.0, -0.0, 0.0, float("0"), -0.0):
        keep[1, 1](y, (value,))
        assert sign_of(float(y.numpy()[0])) == sign_of(value)


def test_a_captured_constant_may_be_replaced_by_an_equal_one(ctx, monkeypatch):
    @gc.kernel
    def captured(y: gc.Array[gc.f32]):
        y[0] = LIMIT

    y = ctx.zeros(1, gc.f32)
    for text in ("1000.5", "1000.5", "nan", "nan", "0.0", "-0.0"):
        monkeypatch.setitem(globals(), "LIMIT", float(text))
        captured[1, 1](y)
        assert str(float(y.numpy()[0])) == text


@pytest.mark.parametrize("value", [[1, 2], np.ones(2), {1: 2}, {1}, ([1],)])
def test_a_compile_time_value_that_may_change_is_refused(ctx, value):
    @gc.kernel
    def first(y: gc.Array[gc.i32], values: gc.constexpr):
        y[0] = values[0]

    y = ctx.zeros(1, gc.i32)
    for attempt in (lambda: first[1, 1](y, value), lambda: first.ir(y, value)):
        with pytest.raises(gc.LaunchError, match="'values' is a compile-time value.*a tuple|pass tuple"):
            attempt()
    first[1, 1](y, (3, 4))
    assert y.numpy()[0] == 3


# --- launch shapes -----------------------------------------------------------------------------------
@gc.kernel
def count(y: gc.Array[gc.i32]):
    y[gc.global_id(0)] += 1


@gc.kernel
def count_2d(y: gc.Array[gc.i32, 2]):
    y[gc.global_id(0), gc.global_id(1)] += 1


@pytest.mark.parametrize(
    "config",
    [(2.0, 2), (2, 2.0), (1, True), (True, 1), ((2.0,), (2,)), ((2,), (2.0,)), ("2", 2), (None, 2),
     (np.array([2, 2]), 2), (np.float32(2), 2), (2, 2, 2), (2,), 2, ([2.0], [2])],
    ids=repr,
)  # fmt: skip
def test_a_launch_shape_of_anything_but_ints_is_refused_however_often_it_ran_with_ints(ctx, config):
    stream = ctx.stream()
    for good in ((2, 2), (1, 1), ((2,), (2,)), ([2], [2]), (np.int32(2), 2), (2, 2, stream), (2, 2, None)):
        assert count[good].grid in {(2,), (1,)}
    for attempt in (config, (*config, stream) if isinstance(config, tuple) and len(config) == 2 else config):
        with pytest.raises(gc.LaunchError, match="count"):
            count[attempt]


@pytest.mark.parametrize("axis", range(4))
@pytest.mark.parametrize("wrong", [1.0, True, "1"])
def test_a_launch_shape_of_two_axes_is_refused_as_well(ctx, axis, wrong):
    axes = [1, 1, 1, 1]
    assert count_2d[(1, 1), (1, 1)].block == (1, 1)
    axes[axis] = wrong
    with pytest.raises(gc.LaunchError, match="an int or a tuple of ints"):
        count_2d[tuple(axes[:2]), tuple(axes[2:])]


def test_a_range_of_anything_but_ints_is_refused(ctx):
    assert count.over(1).shape == (1,) and count_2d.over((1, 1)).shape == (1, 1)
    for wrong in (1.0, True, (1.0, 1), (1, True), "1", None, np.array([1.5])):
        with pytest.raises(gc.LaunchError, match="a range is an int or a tuple of ints"):
            count.over(wrong)


def test_a_range_may_be_an_array_of_ints(ctx):
    y = ctx.zeros((3, 2), gc.i32)
    for shape in (np.array([3, 2]), [3, 2], np.array([3, 2]), (np.int64(3), np.int64(2))):
        count_2d.over(shape)(y)
    assert y.numpy().tolist() == [[4, 4]] * 3


def test_one_axis_is_one_axis(ctx):
    with pytest.raises(gc.LaunchError, match="wants 1 axis, but the array has 2"):
        count.over(1)(ctx.zeros((2, 2), gc.i32))


# --- names -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["algorithms"])
def test_what_is_planned_says_so_outside_and_inside_kernels(ctx, name):
    with pytest.raises(gc.NotSupportedError, match=f"{name} is planned for the next release"):
        getattr(gc, name)
    text = f"def k(y: gc.Array[gc.f32]):\n    y[0] = gc.{name}(1)"
    space = {"gc": gc}
    exec(text, space)
    with pytest.raises(gc.NotSupportedError, match=f"(?s):2:.*{name} is planned for the next release"):
        gc.kernel(source=text)(space["k"]).over(1)(ctx.zeros(1, gc.f32))
    assert name not in dir(gc) and name not in gc.__all__


@pytest.mark.parametrize(
    ("name", "meant"),
    [("float32", "f32"), ("bool", "bool_"), ("int64", "i64"), ("uint8", "u8"), ("bfloat16", "bf16"),
     ("golbal_id", "global_id"), ("zeros", "Context.zeros"), ("graph", "Context.graph")],
)  # fmt: skip
def test_names_of_other_libraries_are_answered_with_ours(ctx, name, meant):
    with pytest.raises(AttributeError, match=f"Did you mean '{meant}'"):
        getattr(gc, name)
    text = f"def k(y: gc.Array[gc.f32]):\n    y[0] = gc.{name}(1)"
    space = {"gc": gc}
    exec(text, space)
    told = "makes an array on the host" if name == "zeros" else f"Did you mean '{meant}'"
    with pytest.raises(gc.KernelSyntaxError, match=told):
        gc.kernel(source=text)(space["k"]).over(1)(ctx.zeros(1, gc.f32))


def test_a_name_that_is_misspelt_is_answered_once():
    code = "import gpucore as gc\ngc.Contxt"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.count("Did you mean") == 1
    assert "Did you mean 'Context'?" in done.stderr


@pytest.mark.parametrize("name", ["nope", "front2", "_private"])
def test_a_name_that_is_like_no_public_one_gets_no_suggestion(name):
    with pytest.raises(AttributeError) as caught:
        getattr(gc, name)
    assert "Did you mean" not in str(caught.value)


def test_assigning_a_captured_name_is_explained(ctx):
    @gc.kernel
    def k(y: gc.Array[gc.f32]):
        LIMIT = LIMIT + 1  # noqa: F823
        y[0] = LIMIT

    with pytest.raises(
        gc.KernelSyntaxError, match="LIMIT is captured from outside, but assigning it makes it a local"
    ):
        k.over(1)(ctx.zeros(1, gc.f32))


# --- contexts ----------------------------------------------------------------------------------------
def test_a_context_takes_a_device_that_was_listed(ctx):
    listed = next(device for device in gc.devices() if device.backend == "null")
    for selector in (listed, ctx.device):
        with gc.Context(selector) as other:
            assert other.backend == "null" and other.device.ordinal == listed.ordinal


@pytest.mark.parametrize("selector", [0, True, 1.5, ["null"], object()])
def test_a_selector_of_another_type_is_refused_with_an_example(ctx, selector):
    with pytest.raises(TypeError, match=r"a backend selector is a string such as '\w+:\d"):
        gc.Context(selector)


def test_a_backend_in_capitals_is_recognised(ctx):
    with pytest.raises(gc.BackendNotFoundError, match="did you mean 'null'"):
        gc.Context("NULL")


def test_a_disabled_backend_that_is_misspelt_is_an_error(ctx, monkeypatch):
    monkeypatch.setenv("GPUCORE_DISABLE_BACKENDS", "nul")
    with pytest.raises(gc.ConfigError, match="GPUCORE_DISABLE_BACKENDS disables 'nul'.*did you mean 'null'"):
        gc.Context("null")
    monkeypatch.setenv("GPUCORE_DISABLE_BACKENDS", "something_else")
    gc.Context("null").close()


@pytest.mark.parametrize("limit", [1.5, "much", "1 XB", True, 0, -1])
def test_a_memory_limit_is_a_positive_number_of_bytes(ctx, limit):
    with pytest.raises(gc.ConfigError, match="memory_limit wants a positive number of bytes"):
        gc.Context("null", memory_limit=limit)


# --- arrays ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("value", [None, 1j, np.complex64(1), "1", [1.0], np.datetime64("now")])
@pytest.mark.parametrize("dtype", [gc.f32, gc.i32, gc.bool_])
def test_filling_with_what_is_no_real_number_is_refused(ctx, value, dtype):
    y = ctx.ones(2, dtype)
    with pytest.raises(TypeError, match="takes a"):
        y.fill(value)
    assert (y.numpy() == 1).all()


def test_what_an_array_is_cannot_be_set(ctx):
    y = ctx.ones((2, 3), gc.f32)
    for name, value in {"shape": (6,), "dtype": gc.i32, "size": 1, "context": None, "other": 1}.items():
        with pytest.raises(AttributeError, match=f"an Array's {name} cannot be set"):
            setattr(y, name, value)
    assert y.shape == (2, 3) and y.numpy().sum() == 6


def test_what_an_ndarray_can_do_and_an_array_cannot_names_what_to_write(ctx):
    x, y = ctx.ones(3, gc.f32), ctx.ones(3, gc.f32)

    def assign(key):
        x[key] = 0

    for attempt, instead in {
        (lambda: assign(2)): r"\.fill\(number\)",
        (lambda: assign(slice(1, 2))): r"\.copy_from\(ndarray\)",
        (lambda: float(x[2])): r"float\(array\.numpy\(\)\)",
        (lambda: int(x[2])): r"int\(array\.numpy\(\)\)",
        (lambda: x + y): "write a kernel",
        (lambda: 2 * x): "write a kernel",
        (lambda: -x): "write a kernel",
        (lambda: x < y): "write a kernel",
        (lambda: list(x)): r"iterate over \.numpy\(\)",
        (lambda: 1 in x): r"iterate over \.numpy\(\)",
    }.items():
        with pytest.raises(TypeError, match=instead):
            attempt()
    with pytest.raises(TypeError):
        x += y
    assert x == x and x != y and len({x, y}) == 2


def test_shapes_and_data_of_other_kinds_are_refused_in_words(ctx):
    for shape in (10.0, None, "10", b"3"):
        with pytest.raises(TypeError, match="a shape is an int or a tuple of ints, not"):
            ctx.zeros(shape, gc.f32)
    with pytest.raises(TypeError, match="a shape is made of ints, not float: 2.0"):
        ctx.zeros((2.0, 2), gc.f32)
    for data in ([1, "a"], ["a"], np.array([None, 1])):
        with pytest.raises(TypeError, match="an Array holds numbers"):
            ctx.array(data)


def test_streams_say_what_they_wait_for_and_record(ctx):
    stream = ctx.stream()
    with pytest.raises(TypeError, match="takes an Event or a Stream, not 3"):
        stream.wait(3)
    with pytest.raises(TypeError, match="takes an Event.*not 3"):
        stream.record(3)
    with pytest.raises(gc.LaunchError, match="runs on a Stream, not on 3"):
        count.over(1).bind(ctx.zeros(1, gc.i32))(3)


def test_arguments_that_do_not_fit_are_answered_with_what_to_write(ctx):
    y = ctx.zeros(1, gc.f64)
    with pytest.raises(gc.LaunchError, match=r"make one of i32: ctx\.array\(y\.numpy\(\), gc\.i32\)"):
        count.over(1)(y)
    with pytest.raises(gc.LaunchError, match=r"not list; make one: ctx\.array\(y, gc\.i32\)"):
        count.over(1)([1, 2])

    @gc.kernel
    def take(y: gc.Array[gc.f64], n: gc.i32, flag: gc.bool_):
        y[0] = gc.f64(n)

    with pytest.raises(gc.LaunchError, match=r"'n' is an i32, which 2.0 .*write int\(2.0\)"):
        take.over(1)(y, 2.0, True)
    with pytest.raises(gc.LaunchError, match=r"'flag' is a bool, which 1 .*write bool\(1\)"):
        take.over(1)(y, 2, 1)


def test_too_large_an_array_is_one_traceback(ctx):
    with pytest.raises(gc.OutOfMemoryError) as caught:
        ctx.zeros(10**15, gc.f32)
    assert caught.value.__cause__ is None and caught.value.__suppress_context__


# --- pickling and copying ----------------------------------------------------------------------------
def test_what_lives_on_a_device_is_not_pickled_or_deep_copied(ctx):
    for thing, instead in (
        (ctx, "open another one"),
        (ctx.zeros(1, gc.f32), r"\.numpy\(\)"),
        (ctx.stream(), "make another"),
    ):
        for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match=instead):
                attempt(thing)


def test_a_kernel_of_a_module_is_pickled_by_reference(ctx):
    assert pickle.loads(pickle.dumps(count)) is count
    assert copy.deepcopy([count])[0] is count

    @gc.kernel
    def local(y: gc.Array[gc.i32]):
        y[0] = 1

    with pytest.raises(TypeError, match="define it at the top level of a module"):
        pickle.dumps(local)


# --- interpret ---------------------------------------------------------------------------------------
def test_interpret_takes_arguments_by_name_and_misses_its_grid_in_words():
    y = np.zeros(2, np.int32)
    count.interpret(2, 1, y=y)
    assert y.tolist() == [1, 1]
    with pytest.raises(gc.LaunchError, match=r"count.interpret\(grid, block, y\)"):
        count.interpret(y, 2)
    with pytest.raises(gc.LaunchError, match=r"count.interpret\(grid, block, y\)"):
        count.interpret(2, y)
    with pytest.raises(gc.LaunchError, match="no parameter 'z'"):
        count.interpret(2, 1, z=y)


# --- checked kernels ---------------------------------------------------------------------------------
@pytest.mark.parametrize("value", [2**64 - 1, 2**63, 5])
def test_an_unsigned_index_out_of_bounds_is_reported_as_it_is(ctx, value):
    @gc.kernel
    def reach(y: gc.Array[gc.i32], i: gc.u64):
        y[i] = 1

    y = ctx.options(check=True).zeros(3, gc.i32)
    reach[1, 1](y, value)
    with pytest.raises(gc.KernelBoundsError, match=f"index {value} is out of bounds") as caught:
        ctx.synchronize()
    assert caught.value.index == (value,)


def test_a_negative_index_stays_negative(ctx):
    @gc.kernel
    def reach(y: gc.Array[gc.i32, 2], i: gc.u64, j: gc.i64):
        y[i, j] = 1

    reach[1, 1](ctx.options(check=True).zeros((3, 3), gc.i32), 2**64 - 2, -2)
    with pytest.raises(gc.KernelBoundsError) as caught:
        ctx.synchronize()
    assert caught.value.index == (2**64 - 2, -2)


# --- ranges ------------------------------------------------------------------------------------------
def test_a_range_with_an_axis_that_the_kernel_never_looks_at_is_refused(ctx):
    y = ctx.zeros(10, gc.i32)
    for shape in ((10, 10), (10, 1, 2)):
        with pytest.raises(gc.LaunchError, match=r"never reads gc.global_id\([12]\): the (10|2) threads"):
            count.over(shape)(y)
    assert (y.numpy() == 0).all()
    count.over((10, 1))(y)
    assert (y.numpy() == 1).all()


def test_a_range_over_a_kernel_without_ids_or_with_atomics_is_allowed(ctx):
    @gc.kernel
    def same(y: gc.Array[gc.i32]):
        y[0] = 7

    @gc.kernel
    def rows(y: gc.Array[gc.i32]):
        gc.atomic_add(y, gc.global_id(0), 1)

    y = ctx.zeros(2, gc.i32)
    rows.over((2, 5))(y)
    assert y.numpy().tolist() == [5, 5]
    same.over((2, 5))(y)
    assert y.numpy().tolist() == [7, 5]


# --- asking --------------------------------------------------------------------------------------------
def test_capabilities_are_asked_about_dtypes_and_operations_that_there_are(ctx):
    supports = ctx.device.capabilities.supports
    assert supports(gc.f32) and supports(np.float32, "storage")
    with pytest.raises(TypeError, match="'single precision' is no element type"):
        supports("single precision")
    with pytest.raises(ValueError, match="op is one of 'storage', 'arithmetic'"):
        supports(gc.f32, "nope")


def test_explain_takes_a_kernel_and_says_what_launch_it_means(ctx):
    @gc.kernel
    def fresh(y: gc.Array[gc.i32]):
        y[gc.global_id(0)] = 1

    y = ctx.zeros(3, gc.i32)
    with pytest.raises(TypeError, match="takes a kernel and its arguments"):
        gc.cache.explain(fresh[1, 1], y)
    assert "over (3,) (the shape of its first array: it was not launched yet)" in gc.cache.explain(fresh, y)
    fresh.over(2)(y)
    assert "over (2,), on" in gc.cache.explain(fresh, y)


@gc.func
def nothing(y, i):
    y[i] = 1.0


@gc.func
def whole(n: gc.i32):
    return n + 1


def wrong_range(y: gc.Array[gc.f32]):
    for i in range(3.0):
        y[i] = 1


def wrong_local(y: gc.Array[gc.f32]):
    t = gc.local(-1, gc.f32)
    y[0] = t[0]


def wrong_value(y: gc.Array[gc.f32]):
    y[0] = nothing(y, 0) + 1


def wrong_argument(y: gc.Array[gc.f32]):
    y[0] = gc.f32(whole(y[0]))


@pytest.mark.parametrize(
    ("function", "message"),
    [(wrong_range, "(?m)Write 3\\.$"), (wrong_local, "Write gc.local"), (wrong_value, "nothing returns nothing"),
     (wrong_argument, "into the parameter n of whole, an i32")],
)  # fmt: skip
def test_mistakes_in_kernels_are_answered_with_what_is_meant(function, message):
    with pytest.raises((gc.KernelTypeError, gc.KernelSyntaxError), match=message):
        gc.kernel(function).ir(gc.Array[gc.f32])
