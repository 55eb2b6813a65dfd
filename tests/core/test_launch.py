"""Launching: shapes, arguments, limits, variants, bound launches, checked mode."""

import numpy as np
import pytest

import gpucore as gc
from gpucore.launch.arguments import pack_half


@pytest.fixture
def xy(ctx):
    return ctx.array(np.arange(1000, dtype=np.float32)), ctx.ones(1000, gc.f32)


def test_a_grid_of_blocks(xy, saxpy):
    x, y = xy
    saxpy[gc.cdiv(1000, 256), 256](x, y, 2.0)
    np.testing.assert_array_equal(y.numpy(), 2 * np.arange(1000, dtype=np.float32) + 1)


def test_the_same_shape_in_all_spellings(xy, saxpy):
    x, y = xy
    for config in [(4, 256), ((4,), (256,)), ([4], [256]), (np.int64(4), 256)]:
        saxpy[config](x, y, 1.0)
    assert y.numpy()[10] == 41


def test_arguments_by_name(xy, saxpy):
    x, y = xy
    saxpy[4, 256](x, a=3, y=y)
    assert y.numpy()[1] == 4


def test_a_range_launch_guards_its_ids(xy, saxpy):
    x, y = xy
    saxpy.over(3)(x, y, 1.0)
    assert y.numpy()[:5].tolist() == [1, 2, 3, 1, 1]
    saxpy.over((2,))(x, y, 1.0)
    assert y.numpy()[:3].tolist() == [1, 3, 3]


@pytest.mark.parametrize(
    "shape", [(7,), (3, 5), (2, 3, 5), (2, 3, 2, 5), (1, 1, 1, 1), (70, 3), (1, 100)], ids=str
)
def test_range_launches_of_every_rank(ctx, fill_nd, shape):
    out = ctx.zeros(shape, gc.i32)
    kernel = fill_nd(len(shape))
    kernel.over(shape)(out, 7)
    assert (out.numpy() == 7).all()
    out.fill(0)
    inner = tuple(max(extent - 1, 1) for extent in shape)
    kernel.over(inner)(out, 7)
    assert int((out.numpy() == 7).sum()) == int(np.prod(inner))


def test_a_range_past_the_grid_is_laid_out_in_a_line(backend, fill_nd):
    from dataclasses import replace

    from gpucore.testing import null

    def capabilities(device):
        return replace(null.capabilities(device), max_grid=(2, 2, 2**31 - 1), preferred_block=4)

    backend("narrow", capabilities=capabilities)
    with gc.Context("narrow") as ctx:
        out = ctx.zeros((9, 11), gc.i32)
        fill_nd(2).over((9, 11))(out, 3)
        assert (out.numpy() == 3).all()


@pytest.mark.parametrize(
    "trait, words",
    [
        ("uses_thread_ids", "thread or block ids"),
        ("uses_shared", "shared memory"),
        ("uses_barriers", "barriers"),
        ("uses_subgroups", "subgroup"),
    ],
)
def test_a_range_launch_refuses_what_depends_on_blocks(ctx, fill_nd, trait, words):
    with pytest.raises(gc.LaunchError, match=words):
        fill_nd(1, **{trait: True}).over(4)(ctx.zeros(4, gc.i32), 1)


def test_launches_of_size_zero_do_nothing(xy, saxpy):
    x, y = xy
    saxpy[0, 256](x, y, 1.0)
    saxpy.over(0)(x, y, 1.0)
    assert y.numpy().sum() == 1000
    with pytest.raises(gc.LaunchError):
        saxpy[0, 256](x, y, "a")


def test_arrays_of_size_zero_are_arguments(ctx, saxpy):
    x, y = ctx.zeros(0, gc.f32), ctx.zeros(0, gc.f32)
    saxpy[1, 32](x, y, 1.0)
    assert y.numpy().size == 0


# --- what is refused, naming kernel and argument
@pytest.mark.parametrize(
    "config, message",
    [
        (4, "wants a grid and a block"),
        ((1, 2, 3, 4), "wants a grid and a block"),
        ((4, (16, 16)), "differ in their number of axes"),
        (((1,) * 4, (1,) * 4), "1 to 3 axes"),
        ((-1, 4), "negative"),
        ((4, 0), "no threads"),
        ((1.5, 4), "int or a tuple of ints"),
        ((True, 4), "int or a tuple of ints"),
        ((4, 4, "stream"), "a Stream"),
    ],
    ids=str,
)
def test_a_bad_configuration(saxpy, config, message):
    with pytest.raises(gc.LaunchError, match=message) as caught:
        saxpy[config]
    assert "saxpy" in str(caught.value)


@pytest.mark.parametrize(
    "config", [(1, 4096), (2**31, 1), ((70_000, 1), (1, 1)), ((1, 1, 1), (65, 1, 1))], ids=str
)
def test_grid_and_block_past_the_limits(xy, saxpy, config):
    with pytest.raises(gc.LaunchError, match=r"saxpy: the (grid|block) .*(past the limit|allows)"):
        saxpy[config](*xy, 1.0)


@pytest.mark.parametrize("shape", [(), (1,) * 9, -1, 2.5])
def test_a_bad_range(saxpy, shape):
    with pytest.raises(gc.LaunchError):
        saxpy.over(shape)


def bad_arguments(ctx):
    x, y = ctx.ones(8, gc.f32), ctx.ones(8, gc.f32)
    freed = ctx.ones(8, gc.f32)
    freed.free()
    return {
        "too few": ((x, y), {}, "takes 3 arguments"),
        "too many": ((x, y, 1.0, 2.0), {}, "takes 3 arguments"),
        "unknown name": ((x, y), {"b": 1}, "no parameter 'b'"),
        "given twice": ((x, y, 1.0), {"a": 1}, "'a' is given twice|takes 3"),
        "missing": ((x,), {"a": 1}, "missing arguments: y"),
        "dtype": ((ctx.ones(8, gc.f64), y, 1.0), {}, "'x' wants dtype f32, but the array holds f64"),
        "rank": ((x.reshape(2, 4), y, 1.0), {}, "'x' wants 1 axis, but the array has 2"),
        "strided": ((x, y[::2], 1.0), {}, r"'y' is a strided view; .*y\.contiguous\(\)"),
        "host array": ((np.ones(8, np.float32), y, 1.0), {}, r"'x' .*numpy\.ndarray.*context\.array"),
        "number for an array": ((1.0, y, 1.0), {}, "'x' is an Array of f32, not float"),
        "array for a number": ((x, y, x), {}, "'a' is an f32, but an array was given"),
        "text for a number": ((x, y, "1"), {}, "'a' is an f32, which '1' of type str is not"),
        "does not fit": ((x, y, 1e39), {}, "'a' is an f32, and 1e.39 does not fit"),
        "freed": ((freed, y, 1.0), {}, "'x' is gone: it was freed"),
    }


@pytest.mark.parametrize("case", [
    "too few", "too many", "unknown name", "given twice", "missing", "dtype", "rank", "strided", "host array",
    "number for an array", "array for a number", "text for a number", "does not fit", "freed",
])  # fmt: skip
@pytest.mark.parametrize("warm", [False, True], ids=["first launch", "later launch"])
def test_arguments_that_do_not_fit(ctx, saxpy, case, warm):
    args, kwargs, message = bad_arguments(ctx)[case]
    if warm:
        saxpy[1, 8](ctx.ones(8, gc.f32), ctx.ones(8, gc.f32), 1.0)
    with pytest.raises(gc.LaunchError, match=message) as caught:
        saxpy[1, 8](*args, **kwargs)
    assert str(caught.value).startswith("saxpy")
    assert isinstance(caught.value, ValueError)
    with pytest.raises(gc.LaunchError):
        saxpy[1, 8].bind(*args, **kwargs)


def test_a_launch_without_arrays_wants_a_stream(ctx, fill_nd):
    from gpucore.ir import dtypes as d
    from gpucore.ir import nodes as ir

    source = fill_nd(1).kernel_source
    source.captured.module = ir.Module(ir.Function("nothing", (ir.Value("a", d.i32),), None, (), (), ()))
    from gpucore.launch.kernel import Kernel

    kernel = Kernel(source, "nothing")
    with pytest.raises(gc.LaunchError, match="pass an array or a stream"):
        kernel[1, 1](3)
    kernel[1, 1, ctx.stream()](3)


def test_arrays_of_two_devices_are_refused(ctx, backend, saxpy):
    from gpucore.testing import null

    backend("other", probe=null.probe)
    with gc.Context("other") as other:
        with pytest.raises(gc.LaunchError, match=r"'y' is on .*other:0.*\.to\(context\)"):
            saxpy[1, 8](ctx.ones(8, gc.f32), other.ones(8, gc.f32), 1.0)
        with pytest.raises(gc.LaunchError, match="the stream is of"):
            saxpy[1, 8, other.stream()](ctx.ones(8, gc.f32), ctx.ones(8, gc.f32), 1.0)


def test_calling_a_kernel_says_how_to_launch_it(saxpy):
    with pytest.raises(gc.LaunchError, match=r"saxpy\[grid, block\]"):
        saxpy(1, 2, 3)


# --- scalars
@pytest.mark.parametrize(
    "value", [2, 2.0, True, np.float64(2), np.float32(2), np.int8(2), np.array(2.0), float("inf")]
)
def test_numbers_of_all_kinds_are_scalars(xy, saxpy, value):
    x, y = xy
    saxpy[4, 256](x, y, value)
    with np.errstate(invalid="ignore"):
        expected = np.float32(value) * np.float32(3) + 1
    assert y.numpy()[3] == expected


@pytest.mark.parametrize("value", [2**31, -(2**31) - 1, 1.0, np.float32(1), None, 1j])
def test_integers_are_exact(ctx, fill_nd, value):
    with pytest.raises(gc.LaunchError, match="fill_nd: the argument 'value' is an i32"):
        fill_nd(1)[1, 1](ctx.zeros(1, gc.i32), value)


@pytest.mark.parametrize(
    "value", [0.1, 1 / 3, 65504.0, 1e-7, -0.0, 3e38, 1.00390625 + 2**-40, 1.01171875 - 2**-40]
)
def test_halves_are_rounded_once(value):
    from fractions import Fraction

    import ml_dtypes

    bits = pack_half(gc.bf16, "u16")(value)
    candidates = [int(np.uint16(bits)) + step for step in (-1, 0, 1) if 0 <= bits + step < 2**16]
    exact = Fraction(value)
    distance = {b: abs(Fraction(float(np.uint16(b).view(ml_dtypes.bfloat16))) - exact) for b in candidates
                if np.isfinite(float(np.uint16(b).view(ml_dtypes.bfloat16)))}  # fmt: skip
    assert distance[bits] == min(distance.values())
    if abs(value) <= 65504:
        assert pack_half(gc.f16, "u16")(value) == int(np.float16(value).view(np.uint16))
        assert pack_half(gc.f16, "f32")(value) == float(np.float16(value))


# --- variants
def test_arrays_that_overlap_get_the_variant_that_may_alias(backend, saxpy):
    compiled = []
    from gpucore.testing import null

    def compile(target, module, options):
        compiled.append(module.noalias)
        return null.compile(target, module, options)

    backend("watched", compile=compile)
    with gc.Context("watched") as ctx:
        x = ctx.ones(64, gc.f32)
        saxpy[1, 32](x[:32], x[32:], 1.0)
        assert compiled == [True]
        saxpy[1, 32](x[:32], x[16:48], 1.0)
        saxpy[1, 32](x, x, 1.0)
        assert compiled == [True, False]
        saxpy[1, 32](ctx.ones(64, gc.f32), x, 1.0)
        assert compiled == [True, False]


def test_a_captured_constant_that_changed_makes_a_new_specialisation(xy, saxpy):
    x, y = xy
    saxpy[4, 256](x, y, 1.0)
    bound = saxpy[4, 256].bind(x, y, 1.0)
    saxpy[4, 256](x, y, 1.0)
    assert saxpy.kernel_source.built == 1
    saxpy.kernel_source.captured.values = (2,)
    saxpy[4, 256](x, y, 1.0)
    assert saxpy.kernel_source.built == 2
    bound()
    saxpy.kernel_source.captured.values = ()
    saxpy[4, 256](x, y, 1.0)
    assert saxpy.kernel_source.built == 2


def test_one_compilation_for_many_threads(backend, saxpy):
    import threading
    import time

    from gpucore.testing import null

    compiled = []

    def compile(target, module, options):
        compiled.append(module)
        time.sleep(0.05)
        return null.compile(target, module, options)

    backend("slow", compile=compile)
    with gc.Context("slow") as ctx:
        x = ctx.ones(8, gc.f32)

        def work():
            saxpy[1, 8](x, ctx.ones(8, gc.f32), 1.0)

        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(compiled) == 1


# --- bound launches
def test_a_bound_launch_freezes_addresses_shapes_and_scalars_but_not_contents(ctx, xy, saxpy):
    x, y = xy
    bound = saxpy[4, 256].bind(x, y, 2.0)
    bound()
    x.fill(10)
    bound(stream=ctx.stream())
    assert y.numpy()[5] == 1 + 10 + 20


def test_a_bound_launch_keeps_its_arrays_alive(ctx, saxpy):
    y = ctx.zeros(8, gc.f32)
    bound = saxpy[1, 8].bind(ctx.ones(8, gc.f32), y, 2.0)
    others = [ctx.zeros(8, gc.f32) for _ in range(4)]
    bound()
    assert y.numpy().tolist() == [2] * 8 and others[0].numpy().sum() == 0


def test_a_bound_launch_with_a_freed_array_is_an_error(xy, saxpy):
    x, y = xy
    bound = saxpy[4, 256].bind(x, y, 2.0)
    bound()
    x.free()
    with pytest.raises(gc.LaunchError, match="gone"):
        bound()


def test_a_plugin_that_packs_ahead_is_asked_to(backend, saxpy):
    calls = []

    def prepare(device, executable, config):
        class Prepared:
            def __call__(self, stream, *slots):
                calls.append("call")

            def bind(self, *slots):
                return lambda stream: calls.append(("bound", len(slots)))

        return Prepared()

    backend("packing", prepare=prepare)
    with gc.Context("packing") as ctx:
        bound = saxpy[1, 8].bind(ctx.ones(8, gc.f32), ctx.ones(8, gc.f32), 2.0)
        bound()
        bound()
        assert calls == [("bound", 7)] * 2


# --- checked mode
def test_a_checked_kernel_reports_once_at_the_next_blocking_call(ctx, copy_kernel):
    checked = ctx.options(check=True)
    x, out = checked.ones(5, gc.f32), checked.zeros(9, gc.f32)
    copy_kernel[1, 9](x, out)
    with pytest.raises(gc.KernelBoundsError) as caught:
        out.numpy()
    error = caught.value
    assert (error.kernel, error.filename, error.lineno) == ("copy_kernel", "kernels.py", 7)
    assert (error.array, error.index, error.shape, error.thread) == ("x", (5,), (5,), (5,))
    assert isinstance(error, IndexError)
    assert out.numpy().tolist() == [1] * 5 + [0] * 4


@pytest.mark.parametrize("blocking", ["context", "stream", "event", "numpy", "close"])
def test_every_blocking_call_reports(backend, copy_kernel, blocking):
    backend("null")
    ctx = gc.Context("null", check=True)
    x, out, s = ctx.ones(5, gc.f32), ctx.zeros(5, gc.f32), ctx.stream()
    copy_kernel[1, 9, s](x, out)
    call = {
        "context": ctx.synchronize,
        "stream": s.synchronize,
        "event": s.record().synchronize,
        "numpy": out.numpy,
        "close": ctx.close,
    }[blocking]
    with pytest.raises(gc.KernelBoundsError):
        call()
    if blocking != "close":
        call()
        copy_kernel[1, 5, s](x, out)
        s.synchronize()
    ctx.close()


def test_a_bound_checked_launch_reports_each_time(ctx, copy_kernel):
    checked = ctx.options(check=True)
    bound = copy_kernel[1, 9].bind(checked.ones(5, gc.f32), checked.zeros(9, gc.f32))
    for _ in range(2):
        bound()
        with pytest.raises(gc.KernelBoundsError):
            ctx.synchronize()


def test_unchecked_and_checked_launches_of_one_kernel(ctx, saxpy):
    x, y = ctx.ones(8, gc.f32), ctx.ones(8, gc.f32)
    saxpy[1, 8](x, y, 1.0)
    checked = ctx.options(check=True)
    saxpy[1, 8](checked.ones(8, gc.f32), y, 1.0)
    assert y.numpy()[0] == 3


# --- what a device lacks
def test_a_device_without_strict_arithmetic_names_what_is_missing(backend, saxpy):
    from dataclasses import replace

    from gpucore.testing import null

    def capabilities(device):
        raw = null.capabilities(device)
        return replace(raw, names=raw.names - {"strict"}, strict_missing="it flushes denormals")

    backend("loose", capabilities=capabilities)
    with gc.Context("loose") as ctx:
        with pytest.raises(gc.NotSupportedError, match="it flushes denormals") as caught:
            saxpy[1, 8](ctx.ones(8, gc.f32), ctx.ones(8, gc.f32), 1.0)
        assert caught.value.capability == "strict"
        fast = ctx.options(math="fast")
        x, y = fast.ones(8, gc.f32), fast.ones(8, gc.f32)
        saxpy[1, 8](x, y, 1.0)
        assert y.numpy()[0] == 2


def test_a_dtype_that_the_device_lacks_is_named(backend, saxpy):
    from dataclasses import replace

    from gpucore.testing import null

    def capabilities(device):
        raw = null.capabilities(device)
        return replace(
            raw, dtypes={k: v - {"arithmetic"} if k == "f32" else v for k, v in raw.dtypes.items()}
        )

    backend("poor", capabilities=capabilities)
    with (
        gc.Context("poor") as ctx,
        pytest.raises(gc.NotSupportedError, match="no arithmetic for f32") as caught,
    ):
        saxpy[1, 8](ctx.ones(8, gc.f32), ctx.ones(8, gc.f32), 1.0)
    assert caught.value.capability == "f32.arithmetic"


def test_native_code_that_the_device_does_not_take(ctx):
    with pytest.raises(gc.NotSupportedError) as caught:
        ctx.module("", language="spirv", signatures={})
    assert caught.value.capability == "source_spirv"


def test_native_kernels_are_typed_by_their_signature(backend):
    from dataclasses import replace

    from gpucore.hookspecs import ObjectCode
    from gpucore.testing import null

    seen = {}

    def capabilities(device):
        raw = null.capabilities(device)
        return replace(raw, names=raw.names | {"source_ptx"})

    def compile_source(target, source, language, signature, options):
        seen.update(source=source, language=language, signature=signature)
        return {name: ObjectCode(b"", name, "native") for name in signature}

    def load(device, object_code):
        return object_code

    def unload(device, executable):
        pass

    def prepare(device, executable, config):
        return lambda stream, *slots: seen.update(entry=executable.entry, config=config, slots=slots)

    backend(
        "native",
        capabilities=capabilities,
        compile_source=compile_source,
        load=load,
        unload=unload,
        prepare=prepare,
    )
    with gc.Context("native") as ctx:
        module = ctx.module("code", language="ptx", signatures={"k": [gc.Array[gc.f32, 2], gc.i32]})
        array = ctx.zeros((2, 3), gc.f32)
        module["k"][(1, 2), (4, 8)](array, 5)
        assert seen["entry"] == "k" and seen["config"].block == (4, 8)
        assert seen["slots"][1:] == (0, 2, 3, 5)
        with pytest.raises(gc.LaunchError, match="k: the argument 'argument0' wants 2 axes"):
            module["k"][1, 1](array.reshape(-1), 5)
        with pytest.raises(gc.LaunchError, match="native code"):
            module["k"].over(3)(array, 5)
        with pytest.raises(gc.LaunchError, match="did you mean 'k'"):
            module["kk"]


# --- cost
def test_a_launch_is_two_python_calls_and_one_of_the_plugin(backend, saxpy):
    import sys

    def prepare(device, executable, config):
        return lambda stream, *slots: None

    backend("still", prepare=prepare)
    with gc.Context("still") as ctx:
        x, y = ctx.ones(8, gc.f32), ctx.ones(8, gc.f32)
        bound = saxpy[1, 8].bind(x, y, 1.0)

        def calls(launch):
            seen = []
            launch()
            sys.setprofile(
                lambda frame, event, arg: seen.append(frame.f_code.co_name) if event == "call" else None
            )
            launch()
            sys.setprofile(None)
            return seen[1:]

        assert calls(lambda: saxpy[1, 8](x, y, 1.0)) == ["__getitem__", "launch", "<lambda>"]
        assert calls(lambda: bound()) == ["__call__", "bound", "<lambda>"]
