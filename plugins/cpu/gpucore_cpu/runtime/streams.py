"""Streams: ordered queues with a worker each; events: marks in them."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from gpucore.errors import DeviceError

__all__ = ["Event", "Mark", "Stream", "elapsed"]


class Mark:
    """A point in a stream: when it was passed, in nanoseconds."""

    __slots__ = ("_passed", "time")

    def __init__(self) -> None:
        self._passed = threading.Event()
        self.time = 0

    def set(self) -> None:
        """Pass the mark now."""
        self.time = time.perf_counter_ns()
        self._passed.set()

    def done(self) -> bool:
        """Whether it was passed."""
        return self._passed.is_set()

    def wait(self) -> None:
        """Block until it is."""
        self._passed.wait()


class Event:
    """Holds the latest mark recorded."""

    __slots__ = ("mark", "timing")

    def __init__(self, timing: bool) -> None:
        self.mark: Mark | None = None
        self.timing = timing


class Stream:
    """An ordered queue.

    While it is idle, short work runs in the caller's thread; anything else goes to the stream's own thread,
    which is started when first needed.  ``pending`` counts what was submitted and is not done; only the
    thread that uses the stream adds to it, so it may read zero without a lock.
    """

    def __init__(self) -> None:
        self.pending = 0
        self._queue: deque[Callable[[], None] | None] = deque()
        self._ready = threading.Condition()
        self._idle = threading.Condition(self._ready._lock)  # type: ignore[attr-defined]
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._closed = False

    def submit(self, work: Callable[[], None]) -> None:
        """Run ``work`` after everything submitted before."""
        with self._ready:
            if self._closed:
                raise DeviceError("the stream was destroyed")
            self.pending += 1
            self._queue.append(work)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="gpucore-cpu-stream", daemon=True)
                self._thread.start()
            else:
                self._ready.notify()

    def _run(self) -> None:
        while True:
            with self._ready:
                while not self._queue:
                    self._ready.wait()
                work = self._queue.popleft()
            if work is None:
                return
            try:
                work()
            except Exception as error:  # noqa: BLE001  (kept for the next synchronize)
                self._error = self._error or error
            # drop what the work keeps alive before anybody sees the stream idle
            del work
            with self._ready:
                self.pending -= 1
                if self.pending == 0:
                    self._idle.notify_all()

    def synchronize(self) -> None:
        """Wait until the queue is empty; raise what went wrong in it."""
        if self.pending:
            with self._idle:
                while self.pending:
                    self._idle.wait()
        if self._error is not None:
            error, self._error = self._error, None
            raise DeviceError(f"work on a CPU stream failed: {error}") from error

    def query(self) -> bool:
        """Whether the queue is empty."""
        return self.pending == 0

    def record(self) -> Mark:
        """A mark after everything submitted so far."""
        mark = Mark()
        if self.pending:
            self.submit(mark.set)
        else:
            mark.set()
        return mark

    def run_and_wait(self, work: Callable[[], None]) -> None:
        """Run ``work`` in order and return when it is done; its own error is raised here."""
        self.synchronize()
        work()

    def close(self) -> None:
        """No more work; what is queued still runs, then the thread ends."""
        with self._ready:
            if self._closed:
                return
            self._closed = True
            if self._thread is not None:
                self._queue.append(None)
                self._ready.notify()

    def join(self) -> None:
        """Wait for the thread to end, after :meth:`close`."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()


def elapsed(start: Event, end: Event) -> float:
    """Milliseconds between two marks, waiting for both.

    Raises
    ------
    DeviceError
        When one was made without timing, or never recorded.
    """
    if not (start.timing and end.timing):
        raise DeviceError("elapsed_time needs events made with timing=True")
    if start.mark is None or end.mark is None:
        raise DeviceError("elapsed_time needs events that were recorded")
    start.mark.wait()
    end.mark.wait()
    return (end.mark.time - start.mark.time) / 1e6
