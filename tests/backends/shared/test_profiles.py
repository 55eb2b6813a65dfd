"""Profiles of real devices: times on one clock, nothing dropped, nothing overlapping within a stream."""

import json
import threading
import time

import numpy as np
import pytest

import gpucore as gc


@gc.kernel
def work(x: gc.Array1[gc.f32], rounds: gc.i32) -> None:
    i = gc.global_id(0)
    value = x[i]
    for _ in range(rounds):
        value = value * 0.5 + 1.0
    x[i] = value


N = 4096


@pytest.fixture
def array(gpucore_context):
    x = gpucore_context.zeros(N, gc.f32)
    work.over(N)(x, 1)
    gpucore_context.synchronize()
    return x


def test_kernels_lie_between_their_launch_and_the_wait_for_them(gpucore_context, array):
    with gc.profile(gpucore_context) as prof:
        before = time.perf_counter_ns()
        work.over(N)(array, 2000)
        gpucore_context.synchronize()
        after = time.perf_counter_ns()
    (kernel,) = (event for event in prof.events if event.kind == "kernel")
    slack = 2_000_000
    assert before - slack <= kernel.start_ns < kernel.end_ns <= after + slack
    assert kernel.duration_ns > 10_000


def test_a_longer_kernel_takes_longer(gpucore_context, array):
    with gc.profile(gpucore_context) as prof:
        for rounds in (100, 10_000) * 5:
            work.over(N)(array, rounds)
    durations = [event.duration_ns for event in prof.events if event.kind == "kernel"]
    # the least of each kind: other programs on the device make kernels longer, never shorter
    assert min(durations[1::2]) > 5 * min(durations[::2])


def test_streams_and_threads_drop_nothing_and_overlap_nothing(gpucore_context, tmp_path):
    context = gpucore_context
    turns, streams = 12, 3

    def run(stream):
        x = context.array(np.zeros(N, np.float32), stream=stream)
        for _ in range(turns):
            work.over(N, stream=stream)(x, 50)
            x.fill(1, stream=stream)
        x.numpy(stream=stream)

    with gc.profile(context) as prof:
        threads = [threading.Thread(target=run, args=(context.stream(),)) for _ in range(streams)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    on_device = [event for event in prof.events if event.kind in ("kernel", "copy", "fill")]
    count = {kind: sum(event.kind == kind for event in on_device) for kind in ("kernel", "copy", "fill")}
    assert count["kernel"] == turns * streams
    assert count["fill"] == turns * streams
    assert count["copy"] >= 2 * streams
    by_stream = {}
    for event in on_device:
        by_stream.setdefault(event.stream, []).append(event)
    for found in by_stream.values():
        assert all(a.end_ns <= b.start_ns for a, b in zip(found, found[1:]))
    prof.save(tmp_path / "trace.json")
    trace = json.loads((tmp_path / "trace.json").read_text("utf-8"))["traceEvents"]
    assert sum(event["ph"] == "X" for event in trace) == len(prof.events)
    assert prof.lost == 0
