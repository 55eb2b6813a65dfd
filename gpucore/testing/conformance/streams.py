"""Streams: ordered queues that live as long as they are needed."""

from __future__ import annotations

from gpucore.testing.conformance.model import case, expect, in_threads
from gpucore.testing.conformance.rig import Rig

_SIZE = 4 << 20


@case("stream", "create_stream", "destroy_stream", "synchronize_stream", "query_stream")
def empty_stream_is_done(rig: Rig) -> None:
    """A fresh stream has nothing to wait for."""
    stream = rig.stream()
    rig.synchronize(stream)
    expect(rig.hooks.query_stream(rig.device, stream) is True, "an empty stream has work")


@case("stream", "synchronize_stream", "query_stream", "fill")
def done_after_synchronising(rig: Rig) -> None:
    """``query_stream`` gives a bool while work runs, and True after ``synchronize_stream``."""
    stream = rig.stream()
    memory = rig.alloc(_SIZE)
    for _ in range(8):
        rig.hooks.fill(rig.device, memory, 0, _SIZE, b"\x01", stream)
    expect(rig.hooks.query_stream(rig.device, stream) in (True, False), "query gives a bool")
    rig.synchronize(stream)
    expect(rig.hooks.query_stream(rig.device, stream) is True, "work is left after synchronising")


@case("stream", "query_stream", "fill")
def queried_work_finishes_without_synchronising(rig: Rig) -> None:
    """Asking again and again is enough for batched work to be sent and to finish."""
    import time

    stream = rig.stream()
    memory = rig.alloc(_SIZE)
    rig.hooks.fill(rig.device, memory, 0, _SIZE, b"\x02", stream)
    end = time.monotonic() + 30.0
    while not rig.hooks.query_stream(rig.device, stream):
        expect(time.monotonic() < end, "the fill did not finish within half a minute")
        time.sleep(0.001)


@case("stream", "create_stream")
def priorities_are_accepted(rig: Rig) -> None:
    """Any priority makes a working stream."""
    for priority in (-5, 0, 5):
        stream = rig.stream(priority)
        expect(rig.download(rig.upload(b"ok", stream), 2, stream) == b"ok", f"priority {priority}")


@case("stream", "destroy_stream", "record_event", "synchronize_event")
def work_survives_its_stream(rig: Rig) -> None:
    """What was enqueued before ``destroy_stream`` still completes."""
    memory = rig.alloc(_SIZE)
    stream, other = rig.stream(), rig.stream()
    event = rig.event()
    rig.forget(3)
    for value in (1, 2, 3):
        rig.hooks.fill(rig.device, memory, 0, _SIZE, bytes([value]), stream)
    rig.hooks.record_event(rig.device, event, stream)
    rig.hooks.destroy_stream(rig.device, stream)
    rig.hooks.synchronize_event(rig.device, event)
    done = rig.download(memory, _SIZE, other)
    rig.hooks.destroy_event(rig.device, event)
    rig.hooks.destroy_stream(rig.device, other)
    expect(done == b"\x03" * _SIZE, "the last fill is missing")


@case("stream", "create_stream", "destroy_stream")
def many_streams(rig: Rig) -> None:
    """Sixty-four streams work side by side."""
    streams = [rig.stream() for _ in range(64)]
    held = [rig.upload(bytes([n]) * 100, stream) for n, stream in enumerate(streams)]
    for n, (memory, stream) in enumerate(zip(held, streams, strict=True)):
        expect(rig.download(memory, 100, stream) == bytes([n]) * 100, f"stream {n}")


@case("stream", "create_stream", "copy", "fill", "synchronize_stream")
def threads_use_streams_of_their_own(rig: Rig) -> None:
    """Eight threads, each with its stream, do not disturb one another."""
    held = [(rig.stream(), rig.alloc(1 << 16)) for _ in range(8)]

    def work(number: int) -> str | None:
        stream, memory = held[number]
        for turn in range(20):
            value = bytes([(number * 20 + turn) & 0xFF])
            rig.hooks.fill(rig.device, memory, 0, 1 << 16, value, stream)
            if rig.download(memory, 1 << 16, stream) != value * (1 << 16):
                return f"thread {number}, turn {turn}"
        return None

    in_threads(8, work)
