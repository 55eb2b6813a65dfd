"""Streams: ordered queues that live as long as they are needed."""

from __future__ import annotations

from gpucore.testing.conformance.device_fixture import DeviceFixture
from gpucore.testing.conformance.model import case, expect, in_threads

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
