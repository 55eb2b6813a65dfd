"""Streams: ordered queues with a worker each; events: marks in them.

Ctrl-C raises an exception in the main thread between any two steps of its Python code.  So whatever a worker or another
thread waits for changes in single calls of native code: work joins a deque by one ``append`` and stays there until it is
done, a worker is roused and a waiting thread let go by one ``release`` of a lock, and work that runs in its caller's
thread takes and leaves the stream's gate within one call.  A call that was cut short may leave work behind that nobody was
roused for; all who wait for it rouse its worker first.
"""

from __future__ import annotations

import _thread
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable

from gpucore.errors import DeviceError
from gpucore.plugin_api import serves_calls
from gpucore_cpu.runtime.gate import Gate, native
from gpucore_cpu.runtime.gate_ir import AWAITED, HELD
from gpucore_cpu.uninterrupted import held_lock

__all__ = ["Event", "Mark", "Stream", "Timestamp", "elapsed", "passed_at"]

MOST = 4096
"""Pieces of work that wait in a stream before whoever adds more waits until half of them are done."""

_workers: set[int] = set()
"""The threads that work for streams.  What a finalizer adds there must not wait: it might be for itself."""


class Mark:
    """A point in a stream: when it was passed, in nanoseconds."""

    __slots__ = ("_waiting", "passed", "time")

    def __init__(self) -> None:
        self._waiting: deque[_thread.LockType] = deque()
        self.passed = False
        self.time = 0

    def set(self) -> None:
        """Pass the mark now."""
        self.time = time.perf_counter_ns()
        self.passed = True
        _let_go(self._waiting)

    def wait(self) -> None:
        """Block until it was passed."""
        if not self.passed:
            ticket = held_lock()
            self._waiting.append(ticket)
            # passed in between, it may have let go of the others before this one joined them
            if not self.passed:
                ticket.acquire()


def _let_go(tickets: deque[_thread.LockType]) -> None:
    while tickets:
        tickets.popleft().release()


class Event:
    """Holds the latest mark recorded."""

    __slots__ = ("mark", "timing")

    def __init__(self, timing: bool) -> None:
        self.mark: Mark | None = None
        self.timing = timing


class _Work:
    """A place in the queue: what to run, a mark to pass, or the end of the worker."""

    __slots__ = ("exclusive", "mark", "run")

    def __init__(
        self, run: Callable[[], None] | None = None, exclusive: bool = False, mark: Mark | None = None
    ) -> None:
        self.run = run
        self.exclusive = exclusive
        self.mark = mark


class Stream:
    """An ordered queue.

    While it is idle, short work runs in its caller's thread: where ``items`` is empty, all that this thread has submitted
    is done, and the gate keeps out whoever else has work for the stream.  Anything else goes to the stream's own thread,
    which is started when first needed.

    Attributes
    ----------
    items : deque
        What is not done; the first of them may be running.
    gate : int
        Address of the gate.
    held : Sequence[int]
        The gate's state: one number, 0 while nobody is in it.
    native : Native
        The functions that take the gate.
    error : BaseException | None
        What went wrong in the queue and was not reported yet.
    """

    __slots__ = (
        "__weakref__",
        "_awake",
        "_closed",
        "_end",
        "_ended",
        "_gate",
        "_room",
        "_started",

        "_working",
        "error",
        "gate",
        "held",
        "items",
        "native",
    )  # fmt: skip

    def __init__(self) -> None:
        self.native = native()
        self._gate = Gate()
        self.held = self._gate.state
        self.gate = self._gate.address
        self.items: deque[_Work] = deque()
        self._awake = held_lock()
        self._room: deque[_thread.LockType] = deque()
        self.error: BaseException | None = None
        self._closed = False
        self._started = False
        self._working = _thread.allocate_lock()
        self._ended = False
        self._end = Mark()

    # -- adding work
    def submit(self, work: Callable[[], None], *, exclusive: bool = False) -> None:
        """Run ``work`` after everything submitted before; an exclusive piece while nothing else of the stream runs.

        Where very much waits already, wait for room.

        Raises
        ------
        DeviceError
            When the stream was destroyed, or no thread can be started.
        """
        if len(self.items) >= MOST:
            self._wait_for_room()
        if self._closed:
            raise DeviceError("the stream was destroyed")
        self._add(_Work(work, exclusive))

    def record(self) -> Mark:
        """A mark after everything submitted so far."""
        mark = Mark()
        if self.query():
            mark.set()
        else:
            if len(self.items) >= MOST:
                self._wait_for_room()
            self._add(_Work(mark=mark))
        return mark

    def _add(self, work: _Work) -> None:
        if not self._started:
            self._start()
        self.items.append(work)
        if self._closed:
            self.items.append(_Work())  # whoever closed the stream may have seen no worker to end
        self._rouse()

    def _start(self) -> None:
        try:
            _thread.start_new_thread(self._run, ())  # a second one would end at once
        except RuntimeError as error:
            raise DeviceError(f"no thread can be started for a CPU stream: {error}") from error
        self._started = True

    def _rouse(self) -> None:
        """Make sure that the worker looks at the queue once more."""
        if self._awake.locked():
            with contextlib.suppress(RuntimeError):  # another thread was faster
                self._awake.release()
        if self._ended:
            self._drop_rest()

    def _wait_for_room(self) -> None:
        items = self.items
        while len(items) >= MOST and threading.get_ident() not in _workers:
            ticket = held_lock()
            self._room.append(ticket)
            self._rouse()
            # half of it done in between, the worker may have let go of the others before this one joined them
            if len(items) >= MOST:
                ticket.acquire()

    # -- the worker
    @serves_calls
    def _run(self) -> None:
        if not self._working.acquire(False):
            return
        self._started = True
        me = threading.get_ident()
        _workers.add(me)
        items, look = self.items, self._awake.acquire
        going = True
        while going:
            look()
            while items and going:
                going = self._run_first()
        # work in callers' threads that found nothing queued ends first, and no more begins
        self.native.close(self.gate)
        self._ended = True
        self._drop_rest()
        _workers.discard(me)
        self._end.set()

    def _run_first(self) -> bool:
        """Run the first piece of work; whether it was not the end."""
        items = self.items
        first = items[0]
        mark = first.mark
        work, first.run = first.run, None
        going = work is not None or mark is not None
        try:
            if mark is not None:
                self.native.pass_by(self.gate)  # what runs in a caller's thread began before
            elif work is not None:
                self._exclusively(work) if first.exclusive else work()
        except BaseException as error:  # noqa: BLE001  (kept for the next synchronize)
            self.error = self.error or error
        # drop what the work keeps alive before anybody sees the stream idle, and that before they hear of it
        del work
        items.popleft()
        if mark is not None:
            mark.set()
        if self._room and len(items) <= MOST // 2:
            _let_go(self._room)
        return going

    def _exclusively(self, work: Callable[[], None]) -> None:
        # no signal handler runs in this thread
        if self.native.enter(self.gate):
            raise DeviceError("the stream was destroyed")
        try:
            work()
        finally:
            self.native.leave(self.gate)

    def _drop_rest(self) -> None:
        """Drop what was added while the stream ended, and let nobody wait for it; whoever adds something looks here, too."""
        while self.items:
            try:
                item = self.items.popleft()
            except IndexError:
                break  # another thread was faster
            if item.exclusive:
                self.error = self.error or DeviceError("the stream was destroyed")
            elif item.mark is not None:
                item.mark.set()
            elif item.run is not None:
                item.run()
        _let_go(self._room)

    # -- waiting
    def query(self) -> bool:
        """Whether everything submitted so far is done."""
        if self.items:
            self._rouse()
            return False
        return self.held[0] not in (HELD, AWAITED)

    def synchronize(self) -> None:
        """Block until everything submitted so far is done; what others add meanwhile is not waited for.

        Raises
        ------
        DeviceError
            What went wrong in the queue.
        """
        if self.items or self.held[0]:
            self._wait()
        error = self.error
        if error is not None:
            self.error = None
            raise DeviceError(f"work on a CPU stream failed: {error}") from error

    def _wait(self) -> None:
        if not self.query():
            if threading.get_ident() in _workers:
                raise DeviceError(
                    "a thread that does the work of CPU streams cannot wait for one: a finalizer that ran in it did. "
                    "Wait where the object is used, or close it there"
                )
            mark = Mark()
            self._add(_Work(mark=mark))
            mark.wait()

    def finish(self, work: Callable[[], None]) -> None:
        """Run ``work`` in order and block until it is done; raise what went wrong in it, or before."""
        self.submit(work, exclusive=True)
        self._wait()
        self.synchronize()

    # -- the end
    def close(self) -> None:
        """No more work; what is queued still runs, then the thread ends."""
        self._closed = True
        if self._started:
            self.items.append(_Work())
            self._rouse()
        else:
            self.native.close(self.gate)

    @property
    def ended(self) -> bool:
        """Whether nothing of it runs any more, after :meth:`close`."""
        return self._end.passed or not self._started

    def join(self) -> None:
        """Wait for the thread to end, after :meth:`close`."""
        if self._started and threading.get_ident() not in _workers:
            self._end.wait()


Timestamp = int | Mark
"""A time, or a mark that has not been passed when it was made."""


def passed_at(timestamp: Timestamp) -> int:
    """When a mark was passed, in nanoseconds of ``time.perf_counter_ns``, waiting for it."""
    if isinstance(timestamp, int):
        return timestamp
    timestamp.wait()
    return timestamp.time


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
