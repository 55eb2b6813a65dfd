"""Pipelines and prefetching on the null backend: order, back-pressure, faults, and what is given back."""

import gc as garbage
import io
import signal
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

import gpucore as gc
from gpucore.hookspecs import ProbeResult
from gpucore.testing import null

N = 16


@pytest.fixture
def step(ctx, saxpy):
    """y = 2 x + 1."""

    def run(stream, x):
        y = ctx.ones(x.shape, x.dtype)
        saxpy.over(x.shape[0], stream=stream)(x, y, 2.0)
        return y

    return run


def items(count, size=N):
    for number in range(count):
        yield np.full(size, number, np.float32)


def pipeline_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("gpucore pipeline")]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    garbage.collect()
    end = time.monotonic() + 5
    while pipeline_threads() and time.monotonic() < end:
        time.sleep(0.01)
    assert pipeline_threads() == []


# --- results
def test_results_come_in_order_as_ndarrays(ctx, step):
    with ctx.pipeline(step, items(20)) as results:
        for number, result in enumerate(results):
            assert isinstance(result, np.ndarray) and result.dtype == np.float32
            np.testing.assert_array_equal(result, 2 * number + 1)
    assert number == 19


def test_items_and_results_may_be_tuples_and_dicts(ctx, saxpy):
    def step(stream, x, y, a):
        saxpy.over(N, stream=stream)(x, y, a)
        return {"y": y, "x": x}

    ones = np.ones(N, np.float32)
    for result in ctx.pipeline(
        step, [(ones, 3 * ones, 2.0), [ones, 3 * ones, 2.0], {"a": 2.0, "x": ones, "y": 3 * ones}]
    ):
        assert set(result) == {"x", "y"}
        assert np.all(result["y"] == 5) and np.all(result["x"] == 1)
    pairs = list(ctx.pipeline(lambda stream, x: (x, x), items(3)))
    assert [type(pair) for pair in pairs] == [tuple] * 3
    assert [pair[1][0] for pair in pairs] == [0, 1, 2]


def test_shapes_and_dtypes_may_change_from_item_to_item(ctx):
    source = [
        np.arange(n, dtype=dtype) for n, dtype in ((3, "i4"), (70, "f4"), (0, "f4"), (3, "f8"), (5, "i4"))
    ]
    for sent, result in zip(source, ctx.pipeline(lambda stream, x: x, source), strict=True):
        assert result.dtype == sent.dtype
        np.testing.assert_array_equal(result, sent)


def test_without_download_the_arrays_of_the_step_come(ctx, step):
    found = list(ctx.pipeline(step, items(6), download=False))
    assert all(isinstance(array, gc.Array) for array in found)
    assert [array.numpy()[0] for array in found] == [1, 3, 5, 7, 9, 11]


def test_inputs_that_are_given_back_without_download_are_not_used_again(ctx):
    found = list(ctx.pipeline(lambda stream, x: x, items(8), download=False))
    assert [array.numpy()[0] for array in found] == list(range(8))


def test_inputs_that_a_step_keeps_are_not_used_again(ctx):
    kept = []

    def step(stream, x):
        kept.append(x[:2])
        return x

    assert [result[0] for result in ctx.pipeline(step, items(8))] == list(range(8))
    assert [array.numpy()[0] for array in kept] == list(range(8))


def test_a_step_may_return_nothing(ctx):
    seen = []
    assert list(ctx.pipeline(lambda stream, x: seen.append(x.shape), items(3))) == [None] * 3
    assert seen == [(N,)] * 3


def test_memory_of_the_steps_own_may_be_used_for_every_item(ctx, saxpy):
    total = ctx.zeros(N, gc.f32)

    def step(stream, x):
        saxpy.over(N, stream=stream)(x, total, 1.0)
        return total

    assert [result[0] for result in ctx.pipeline(step, items(6))] == [0, 1, 3, 6, 10, 15]
    assert np.all(total.numpy() == 15)


def test_pinned_items_are_uploaded_from_where_they_lie(ctx, step):
    def source():
        for number in range(5):
            pinned = ctx.pinned(N, gc.f32)
            pinned[:] = number
            yield pinned

    with ctx.pipeline(step, source()) as results:
        assert [result[0] for result in results] == [1, 3, 5, 7, 9]
        assert results.stats()["buffers"] <= 5


def test_the_consumer_enqueues_what_becomes_ready_while_it_waits(backend):
    """The device has an item to go on with when the oldest is done, though the source gives one at a time."""
    events, end = [], time.monotonic() + 5

    def query_event(device, event):
        # an item takes until the next ones are enqueued, or what seems for ever
        wanted = min(events.count("result") + 4, 12)
        return events.count("step") >= wanted or time.monotonic() > end

    def source():
        for number in range(12):
            time.sleep(0.0003)
            yield np.full(N, number, np.float32)

    def step(stream, x):
        events.append("step")
        assert threading.current_thread() is consumer
        return x

    consumer = threading.current_thread()
    (one,) = null.probe().devices
    card = ProbeResult(True, devices=(replace(one, kind="discrete"),))
    backend("null", probe=lambda: card, query_event=query_event)
    with gc.Context("null") as context, context.pipeline(step, source()) as results:
        for number, result in enumerate(results):
            assert np.all(result == number)
            events.append("result")
    before = [events[:at].count("step") for at, event in enumerate(events) if event == "result"]
    assert before == [4, 5, 6, 7, 8, 9, 10, 11, 12, 12, 12, 12]


# --- memory
def test_a_result_is_left_alone_as_long_as_anything_refers_to_it(ctx, step):
    with ctx.pipeline(step, items(20), depth=2) as results:
        kept, views = [], []
        for number, result in enumerate(results):
            if number % 5 == 0:
                kept.append(result)
            elif number % 5 == 1:
                views.append(result[3:5])
        assert [array[0] for array in kept] == [1, 11, 21, 31]
        assert [view[0] for view in views] == [3, 13, 23, 33]
        assert 8 <= results.stats()["buffers"] <= 16


def test_buffers_are_made_once_and_memory_is_flat(ctx, step):
    with ctx.pipeline(step, items(80), depth=3) as results:
        used = []
        for result in results:
            used.append(ctx.pool.stats()["used"])
            del result
        assert results.stats()["buffers"] <= 10
        assert max(used[20:]) <= max(used[:20]) + 1024
        stats = results.stats()
    assert stats["items"] == 80 and stats["under_way"] == 0
    assert stats["bytes_up"] == stats["bytes_down"] == 80 * 4 * N


def test_kept_results_grow_the_ring_up_to_the_memory_limit(backend):
    backend("null")
    with gc.Context("null", memory_limit=64 * 1024) as context:
        kept = []
        with pytest.raises(gc.OutOfMemoryError) as caught:
            for result in context.pipeline(lambda stream, x: x, items(1000, 256)):
                kept.append(result)
        assert 10 < len(kept) < 64
        assert [array[0] for array in kept] == list(range(len(kept)))
        assert any("pipeline" in note for note in caught.value.__notes__)
        del kept, result


def test_nothing_is_left_of_pipelines_that_end_early_fail_or_are_dropped(ctx, step):
    def run(way):
        results = ctx.pipeline(step, items(50) if way != "fail" else iter_failing(), workers=1)
        if way == "close":
            next(results)
            results.close()
            results.close()
            assert list(results) == []
        elif way == "break":
            for _ in results:
                break
        elif way == "fail":
            with pytest.raises(OSError):
                list(results)

    def iter_failing():
        yield from items(3)
        raise OSError("the disk is gone")

    def settled():
        garbage.collect()
        end = time.monotonic() + 5
        while pipeline_threads() and time.monotonic() < end:
            time.sleep(0.01)
        garbage.collect()
        ctx.synchronize()
        return ctx.pool.stats()["used"], dict(ctx.device._handle.open)["streams"]

    run("close")
    before = settled()
    for way in ("close", "break", "fail", "drop") * 3:
        run(way)
    assert settled() == before


# --- back-pressure
@pytest.mark.parametrize("workers", [1, 3])
def test_the_source_is_asked_only_when_a_slot_is_free(ctx, step, workers):
    asked = []

    def source():
        for number in range(30):
            asked.append(number)
            yield (
                (lambda number=number: np.full(N, number, np.float32))
                if workers > 1
                else np.full(N, number, np.float32)
            )

    with ctx.pipeline(step, source(), depth=3, workers=workers) as results:
        for taken in range(1, 31):
            assert next(results)[0] == 2 * taken - 1
            time.sleep(0.002)
            assert len(asked) <= taken + 3
        assert list(results) == []


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_while_the_consumer_waits_one_more_item_is_under_way_unless_they_take_turns(backend, depth):
    gate, asked, results = threading.Event(), [], []

    def synchronize_event(device, event):
        gate.wait(20)

    def source():
        for number in range(20):
            asked.append(number)
            yield np.full(N, number, np.float32)

    def settled(count):
        end = time.monotonic() + 5
        while len(asked) < count and time.monotonic() < end:
            time.sleep(0.001)
        time.sleep(0.02)
        return len(asked)

    backend("null", synchronize_event=synchronize_event)
    with gc.Context("null") as context, context.pipeline(lambda stream, x: x, source(), depth=depth) as pipe:
        assert settled(depth) == depth
        consumer = threading.Thread(target=lambda: results.append(next(pipe)[0]))
        consumer.start()
        waiting = depth if depth == 1 else depth + 1
        assert settled(waiting) == waiting and results == []
        gate.set()
        consumer.join()
        assert results == [0]
        assert settled(depth + 1) == depth + 1


def test_nothing_is_asked_of_the_source_once_closed(ctx, step):
    asked = []

    def source():
        try:
            for number in range(1000):
                asked.append(number)
                yield np.full(N, number, np.float32)
        finally:
            asked.append("closed")

    with ctx.pipeline(step, source(), depth=2) as results:
        next(results)
    assert asked[-1] == "closed" and len(asked) <= 5


# --- workers
def test_callable_items_run_in_workers_and_results_keep_the_order(ctx, step):
    names = set()

    def load(number):
        names.add(threading.current_thread().name)
        time.sleep(0.02 if number % 3 == 0 else 0.001)
        return np.full(N, number, np.float32)

    source = [(lambda number=number: load(number)) for number in range(12)]
    found = [result[0] for result in ctx.pipeline(step, source, depth=4, workers=3)]
    assert found == [2 * number + 1 for number in range(12)]
    assert len(names) > 1 and all("worker" in name for name in names)
    assert [result[0] for result in ctx.pipeline(step, source[:3])] == [1, 3, 5]  # with one thread, too


def test_progress_is_told_on_the_consumers_thread(ctx, step):
    told = []
    list(
        ctx.pipeline(
            step, items(4), on_progress=lambda count: told.append((count, threading.current_thread()))
        )
    )
    assert told == [(count, threading.current_thread()) for count in (1, 2, 3, 4)]


class Screen(io.StringIO):
    """The error output of a program."""

    def __init__(self, terminal):
        super().__init__()
        self.terminal = terminal

    def isatty(self):
        return self.terminal


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_shows_the_progress_on_a_terminal_and_nowhere_else(ctx, step, monkeypatch, terminal):
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr", Screen(terminal))
    with ctx.pipeline(step, list(items(4)), on_progress=True) as results:
        for _ in results:
            pass
    shown = sys.stderr.getvalue()
    assert ("4/4" in shown) == terminal
    assert bool(shown) == terminal


def test_a_bar_of_a_pipeline_that_fails_leaves_the_terminal_as_it_was(ctx, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr", Screen(terminal=True))

    def step(stream, x):
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        list(ctx.pipeline(step, items(4), on_progress=True))
    assert sys.stderr.getvalue().count("\x1b[?25l") == sys.stderr.getvalue().count("\x1b[?25h") == 1


# --- faults
def failing(stage, ctx):
    def source():
        yield from items(2)
        if stage == "source":
            raise OSError("the disk is gone")
        if stage == "upload":
            yield np.array(["text"])
        if stage == "worker":

            def load():
                raise OSError("the disk is gone")

            yield load
        yield from items(3)

    def step(stream, x):
        if stage == "step" and step.calls == 2:
            raise ZeroDivisionError("in the step")
        if stage == "host array" and step.calls == 2:
            return x.numpy()
        if stage == "list of text" and step.calls == 2:
            return ["text"]
        step.calls += 1
        return x

    step.calls = 0
    return ctx.pipeline(step, source(), workers=2 if stage == "worker" else 1)


@pytest.mark.parametrize(
    ("stage", "error", "message", "where"),
    [
        ("source", OSError, "the disk is gone", "source"),
        ("worker", OSError, "the disk is gone", "worker"),
        ("upload", TypeError, "no element type", "upload"),
        ("step", ZeroDivisionError, "in the step", "step"),
        ("host array", TypeError, "returns an Array.*not ndarray.*loop over the pipeline", "step"),
        ("list of text", TypeError, "returns an Array.*not str", "step"),
    ],
)
def test_an_error_comes_at_its_item_with_the_stage_named(ctx, stage, error, message, where):
    results = failing(stage, ctx)
    assert [next(results)[0], next(results)[0]] == [0, 1]
    with pytest.raises(error, match=message) as caught:
        next(results)
    assert caught.value.__notes__ == [f"raised in the stage {where!r} of item 2 of a pipeline"]
    assert list(results) == []


def test_what_a_checked_kernel_finds_is_raised_at_an_item(backend, copy_kernel):
    backend("null")
    with gc.Context("null", check=True) as context:

        def step(stream, x):
            y = context.zeros(N // 2, gc.f32)
            copy_kernel[1, N, stream](x, y)
            return y

        with pytest.raises(gc.KernelBoundsError) as caught:
            list(context.pipeline(step, items(3)))
        assert "stage 'step' of item 0" in caught.value.__notes__[-1]


def test_what_checked_kernels_find_in_items_after_that_is_dropped_with_them(backend, copy_kernel):
    backend("null")
    with gc.Context("null", check=True) as context:
        steps = []

        def step(stream, x):
            steps.append(x)
            y = context.zeros(N // 2, gc.f32)
            copy_kernel[1, N, stream](x, y)
            return y

        results = context.pipeline(step, items(3))
        end = time.monotonic() + 5
        while len(results._engine.source.ready) < 3 and time.monotonic() < end:
            time.sleep(0.01)
        with pytest.raises(gc.KernelBoundsError):
            next(results)
        assert len(steps) == 3
        context.synchronize()


def test_a_source_that_blocks_does_not_hold_up_close(ctx, step):
    gate = threading.Event()

    def source():
        yield from items(1)
        gate.wait(20)

    results = ctx.pipeline(step, source())
    next(results)
    start = time.monotonic()
    results.close()
    assert time.monotonic() - start < 5
    gate.set()


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="this platform cannot signal one thread")
def test_an_interrupt_while_the_consumer_waits_leaves_a_pipeline_that_closes(ctx, step):
    gate = threading.Event()

    def source():
        yield from items(1)
        gate.wait(20)
        yield from items(1)

    with ctx.pipeline(step, source()) as results:
        next(results)
        timer = threading.Timer(0.2, signal.pthread_kill, (threading.get_ident(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            next(results)
        timer.join()
        gate.set()
        assert next(results)[0] == 1


@pytest.mark.parametrize("stage", ["source", "worker", "step"])
def test_an_interrupt_inside_a_stage_reaches_the_consumer(ctx, stage):
    def interrupted():
        raise KeyboardInterrupt

    def source():
        yield from items(1)
        if stage == "source":
            raise KeyboardInterrupt
        if stage == "worker":
            yield interrupted
        yield from items(1)

    def step(stream, x):
        step.calls += 1
        if stage == "step" and step.calls == 2:
            raise KeyboardInterrupt
        return x

    step.calls = 0
    with ctx.pipeline(step, source(), workers=2 if stage == "worker" else 1) as results:
        next(results)
        with pytest.raises(KeyboardInterrupt):
            next(results)


@pytest.mark.parametrize("stage", ["upload", "step", "download"])
def test_a_device_that_is_lost_ends_a_pipeline_at_the_item_and_stage(backend, stage):
    calls = {"upload": 0, "step": 0, "download": 0}

    def falls(what):
        calls[what] += 1
        if what == stage and calls[what] == 3:
            raise gc.DeviceLostError("it fell off the bus", code=-4, name="LOST")

    def copy(device, dst, dst_offset, src, src_offset, nbytes, stream):
        falls("upload" if calls["upload"] == calls["download"] else "download")  # items take turns
        null.copy(device, dst, dst_offset, src, src_offset, nbytes, stream)

    def fill(device, dst, offset, nbytes, pattern, stream):
        falls("step")
        null.fill(device, dst, offset, nbytes, pattern, stream)

    backend("falling", copy=copy, fill=fill)
    context = gc.Context("falling")
    with context.pipeline(lambda stream, x: x.fill(3, stream=stream), items(6), depth=1) as results:
        next(results), next(results)
        with pytest.raises(gc.DeviceLostError, match="fell off the bus") as caught:
            next(results)
        assert f"stage {stage!r} of item 2" in caught.value.__notes__[-1]
        assert list(results) == []
    with pytest.raises(gc.DeviceLostError):
        context.zeros(4, gc.f32)
    context.close()


def test_a_context_that_closes_under_a_pipeline_ends_it(backend):
    backend("null")
    context = gc.Context("null")
    results = context.pipeline(lambda stream, x: x, items(1000))
    next(results)
    context.close()
    with pytest.raises(gc.LaunchError, match="closed|gone"):
        for _ in results:
            pass
    results.close()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda ctx: ctx.pipeline(3, []),
            TypeError,
            "step is a function step\\(stream, \\*arrays\\), not int",
        ),
        (lambda ctx: ctx.pipeline(print, 3), TypeError, "a source gives one item after another.*not int"),
        (lambda ctx: ctx.pipeline(print, ctx.ones(3, gc.f32)), TypeError, "a source gives.*not Array"),
        (lambda ctx: ctx.pipeline(print, [], depth=0), ValueError, "depth is at least 1, not 0"),
        (lambda ctx: ctx.pipeline(print, [], depth=1.5), TypeError, "depth is a whole number, not 1.5"),
        (lambda ctx: ctx.pipeline(print, [], workers=True), TypeError, "workers is a whole number, not True"),
        (lambda ctx: ctx.pipeline(print, [], on_progress=3), TypeError, "on_progress is a function"),
        (lambda ctx: ctx.prefetch([], depth=0), ValueError, "depth is at least 1"),
        (lambda ctx: ctx.prefetch([], stream=3), TypeError, "takes a Stream"),
    ],
)
def test_wrong_arguments_are_refused_at_once(ctx, make, error, message):
    with pytest.raises(error, match=message):
        make(ctx)


# --- prefetching
def test_prefetched_items_are_arrays_in_order(ctx):
    source = [(np.full(N, number, np.float32), {"no": "array"}["no"], number) for number in range(8)]
    seen = []
    for x, text, number in ctx.prefetch(source):
        assert isinstance(x, gc.Array) and text == "array"
        seen.append((x.numpy()[0], number))
    assert seen == [(number, number) for number in range(8)]
    batches = list(ctx.prefetch([{"x": np.ones(3, np.float32)}, np.zeros(2, np.float32)]))
    assert set(batches[0]) == {"x"} and batches[1].shape == (2,)


def test_prefetched_arrays_that_are_kept_stay_as_they_are(ctx):
    kept = [x for number, x in enumerate(ctx.prefetch(items(12), depth=2)) if number % 2]
    assert [x.numpy()[0] for x in kept] == [1, 3, 5, 7, 9, 11]


def test_prefetching_is_ahead_by_its_depth_and_no_more(ctx):
    asked = []

    def source():
        for number in range(20):
            asked.append(number)
            yield np.full(N, number, np.float32)

    with ctx.prefetch(source(), depth=2) as batches:
        for taken, _ in enumerate(batches, 1):
            time.sleep(0.002)
            assert len(asked) <= taken + 2


def test_an_error_while_prefetching_comes_at_its_item(ctx):
    def source():
        yield from items(2)
        raise OSError("the disk is gone")

    batches = ctx.prefetch(source())
    assert [next(batches).numpy()[0], next(batches).numpy()[0]] == [0, 1]
    with pytest.raises(OSError, match="disk") as caught:
        next(batches)
    assert "stage 'source' of item 2" in caught.value.__notes__[0]


# --- errors and endings that end no loop quietly
@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("where", ["callable", "step", "part"])
def test_a_stopiteration_of_the_users_is_an_error_and_no_end(ctx, where, workers):
    nothing = iter(())

    class Part:
        def __array__(self, *args, **kwargs):
            return next(nothing)

    def item():
        return next(nothing) if where == "callable" else Part() if where == "part" else np.ones(N, np.float32)

    def run(stream, x):
        if where == "step" and len(got) == 2:
            next(nothing)
        return x

    got = []
    source = [np.ones(N, np.float32)] * 2 + [item] + [np.ones(N, np.float32)] * 2
    pipeline = ctx.pipeline(run, source, workers=workers, depth=1)
    got += [next(pipeline)[0], next(pipeline)[0]]
    with pytest.raises(RuntimeError, match="StopIteration") as caught:
        next(pipeline)
    assert "item 2" in caught.value.__notes__[0]
    assert isinstance(caught.value.__cause__, StopIteration)


def test_no_item_is_left_out_where_another_thread_closes_a_pipeline(ctx):
    """It closes while the consumer is in the second step: the first result is gone, so there is none."""

    def run(stream, x):
        steps.append(1)
        if len(steps) == 2:
            closer = threading.Thread(target=made[0].close)
            closer.start()
            closer.join(10)
        return x

    steps, made = [], [ctx.pipeline(run, items(4), depth=3)]
    while made[0]._engine.source.begun < 2:
        time.sleep(0.001)
    assert [int(result[0]) for result in made[0]] == []
    assert len(steps) == 2
    made.clear()


def test_short_waits_for_the_device_end(ctx, step, monkeypatch):
    """A wait of a few microseconds ends, too: that of CPython's SimpleQueue may not."""
    from gpucore.runtime import pipeline_engine, pipeline_source

    asked = {}

    def is_done_late(engine, item):
        asked[item.number] = count = asked.get(item.number, 0) + 1
        if count % 2:  # the wait that follows one which was woken is the one that blocks
            pipeline_source._wake(engine.source.arrived)
        return count > 20_000 and is_done(engine, item)

    is_done = pipeline_engine.Engine._is_done
    monkeypatch.setattr(pipeline_engine.Engine, "_is_done", is_done_late)
    for name, seconds in {"_SPIN": 0.0, "_SHORTEST_SLEEP": 1e-6, "_LONGEST_SLEEP": 1e-6}.items():
        monkeypatch.setattr(pipeline_engine, name, seconds)
    results = []
    pipeline = ctx.pipeline(step, items(4), depth=2)
    consumer = threading.Thread(target=lambda: results.extend(y[0] for y in pipeline), daemon=True)
    consumer.start()
    consumer.join(60)
    is_stuck = consumer.is_alive()
    if is_stuck:
        pipeline._engine.stop()
        consumer.join(5)
    assert not is_stuck and results == [2 * number + 1 for number in range(4)]
