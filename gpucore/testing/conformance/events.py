"""Events: marks in streams that others wait for, and clocks."""

from __future__ import annotations

from gpucore.testing.conformance.model import case, expect
from gpucore.testing.conformance.rig import Rig

_SIZE = 4 << 20


@case("event", "create_event", "destroy_event", "query_event", "synchronize_event", "wait_event")
def never_recorded_is_no_obstacle(rig: Rig) -> None:
    """An event that was never recorded counts as passed, and waiting for it does nothing."""
    stream, event = rig.stream(), rig.event()
    expect(rig.hooks.query_event(rig.device, event) is True, "it is not passed")
    rig.hooks.synchronize_event(rig.device, event)
    rig.hooks.wait_event(rig.device, stream, event)
    rig.synchronize(stream)


@case("event", "record_event", "synchronize_event", "query_event")
def passed_once_synchronised(rig: Rig) -> None:
    """After ``synchronize_event`` the work before the mark is done and the event is passed."""
    stream, event = rig.stream(), rig.event()
    memory = rig.alloc(_SIZE)
    rig.hooks.fill(rig.device, memory, 0, _SIZE, b"\x01", stream)
    rig.hooks.record_event(rig.device, event, stream)
    rig.hooks.synchronize_event(rig.device, event)
    expect(rig.hooks.query_event(rig.device, event) is True, "not passed after synchronising")
    other = rig.stream()
    expect(rig.download(memory, _SIZE, other) == b"\x01" * _SIZE, "the fill before the mark is not done")


@case("event", "wait_event", "record_event")
def orders_two_streams(rig: Rig) -> None:
    """Work of a stream that waits comes after the mark in the other."""
    producer, consumer = rig.stream(), rig.stream()
    source, target = rig.alloc(_SIZE), rig.alloc(_SIZE)
    for turn in range(1, 6):
        event = rig.event()
        for value in (0, 99, turn):
            rig.hooks.fill(rig.device, source, 0, _SIZE, bytes([value]), producer)
        rig.hooks.record_event(rig.device, event, producer)
        rig.hooks.wait_event(rig.device, consumer, event)
        rig.hooks.copy(rig.device, target, 0, source, 0, _SIZE, consumer)
        expect(
            rig.download(target, _SIZE, consumer) == bytes([turn]) * _SIZE,
            f"turn {turn}: the copy came early",
        )


@case("event", "wait_event", "record_event")
def waits_for_the_mark_as_it_was(rig: Rig) -> None:
    """A later ``record_event`` does not move a wait that was enqueued before it."""
    producer, consumer, event = rig.stream(), rig.stream(), rig.event()
    memory = rig.upload(b"\0" * 16, producer)
    rig.hooks.record_event(rig.device, event, producer)
    rig.hooks.wait_event(rig.device, consumer, event)
    # were the wait for the later mark, which comes after the consumer's own work, nothing would ever finish
    after = rig.event()
    rig.hooks.fill(rig.device, memory, 0, 16, b"\x01", consumer)
    rig.hooks.record_event(rig.device, after, consumer)
    rig.hooks.wait_event(rig.device, producer, after)
    rig.hooks.record_event(rig.device, event, producer)
    rig.synchronize(producer)
    expect(rig.download(memory, 16, consumer) == b"\x01" * 16, "the consumer's fill is missing")


@case("event", "record_event", "synchronize_event")
def recording_again_moves_the_mark(rig: Rig) -> None:
    """``synchronize_event`` waits for the newest mark."""
    stream, event = rig.stream(), rig.event()
    memory = rig.alloc(_SIZE)
    for value in (1, 2, 3):
        rig.hooks.fill(rig.device, memory, 0, _SIZE, bytes([value]), stream)
        rig.hooks.record_event(rig.device, event, stream)
    rig.hooks.synchronize_event(rig.device, event)
    expect(rig.download(memory, _SIZE, rig.stream()) == b"\x03" * _SIZE, "an older mark was waited for")


@case("event", "create_event", "record_event", "elapsed_time")
def elapsed_time_is_not_negative(rig: Rig) -> None:
    """``elapsed_time`` waits for both marks and gives milliseconds, none of them negative."""
    stream, start, end = rig.stream(), rig.event(timing=True), rig.event(timing=True)
    memory = rig.alloc(_SIZE)
    rig.hooks.record_event(rig.device, start, stream)
    for _ in range(4):
        rig.hooks.fill(rig.device, memory, 0, _SIZE, b"\x01", stream)
    rig.hooks.record_event(rig.device, end, stream)
    milliseconds = rig.hooks.elapsed_time(rig.device, start, end)
    expect(isinstance(milliseconds, float) and 0.0 <= milliseconds < 60_000.0, f"{milliseconds!r} ms")


@case("event", "destroy_event", "record_event")
def destroyed_while_pending(rig: Rig) -> None:
    """A recorded event may be destroyed before its mark is passed."""
    stream, event = rig.stream(), rig.event()
    rig.forget()
    memory = rig.alloc(_SIZE)
    rig.hooks.fill(rig.device, memory, 0, _SIZE, b"\x07", stream)
    rig.hooks.record_event(rig.device, event, stream)
    rig.hooks.destroy_event(rig.device, event)
    expect(rig.download(memory, _SIZE, stream) == b"\x07" * _SIZE, "the fill was lost with the event")
