"""Order: streams, events that others wait for and clocks that they are, and graphs that are enqueued as a whole."""

from __future__ import annotations

import struct
from time import perf_counter_ns, sleep
from typing import Any

from gpucore.hookspecs import GraphCopy, GraphFill, GraphLaunch, LaunchConfig
from gpucore.testing.conformance import kernels
from gpucore.testing.conformance.runner import DeviceFixture, case, expect, in_threads

_SIZE = 4 << 20


@case("stream", "create_stream", "destroy_stream", "synchronize_stream", "query_stream")
def empty_stream_is_done(fixture: DeviceFixture) -> None:
    """A fresh stream has nothing to wait for."""
    stream = fixture.stream()
    fixture.synchronize(stream)
    expect(fixture.hooks.query_stream(fixture.device, stream) is True, "an empty stream has work")


@case("stream", "synchronize_stream", "query_stream", "fill")
def done_after_synchronising(fixture: DeviceFixture) -> None:
    """``query_stream`` gives a bool while work runs, and True after ``synchronize_stream``."""
    stream = fixture.stream()
    memory = fixture.alloc(_SIZE)
    for _ in range(8):
        fixture.hooks.fill(fixture.device, memory, 0, _SIZE, b"\x01", stream)
    expect(fixture.hooks.query_stream(fixture.device, stream) in (True, False), "query gives a bool")
    fixture.synchronize(stream)
    expect(fixture.hooks.query_stream(fixture.device, stream) is True, "work is left after synchronising")


@case("stream", "query_stream", "fill")
def queried_work_finishes_without_synchronising(fixture: DeviceFixture) -> None:
    """Asking again and again is enough for batched work to be sent and to finish."""
    import time

    stream = fixture.stream()
    memory = fixture.alloc(_SIZE)
    fixture.hooks.fill(fixture.device, memory, 0, _SIZE, b"\x02", stream)
    end = time.monotonic() + 30.0
    while not fixture.hooks.query_stream(fixture.device, stream):
        expect(time.monotonic() < end, "the fill did not finish within half a minute")
        time.sleep(0.001)


@case("stream", "create_stream")
def priorities_are_accepted(fixture: DeviceFixture) -> None:
    """Any priority makes a working stream."""
    for priority in (-5, 0, 5):
        stream = fixture.stream(priority)
        expect(fixture.download(fixture.upload(b"ok", stream), 2, stream) == b"ok", f"priority {priority}")


@case("stream", "destroy_stream", "record_event", "synchronize_event")
def work_survives_its_stream(fixture: DeviceFixture) -> None:
    """What was enqueued before ``destroy_stream`` still completes."""
    memory = fixture.alloc(_SIZE)
    stream, other = fixture.stream(), fixture.stream()
    event = fixture.event()
    fixture.forget(3)
    for value in (1, 2, 3):
        fixture.hooks.fill(fixture.device, memory, 0, _SIZE, bytes([value]), stream)
    fixture.hooks.record_event(fixture.device, event, stream)
    fixture.hooks.destroy_stream(fixture.device, stream)
    fixture.hooks.synchronize_event(fixture.device, event)
    done = fixture.download(memory, _SIZE, other)
    fixture.hooks.destroy_event(fixture.device, event)
    fixture.hooks.destroy_stream(fixture.device, other)
    expect(done == b"\x03" * _SIZE, "the last fill is missing")


@case("stream", "create_stream", "destroy_stream")
def many_streams(fixture: DeviceFixture) -> None:
    """Sixty-four streams work side by side."""
    streams = [fixture.stream() for _ in range(64)]
    held = [fixture.upload(bytes([n]) * 100, stream) for n, stream in enumerate(streams)]
    for n, (memory, stream) in enumerate(zip(held, streams, strict=True)):
        expect(fixture.download(memory, 100, stream) == bytes([n]) * 100, f"stream {n}")


@case("stream", "create_stream", "copy", "fill", "synchronize_stream")
def threads_use_streams_of_their_own(fixture: DeviceFixture) -> None:
    """Eight threads, each with its stream, do not disturb one another."""
    held = [(fixture.stream(), fixture.alloc(1 << 16)) for _ in range(8)]

    def work(number: int) -> str | None:
        stream, memory = held[number]
        for turn in range(20):
            value = bytes([(number * 20 + turn) & 0xFF])
            fixture.hooks.fill(fixture.device, memory, 0, 1 << 16, value, stream)
            if fixture.download(memory, 1 << 16, stream) != value * (1 << 16):
                return f"thread {number}, turn {turn}"
        return None

    in_threads(8, work)


_PAUSE = 0.05


@case("event", "create_event", "destroy_event", "query_event", "synchronize_event", "wait_event")
def never_recorded_is_no_obstacle(fixture: DeviceFixture) -> None:
    """An event that was never recorded counts as passed, and waiting for it does nothing."""
    stream, event = fixture.stream(), fixture.event()
    expect(fixture.hooks.query_event(fixture.device, event) is True, "it is not passed")
    fixture.hooks.synchronize_event(fixture.device, event)
    fixture.hooks.wait_event(fixture.device, stream, event)
    fixture.synchronize(stream)


@case("event", "record_event", "synchronize_event", "query_event")
def passed_once_synchronised(fixture: DeviceFixture) -> None:
    """After ``synchronize_event`` the work before the mark is done and the event is passed."""
    stream, event = fixture.stream(), fixture.event()
    memory = fixture.alloc(_SIZE)
    fixture.hooks.fill(fixture.device, memory, 0, _SIZE, b"\x01", stream)
    fixture.hooks.record_event(fixture.device, event, stream)
    fixture.hooks.synchronize_event(fixture.device, event)
    expect(fixture.hooks.query_event(fixture.device, event) is True, "not passed after synchronising")
    other = fixture.stream()
    expect(fixture.download(memory, _SIZE, other) == b"\x01" * _SIZE, "the fill before the mark is not done")


@case("event", "wait_event", "record_event")
def orders_two_streams(fixture: DeviceFixture) -> None:
    """Work of a stream that waits comes after the mark in the other."""
    producer, consumer = fixture.stream(), fixture.stream()
    source, target = fixture.alloc(_SIZE), fixture.alloc(_SIZE)
    for turn in range(1, 6):
        event = fixture.event()
        for value in (0, 99, turn):
            fixture.hooks.fill(fixture.device, source, 0, _SIZE, bytes([value]), producer)
        fixture.hooks.record_event(fixture.device, event, producer)
        fixture.hooks.wait_event(fixture.device, consumer, event)
        fixture.hooks.copy(fixture.device, target, 0, source, 0, _SIZE, consumer)
        expect(
            fixture.download(target, _SIZE, consumer) == bytes([turn]) * _SIZE,
            f"turn {turn}: the copy came early",
        )


@case("event", "wait_event", "record_event")
def waits_for_the_mark_as_it_was(fixture: DeviceFixture) -> None:
    """A later ``record_event`` does not move a wait that was enqueued before it."""
    producer, consumer, event = fixture.stream(), fixture.stream(), fixture.event()
    memory = fixture.upload(b"\0" * 16, producer)
    fixture.hooks.record_event(fixture.device, event, producer)
    fixture.hooks.wait_event(fixture.device, consumer, event)
    # were the wait for the later mark, which comes after the consumer's own work, nothing would ever finish
    after = fixture.event()
    fixture.hooks.fill(fixture.device, memory, 0, 16, b"\x01", consumer)
    fixture.hooks.record_event(fixture.device, after, consumer)
    fixture.hooks.wait_event(fixture.device, producer, after)
    fixture.hooks.record_event(fixture.device, event, producer)
    fixture.synchronize(producer)
    expect(fixture.download(memory, 16, consumer) == b"\x01" * 16, "the consumer's fill is missing")


@case("event", "record_event", "synchronize_event")
def recording_again_moves_the_mark(fixture: DeviceFixture) -> None:
    """``synchronize_event`` waits for the newest mark."""
    stream, event = fixture.stream(), fixture.event()
    memory = fixture.alloc(_SIZE)
    for value in (1, 2, 3):
        fixture.hooks.fill(fixture.device, memory, 0, _SIZE, bytes([value]), stream)
        fixture.hooks.record_event(fixture.device, event, stream)
    fixture.hooks.synchronize_event(fixture.device, event)
    expect(
        fixture.download(memory, _SIZE, fixture.stream()) == b"\x03" * _SIZE, "an older mark was waited for"
    )


@case("event", "create_event", "record_event", "elapsed_time")
def elapsed_time_is_not_negative(fixture: DeviceFixture) -> None:
    """``elapsed_time`` waits for both marks and gives milliseconds, none of them negative."""
    stream, start, end = fixture.stream(), fixture.event(timing=True), fixture.event(timing=True)
    memory = fixture.alloc(_SIZE)
    fixture.hooks.record_event(fixture.device, start, stream)
    for _ in range(4):
        fixture.hooks.fill(fixture.device, memory, 0, _SIZE, b"\x01", stream)
    fixture.hooks.record_event(fixture.device, end, stream)
    milliseconds = fixture.hooks.elapsed_time(fixture.device, start, end)
    expect(isinstance(milliseconds, float) and 0.0 <= milliseconds < 60_000.0, f"{milliseconds!r} ms")


@case("event", "create_event", "record_event", "synchronize_event", "elapsed_time")
def elapsed_time_is_in_milliseconds(fixture: DeviceFixture) -> None:
    """``elapsed_time`` of two marks around a pause of the host is what the host's clock says, to a factor of five."""
    stream, start, end = fixture.stream(), fixture.event(timing=True), fixture.event(timing=True)
    fixture.synchronize(stream)
    earliest = perf_counter_ns()
    fixture.hooks.record_event(fixture.device, start, stream)
    fixture.hooks.synchronize_event(fixture.device, start)
    begin = perf_counter_ns()
    sleep(_PAUSE)
    pause = perf_counter_ns() - begin
    fixture.hooks.record_event(fixture.device, end, stream)
    fixture.hooks.synchronize_event(fixture.device, end)
    longest = perf_counter_ns() - earliest
    milliseconds = fixture.hooks.elapsed_time(fixture.device, start, end)
    expect(
        pause / 5e6 <= milliseconds <= longest / 1e6 * 5,
        f"{milliseconds!r} ms where the host's clock says {pause / 1e6:.1f} to {longest / 1e6:.1f}",
    )


@case("event", "record_timestamp", "read_timestamps", capability="timestamps")
def timestamps_are_of_the_hosts_clock(fixture: DeviceFixture) -> None:
    """``read_timestamps`` gives nanoseconds of ``time.perf_counter_ns``: in stream order, between the calls around the work."""
    stream = fixture.stream()
    memory = fixture.alloc(_SIZE)
    fixture.hooks.fill(fixture.device, memory, 0, _SIZE, b"\x01", stream)
    fixture.synchronize(stream)
    slack = 1_000_000  # what two clocks may be apart
    earliest = perf_counter_ns()
    marks = []
    for value in range(4):
        marks.append(fixture.hooks.record_timestamp(fixture.device, stream, True))
        fixture.hooks.fill(fixture.device, memory, 0, _SIZE, bytes([value]), stream)
        marks.append(fixture.hooks.record_timestamp(fixture.device, stream, False))
    times = list(fixture.hooks.read_timestamps(fixture.device, marks))
    latest = perf_counter_ns()
    expect(all(isinstance(time, int) for time in times), f"no integers: {times}")
    expect(times == sorted(times), f"not in the order of the stream: {times}")
    expect(times[0] >= earliest - slack, f"{earliest - times[0]} ns before the work was enqueued")
    expect(times[-1] <= latest + slack, f"{times[-1] - latest} ns after it was waited for")


@case("event", "destroy_event", "record_event")
def destroyed_while_pending(fixture: DeviceFixture) -> None:
    """A recorded event may be destroyed before its mark is passed."""
    stream, event = fixture.stream(), fixture.event()
    fixture.forget()
    memory = fixture.alloc(_SIZE)
    fixture.hooks.fill(fixture.device, memory, 0, _SIZE, b"\x07", stream)
    fixture.hooks.record_event(fixture.device, event, stream)
    fixture.hooks.destroy_event(fixture.device, event)
    expect(fixture.download(memory, _SIZE, stream) == b"\x07" * _SIZE, "the fill was lost with the event")


_COUNT = 1000
_GRAPH_BYTES = 4 * _COUNT


def _increment(fixture: DeviceFixture, array: Any) -> GraphLaunch[Any]:
    """A launch that adds one to each of the numbers of an array."""
    executable = fixture.load(kernels.INCREMENT, (1,))
    call = fixture.hooks.prepare(fixture.device, executable, LaunchConfig((_COUNT,), (1,)))
    return GraphLaunch(call, (array, 0, _COUNT))


def _numbers(fixture: DeviceFixture, array: Any, stream: Any) -> set[int]:
    return set(struct.unpack(f"<{_COUNT}i", fixture.download(array, _GRAPH_BYTES, stream)))


@case("graph", "build_graph", "launch_graph", "destroy_graph", capability="graphs")
def nodes_run_in_their_order_at_each_launch(fixture: DeviceFixture) -> None:
    """Building runs nothing; each launch runs all nodes, each after those that it names, in the order of the stream."""
    stream = fixture.stream()
    first, second = (fixture.upload(b"\xff" * _GRAPH_BYTES, stream) for _ in range(2))
    one = _increment(fixture, first)
    nodes = [
        GraphFill(first, 0, _GRAPH_BYTES, struct.pack("<i", 5)),
        GraphLaunch(one.call, one.slots, (0,)),
        GraphLaunch(one.call, one.slots, (1,)),
        GraphCopy(second, 0, first, 0, _GRAPH_BYTES, (2,)),
        GraphFill(first, 0, _GRAPH_BYTES, struct.pack("<i", 70), (3,)),
        GraphLaunch(one.call, one.slots, (4,)),
    ]
    graph = fixture.hooks.build_graph(fixture.device, nodes)
    expect(_numbers(fixture, second, stream) == {-1}, "building ran the nodes")
    for _ in range(3):
        fixture.hooks.fill(fixture.device, second, 0, _GRAPH_BYTES, b"\0", stream)
        fixture.hooks.launch_graph(fixture.device, graph, stream)
        expect(_numbers(fixture, second, stream) == {7}, "the copy did not come after both launches")
        expect(_numbers(fixture, first, stream) == {71}, "the last nodes did not come last")
    fixture.hooks.destroy_graph(fixture.device, graph)


@case("graph", "build_graph", "update_graph", "launch_graph", capability="graphs")
def updates_reach_later_launches_alone(fixture: DeviceFixture) -> None:
    """After ``update_graph`` other arrays and patterns are used; launches that are enqueued keep what they had."""
    stream = fixture.stream()
    arrays = [fixture.upload(b"\0" * _GRAPH_BYTES, stream) for _ in range(4)]
    launches = [_increment(fixture, array) for array in arrays[:1]]
    call = launches[0].call
    graph = fixture.hooks.build_graph(
        fixture.device,
        [
            GraphFill(arrays[0], 0, _GRAPH_BYTES, struct.pack("<i", 0)),
            GraphLaunch(call, (arrays[0], 0, _COUNT), (0,)),
        ],
    )
    for number, array in enumerate(arrays):
        changes = {
            0: GraphFill(array, 0, _GRAPH_BYTES, struct.pack("<i", 10 * number)),
            1: GraphLaunch(call, (array, 0, _COUNT), (0,)),
        }
        fixture.hooks.update_graph(fixture.device, graph, changes)
        fixture.hooks.launch_graph(fixture.device, graph, stream)
    found = [_numbers(fixture, array, stream) for array in arrays]
    expect(found == [{10 * number + 1} for number in range(4)], f"the arrays hold {found}")
    fixture.hooks.destroy_graph(fixture.device, graph)
