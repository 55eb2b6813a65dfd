"""Launch functions: one for the types of the arguments, whatever the launch shape; readable text."""

from __future__ import annotations

import gc as collector
import linecache
import threading
import traceback
import tracemalloc

import numpy as np
import pytest

import gpucore as gc
from gpucore import _generated
from gpucore.hookspecs import LaunchConfig

SHAPES = 2000


class Prepared:
    """What the still backend prepares: it notes what it is launched with."""

    __slots__ = ("config", "log")

    def __init__(self, log, config):
        self.log, self.config = log, config

    def __call__(self, stream, *packed):
        self.log.append((self.config, packed))


@pytest.fixture
def still(backend, monkeypatch):
    """A context whose launches are noted and do nothing, the notes, and the texts that were compiled."""
    log, texts = [], []

    def compile_(text, name, mode):
        texts.append(text)
        return compile(text, name, mode)

    monkeypatch.setattr(_generated, "compile", compile_, raising=False)
    backend("still", prepare=lambda device, executable, config: Prepared(log, config))
    with gc.Context("still") as context:
        yield context, log, texts


@gc.kernel
def scale(x: gc.Array[gc.f32], a: gc.f32):
    i = gc.global_id(0)
    if i < x.shape[0]:
        x[i] = x[i] * a


@gc.kernel
def grid_scale(x: gc.Array[gc.f32, 2], a: gc.f32):
    i, j = gc.global_ids(2)
    if i < x.shape[0] and j < x.shape[1]:
        x[i, j] = x[i, j] * a


@gc.kernel
def any_scale(x, a):
    i = gc.global_id(0)
    if i < x.shape[0]:
        x[i] = x[i] * a


@pytest.fixture(autouse=True)
def fresh_kernels(monkeypatch):
    """Each test finds the kernels as if they were never launched."""
    for kernel in (scale, grid_scale, any_scale, odd_names):
        monkeypatch.setitem(globals(), kernel.__name__, gc.kernel(kernel.__wrapped__))


# --- one function whatever the shape -------------------------------------------------------------------------------
def test_a_new_shape_compiles_no_python(still):
    context, log, texts = still
    x, x2 = context.zeros(64, gc.f32), context.zeros((8, 8), gc.f32)
    stream = context.stream()
    for warm in (1, 2):
        scale.over(warm)(x, 1.0)
        scale.over(warm, stream=stream)(x, 1.0)
        scale[warm, 32](x, 1.0)
        scale[warm, 32, stream](x, 1.0)
        scale.over(warm).bind(x, 1.0)
        grid_scale.over((warm, 8))(x2, 1.0)
    texts.clear()
    for n in range(3, 60):
        scale.over(n)(x, 1.0)
        scale.over(n, stream=stream)(x, 1.0)
        scale[n, 32](x, 1.0)
        scale[n, n](x, 1.0)
        scale[n, 32, stream](x, 1.0)
        scale.over(n).bind(x, 1.0)
        grid_scale.over((n, 8))(x2, 1.0)
    assert texts == []


def test_each_shape_launches_its_own_grid_and_extent(still):
    context, log, _ = still
    x = context.zeros(64, gc.f32)
    for _ in range(2):
        log.clear()
        for n in (1, 5, 300, 70_000):
            scale.over(n)(x, 1.0)
            scale[n, 32](x, 1.0)
        for n, over, grid in zip((1, 5, 300, 70_000), log[::2], log[1::2], strict=True):
            config, packed = over
            span = config.block[0] * context.device.capabilities.range_items
            assert (config.grid[0], packed[-1]) == (-(-n // span), n)
            assert grid[0] == LaunchConfig((n,), (32,))


def test_a_shape_of_ten_thousand_costs_no_more_python_calls_than_another(still, count):
    context, log, texts = still
    x = context.zeros(64, gc.f32)
    for n in range(1, SHAPES):
        scale.over(n)(x, 1.0)
        scale[n, 32](x, 1.0)
    texts.clear()
    numbers = iter(range(1, SHAPES))
    assert count.calls(lambda: scale.over(next(numbers))(x, 1.0)).python == ["over", "launch", "__call__"]
    numbers = iter(range(1, SHAPES))
    assert count.calls(lambda: scale[next(numbers), 32](x, 1.0)).python == [
        "__getitem__",
        "launch",
        "__call__",
    ]
    assert texts == []


def test_a_new_shape_costs_few_python_calls(still, count):
    context, _, _ = still
    x = context.zeros(64, gc.f32)
    numbers = iter(range(1, SHAPES))
    for launch in (lambda: scale.over(next(numbers))(x, 1.0), lambda: scale[next(numbers), 32](x, 1.0)):
        calls = count.calls(launch).python
        assert len(calls) <= 36, calls


@pytest.mark.parametrize("how", ["over", "grid", "stream"])
def test_a_shape_holds_less_than_a_kilobyte(still, how):
    context, log, _ = still
    x, stream = context.zeros(64, gc.f32), context.stream()
    launch = {
        "over": lambda n: any_scale.over(n)(x, 1.0),
        "grid": lambda n: any_scale[n, 32](x, 1.0),
        "stream": lambda n: any_scale[n, 32, stream](x, 1.0),
    }[how]
    for n in range(1, 50):
        launch(n)
    log.clear()
    collector.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(3):
            for n in range(1000, 1000 + SHAPES):
                launch(n)
        log.clear()
        collector.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown / SHAPES < 1024


def test_shapes_past_what_a_kernel_remembers_are_launched_right(still, monkeypatch):
    from gpucore.launch import kernel

    context, log, _ = still
    monkeypatch.setattr(kernel, "_MOST_SHAPES", 16)
    x = context.zeros(64, gc.f32)
    for n in (*range(1, 40), *range(1, 40)):
        log.clear()
        scale.over(n)(x, 1.0)
        scale[n, 8](x, 1.0)
        assert [packed[-1] for _, packed in log] == [n, 1.0]
    assert len(scale._ranges) <= 16


# --- types that take turns -----------------------------------------------------------------------------------------
def test_types_that_take_turns_compile_nothing_anew(still):
    context, log, texts = still
    x, y = context.zeros(64, gc.f32), context.zeros(64, gc.f64)
    checked, stream = context.options(check=True).zeros(64, gc.f32), context.stream()
    configured = any_scale[2, 32]

    def turn():
        for array in (x, y, checked):
            configured(array, 2.0)
            configured(array, 2)
        any_scale[2, 32, stream](x, 2.0)

    turn()
    turn()
    texts.clear()
    for _ in range(3):
        log.clear()
        turn()
        assert [packed[0] for _, packed in log] == [
            *(array._block.allocation for array in (x, y, checked) for _ in range(2)), x._block.allocation
        ]  # fmt: skip
    assert texts == []


def test_threads_that_launch_one_shape_with_different_types_do_not_mix_them(still):
    context, log, _ = still
    arrays = [context.zeros(64, dtype) for dtype in (gc.f32, gc.f64, gc.i32, gc.u8)]
    configured, failures = any_scale[2, 32], []

    def work(number, array):
        try:
            for _ in range(300):
                configured(array, number)
        except Exception as error:  # noqa: BLE001 - reported below
            failures.append(error)

    threads = [threading.Thread(target=work, args=pair) for pair in enumerate(arrays)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(log) == 1200
    owner = {array._block.allocation: number for number, array in enumerate(arrays)}
    assert all(owner[packed[0]] == packed[-1] for _, packed in log)


# --- launches with the objects of the last one -------------------------------------------------------------------------
def test_a_number_that_changes_in_place_is_read_at_each_launch(still):
    context, log, _ = still
    x, number = context.zeros(64, gc.f32), np.array(1.0, np.float32)
    for value in (1.0, 2.0, 3.0, 4.0):
        number[()] = value
        scale[1, 8](x, number)
    assert [packed[-1] for _, packed in log] == [1.0, 2.0, 3.0, 4.0]


def test_arguments_are_checked_after_launches_that_repeat(still):
    context, log, _ = still
    x, stream = context.zeros(64, gc.f32), context.stream()
    for launch in (scale[1, 8], scale.over(8), scale[1, 8, stream]):
        for _ in range(5):
            launch(x, 2.0)
        for wrong in (
            (x,),
            (x, "2"),
            (None, 2.0),
            (x, 2.0, 3.0),
            (x.numpy(), 2.0),
            (context.zeros(8, gc.i32), 2.0),
        ):
            log.clear()
            with pytest.raises(gc.LaunchError):
                launch(*wrong)
            with pytest.raises(gc.LaunchError):
                launch(x, 2.0, b=1)
            assert not log
        launch(x, a=2.0)
        launch(x, 2.0)
        assert [packed[3] for _, packed in log] == [2.0, 2.0]


def test_a_constant_that_changes_between_launches_of_one_array_is_seen(ctx):
    @gc.kernel
    def store(x: gc.Array[gc.i32], value: gc.constexpr):
        x[gc.global_id(0)] = value

    x = ctx.zeros(4, gc.i32)
    for value in (1, 1, 1, 1, 2, 2, 2, 2, 1, True, 3):
        store[1, 4](x, value)
        assert x.numpy().tolist() == [int(value)] * 4


# --- text ----------------------------------------------------------------------------------------------------------
def test_the_text_has_the_users_names(still):
    context, _, texts = still
    scale.over(5)(context.zeros(8, gc.f32), 2.0)
    (text, *_) = texts
    assert "def launch(configured, x=MISSING, a=MISSING, /, *more, **named):" in text
    assert "x_allocation, x_offset, x_extent0 = x_packed" in text


def test_tracebacks_show_the_line_of_the_launch_function(backend):
    def prepare(device, executable, config):
        def call(stream, *packed):
            raise KeyboardInterrupt

        return call

    backend("interrupted", prepare=prepare)
    with gc.Context("interrupted") as context:
        x = context.zeros(8, gc.f32)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt) as caught:
                scale[1, 8](x, 2.0)
        text = "".join(traceback.format_exception(caught.value))
    assert "call(STREAM_HANDLE, x_allocation, x_offset, x_extent0, a)" in text
    assert ": launch of scale, " in text


def test_texts_go_with_their_functions(backend):
    backend("null")
    before = set(linecache.cache)  # of kernels that live on
    for _ in range(3):
        with gc.Context("null") as context:
            kernel = gc.kernel(scale.__wrapped__)
            kernel.over(5)(context.zeros(8, gc.f32), 2.0)
            mine = [name for name in linecache.cache if "launch of scale" in name and name not in before]
            assert mine
            del kernel
        collector.collect()
    left = [name for name in linecache.cache if name in mine]
    assert left == []


def test_dump_prints_the_text(backend, monkeypatch, capsys):
    backend("null")
    monkeypatch.setenv("GPUCORE_DUMP", "launch")
    with gc.Context("null") as context:
        scale.over(5)(context.zeros(8, gc.f32), 2.0)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "def launch(configured, x=MISSING, a=MISSING" in printed.err


def test_a_first_launch_writes_one_function(backend, monkeypatch, capsys):
    """Python takes as long to compile it as many kernels take to be built; the others are for types that take turns."""
    backend("null")
    monkeypatch.setenv("GPUCORE_DUMP", "launch")
    with gc.Context("null") as context:
        launch = gc.kernel(scale.__wrapped__).over(5)
        x = context.ones(8, gc.f32)
        for _ in range(3):
            launch(x, 2.0)
        assert capsys.readouterr().err.count("def launch(") == 1
        assert x.numpy().tolist() == [8, 8, 8, 8, 8, 1, 1, 1]


def test_dump_takes_what_it_knows(monkeypatch):
    monkeypatch.setenv("GPUCORE_DUMP", "lunch")
    with pytest.raises(gc.ConfigError, match="GPUCORE_DUMP wants 'launch'"):
        gc.Context("null")


@gc.kernel
def odd_names(
    configured: gc.Array[gc.i32], stream: gc.i32, call: gc.i32, configured_packed: gc.i32, float: gc.i32, MISSING: gc.i32,
    launch: gc.i32, more: gc.i32, configured_block: gc.i32, stream_last: gc.i32,
):  # fmt: skip
    i = gc.global_id(0)
    configured[i] = (
        stream + 10 * call + 100 * configured_packed + 1000 * float + 10000 * MISSING + launch + more
        + configured_block + stream_last
    )  # fmt: skip


def test_parameters_may_have_the_names_of_the_text(ctx):
    out, side = ctx.zeros(1, gc.i32), ctx.stream()
    for launch in (odd_names[1, 1], odd_names.over(1), odd_names[1, 1, side]):
        for _ in range(3):
            launch(out, 1, 2, 3, 4, 5, 6, 7, 8, 9)
            assert out.numpy().tolist() == [54321 + 30]
            launch(out, 1, 2, 3, 4, MISSING=6, launch=6, more=7, configured_block=8, stream_last=9)
            assert out.numpy().tolist() == [64321 + 30]
    odd_names[1, 1].bind(out, 1, 2, 3, 4, 5, 6, 7, 8, stream_last=10)()
    assert out.numpy().tolist() == [54321 + 31]


# --- bound launches ------------------------------------------------------------------------------------------------
def test_a_checked_bound_launch_runs_on_any_stream(ctx):
    @gc.kernel
    def past(x: gc.Array[gc.i32]):
        i = gc.global_id(0)
        x[i + 1] = 7

    checked = ctx.options(check=True)
    x, first, second = checked.zeros(4, gc.i32), ctx.stream(), ctx.stream()
    bound = past[1, 4].bind(x)
    for stream in (first, second, None, first):
        bound(stream)
        for other in (first, second):
            if other is not stream:
                other.synchronize()
        with pytest.raises(gc.KernelBoundsError):
            (stream or ctx).synchronize()
    np.testing.assert_array_equal(x.numpy(), [0, 7, 7, 7])
