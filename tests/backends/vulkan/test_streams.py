"""Streams, events, copies and fills: order, visibility, time."""

from __future__ import annotations

import ctypes
import platform
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import gpucore_vulkan as plugin
from gpucore.errors import DeviceError
from gpucore.hookspecs import CompileOptions, LaunchConfig, StreamOptions
from gpucore.ir import Const, Function, Load, Memory, Module, Op, Store, ThreadIndex, Value, i32


def host(array):
    return memoryview(array).cast("B")


@pytest.fixture
def step(bench):
    """A kernel ``x[i] = x[i] * 3 + a``, whose order with others shows, as ``call(stream, piece, n, a)``."""
    x, a = Memory("x", i32, "global"), Value("a", i32)
    i, v, three, m, r = (Value(n, i32) for n in ("i", "v", "three", "m", "r"))
    body = (
        ThreadIndex(i, "global_id", 0),
        Load(v, x, (i,)),
        Const(three, 3),
        Op(m, "mul", (v, three)),
        Op(r, "add", (m, a)),
        Store(x, (i,), r),
    )
    code = plugin.compile(
        bench.target, Module(Function("step", (x, a), None, (), (), body)), CompileOptions()
    )
    executable = plugin.load(bench.device, code)
    made = {}

    def call(stream, piece, n, value):
        if n not in made:
            made[n] = plugin.prepare(bench.device, executable, LaunchConfig((n // 4,), (4,)))
        made[n](stream, piece, 0, n, value)

    yield call
    plugin.synchronize_stream(bench.device, bench.stream)
    plugin.unload(bench.device, executable)


def after(values, start=1):
    for value in values:
        start = (start * 3 + value + 2**31) % 2**32 - 2**31
    return start


def test_launches_of_a_stream_run_in_order(bench, step):
    x = np.ones(64, np.int32)
    piece = bench.upload(x)
    values = list(range(100))
    for value in values:
        step(bench.stream, piece, 64, value)
    bench.download(piece, x)
    assert (x == after(values)).all()
    plugin.free(bench.device, piece, None)


def test_many_launches_are_sent_in_few_batches(bench, step, monkeypatch):
    stream = bench.stream
    piece = bench.upload(np.ones(4, np.int32))
    plugin.synchronize_stream(bench.device, stream)
    sent, submit = [], stream._submit
    monkeypatch.setattr(stream, "_submit", lambda *rest: sent.append(stream.count) or submit(*rest))
    for value in range(200):
        step(stream, piece, 4, value)
    assert sent[0] == 1, "an idle device gets its work at once"
    plugin.synchronize_stream(bench.device, stream)
    assert sum(sent) == 200
    assert len(sent) <= 12
    plugin.free(bench.device, piece, None)


def test_copies_fills_and_launches_mix_in_order(bench, step):
    device, stream = bench.device, bench.stream
    a, b = plugin.alloc(device, 4096, "device", stream), plugin.alloc(device, 4096, "device", stream)
    source = np.full(1024, 7, np.int32)
    plugin.fill(device, a, 0, 4096, b"\1\0\0\0", stream)
    step(stream, a, 1024, 1)  # 4
    plugin.copy(device, b, 0, a, 0, 4096, stream)
    step(stream, a, 1024, 2)  # 14
    step(stream, b, 1024, 5)  # 17
    plugin.copy(device, a, 2048, host(source), 0, 2048, stream)
    source[:] = 0  # the copy has read it
    step(stream, a, 1024, 0)
    out = np.zeros(1024, np.int32)
    bench.download(a, out)
    assert (out[:512] == 42).all() and (out[512:] == 21).all()
    bench.download(b, out)
    assert (out == 17).all()
    for piece in (a, b):
        plugin.free(device, piece, None)


def test_an_event_orders_two_streams(bench, step):
    device = bench.device
    first, second = (plugin.create_stream(device, StreamOptions()) for _ in range(2))
    x = np.ones(64, np.int32)
    piece = bench.upload(x)
    event = plugin.create_event(device, False)
    back = plugin.create_event(device, False)
    assert plugin.query_event(device, event)
    plugin.wait_event(device, second, event)  # never recorded: a no-op
    values = []
    for n in range(20):
        step(first, piece, 64, 2 * n)
        plugin.record_event(device, event, first)
        plugin.wait_event(device, second, event)
        step(second, piece, 64, 2 * n + 1)
        plugin.record_event(device, back, second)
        plugin.wait_event(device, first, back)
        values += [2 * n, 2 * n + 1]
    plugin.synchronize_event(device, back)
    assert plugin.query_event(device, back)
    plugin.copy(device, host(x), 0, piece, 0, x.nbytes, first)
    assert (x == after(values)).all()
    for made in (first, second):
        plugin.destroy_stream(device, made)
    plugin.synchronize_event(device, event)  # events outlive their streams
    plugin.destroy_event(device, event)
    plugin.destroy_event(device, back)
    plugin.free(device, piece, None)


def test_timing_events_measure_device_time(bench, step):
    device, stream = bench.device, bench.stream
    start, end = plugin.create_event(device, True), plugin.create_event(device, True)
    piece = plugin.alloc(device, 4 << 20, "device", stream)
    plugin.record_event(device, start, stream)
    for _ in range(5):
        step(stream, piece, 1 << 20, 1)
    plugin.record_event(device, end, stream)
    elapsed = plugin.elapsed_time(device, start, end)
    assert 0 < elapsed < 10_000
    assert plugin.elapsed_time(device, end, start) == pytest.approx(-elapsed)
    plain = plugin.create_event(device, False)
    plugin.record_event(device, plain, stream)
    with pytest.raises(DeviceError, match="timing"):
        plugin.elapsed_time(device, start, plain)
    for event in (start, end, plain):
        plugin.destroy_event(device, event)
    plugin.free(device, piece, None)


def test_hundreds_of_timing_events_are_reused(bench):
    device = bench.device
    for _ in range(700):
        event = plugin.create_event(device, True)
        plugin.record_event(device, event, bench.stream)
        plugin.destroy_event(device, event)
    plugin.synchronize_stream(device, bench.stream)
    assert len(device.timestamps._pools) <= 4


def test_a_query_sends_on_what_was_collected(bench, step):
    device, stream = bench.device, bench.stream
    piece = bench.upload(np.ones(64, np.int32))
    for _ in range(6):
        step(stream, piece, 64, 1)
    for _ in range(100_000):
        if plugin.query_stream(device, stream):
            break
    else:
        pytest.fail("the stream never finished")
    plugin.free(device, piece, None)


def test_streams_that_were_destroyed_are_used_again(bench, step):
    device = bench.device
    before = len(device._streams)
    piece = bench.upload(np.ones(64, np.int32))
    for _ in range(50):
        stream = plugin.create_stream(device, StreamOptions())
        step(stream, piece, 64, 1)
        plugin.synchronize_stream(device, stream)
        plugin.destroy_stream(device, stream)
    assert len(device._streams) <= before + 1
    plugin.free(device, piece, None)


@pytest.mark.parametrize("nbytes", [1, 3, 4, 100, 4096, 5001, 1 << 20, (33 << 20) + 12])
@pytest.mark.parametrize("offset", [0, 1, 4])
def test_pageable_copies_of_any_size_and_place(bench, nbytes, offset):
    device, stream = bench.device, bench.stream
    piece = plugin.alloc(device, nbytes + offset, "device", stream)
    data = np.random.default_rng(nbytes).integers(0, 256, nbytes + 5, dtype=np.uint8)
    plugin.copy(device, piece, offset, host(data), 5, nbytes, stream)
    out = np.zeros(nbytes + 2, np.uint8)
    plugin.copy(device, host(out), 2, piece, offset, nbytes, stream)
    np.testing.assert_array_equal(out[2:], data[5:])
    plugin.free(device, piece, None)


@pytest.mark.parametrize("nbytes", [4, 65, 1 << 16, (1 << 20) + 1])
def test_copies_where_the_host_sees_memory_across_the_bus(bench, step, nbytes, monkeypatch):
    device, stream = bench.device, bench.stream
    piece = plugin.alloc(device, nbytes, "device", stream)
    if piece.mapped is None:
        pytest.skip("the host does not see this device's memory")
    other = plugin.alloc(device, 1 << 22, "device", stream)
    monkeypatch.setattr(piece.block, "cached", False)
    data = np.random.default_rng(nbytes).integers(0, 256, nbytes, dtype=np.uint8)
    for busy in (False, True):
        plugin.synchronize_stream(device, stream)
        for _ in range(8 * busy):
            step(stream, other, 1 << 20, 1)
        sent = data + np.uint8(busy)
        plugin.copy(device, piece, 0, host(sent), 0, nbytes, stream)
        wanted = sent.copy()
        sent[:] = 0
        out = np.zeros(nbytes, np.uint8)
        plugin.copy(device, host(out), 0, piece, 0, nbytes, stream)
        np.testing.assert_array_equal(out, wanted)
    plugin.free(device, piece, None)
    plugin.free(device, other, None)


@pytest.mark.parametrize("nbytes", [(64 << 10) + 1, 300_001, (1 << 20) + 77])
@pytest.mark.parametrize("how", ["machine code", "Python", "all lanes are in use"])
def test_several_threads_upload_to_memory_across_the_bus(bench, step, nbytes, how, monkeypatch):
    """To an idle stream without a submission; behind the work of one that is not; every byte and no other."""
    from gpucore_vulkan import copy_threads, staging

    device, stream = bench.device, bench.stream
    if how == "machine code" and copy_threads._code() is None:
        pytest.skip("the machine code is for another system")
    if how == "Python":
        monkeypatch.setattr(copy_threads, "_code", lambda: None)
    made = staging.Staging(device.memory)
    monkeypatch.setattr(device, "staging", made)
    if how.startswith("all"):
        monkeypatch.setattr(staging, "MOST_LANES", 0)
    data = np.random.default_rng(nbytes).integers(0, 256, nbytes, dtype=np.uint8)
    before = np.full(nbytes + 200, 9, np.uint8)
    piece = bench.upload(before)
    if piece.mapped is None:
        pytest.skip("the host does not see this device's memory")
    other = plugin.alloc(device, 1 << 22, "device", stream)
    monkeypatch.setattr(piece.block, "cached", False)
    sent, submit = [], stream._submit
    monkeypatch.setattr(stream, "_submit", lambda *args: sent.append(args) or submit(*args))
    for busy in (False, True):
        for at in (0, 7, 64):
            plugin.fill(device, piece, 0, nbytes + 200, b"\x09", stream)
            plugin.synchronize_stream(device, stream)
            for _ in range(4 * busy):
                step(stream, other, 1 << 20, 1)
            source = data + np.uint8(at)
            del sent[:]
            plugin.copy(device, piece, at, host(source), 0, nbytes, stream)
            assert len(sent) == 0 or busy or how.startswith("all")
            before[at : at + nbytes] = source
            source[:] = 0
            out = np.zeros(nbytes + 200, np.uint8)
            plugin.copy(device, host(out), 0, piece, 0, nbytes + 200, stream)
            np.testing.assert_array_equal(out, before)
            before[:] = 9
    assert len(made._free) == len(made._all) == (not how.startswith("all"))
    made.close()
    monkeypatch.undo()
    plugin.free(device, piece, None)
    plugin.free(device, other, None)


@pytest.mark.parametrize("nbytes", [16, 4096, 1 << 17])
def test_pinned_copies_keep_their_place_in_the_stream(bench, step, nbytes):
    device, stream, n = bench.device, bench.stream, nbytes // 4
    piece = plugin.alloc(device, nbytes, "device", stream)
    pinned = plugin.alloc(device, nbytes, "pinned", stream)
    view = np.ctypeslib.as_array((ctypes.c_int32 * n).from_address(pinned.host))
    for busy in (False, True):
        plugin.synchronize_stream(device, stream)
        view[:] = 7
        plugin.copy(device, piece, 0, pinned, 0, nbytes, stream)
        for _ in range(3 * busy):
            step(stream, piece, n, 1)
        plugin.copy(device, pinned, 0, piece, 0, nbytes, stream)
        plugin.synchronize_stream(device, stream)
        assert (view == (after([1] * 3, start=7) if busy else 7)).all()
    plugin.free(device, piece, None)
    plugin.free(device, pinned, None)


def test_threads_copy_large_arrays_at_once(bench, monkeypatch):
    device, n = bench.device, (9 << 20) + 3
    pieces = [plugin.alloc(device, n, "device", bench.stream) for _ in range(4)]
    failed = []

    def both_ways(number):
        stream = plugin.create_stream(device, StreamOptions())
        monkeypatch.setattr(pieces[number], "mapped", None)
        data = np.random.default_rng(number).integers(0, 256, n, dtype=np.uint8)
        out = np.zeros_like(data)
        for _ in range(3):
            plugin.copy(device, pieces[number], 0, host(data), 0, n, stream)
            plugin.copy(device, host(out), 0, pieces[number], 0, n, stream)
            if not np.array_equal(out, data):
                failed.append(number)
        plugin.destroy_stream(device, stream)

    threads = [threading.Thread(target=both_ways, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failed
    assert not any(thread.is_alive() for thread in threads)
    for piece in pieces:
        plugin.free(device, piece, None)


@pytest.mark.parametrize("nbytes", [4, 5001, (33 << 20) + 12])
def test_copies_through_staging_where_memory_is_not_the_hosts(bench, nbytes, monkeypatch):
    device, stream = bench.device, bench.stream
    piece = plugin.alloc(device, nbytes, "device", stream)
    monkeypatch.setattr(piece, "mapped", None)
    data = np.random.default_rng(nbytes).integers(0, 256, nbytes, dtype=np.uint8)
    plugin.copy(device, piece, 0, host(data), 0, nbytes, stream)
    wanted = data.copy()
    data[:] = 0
    out = np.zeros(nbytes, np.uint8)
    plugin.copy(device, host(out), 0, piece, 0, nbytes, stream)
    np.testing.assert_array_equal(out, wanted)
    plugin.free(device, piece, None)


def test_uploads_behind_running_work_wait_their_turn(bench, step):
    device, stream = bench.device, bench.stream
    n = 1 << 20
    piece = plugin.alloc(device, 4 * n, "device", stream)
    plugin.fill(device, piece, 0, 4 * n, b"\0", stream)
    for _ in range(5):
        step(stream, piece, n, 1)
    plugin.copy(device, piece, 0, host(np.full(n, 5, np.int32)), 0, 4 * n, stream)
    step(stream, piece, n, 0)
    out = np.zeros(n, np.int32)
    bench.download(piece, out)
    assert (out == 15).all()
    plugin.free(device, piece, None)


def test_copies_within_an_allocation_may_overlap(bench):
    device, stream = bench.device, bench.stream
    data = np.arange(1000, dtype=np.uint8)
    for to, at in ((10, 0), (0, 10), (5, 5)):
        piece = bench.upload(data)
        plugin.copy(device, piece, to, piece, at, 900, stream)
        out = np.zeros_like(data)
        bench.download(piece, out)
        wanted = data.copy()
        wanted[to : to + 900] = data[at : at + 900].copy()
        np.testing.assert_array_equal(out, wanted)
        plugin.free(device, piece, None)


@pytest.mark.parametrize(
    "pattern", [b"\0", b"\7", b"\1\2", b"\5\5", b"\1\2\3\4", b"\1\2\3\4\5\6\7\x08", b"\1\2\3\4\1\2\3\4"]
)
def test_fills_of_every_pattern_and_alignment(bench, pattern):
    device, stream = bench.device, bench.stream
    size = len(pattern)
    for offset, count in ((0, 64), (1, 63), (3, 1), (5, 10_001), (2, 2)):
        piece = bench.upload(np.full(20_000 * size, 0xEE, np.uint8))
        plugin.fill(device, piece, offset * size, count * size, pattern, stream)
        out = np.zeros(20_000 * size, np.uint8)
        bench.download(piece, out)
        wanted = np.full(20_000 * size, 0xEE, np.uint8)
        wanted[offset * size : (offset + count) * size] = np.frombuffer(pattern * count, np.uint8)
        np.testing.assert_array_equal(out, wanted)
        plugin.free(device, piece, None)


def test_pinned_memory_is_seen_from_both_sides(bench, step):
    device, stream = bench.device, bench.stream
    pinned = plugin.alloc(device, 4096, "pinned", stream)
    import ctypes

    view = np.ctypeslib.as_array((ctypes.c_int32 * 1024).from_address(pinned.host))
    view[:] = 2
    piece = plugin.alloc(device, 4096, "device", stream)
    plugin.copy(device, piece, 0, pinned, 0, 4096, stream)
    step(stream, piece, 1024, 1)
    plugin.copy(device, pinned, 0, piece, 0, 4096, stream)
    plugin.synchronize_stream(device, stream)
    assert (view == 7).all()
    step(stream, pinned, 1024, 0)  # kernels reach it through its address
    plugin.synchronize_stream(device, stream)
    assert (view == 21).all()
    for made in (piece, pinned):
        plugin.free(device, made, None)


def test_threads_on_streams_of_their_own(bench, step):
    device = bench.device
    results = {}

    def work(number):
        stream = plugin.create_stream(device, StreamOptions())
        piece = plugin.alloc(device, 4096, "device", stream)
        plugin.fill(device, piece, 0, 4096, b"\1\0\0\0", stream)
        values = [number * 100 + n for n in range(60)]
        for value in values:
            step(stream, piece, 1024, value)
        out = np.zeros(1024, np.int32)
        plugin.copy(device, host(out), 0, piece, 0, 4096, stream)
        results[number] = bool((out == after(values)).all())
        plugin.free(device, piece, stream)
        plugin.destroy_stream(device, stream)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == dict.fromkeys(range(6), True)


def test_threads_sharing_one_stream_lose_no_launch(bench):
    from gpucore.ir import Atomic

    x, one, r, i = Memory("x", i32, "global"), Value("one", i32), Value("r", i32), Value("i", i32)
    module = Module(Function("count", (x,), None, (), (), (
        ThreadIndex(i, "global_id", 0), Const(one, 1), Atomic(r, "add", x, (i,), one),
    )))  # fmt: skip
    device = bench.device
    executable = plugin.load(device, plugin.compile(bench.target, module, CompileOptions()))
    call = plugin.prepare(device, executable, LaunchConfig((1,), (4,)))
    piece = bench.upload(np.zeros(4, np.int32))
    threads = [
        threading.Thread(target=lambda: [call(bench.stream, piece, 0, 4) for _ in range(200)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    out = np.zeros(4, np.int32)
    bench.download(piece, out)
    assert (out == 800).all()
    plugin.free(device, piece, None)
    plugin.unload(device, executable)


def without_streaming(monkeypatch):
    from gpucore_vulkan import transfers

    monkeypatch.setattr(transfers, "streaming_read", lambda: None)


@pytest.mark.parametrize("how", ["streaming", "loads"])
@pytest.mark.parametrize("offset", [0, 7, 64])
@pytest.mark.parametrize("nbytes", [0, 1, 63, 64, 65, 511, 512, 513, 1024, 1300])
def test_memory_across_the_bus_is_read_whole_and_no_further(nbytes, offset, how, monkeypatch):
    from types import SimpleNamespace

    from gpucore_vulkan.transfers import _read

    if how == "loads":
        without_streaming(monkeypatch)
    source = np.random.default_rng(nbytes).integers(0, 256, 2000, dtype=np.uint8)
    offset += -source.ctypes.data % 64
    target = np.zeros(2000, np.uint8)
    across = SimpleNamespace(block=SimpleNamespace(cached=False))
    _read(target.ctypes.data + 100, source.ctypes.data + offset, nbytes, across)
    want = np.zeros(2000, np.uint8)
    want[100 : 100 + nbytes] = source[offset : offset + nbytes]
    np.testing.assert_array_equal(target, want)


@pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64", reason="the code is for Linux on x86-64"
)
def test_where_the_processor_streams_the_code_is_used_and_no_code_can_be_written():
    from gpucore_vulkan import copy_threads, streaming

    read, threads = streaming.streaming_read(), copy_threads._code()
    assert (read is not None) == (" sse4_1 " in Path("/proc/cpuinfo").read_text())
    lines = Path("/proc/self/maps").read_text().splitlines()
    spans = [(line.split()[1], *(int(end, 16) for end in line.split()[0].split("-"))) for line in lines]
    for code in (read and read.__self__._code, threads and threads._code):
        if code:
            assert [mode[:3] for mode, first, end in spans if first <= code.address < end] == ["r-x"]


def test_a_system_that_refuses_memory_for_code_is_read_by_usual_loads(monkeypatch):
    from gpucore_vulkan import streaming

    def refuse(code):
        raise OSError(13, "no")

    monkeypatch.setattr(streaming, "_Code", refuse)
    assert streaming.streaming_read.__wrapped__() is None


@pytest.mark.parametrize("how", ["streaming", "loads"])
@pytest.mark.parametrize("nbytes", [4, 100, 1000, 1024, 5001, 8192, 9000])
def test_small_downloads_of_memory_across_the_bus(bench, nbytes, how, monkeypatch):
    """From an idle stream without a submission, and after the work of one that is not."""
    from gpucore_vulkan import transfers

    if how == "loads":
        without_streaming(monkeypatch)
    device, stream = bench.device, bench.stream
    data = np.random.default_rng(nbytes).integers(0, 256, nbytes, dtype=np.uint8)
    piece = bench.upload(data)
    monkeypatch.setattr(piece.block, "cached", False)
    plugin.synchronize_stream(device, stream)
    sent, submit = [], stream._submit
    monkeypatch.setattr(stream, "_submit", lambda *args: sent.append(args) or submit(*args))
    out = np.zeros(nbytes, np.uint8)
    plugin.copy(device, host(out), 0, piece, 0, nbytes, stream)
    np.testing.assert_array_equal(out, data)
    most = transfers._most_read(idle=True)
    assert how == "streaming" or most == 1 << 10
    assert len(sent) == (nbytes > most)
    plugin.fill(device, piece, 0, nbytes, b"\5", stream)
    plugin.copy(device, host(out), 0, piece, 0, nbytes, stream)
    assert (out == 5).all()
    monkeypatch.undo()
    plugin.free(device, piece, None)
