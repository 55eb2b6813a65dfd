"""Streams, events, memory and the worker pool."""

from __future__ import annotations

import _thread
import contextlib
import gc
import threading
import time
from typing import Any

import numpy as np
import pytest

import gpucore
from gpucore.errors import DeviceError, OutOfMemoryError
from gpucore.hookspecs import StreamOptions
from gpucore.runtime import running_calls
from gpucore_cpu.runtime import jit
from gpucore_cpu.runtime.pool import Pool, _NativeWorkers, _PythonWorkers

SPIN = """
module ir=1 ndim=1 math=strict

kernel @spin(&out: i32[?], %rounds: i64) {
  var !v: i32
  %i: i32 = global_id 0
  %0: i64 = const 0
  %1: i64 = const 1
  %z: i32 = load &out[%i]
  set !v, %z
  for %k: i64 = %0 to %rounds step %1 {
    %v: i32 = get !v
    %m: i32 = const 1664525
    %a: i32 = const 1013904223
    %v1: i32 = mul %v, %m
    %v2: i32 = add %v1, %a
    set !v, %v2
  }
  %r: i32 = get !v
  store &out[%i], %r
}
"""
LONG = 60_000_000


@pytest.fixture
def stream(cpu: Any) -> Any:
    stream = cpu.plugin.create_stream(cpu.device, StreamOptions())
    yield stream
    cpu.plugin.synchronize_stream(cpu.device, stream)
    cpu.plugin.destroy_stream(cpu.device, stream)


def spin(cpu: Any, stream: Any, rounds: int = LONG) -> np.ndarray[Any, Any]:
    out = np.zeros(16, np.int32)
    module = cpu.module(SPIN)
    cpu.prepare(module, 1, 16)(stream, *cpu.slots(module, (out, rounds)))
    return out


def test_a_long_launch_returns_at_once_and_events_tell_when_it_ends(cpu: Any, stream: Any) -> None:
    plugin, device = cpu.plugin, cpu.device
    start, end = plugin.create_event(device, True), plugin.create_event(device, True)
    assert plugin.query_event(device, end)
    plugin.record_event(device, start, stream)
    out = spin(cpu, stream)
    plugin.record_event(device, end, stream)
    assert not plugin.query_stream(device, stream)
    assert not plugin.query_event(device, end)
    plugin.synchronize_event(device, end)
    assert out.any()
    assert plugin.elapsed_time(device, start, end) > 1


def test_the_gil_is_free_while_a_kernel_runs(cpu: Any, stream: Any) -> None:
    spin(cpu, stream)
    turns = 0
    while not cpu.plugin.query_stream(cpu.device, stream):
        turns += 1
        time.sleep(0)
    # with the GIL held the first question would be answered after the kernel's end
    assert turns > 3


def test_a_stream_waits_for_the_event_of_another(cpu: Any, stream: Any) -> None:
    plugin, device = cpu.plugin, cpu.device
    other = plugin.create_stream(device, StreamOptions())
    out = spin(cpu, stream)
    event = plugin.create_event(device, False)
    plugin.record_event(device, event, stream)
    plugin.wait_event(device, other, event)
    copy = plugin.alloc(device, 64, "device", None)
    source = plugin.alloc(device, 64, "device", None)
    plugin.fill(device, source, 0, 64, b"\7", other)
    plugin.copy(device, copy, 0, source, 0, 64, other)
    seen = bytearray(64)
    plugin.copy(device, memoryview(seen), 0, copy, 0, 64, other)  # blocks: the other stream is done before
    assert plugin.query_stream(device, stream)
    assert out.any()
    assert bytes(seen) == b"\7" * 64
    plugin.destroy_stream(device, other)


def test_work_on_a_stream_keeps_its_order(cpu: Any, stream: Any) -> None:
    plugin, device = cpu.plugin, cpu.device
    spin(cpu, stream)
    memory = plugin.alloc(device, 1 << 20, "device", None)
    for value in (1, 2, 3):
        plugin.fill(device, memory, 0, 1 << 20, bytes([value, 0]), stream)
    plugin.fill(device, memory, 512, 512, b"\5\6\7\10", stream)
    seen = bytearray(1 << 20)
    plugin.copy(device, memoryview(seen), 0, memory, 0, 1 << 20, stream)
    assert bytes(seen[:512]) == b"\3\0" * 256
    assert bytes(seen[512:1024]) == b"\5\6\7\10" * 128
    assert bytes(seen[1024:]) == b"\3\0" * ((1 << 19) - 512)
    plugin.free(device, memory, stream)


def test_elapsed_time_wants_timing_events(cpu: Any, stream: Any) -> None:
    plugin, device = cpu.plugin, cpu.device
    timed, plain = plugin.create_event(device, True), plugin.create_event(device, False)
    for event in (timed, plain):
        plugin.record_event(device, event, stream)
    with pytest.raises(DeviceError):
        plugin.elapsed_time(device, timed, plain)


def test_destroying_a_stream_lets_its_work_finish(cpu: Any) -> None:
    stream = cpu.plugin.create_stream(cpu.device, StreamOptions())
    out = spin(cpu, stream)
    cpu.plugin.destroy_stream(cpu.device, stream)
    stream.join()
    assert out.any()


def test_bound_launches_run_again_with_what_they_froze(cpu: Any, stream: Any) -> None:
    out = np.zeros(16, np.int32)
    module = cpu.module(SPIN)
    call = cpu.prepare(module, 1, 16)
    bound = call.bind(*cpu.slots(module, (out, 3)))
    again = np.zeros(16, np.int32)
    call(stream, *cpu.slots(module, (again, 6)))
    bound(stream)
    bound(stream)
    cpu.plugin.synchronize_stream(cpu.device, stream)
    np.testing.assert_array_equal(out, again)


def test_memory_is_aligned_counted_and_refused_with_the_figures(cpu: Any) -> None:
    plugin, device = cpu.plugin, cpu.device
    before = plugin.process_memory(device)
    memory = [plugin.alloc(device, n, "pinned", None) for n in (1, 3, 1000, 100_000)]
    assert all(m.address % 256 == 0 and m.host == m.address for m in memory)
    assert plugin.process_memory(device) == before + 101_004
    for m in memory:
        plugin.free(device, m, None)
    assert plugin.process_memory(device) == before
    info = plugin.memory_info(device)
    assert 0 < info.free <= info.total
    with pytest.raises(OutOfMemoryError) as refused:
        plugin.alloc(device, info.total + 1, "device", None)
    assert refused.value.requested == info.total + 1


@pytest.mark.parametrize("kind", [_NativeWorkers, _PythonWorkers])
def test_workers_do_every_unit_once(cpu: Any, kind: Any) -> None:
    source = """
    module ir=1 ndim=1 math=strict

    kernel @count(&out: i32[?], %one: i32) {
      %b: i32 = block_id 0
      %o: i32 = atomic add &out[%b], %one
    }
    """
    executable = cpu.plugin.load(cpu.device, cpu.compile(source))
    workers = kind(4)
    pool = Pool()
    pool.cores = 4
    pool._workers = workers
    try:
        import ctypes
        import struct

        out = np.zeros(1000, np.int32)
        header = (ctypes.c_int64 * 5)(1000, 0, 0, 1000, 1)
        args = struct.pack("=QQQi4x", ctypes.addressof(header), 0, out.ctypes.data, 1)
        threads = [
            threading.Thread(
                target=lambda: [pool.run(executable.range_address, args, 1000, 7, 0) for _ in range(20)]
            )
            for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        np.testing.assert_array_equal(out, 120)
    finally:
        pool.close()


def test_closing_the_device_ends_its_threads(cpu: Any) -> None:
    device = cpu.plugin.open_device(0, {})
    before = _thread._count()
    stream = cpu.plugin.create_stream(device, StreamOptions())
    done = threading.Event()
    stream.submit(done.set)
    assert done.wait(10)
    assert _thread._count() == before + 1
    cpu.plugin.close_device(device)
    end = time.monotonic() + 10
    while _thread._count() > before and time.monotonic() < end:
        time.sleep(0.001)  # it has run, and only has to leave
    assert _thread._count() == before
    del device, stream
    gc.collect()


@pytest.fixture
def closing(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Any:
    """A context that a thread of the backend's closes while a call waits for that thread; the closing waits for no such call."""
    monkeypatch.setattr(running_calls, "_PATIENCE", 1.0)
    threads = _thread._count()
    context = gpucore.Context("cpu")
    yield context
    end = time.monotonic() + 10
    while not context._state.closed or _thread._count() > threads:
        assert time.monotonic() < end, "the context is not closed"
        time.sleep(0.001)
    assert [record.getMessage() for record in (*caplog.get_records("call"), *caplog.records)] == []


def test_a_context_that_a_finalizer_closes_in_the_thread_of_a_stream_lets_the_copy_that_waits_end(
    closing: Any,
) -> None:
    x = closing.array(np.arange(64, dtype=np.int32))
    stream = closing.default_stream._handle

    class Dropped:
        def __del__(self) -> None:
            end = time.monotonic() + 10
            # this work, the copy, and the mark it waits for
            while len(stream.items) < 3 and time.monotonic() < end:
                time.sleep(0.001)
            closing.close()

    def work(dropped: Any = Dropped()) -> None:
        pass

    stream.submit(work)
    del work
    assert x.numpy().tolist() == list(range(64))


def test_a_context_that_a_finalizer_closes_in_a_thread_that_links_lets_the_launch_end(
    closing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    @gpucore.kernel
    def count(x: gpucore.Array[gpucore.i32]) -> None:
        x[0] = 68_473

    x = closing.zeros(1, gpucore.i32)
    link, linked = jit._link, []

    def close_and_link(*args: Any) -> Any:
        linked.append(threading.current_thread() is threading.main_thread())
        closing.close()
        return link(*args)

    monkeypatch.setattr(jit, "_link", close_and_link)
    with contextlib.suppress(gpucore.GpucoreError):  # new work is refused
        count[1, 1](x)
    assert linked == [False]
