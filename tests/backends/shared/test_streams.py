"""Streams, events and threads: order where it is asked for."""

import threading

import numpy as np
import pytest

import gpucore as gc


@gc.kernel
def advance(x: gc.Array[gc.u32], rounds: gc.i32):
    i = gc.global_id(0)
    if i < x.shape[0]:
        v = x[i]
        for _ in range(rounds):
            v = v * 1664525 + 1013904223
        x[i] = v


@gc.kernel
def add(x: gc.Array[gc.u32], y: gc.Array[gc.u32]):
    i = gc.global_id(0)
    if i < x.shape[0]:
        y[i] = y[i] * 3 + x[i]


def advanced(x, rounds):
    for _ in range(rounds):
        x = x * np.uint32(1664525) + np.uint32(1013904223)
    return x


N = 4096
GRID = (gc.cdiv(N, 128), 128)


def test_work_on_a_stream_is_ordered(gpucore_context):
    with gpucore_context.stream() as stream:
        x, y = gpucore_context.zeros(N, gc.u32), gpucore_context.zeros(N, gc.u32)
        gpucore_context.synchronize()
        want_x, want_y = np.zeros(N, np.uint32), np.zeros(N, np.uint32)
        for k in range(25):
            advance[(*GRID, stream)](x, 50)
            add[(*GRID, stream)](x, y)
            if k == 12:
                x.fill(5, stream=stream)
            want_x = advanced(want_x, 50)
            want_y = want_y * np.uint32(3) + want_x
            if k == 12:
                want_x[:] = 5
        np.testing.assert_array_equal(y.numpy(stream=stream), want_y)


@pytest.mark.parametrize("what", ("event", "stream"))
def test_a_stream_waits_for_another(gpucore_context, what):
    context = gpucore_context
    first, other = context.stream(), context.stream()
    for _ in range(5):
        x, y = context.zeros(N, gc.u32), context.zeros(N, gc.u32)
        context.synchronize()
        advance[(*GRID, first)](x, 3000)
        other.wait(first.record() if what == "event" else first)
        add[(*GRID, other)](x, y)
        first.wait(other)
        x.fill(0, stream=first)
        want = advanced(np.zeros(1, np.uint32), 3000)[0]
        assert set(y.numpy(stream=other)) == {want}
        assert not x.numpy(stream=first).any()


def test_ping_pong_between_streams(gpucore_context):
    context = gpucore_context
    streams = [context.stream() for _ in range(3)]
    x = context.zeros(N, gc.u32)
    context.synchronize()
    for k in range(30):
        if k:
            streams[k % 3].wait(streams[(k - 1) % 3])
        advance[(*GRID, streams[k % 3])](x, 20)
    assert set(x.numpy(stream=streams[29 % 3])) == {advanced(np.zeros(1, np.uint32), 600)[0]}


def test_queries_become_true(gpucore_context):
    stream = gpucore_context.stream()
    event = gpucore_context.event()
    assert event.query()  # never recorded
    x = gpucore_context.zeros(N, gc.u32)
    gpucore_context.synchronize()
    assert stream.query()
    advance[(*GRID, stream)](x, 20_000)
    assert stream.record(event) is event
    event.synchronize()
    assert event.query()
    stream.synchronize()
    assert stream.query()


def test_event_times_are_positive_and_add_up(gpucore_context):
    stream = gpucore_context.stream()
    x = gpucore_context.zeros(N, gc.u32)
    gpucore_context.synchronize()
    advance[(*GRID, stream)](x, 10)
    marks = [gpucore_context.event(timing=True) for _ in range(3)]
    stream.record(marks[0])
    advance[(*GRID, stream)](x, 20_000)
    stream.record(marks[1])
    advance[(*GRID, stream)](x, 20_000)
    stream.record(marks[2])
    first, second, both = (marks[a].elapsed_time(marks[b]) for a, b in ((0, 1), (1, 2), (0, 2)))
    assert first > 0
    assert second > 0
    assert both == pytest.approx(first + second, rel=1e-2, abs=1e-3)


def test_events_without_timing_are_not_measured(gpucore_context):
    stream = gpucore_context.stream()
    plain, timed = gpucore_context.event(), gpucore_context.event(timing=True)
    stream.record(plain)
    stream.record(timed)
    with pytest.raises(gc.NotSupportedError):
        plain.elapsed_time(timed)


def test_an_event_is_recorded_again(gpucore_context):
    stream, event = gpucore_context.stream(), gpucore_context.event()
    x = gpucore_context.zeros(N, gc.u32)
    gpucore_context.synchronize()
    for k in range(1, 6):
        advance[(*GRID, stream)](x, 100)
        stream.record(event)
        event.synchronize()
        assert x.numpy()[0] == advanced(np.zeros(1, np.uint32), 100 * k)[0]


def test_priorities_are_accepted(gpucore_context):
    x = gpucore_context.zeros(8, gc.u32)
    gpucore_context.synchronize()
    for priority in (-1, 0, 1):
        with gpucore_context.stream(priority=priority) as stream:
            advance[1, 8, stream](x, 1)
    assert x.numpy()[0] == advanced(np.zeros(1, np.uint32), 3)[0]


def test_eight_threads_launch_on_streams_of_their_own(gpucore_context):
    context = gpucore_context
    failures = []
    start = threading.Barrier(8)

    def work(number):
        try:
            stream = context.stream()
            start.wait(30)
            for k in range(15):
                host = np.arange(500 + 100 * k, dtype=np.uint32) + np.uint32(number)
                x = context.array(host, stream=stream)
                advance[gc.cdiv(x.size, 64), 64, stream](x, 7)
                advance.over(x.size, stream=stream)(x, number)
                if not np.array_equal(x.numpy(stream=stream), advanced(host, 7 + number)):
                    failures.append(f"thread {number}, step {k}: wrong numbers")
            stream.synchronize()
        except Exception as error:  # noqa: BLE001 - told by the main thread
            failures.append(f"thread {number}: {error!r}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not failures


def test_threads_share_a_kernel_that_nobody_compiled(gpucore_context):
    @gc.kernel
    def fresh(x: gc.Array, k: gc.i32):
        i = gc.global_id(0)
        if i < x.shape[0]:
            x[i] = x[i] + k

    failures = []
    start = threading.Barrier(6)

    def work(dtype):
        try:
            start.wait(30)
            stream = gpucore_context.stream()
            x = gpucore_context.array(np.arange(100).astype(dtype.numpy), stream=stream)
            fresh[1, 128, stream](x, 3)
            if not np.array_equal(x.numpy(stream=stream), np.arange(100).astype(dtype.numpy) + 3):
                failures.append(str(dtype))
        except Exception as error:  # noqa: BLE001 - told by the main thread
            failures.append(repr(error))

    threads = [threading.Thread(target=work, args=(d,)) for d in (gc.i32, gc.i64, gc.f32) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures


def test_streams_of_other_contexts_are_refused(gpucore_context, second):
    x = gpucore_context.zeros(8, gc.u32)
    with pytest.raises(gc.LaunchError):
        gpucore_context.array(np.zeros(3, np.uint32), stream=second.stream())
    advance[1, 8](x, 1)


def test_a_stream_waits_for_a_stream_of_another_device(gpucore_context):
    for name, status in gc.backends().items():
        if name == gpucore_context.backend or not status.available:
            continue
        with gc.Context(name) as context:
            x = gpucore_context.zeros(N, gc.u32)
            advance[GRID](x, 3000)
            stream = context.stream()
            stream.wait(gpucore_context.default_stream)
            there = x.to(context, stream=stream)
            want = advanced(np.zeros(1, np.uint32), 3000)[0]
            assert set(there.numpy(stream=stream)) == {want}
