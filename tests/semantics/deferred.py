"""The null backend with queues: work is done when somebody waits for it, so that its order and its marks can go wrong.

A legal backend; :mod:`test_broken_backends` takes one thing at a time away from it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gpucore.errors import NotSupportedError
from gpucore.hookspecs import StreamOptions, hookimpl
from gpucore.testing import null

GPUCORE_API = null.GPUCORE_API
_lock = threading.RLock()


@dataclass(eq=False)
class Stream:
    """A queue of what is to be done, and how much of it is done."""

    options: StreamOptions
    alive: bool = True
    enqueued: int = 0
    done: int = 0
    queue: deque[Callable[[], None]] = field(default_factory=deque)

    def add(self, work: Callable[[], None]) -> None:
        with _lock:
            self.queue.append(work)
            self.enqueued += 1

    def run(self, count: int | None = None) -> None:
        """Do the work up to a number of things enqueued, or all of it."""
        with _lock:
            while self.queue and (count is None or self.done < count):
                work = self.queue.popleft()
                self.done += 1
                work()


@dataclass(eq=False)
class Event:
    """A mark: a stream and how much of it lies before; and when it was passed."""

    timing: bool
    stream: Stream | None = None
    count: int = 0
    seconds: float | None = None

    def wait(self) -> None:
        if self.stream is not None:
            self.stream.run(self.count)


@dataclass(eq=False)
class Device(null.Device):
    streams: list[Stream] = field(default_factory=list)

    def run(self) -> None:
        for stream in list(self.streams):
            stream.run()


@hookimpl
def open_device(ordinal, options):
    return Device(ordinal)


@hookimpl
def close_device(device):
    device.run()


@hookimpl
def create_stream(device, options):
    device.open["streams"] += 1
    stream = Stream(options)
    device.streams.append(stream)
    return stream


@hookimpl
def destroy_stream(device, stream):
    stream.run()
    stream.alive = False
    device.streams.remove(stream)
    device.open["streams"] -= 1


@hookimpl
def synchronize_stream(device, stream):
    stream.run()


@hookimpl
def query_stream(device, stream):
    done = not stream.queue
    stream.run(stream.done + 1)  # asking is enough for work to go on
    return done


@hookimpl
def free(device, allocation, stream):
    device.run()
    null.free(device, allocation, None)


@hookimpl
def copy(device, dst, dst_offset, src, src_offset, nbytes, stream):
    def store(source, offset):
        null.copy(device, dst, dst_offset, source, offset, nbytes, stream)

    if isinstance(dst, memoryview):
        stream.run()
        store(src, src_offset)
    elif isinstance(src, memoryview):
        read = memoryview(
            bytes(src[src_offset : src_offset + nbytes])
        )  # the caller may change it from now on
        stream.add(lambda: store(read, 0))
    else:
        stream.add(lambda: store(src, src_offset))


@hookimpl
def fill(device, dst, offset, nbytes, pattern, stream):
    stream.add(lambda: null.fill(device, dst, offset, nbytes, pattern, stream))


@hookimpl
def create_event(device, timing):
    device.open["events"] += 1
    return Event(timing)


@hookimpl
def destroy_event(device, event):
    device.open["events"] -= 1


@hookimpl
def record_event(device, event, stream):
    def pass_it():
        event.seconds = time.perf_counter()

    stream.add(pass_it)
    event.stream, event.count = stream, stream.enqueued


@hookimpl
def wait_event(device, stream, event):
    before = Event(False, event.stream, event.count)  # the mark as it is now
    stream.add(before.wait)


@hookimpl
def query_event(device, event):
    if event.stream is None:
        return True
    passed = event.stream.done >= event.count
    event.stream.run(event.stream.done + 1)
    return passed


@hookimpl
def synchronize_event(device, event):
    event.wait()


@hookimpl
def elapsed_time(device, start, end):
    start.wait()
    end.wait()
    if not (start.timing and end.timing) or start.seconds is None or end.seconds is None:
        raise NotSupportedError("both events must be recorded and made for timing", capability="timing")
    return (end.seconds - start.seconds) * 1e3


@hookimpl
def prepare(device, executable, config):
    run = null.prepare(device, executable, config)

    def call(stream: Stream, *slots: Any) -> None:
        stream.add(lambda: run(stream, *slots))

    return call


@hookimpl
def launch(device, executable, config, stream, slots):
    prepare(device, executable, config)(stream, *slots)
