"""Graphs of the Vulkan backend, under the validation layer: order, updates, memory, what is sent."""

from __future__ import annotations

import struct

import numpy as np
import pytest

import gpucore_vulkan as plugin
from gpucore.errors import DeviceError, DeviceLostError
from gpucore.hookspecs import (
    CompileOptions,
    GraphCopy,
    GraphFill,
    GraphLaunch,
    LaunchConfig,
    StreamOptions,
)
from gpucore.ir import Const, Function, Load, Memory, Module, Op, Store, ThreadIndex, Value, i32

N = 200


def word(number):
    return struct.pack("<i", number)


@pytest.fixture
def step(bench):
    """A kernel ``x[i] = x[i] * 3 + a``, whose order with others shows, as ``step(piece, a, after)`` for a node."""
    x, a = Memory("x", i32, "global"), Value("a", i32)
    # more arguments than push constants hold
    more = tuple(Value(f"more{n}", i32) for n in range(70))

    def make(params):
        i, v, three, m, r = (Value(n, i32) for n in ("i", "v", "three", "m", "r"))
        body = (
            ThreadIndex(i, "global_id", 0),
            Load(v, x, (i,)),
            Const(three, 3),
            Op(m, "mul", (v, three)),
            Op(r, "add", (m, params[-1])),
            Store(x, (i,), r),
        )
        code = plugin.compile(
            bench.target, Module(Function("step", (x, *params), None, (), (), body)), CompileOptions()
        )
        executable = plugin.load(bench.device, code)
        return plugin.prepare(bench.device, executable, LaunchConfig((N,), (1,))), executable

    small, large = make((a,)), make((*more, a))

    def node(piece, value, after=(), *, wide=False):
        extra = (0,) * len(more) if wide else ()
        return GraphLaunch((large if wide else small)[0], (piece, 0, N, *extra, value), after)

    yield node
    plugin.synchronize_stream(bench.device, bench.stream)
    for _, executable in (small, large):
        plugin.unload(bench.device, executable)


@pytest.fixture
def piece(bench):
    made = []

    def new(fill=0):
        made.append(bench.upload(np.full(N, fill, np.int32)))
        return made[-1]

    yield new
    plugin.synchronize_stream(bench.device, bench.stream)
    for one in made:
        plugin.free(bench.device, one, None)


def values(bench, piece):
    found = np.zeros(N, np.int32)
    bench.download(piece, found)
    return np.unique(found).tolist()


def build(bench, nodes):
    return plugin.build_graph(bench.device, nodes)


def launch(bench, graph, stream=None):
    plugin.launch_graph(bench.device, graph, stream or bench.stream)


def test_a_row_of_kernels_runs_in_order_each_time(bench, step, piece):
    x = piece(1)
    graph = build(bench, [step(x, number, (number - 1,) if number else ()) for number in range(12)])
    expected = 1
    with np.errstate(over="ignore"):
        for _ in range(4):
            launch(bench, graph)
            for number in range(12):
                expected = (expected * 3 + number + 2**31) % 2**32 - 2**31
    assert values(bench, x) == [expected]
    plugin.destroy_graph(bench.device, graph)


def test_one_launch_is_one_submission_of_one_command_buffer(bench, step, piece):
    x = piece()
    graph = build(bench, [step(x, 1, (number - 1,) if number else ()) for number in range(40)])
    plugin.synchronize_stream(bench.device, bench.stream)
    before = bench.stream.value
    launch(bench, graph)
    assert bench.stream.value == before + 1
    assert len(graph._parts) == 1
    plugin.synchronize_stream(bench.device, bench.stream)
    plugin.destroy_graph(bench.device, graph)


def test_work_recorded_before_and_after_a_graph_keeps_its_place(bench, step, piece):
    x, y = piece(), piece()
    graph = build(bench, [step(x, 2), GraphCopy(y, 0, x, 0, 4 * N, (0,))])
    plugin.fill(bench.device, x, 0, 4 * N, word(5), bench.stream)
    launch(bench, graph)
    plugin.fill(bench.device, x, 0, 4 * N, word(7), bench.stream)
    launch(bench, graph)
    plugin.copy(bench.device, x, 0, y, 0, 4 * N, bench.stream)
    assert values(bench, x) == [7 * 3 + 2]
    plugin.destroy_graph(bench.device, graph)


def test_launches_keep_the_values_that_they_were_enqueued_with(bench, step, piece):
    """Changes of few nodes, of all, and of neighbours: none reaches a launch that is enqueued, each all later ones."""
    arrays = [piece() for _ in range(30)]
    x = piece()
    nodes = [GraphFill(x, 0, 4 * N, word(0)), *(step(x, 0, (number,)) for number in range(20))]
    nodes.append(GraphCopy(arrays[0], 0, x, 0, 4 * N, (20,)))
    graph = build(bench, nodes)
    added = [0] * 20
    expected = []
    for number, array in enumerate(arrays):
        changed = {0: range(20), 1: range(3, 5), 2: (number % 20,)}[number % 3]
        changes = {21: GraphCopy(array, 0, x, 0, 4 * N, (20,))}
        for place in changed:
            added[place] = number
            changes[place + 1] = step(x, number, (place,), wide=False)
        plugin.update_graph(bench.device, graph, changes)
        launch(bench, graph)
        total = 0
        for one in added:
            total = (total * 3 + one + 2**31) % 2**32 - 2**31
        expected.append([total])
    assert [values(bench, array) for array in arrays] == expected
    plugin.destroy_graph(bench.device, graph)


def test_arguments_past_the_push_constants_are_kept_by_the_launches(bench, step, piece):
    arrays = [piece() for _ in range(6)]
    graph = build(bench, [step(arrays[0], 1, wide=True)])
    for number, array in enumerate(arrays):
        plugin.update_graph(bench.device, graph, {0: step(array, 100 + number, wide=True)})
        launch(bench, graph)
    assert [values(bench, array) for array in arrays] == [[100 + number] for number in range(6)]
    plugin.destroy_graph(bench.device, graph)


def test_command_buffers_are_used_again(bench, step, piece):
    x = piece()
    graph = build(bench, [step(x, 1), step(x, 1, (0,))])
    for number in range(50):
        plugin.update_graph(bench.device, graph, {1: step(x, number, (0,))})
        launch(bench, graph)
        plugin.synchronize_stream(bench.device, bench.stream)
    assert len(graph._spare) + len(graph._retired) + len(graph._parts) <= 5
    plugin.destroy_graph(bench.device, graph)


def test_an_update_that_fails_leaves_the_graph_as_it_was(bench, step, piece, monkeypatch):
    x = piece()
    graph = build(bench, [step(x, 1), step(x, 1, (0,)), step(x, 1, (1,))])
    for changes in ({1: step(x, 80, (0,))}, {0: step(x, 60), 2: step(x, 70, (1,))}):
        with monkeypatch.context() as patch:
            real = bench.device.logical.vk.vkEndCommandBuffer
            answers = iter([0] * (len(changes) - 1) + [-2])
            patch.setattr(
                bench.device.logical.vk, "vkEndCommandBuffer", lambda buffer: real(buffer) or next(answers)
            )
            with pytest.raises(DeviceError, match="vkEndCommandBuffer"):
                plugin.update_graph(bench.device, graph, changes)
    launch(bench, graph)
    assert values(bench, x) == [13]
    plugin.destroy_graph(bench.device, graph)


def test_copies_that_overlap_and_fills_by_kernels(bench, piece):
    x, y = piece(), bench.upload(np.arange(N, dtype=np.int32))
    nodes = [
        GraphFill(x, 0, 4 * N, struct.pack("<q", 5)),
        GraphFill(x, 1, 3, b"\1", (0,)),
        GraphCopy(y, 4, y, 0, 4 * (N - 1)),
        GraphCopy(y, 0, y, 0, 4 * N, (2,)),
        GraphFill(x, 0, 0, b"\0", (3,)),
    ]
    graph = build(bench, nodes)
    launch(bench, graph)
    launch(bench, graph)
    found = np.zeros(N, np.int32)
    bench.download(y, found)
    assert found.tolist() == [0, 0, *range(N - 2)]
    bench.download(x, found)
    assert found[:3].tolist() == [0x01010105, 0, 5]
    plugin.destroy_graph(bench.device, graph)
    plugin.free(bench.device, y, None)


def test_a_graph_on_two_streams_in_turn(bench, step, piece):
    """As core orders them: each launch after the one before."""
    x = piece()
    graph = build(bench, [step(x, 1), step(x, 2, (0,))])
    other = plugin.create_stream(bench.device, StreamOptions())
    event = plugin.create_event(bench.device, False)
    expected = 0
    for number in range(10):
        stream, follower = (bench.stream, other) if number % 2 else (other, bench.stream)
        launch(bench, graph, stream)
        plugin.record_event(bench.device, event, stream)
        plugin.wait_event(bench.device, follower, event)
        expected = ((expected * 3 + 1) * 3 + 2 + 2**31) % 2**32 - 2**31
    plugin.synchronize_stream(bench.device, other)
    assert values(bench, x) == [expected]
    plugin.destroy_event(bench.device, event)
    plugin.destroy_stream(bench.device, other)
    plugin.destroy_graph(bench.device, graph)


@pytest.mark.parametrize(("stage", "function"), [("launch", "_submit"), ("wait", "_get_counter")])
def test_a_device_that_is_lost_in_a_graph_fails_fast_until_it_is_reset(layered, monkeypatch, stage, function):
    from gpucore_vulkan.routines import fill_module

    device = plugin.open_device(0, {"validation": layered})
    try:
        code = plugin.compile(plugin.target(device), fill_module(32), CompileOptions())

        def made():
            stream = plugin.create_stream(device, StreamOptions())
            piece = plugin.alloc(device, 4 * N, "device", stream)
            call = plugin.prepare(device, plugin.load(device, code), LaunchConfig((1,), (N,)))
            return stream, piece, [GraphLaunch(call, (piece, 0, N, 7))]

        stream, piece, nodes = made()
        graph = plugin.build_graph(device, nodes)
        plugin.launch_graph(device, graph, stream)
        plugin.synchronize_stream(device, stream)
        monkeypatch.setattr(stream, function, lambda *args: -4)
        with pytest.raises(DeviceLostError, match="the last launches were: .*a graph of fill_u32") as caught:
            plugin.launch_graph(device, graph, stream)
            assert stage == "wait"
            plugin.synchronize_stream(device, stream)
        assert caught.value.name == "VK_ERROR_DEVICE_LOST"
        monkeypatch.undo()
        # the driver has lost nothing: what was sent has to end before the reset destroys its memory
        stream.logical.vk.vkDeviceWaitIdle(stream.logical.handle)
        for attempt in (
            lambda: plugin.launch_graph(device, graph, stream), lambda: plugin.update_graph(device, graph, {0: nodes[0]}),
            lambda: plugin.build_graph(device, nodes), lambda: plugin.synchronize_stream(device, stream),
        ):  # fmt: skip
            with pytest.raises(DeviceLostError):
                attempt()
        plugin.destroy_graph(device, graph)
        plugin.reset_device(device)
        stream, piece, nodes = made()
        graph = plugin.build_graph(device, nodes)
        plugin.launch_graph(device, graph, stream)
        found = np.zeros(N, np.uint32)
        plugin.copy(device, memoryview(found).cast("B"), 0, piece, 0, 4 * N, stream)
        assert (found == 7).all()
        plugin.destroy_graph(device, graph)
    finally:
        plugin.close_device(device)
