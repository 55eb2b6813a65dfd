"""Kernels of the language through the core: specialisation, constants, scalars, looking inside."""

import traceback
import types

import numpy as np
import pytest

import gpucore as gc

WIDTH = 3
settings = types.SimpleNamespace(scale=2)


@gc.func
def shifted(v):
    return v + WIDTH


@gc.kernel
def saxpy(x: gc.Array[gc.f32], y: gc.Array[gc.f32], a: gc.f32):
    """y = a x + y."""
    i = gc.global_id(0)
    if i < y.shape[0]:
        y[i] = a * x[i] + y[i]


def test_a_kernel_keeps_name_and_documentation():
    assert saxpy.__name__ == "saxpy" and saxpy.__doc__ == "y = a x + y."
    assert "saxpy(x, y, a) with x: Array1[f32]" in repr(saxpy)


def test_a_launch_gives_the_bits_of_numpy(ctx):
    x = np.linspace(-2, 2, 77, dtype=np.float32)
    y = ctx.ones(77, gc.f32)
    saxpy[gc.cdiv(77, 32), 32](ctx.array(x), y, 0.3)
    np.testing.assert_array_equal(y.numpy(), np.float32(0.3) * x + np.float32(1))


def test_unannotated_parameters_specialise_on_call(ctx):
    @gc.kernel
    def scale(out: gc.Array, value):
        out[gc.global_id(0)] = value

    for dtype, value in [(gc.f32, 1.5), (gc.i32, 7), (gc.f64, np.float64(2.5)), (gc.i64, np.int64(2**40))]:
        out = ctx.zeros(2, dtype)
        scale.over(2)(out, value)
        assert out.numpy().tolist() == [value, value]


def test_arguments_may_have_defaults_and_be_given_by_name_alone(ctx):
    @gc.kernel
    def store(out: gc.Array[gc.f32], n: gc.i32 = 3, *, scale=2.0, mode: gc.constexpr = "plain"):
        i = gc.global_id(0)
        out[i] = n * scale if mode == "plain" else 0.0

    out = ctx.zeros(2, gc.f32)

    def stored(launch):
        out.fill(-1)
        launch()
        return float(out.numpy()[0])

    for _ in range(2):
        assert stored(lambda: store.over(2)(out)) == 6
        assert stored(lambda: store.over(2)(out, 5)) == 10
        assert stored(lambda: store.over(2)(out, scale=3.0)) == 9
        assert stored(lambda: store.over(2)(out, 4, scale=1.5, mode="none")) == 0
        assert stored(lambda: store[1, 2, ctx.stream()](out, n=7)) in (14, -1)
        ctx.synchronize()
        assert stored(store.over(2).bind(out, scale=0.5)) == 1.5
    x = np.zeros(2, np.float32)
    store.interpret(2, 1, x, scale=4.0)
    assert x.tolist() == [12, 12]
    with pytest.raises(
        gc.LaunchError, match=r"takes 2 arguments by position, but 3 were given; write scale="
    ):
        store.over(2)(out, 3, 2.0)
    with pytest.raises(gc.LaunchError, match="missing arguments: out"):
        store.over(2)(n=3)


def test_a_default_may_be_left_out_at_any_launch(ctx):
    @gc.kernel
    def store(out: gc.Array[gc.i32], a: gc.i32, n: gc.i32 = 3):
        out[gc.global_id(0)] = a + n

    out = ctx.zeros(1, gc.i32)
    for _ in range(3):
        store.over(1)(out, 1)
        assert out.numpy()[0] == 4
        store.over(1)(out, 1, 1)
        assert out.numpy()[0] == 2
    with pytest.raises(gc.LaunchError, match=r"takes 2 to 3 arguments \(out, a, n=3\), but 1 was given"):
        store.over(1)(out)


def test_a_python_float_has_the_default_float_of_its_launch(ctx):
    @gc.kernel
    def scale(out: gc.Array, value):
        out[gc.global_id(0)] = value

    f32_of_tenth = float(np.float32(0.1))
    launches = [
        (gc.f32, 0.1, f32_of_tenth),
        (gc.f64, 0.1, 0.1),
        (gc.f64, np.float32(0.1), f32_of_tenth),
        (gc.f64, np.float64(0.1), 0.1),
        (gc.f64, 1e300, 1e300),
        (gc.f64, 3, 3.0),
        (gc.i32, 3, 3),
    ]
    for _ in range(2):  # looked up, then known
        for dtype, value, stored in launches:
            out = ctx.zeros(2, dtype)
            scale.over(2)(out, value)
            scale.over(2)(out, value)
            assert out.numpy().tolist() == [stored, stored]
    for value, stored in ((0.1, 0.1), (np.float32(0.1), f32_of_tenth)):
        x = np.zeros(2)
        scale.interpret(2, 1, x, value)
        assert x.tolist() == [stored, stored]
    with pytest.raises(gc.LaunchError, match="does not fit"):
        scale.over(2)(ctx.zeros(2, gc.f32), 1e300)


def test_constexpr_parameters_are_part_of_the_specialisation(ctx):
    @gc.kernel
    def fill(out: gc.Array[gc.f32], n: gc.constexpr):
        total = 0.0
        for k in gc.static_range(n):
            total += 1.0
        out[gc.global_id(0)] = total

    out = ctx.zeros(1, gc.f32)
    for n in (3, 5, 3):
        fill.over(1)(out, n)
        assert out.numpy()[0] == n


def test_a_captured_constant_is_looked_at_again_at_each_launch(ctx, monkeypatch):
    local = 10

    @gc.kernel
    def add(out: gc.Array[gc.i32]):
        out[gc.global_id(0)] = WIDTH + local

    @gc.kernel
    def through_a_function(out: gc.Array[gc.i32]):
        out[gc.global_id(0)] = shifted(1)

    @gc.kernel
    def through_a_namespace(out: gc.Array[gc.i32]):
        out[gc.global_id(0)] = settings.scale

    out = ctx.zeros(1, gc.i32)

    def result(kernel):
        kernel.over(1)(out)
        return int(out.numpy()[0])

    kernels = (add, through_a_function, through_a_namespace)
    assert [result(k) for k in kernels] == [13, 4, 2]
    bound = add.over(1).bind(out)
    monkeypatch.setitem(globals(), "WIDTH", 100)
    monkeypatch.setattr(settings, "scale", 9)
    local = 20
    assert [result(k) for k in kernels] == [120, 101, 9]
    bound()
    assert int(out.numpy()[0]) == 13  # bind froze them


def test_bool_and_half_scalars(ctx):
    @gc.kernel
    def choose(out: gc.Array[gc.f16], flag: gc.bool_, a: gc.f16, b: gc.bf16):
        out[gc.global_id(0)] = a if flag else gc.f16(b)

    out = ctx.zeros(1, gc.f16)
    choose.over(1)(out, True, 0.1, 0.5)
    assert out.numpy()[0] == np.float16(0.1)
    choose.over(1)(out, False, 0.1, 0.5)
    assert out.numpy()[0] == 0.5
    with pytest.raises(gc.LaunchError, match="'flag' is a bool"):
        choose.over(1)(out, 1, 0.1, 0.5)


def test_a_shared_tile_with_a_barrier(ctx):
    @gc.kernel
    def reverse(x: gc.Array[gc.i32], out: gc.Array[gc.i32]):
        tile = gc.shared(8, gc.i32)
        t = gc.thread_id(0)
        tile[t] = x[gc.global_id(0)]
        gc.barrier()
        out[gc.global_id(0)] = tile[7 - t]

    x = np.arange(16, dtype=np.int32)
    out = ctx.zeros(16, gc.i32)
    reverse[2, 8](ctx.array(x), out)
    np.testing.assert_array_equal(out.numpy(), x.reshape(2, 8)[:, ::-1].ravel())
    with pytest.raises(
        gc.LaunchError, match=r"thread or block ids, shared memory, barriers.*reverse\[grid, block\]"
    ):
        reverse.over(16)(ctx.array(x), out)


def test_a_checked_kernel_names_the_line_of_the_mistake(ctx):
    checked = ctx.options(check=True)
    saxpy_line = open(__file__).read().splitlines().index("        y[i] = a * x[i] + y[i]") + 1
    saxpy[1, 8](checked.ones(3, gc.f32), checked.ones(8, gc.f32), 1.0)
    with pytest.raises(gc.KernelBoundsError) as caught:
        ctx.synchronize()
    assert caught.value.lineno == saxpy_line and caught.value.filename == __file__


def test_an_assert_in_a_kernel(ctx):
    @gc.kernel
    def positive(x: gc.Array[gc.f32]):
        assert x[gc.global_id(0)] > 0, "only positive numbers"

    checked = ctx.options(check=True)
    x = checked.array(np.array([1, -1], np.float32))
    positive.over(2)(x)
    with pytest.raises(gc.KernelAssertionError, match="only positive numbers") as caught:
        x.numpy()
    assert caught.value.thread == (1,)
    positive.over(2)(ctx.array(np.array([1, -1], np.float32)))
    ctx.synchronize()


def test_a_wrong_kernel_is_one_error_without_internals(ctx):
    @gc.kernel
    def wrong(x: gc.Array[gc.f32]):
        x[gc.global_id(0)] = "text"

    for call, most in (
        (lambda: wrong.over(1)(ctx.ones(1, gc.f32)), 1),
        (lambda: wrong.over(1)(x=ctx.ones(1, gc.f32)), 1),
        (lambda: wrong.over(1, stream=ctx.default_stream)(ctx.ones(1, gc.f32)), 1),
        (lambda: wrong.over(1).bind(ctx.ones(1, gc.f32)), 2),
        (lambda: wrong.ir(ctx.ones(1, gc.f32)), 1),
        (lambda: wrong.interpret(1, 1, np.ones(1, np.float32)), 1),
    ):
        with pytest.raises(gc.KernelTypeError) as caught:
            call()
        frames = traceback.extract_tb(caught.value.__traceback__)
        assert len([frame for frame in frames if "/gpucore/" in frame.filename]) <= most
        assert caught.value.__cause__ is None and caught.value.__suppress_context__
        assert 'x[gc.global_id(0)] = "text"' in str(caught.value)


def test_a_wrong_argument_is_one_frame_above_the_users_line(ctx):
    @gc.kernel
    def right(x: gc.Array[gc.f32], n: gc.i32):
        x[gc.global_id(0)] = gc.f32(n)

    x = ctx.ones(1, gc.f32)
    configured = right.over(1)
    for _ in range(2):  # before its class is one of its own, and after
        for arguments, named in (
            ((x, "text"), {}),
            ((x,), {}),
            ((x,), {"m": 1}),
            ((x, 1, 2), {}),
            ((), {"x": x}),
        ):
            with pytest.raises(gc.LaunchError) as caught:
                configured(*arguments, **named)
            frames = traceback.extract_tb(caught.value.__traceback__)
            assert len(frames) == 2 and caught.value.__suppress_context__
        configured(x, 3)
    assert x.numpy()[0] == 3


# --- looking inside
def test_the_ir_of_a_kernel_round_trips(ctx):
    from gpucore.ir import parse

    for arguments in [
        (ctx.ones(3, gc.f32), ctx.ones(3, gc.f32), 1.0),
        (np.ones(3, np.float32), np.ones(3, np.float32), 1),
        (gc.Array[gc.f32], gc.Array[gc.f32], gc.f32),
    ]:
        module = saxpy.ir(*arguments)
        assert isinstance(module, gc.IRModule)
        assert parse(str(module)) == module


def test_the_ir_takes_as_many_axes_as_the_kernel_needs():
    @gc.kernel
    def plane(out: gc.Array[gc.f32, 2]):
        y, x = gc.global_ids(2)
        out[y, x] = 0.0

    assert plane.ir(gc.Array[gc.f32, 2]).ndim == 2
    assert saxpy.ir(gc.Array[gc.f32], gc.Array[gc.f32], gc.f32, ndim=3).ndim == 3


def test_the_source_that_a_backend_compiles(ctx):
    text = saxpy.source("null", ctx.ones(3, gc.f32), ctx.ones(3, gc.f32), 1.0)
    assert "kernel @saxpy" in text
    with pytest.raises(gc.BackendNotFoundError):
        saxpy.source("nowhere", ctx.ones(3, gc.f32), ctx.ones(3, gc.f32), 1.0)


def test_the_interpreter_runs_in_place_on_ndarrays(ctx):
    x, y = np.arange(5, dtype=np.float32), np.ones(5, np.float32)
    saxpy.interpret(1, 8, x, y, 2.0)
    np.testing.assert_array_equal(y, 2 * x + 1)
    with pytest.raises(gc.LaunchError, match="'x' is on a device"):
        saxpy.interpret(1, 8, ctx.ones(5, gc.f32), y, 2.0)
    with pytest.raises(gc.LaunchError, match="'x' wants dtype f32"):
        saxpy.interpret(1, 8, np.ones(5), y, 2.0)


def test_portability_is_known_without_a_launch():
    @gc.kernel
    def total(x: gc.Array[gc.f32], out: gc.Array[gc.f32]):
        gc.atomic_add(out, 0, x[gc.global_id(0)])

    assert saxpy.portable and saxpy.portability_note == ""
    assert not total.portable and "atomic_add on f32" in total.portability_note


def test_fast_math_can_be_asked_for_by_kernel_and_by_context(ctx):
    @gc.kernel(math="fast")
    def fast(x: gc.Array[gc.f32]):
        x[gc.global_id(0)] = gc.exp(x[gc.global_id(0)])

    assert fast.ir(gc.Array[gc.f32]).math == "fast" and not fast.portable
    x = ctx.zeros(1, gc.f32)
    fast.over(1)(x)
    assert x.numpy()[0] == 1
    with pytest.raises(gc.KernelTypeError, match="'strict' or 'fast'"):
        gc.kernel(math="quick")


def test_cdiv():
    assert [gc.cdiv(n, 4) for n in (0, 1, 4, 5)] == [0, 1, 1, 2]


def test_a_kernel_does_not_keep_the_arrays_around_it_alive(ctx):
    array = ctx.ones(1000, gc.f32)

    @gc.kernel
    def local_kernel(x: gc.Array[gc.f32], n: gc.i32):
        x[gc.global_id(0)] = 1.0

    local_kernel.over(1)(array, 3)
    del array
    assert ctx.pool.stats()["used"] == 0


def test_a_kernel_without_source_takes_it_as_text(ctx):
    text = "def made(x: gc.Array[gc.f32]):\n    x[gc.global_id(0)] = 5.0\n"
    space = {"gc": gc}
    exec(text, space)
    with pytest.raises(gc.KernelSyntaxError, match=r"gc\.kernel\(source="):
        gc.kernel(space["made"])
    x = ctx.zeros(2, gc.f32)
    gc.kernel(source=text)(space["made"]).over(2)(x)
    assert x.numpy().tolist() == [5, 5]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("ir", r"simple\.ir\(\*args\)"),
        ("source", "target"),
    ],
)
def test_what_belongs_to_the_kernel_is_said_to_when_it_is_asked_of_a_launch(name, hint):
    @gc.kernel
    def simple(x: gc.Array[gc.f32]):
        x[gc.global_id(0)] = 1.0

    for launch in (simple[4, 32], simple.over(4)):
        with pytest.raises(AttributeError, match=hint):
            getattr(launch, name)
        assert not hasattr(launch, "nonsense")
