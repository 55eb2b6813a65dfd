"""How launches are spread over the cores, again and again."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from gpucore.hookspecs import StreamOptions
from gpucore_cpu.runtime.launch import CALLER_NS, OUTLIER, SERIAL_NS
from gpucore_cpu.runtime.pool import Pool, _NativeWorkers
from gpucore_cpu.runtime.pool_ir import WORDS

COUNT = """
module ir=1 ndim=1 math=strict

kernel @count(&out: i32[?], %one: i32) {
  %b: i32 = block_id 0
  %o: i32 = atomic add &out[%b], %one
}
"""
INCREMENT = """
module ir=1 ndim=1 math=strict

kernel @increment(&out: i32[?], %one: i32) {
  %i: i32 = global_id 0
  %v: i32 = load &out[%i]
  %w: i32 = add %v, %one
  store &out[%i], %w
}
"""


class Counted:
    """A pool with a job that adds one to each of 1000 numbers."""

    def __init__(self, cpu: Any, cores: int) -> None:
        before = set(os.listdir("/proc/self/task")) if sys.platform.startswith("linux") else set()
        self.pool = Pool()
        self.pool.cores = cores
        self.pool._workers = _NativeWorkers(cores)
        while before:
            self.workers = [int(t) for t in set(os.listdir("/proc/self/task")) - before]
            if len(self.workers) < cores:
                break  # threads that helped to load the code are gone
            time.sleep(0.001)
        self.executable = cpu.plugin.load(cpu.device, cpu.compile(COUNT))
        self.out = np.zeros(1000, np.int32)
        self.header = (ctypes.c_int64 * 5)(1000, 0, 0, 1000, 1)
        self.args = struct.pack("=QQQi4x", ctypes.addressof(self.header), 0, self.out.ctypes.data, 1)
        job = self.pool.job(self.executable.range_address, 1000)
        assert job is not None
        self.job = job

    def run(self) -> None:
        self.job.start(self.job.address, self.args)


@pytest.fixture
def counted(cpu: Any) -> Iterator[Counted]:
    if sys.platform == "win32":
        pytest.skip("the workers are Python threads there")
    made = Counted(cpu, 4)
    yield made
    made.pool.close()


@pytest.mark.parametrize("chunk", [1, 7, 400])
def test_a_job_does_every_unit_once_however_it_is_dealt(counted: Counted, chunk: int) -> None:
    def often() -> None:
        for work in range(2000, 2020):
            counted.job.split(work, chunk)
            counted.run()

    threads = [threading.Thread(target=often) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(counted.out, 120)


def test_workers_without_work_take_no_processor_time(counted: Counted) -> None:
    counted.job.split(2000, 1)
    for _ in range(100):
        counted.run()
    time.sleep(0.05)
    before = time.process_time()
    time.sleep(0.2)
    assert time.process_time() - before < 0.02


@pytest.fixture
def crowded(cpu: Any) -> Iterator[Counted]:
    """A pool of two, the worker on the processor of this thread."""
    if not sys.platform.startswith("linux") or len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one processor, or no telling them apart")
    allowed = os.sched_getaffinity(0)
    made = Counted(cpu, 2)
    made.job.split(2000, 1)
    caller = threading.get_native_id()
    os.sched_setaffinity(caller, {min(allowed)})
    os.sched_setaffinity(made.workers[0], {min(allowed)})
    yield made
    os.sched_setaffinity(caller, allowed)
    made.pool.close()


def test_a_worker_leaves_the_processor_of_the_thread_that_launches(crowded: Counted) -> None:
    (here,), (worker,) = os.sched_getaffinity(threading.get_native_id()), crowded.workers
    end = time.monotonic() + 20
    while here in os.sched_getaffinity(worker) and time.monotonic() < end:
        crowded.run()
    assert here not in os.sched_getaffinity(worker)
    assert os.sched_getaffinity(threading.get_native_id()) == {here}


def test_a_worker_that_may_not_move_works_where_it_is_and_asks_no_more(crowded: Counted) -> None:
    asked: list[int] = []

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_size_t, ctypes.c_void_p)
    def refuse(thread: int, size: int, processors: int) -> int:
        asked.append(thread)
        return -1

    workers = crowded.pool._workers
    assert isinstance(workers, _NativeWorkers)
    record = (ctypes.c_uint64 * len(WORDS)).from_address(workers._pool)
    record[WORDS.index("setaffinity")] = ctypes.cast(refuse, ctypes.c_void_p).value or 0
    end = time.monotonic() + 20
    runs = 0
    while not asked and time.monotonic() < end:
        crowded.run()
        runs += 1
    for _ in range(200):
        crowded.run()
        time.sleep(0.0001)
    assert asked == [0]
    np.testing.assert_array_equal(crowded.out, runs + 200)


@pytest.mark.parametrize("threads", [1 << 15, 1 << 17, 1 << 19])
def test_launches_are_right_while_their_split_is_found(cpu: Any, threads: int) -> None:
    launch = cpu.prepare(INCREMENT, threads // 128, 128)
    stream = cpu.plugin.create_stream(cpu.device, StreamOptions())
    out = np.zeros(threads, np.int32)
    bound = launch.bind(*cpu.slots(cpu.module(INCREMENT), (out, 1)))
    for turn in range(300):
        if turn % 50 == 1:
            launch.outgrow(SERIAL_NS + 1)
        bound(stream)
        cpu.plugin.synchronize_stream(cpu.device, stream)
    np.testing.assert_array_equal(out, 300)
    cpu.plugin.destroy_stream(cpu.device, stream)


def test_one_interrupted_launch_is_not_taken_for_long_work(cpu: Any) -> None:
    if cpu.device.pool.cores == 1 or sys.platform == "win32":
        pytest.skip("nothing is spread")
    state = cpu.prepare(INCREMENT, 1024, 128)
    state.job = cpu.device.pool.job(state.executable.range_address, state.units)
    state.outgrow(4 * SERIAL_NS)
    state.weigh(3 * SERIAL_NS)
    usual = state.work
    assert SERIAL_NS < usual < CALLER_NS
    long = max(CALLER_NS, (OUTLIER + 1) * state.most)
    state.weigh(long)
    assert state.work == usual
    state.weigh(3 * SERIAL_NS)
    assert state.work == usual
    state.weigh(long)
    state.weigh(long)
    assert state.work > CALLER_NS
