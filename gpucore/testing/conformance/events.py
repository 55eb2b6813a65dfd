"""Events: marks in streams that others wait for, and clocks."""

from __future__ import annotations

from time import perf_counter_ns, sleep

from gpucore.testing.conformance.device_fixture import DeviceFixture
from gpucore.testing.conformance.model import case, expect

_SIZE = 4 << 20
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
