"""Graphs: recorded work that is enqueued as a whole."""

from __future__ import annotations

import struct
from typing import Any

from gpucore.hookspecs import GraphCopy, GraphFill, GraphLaunch, LaunchConfig
from gpucore.testing.conformance import kernels
from gpucore.testing.conformance.device_fixture import DeviceFixture
from gpucore.testing.conformance.model import case, expect

_COUNT = 1000
_SIZE = 4 * _COUNT


def _increment(fixture: DeviceFixture, array: Any) -> GraphLaunch[Any]:
    """A launch that adds one to each of the numbers of an array."""
    executable = fixture.load(kernels.INCREMENT, (1,))
    call = fixture.hooks.prepare(fixture.device, executable, LaunchConfig((_COUNT,), (1,)))
    return GraphLaunch(call, (array, 0, _COUNT))


def _numbers(fixture: DeviceFixture, array: Any, stream: Any) -> set[int]:
    return set(struct.unpack(f"<{_COUNT}i", fixture.download(array, _SIZE, stream)))


@case("graph", "build_graph", "launch_graph", "destroy_graph", capability="graphs")
def nodes_run_in_their_order_at_each_launch(fixture: DeviceFixture) -> None:
    """Building runs nothing; each launch runs all nodes, each after those that it names, in the order of the stream."""
    stream = fixture.stream()
    first, second = (fixture.upload(b"\xff" * _SIZE, stream) for _ in range(2))
    one = _increment(fixture, first)
    nodes = [
        GraphFill(first, 0, _SIZE, struct.pack("<i", 5)),
        GraphLaunch(one.call, one.slots, (0,)),
        GraphLaunch(one.call, one.slots, (1,)),
        GraphCopy(second, 0, first, 0, _SIZE, (2,)),
        GraphFill(first, 0, _SIZE, struct.pack("<i", 70), (3,)),
        GraphLaunch(one.call, one.slots, (4,)),
    ]
    graph = fixture.hooks.build_graph(fixture.device, nodes)
    expect(_numbers(fixture, second, stream) == {-1}, "building ran the nodes")
    for _ in range(3):
        fixture.hooks.fill(fixture.device, second, 0, _SIZE, b"\0", stream)
        fixture.hooks.launch_graph(fixture.device, graph, stream)
        expect(_numbers(fixture, second, stream) == {7}, "the copy did not come after both launches")
        expect(_numbers(fixture, first, stream) == {71}, "the last nodes did not come last")
    fixture.hooks.destroy_graph(fixture.device, graph)


@case("graph", "build_graph", "update_graph", "launch_graph", capability="graphs")
def updates_reach_later_launches_alone(fixture: DeviceFixture) -> None:
    """After ``update_graph`` other arrays and patterns are used; launches that are enqueued keep what they had."""
    stream = fixture.stream()
    arrays = [fixture.upload(b"\0" * _SIZE, stream) for _ in range(4)]
    launches = [_increment(fixture, array) for array in arrays[:1]]
    call = launches[0].call
    graph = fixture.hooks.build_graph(
        fixture.device,
        [
            GraphFill(arrays[0], 0, _SIZE, struct.pack("<i", 0)),
            GraphLaunch(call, (arrays[0], 0, _COUNT), (0,)),
        ],
    )
    for number, array in enumerate(arrays):
        changes = {
            0: GraphFill(array, 0, _SIZE, struct.pack("<i", 10 * number)),
            1: GraphLaunch(call, (array, 0, _COUNT), (0,)),
        }
        fixture.hooks.update_graph(fixture.device, graph, changes)
        fixture.hooks.launch_graph(fixture.device, graph, stream)
    found = [_numbers(fixture, array, stream) for array in arrays]
    expect(found == [{10 * number + 1} for number in range(4)], f"the arrays hold {found}")
    fixture.hooks.destroy_graph(fixture.device, graph)
