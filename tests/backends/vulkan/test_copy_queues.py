"""Copies on queues that only copy: in the order of their stream, beside others. Where the device has no such queues, the first
queue stands in for them, so that all but the speed is the same."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

import gpucore_vulkan as plugin
from gpucore.hookspecs import CompileOptions, GraphCopy, LaunchConfig, StreamOptions
from gpucore.ir import Const, Function, Load, Memory, Module, Op, Store, ThreadIndex, Value, i32
from gpucore_vulkan import transfers
from gpucore_vulkan.logical_device import Queue
from gpucore_vulkan.streams import Stream

N = 50_000
NBYTES = 4 * N


@pytest.fixture
def apart(bench, monkeypatch):
    """The copies that went to queues that only copy: to the device or from it."""
    logical, seen = bench.device.logical, []
    monkeypatch.setattr(transfers, "APART_BYTES", NBYTES)
    if not logical.copy_queues:
        made = [Queue(first.handle, first.family, first.timestamp_bits) for first in logical.queues[:1] * 2]
        for queue in made:
            queue.lock = logical.queues[0].lock
        monkeypatch.setattr(logical, "copy_queues", made)
    original = Stream.record_apart

    def watched(self, queue, command, *arguments, **options):
        if command is logical.vk.vkCmdCopyBuffer:
            seen.append("up" if queue is logical.copy_queues[0] else "down")
        return original(self, queue, command, *arguments, **options)

    monkeypatch.setattr(Stream, "record_apart", watched)
    return seen


@pytest.fixture
def add(bench):
    """A kernel ``x[i] = x[i] * 3 + a``."""
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
    code = plugin.compile(bench.target, Module(Function("add", (x, a), None, (), (), body)), CompileOptions())
    executable = plugin.load(bench.device, code)
    call = plugin.prepare(bench.device, executable, LaunchConfig((N // 50,), (50,)))
    yield lambda stream, piece, value: call(stream, piece, 0, N, value)
    plugin.synchronize_stream(bench.device, bench.stream)
    plugin.unload(bench.device, executable)


@pytest.fixture
def take(bench):
    """Allocations that are given back at the end, and ndarrays on the pinned ones."""
    taken = []

    def make(kind):
        piece = plugin.alloc(bench.device, NBYTES, kind, None)
        taken.append(piece)
        if kind == "device":
            return piece, None
        return piece, np.ctypeslib.as_array((ctypes.c_int32 * N).from_address(piece.host))

    yield make
    for piece in taken:
        plugin.free(bench.device, piece, None)


def test_they_stay_in_the_order_of_their_streams_kernels_and_fills(bench, apart, add, take):
    (x, _), (source, sent), (target, got) = take("device"), take("pinned"), take("pinned")
    device, stream = bench.device, bench.stream
    for number in range(1, 12):
        sent[:] = number
        plugin.copy(device, x, 0, source, 0, NBYTES, stream)
        for value in range(number):
            add(stream, x, value)
        plugin.copy(device, target, 0, x, 0, NBYTES, stream)
        plugin.fill(device, x, 0, NBYTES, b"\x07\0\0\0", stream)
        plugin.copy(device, x, 4, target, 4, NBYTES - 4, stream)  # small: with the kernels
        add(stream, x, 1)
        plugin.synchronize_stream(device, stream)
        want = number
        for value in range(number):
            want = want * 3 + value
        assert (got == want).all()
        plugin.copy(device, target, 0, x, 0, NBYTES, stream)
        plugin.synchronize_stream(device, stream)
        assert got[0] == 22 and (got[1:] == want * 3 + 1).all()
    assert apart == ["up", "down", "down"] * 11


def test_streams_that_wait_for_events_see_what_was_copied_and_computed(bench, apart, add, take):
    device = bench.device
    up, compute, down = (plugin.create_stream(device, StreamOptions()) for _ in range(3))
    slots = [(take("device")[0], take("pinned"), take("pinned")) for _ in range(3)]
    free = [None] * 3
    wanted = []
    for number in range(12):
        slot = number % 3
        x, (source, sent), (target, got) = slots[slot]
        if free[slot] is not None:
            plugin.synchronize_event(device, free[slot])
            assert (got == wanted[number - 3]).all()
        sent[:] = number
        plugin.copy(device, x, 0, source, 0, NBYTES, up)
        uploaded, computed, free[slot] = (plugin.create_event(device, False) for _ in range(3))
        plugin.record_event(device, uploaded, up)
        plugin.wait_event(device, compute, uploaded)
        add(compute, x, 5)
        plugin.record_event(device, computed, compute)
        plugin.wait_event(device, down, computed)
        plugin.copy(device, target, 0, x, 0, NBYTES, down)
        plugin.record_event(device, free[slot], down)
        wanted.append(number * 3 + 5)
    for stream in (up, compute, down):
        plugin.synchronize_stream(device, stream)
        plugin.destroy_stream(device, stream)
    assert apart.count("up") == apart.count("down") == 12


def test_a_graph_comes_after_the_copy_before_it(bench, apart, take):
    device, stream = bench.device, bench.stream
    (x, _), (source, sent), (target, got) = take("device"), take("pinned"), take("pinned")
    graph = plugin.build_graph(device, [GraphCopy(target, 0, x, 0, NBYTES, ())])
    for number in range(5):
        sent[:] = number
        plugin.copy(device, x, 0, source, 0, NBYTES, stream)
        plugin.launch_graph(device, graph, stream)
        plugin.synchronize_stream(device, stream)
        assert (got == number).all()
    plugin.destroy_graph(device, graph)
    assert apart == ["up"] * 5


def test_the_times_of_a_copy_lie_between_those_of_what_is_before_and_behind_it(bench, apart, add, take):
    device, stream = bench.device, bench.stream
    if "timestamps" not in plugin.capabilities(device).names:
        pytest.skip("the device's clock cannot be read together with the host's")
    (x, _), (source, _) = take("device"), take("pinned")

    def kernel():
        add(stream, x, 1)

    def copy():
        plugin.copy(device, x, 0, source, 0, NBYTES, stream)

    marks = []
    for work in (kernel, copy, copy, kernel, copy):
        marks.append(plugin.record_timestamp(device, stream, True))
        work()
        marks.append(plugin.record_timestamp(device, stream, False))
    times = list(plugin.read_timestamps(device, marks))
    assert times == sorted(times) and all(
        end > begin for begin, end in zip(times[::2], times[1::2], strict=True)
    )
    assert apart == ["up"] * 3


def test_small_copies_and_copies_within_the_device_stay_with_the_kernels(bench, apart, take):
    device, stream = bench.device, bench.stream
    (x, _), (y, _), (source, sent), (target, got) = (
        take("device"),
        take("device"),
        take("pinned"),
        take("pinned"),
    )
    sent[:] = 3
    for at in range(0, NBYTES, NBYTES // 4):
        plugin.copy(device, x, at, source, at, NBYTES // 4, stream)
    plugin.copy(device, y, 0, x, 0, NBYTES, stream)
    for at in range(0, NBYTES, NBYTES // 4):
        plugin.copy(device, target, at, y, at, NBYTES // 4, stream)
    plugin.synchronize_stream(device, stream)
    assert (got == 3).all() and apart == []
