"""Streams, events, and what memory knows of a stream."""

from __future__ import annotations

import functools
import weakref
from threading import get_ident
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from gpucore.errors import LaunchError, NotSupportedError
from gpucore.runtime import ProcessBound

if TYPE_CHECKING:
    from gpucore.config import Check, Math
    from gpucore.hookspecs import EventHandle, MemoryKind, StreamHandle
    from gpucore.runtime.context import Context
    from gpucore.runtime.kernel_reports import Records
    from gpucore.runtime.memory_block import Arena
    from gpucore.runtime.observation import Recorder
    from gpucore.runtime.state import ContextState

__all__ = [
    "Event",
    "LaunchOptions",
    "Stream",
    "Timeline",
    "launch_options",
    "live_stream",
    "refuse_recording",
]


class Timeline:
    """What memory knows of a stream that used it, so that an array keeps no stream alive.

    Once the stream is gone its context's default stream takes its place, after waiting for its work.

    Attributes
    ----------
    handle : object
        The backend's stream; void once it is retired.
    epoch : int
        Counts the times that all work enqueued was seen to be done.
    arenas : dict
        Memory that is reused in the order of the stream, by the pool's identity and kind.
    records : Records | None
    reference : weakref.ref[Stream]
    retired : bool
        The stream is gone, and the default stream comes after its work.
    """

    __slots__ = ("arenas", "epoch", "handle", "records", "reference", "retired", "state")

    def __init__(self, state: ContextState, handle: StreamHandle, stream: Stream) -> None:
        self.state = state
        self.handle = handle
        self.epoch = 0
        self.arenas: dict[tuple[int, MemoryKind], Arena] = {}
        self.records: Records | None = None
        self.retired = False
        self.reference = weakref.ref(stream)

    @property
    def is_dropped(self) -> bool:
        """Whether nobody holds the stream any more."""
        return self.reference() is None

    def stream(self) -> Stream:
        """The stream, or the default stream where it is gone."""
        stream = self.reference()
        if stream is None:
            self.state.retire(self)
            return self.state.default_stream
        return stream


LaunchOptions: TypeAlias = "tuple[Check, Math]"
"""How kernels are checked, and their math mode."""


@functools.cache
def launch_options(check: Check, math: Math) -> LaunchOptions:
    """One object for each pair, which launches compare by identity."""
    return check, math


class Stream:
    """An ordered queue; made by ``Context.stream``.  It belongs to one thread at a time.

    As a context manager it synchronises at the end (``AbstractContextManager`` as a base would decide whether there is room for
    weak references, differently from one Python to the next).

    Attributes
    ----------
    priority : int
    """

    __slots__ = (
        "__weakref__",
        "_context",
        "_handle",
        "_options",
        "_records",
        "_state",
        "_timeline",
        "_why",
        "priority",
    )

    def __init__(
        self, state: ContextState, handle: StreamHandle, priority: int, context: Context | None
    ) -> None:
        # the default stream has none: a context that nobody holds can then be noticed
        self._context = context
        self._options = state.options if context is None else launch_options(context.check, context.math)
        self.priority = priority
        self._state = state
        self._handle = handle
        self._timeline = Timeline(state, handle, self)
        self._records: Records | None = None
        self._why: str | None = None
        state.remember(self)

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError(
            "a Stream is a queue of this process's device and can be neither pickled nor copied; make another with "
            "context.stream()"
        )

    def __repr__(self) -> str:
        ended = f", ended: {self._why}" if self._why else ""
        return f"<Stream of {self._state.device.backend}:{self._state.device.ordinal}{ended}>"

    @property
    def epoch(self) -> int:
        """Counts the times that all work enqueued was seen to be done."""
        return self._timeline.epoch

    # --- public
    def record(self, event: Event | None = None) -> Event:
        """Mark this point of the stream with an event, a new one where none is given."""

        self._check()
        recorder = self._recorder()
        if event is None:
            state = self._state
            event = Event(state, state.create_event(state.device._handle, False), False)
        elif not isinstance(event, Event):
            raise TypeError(f"record() takes an Event, as ctx.event() makes, or nothing; not {event!r}")
        elif event._state.device is not self._state.device:
            raise LaunchError("the event belongs to another device than the stream")
        state = self._state
        event._check()
        if recorder is not None:
            recorder.record_event(event, self)
            return event
        state.record_event(state.device._handle, event._handle, self._handle)
        event._stream = self
        return event

    def wait(self, other: Event | Stream) -> None:
        """Let later work of this stream wait for an event, or for all that another stream has enqueued so
        far.
        """
        self._check()
        if isinstance(other, Stream):
            other._check()
            recorder = self._recorder()
            if recorder is not None:
                recorder.wait(self, other)
            elif other is not self:
                self._follow(other)
            return

        if not isinstance(other, Event):
            raise TypeError(f"wait() takes an Event or a Stream, not {other!r}")
        other._check()
        recorder = self._recorder()
        if recorder is not None:
            recorder.wait(self, other)
            return
        self._wait_event(other._state, other._handle)

    def synchronize(self) -> None:
        """Block until all enqueued work is done, and raise what a checked kernel found."""
        self._check()
        if self._state.recorders:
            refuse_recording(self._state, "stream.synchronize()")
        self._finish()

    def _finish(self) -> None:
        state = self._state
        self._wait_idle()
        if state.has_dead():
            state.drain()
        if self._records is not None:
            self._records.read()

    def query(self) -> bool:
        """Whether all enqueued work is done."""
        self._check()
        state = self._state
        if state.recorders:
            refuse_recording(state, "stream.query()")
        return bool(state.query_stream(state.device._handle, self._handle))

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and self._why is None and self._recorder() is None:
            self.synchronize()

    # --- for core
    def _recorder(self) -> Recorder | None:
        """Who records the work of this thread instead of enqueueing it."""
        recorders = self._state.recorders
        return recorders.get(get_ident()) if recorders else None

    def _check(self) -> None:
        if self._why is not None:
            raise LaunchError(f"the stream is gone: {self._why}")

    def _wait_idle(self) -> None:
        state = self._state
        device = state.device
        if device._dead is not None:
            raise device._failure()
        try:
            state.hooks.synchronize_stream(device._handle, self._handle)
        except Exception as error:
            device._judge(state.hooks.synchronize_stream, error)
            raise
        self._timeline.epoch += 1

    def _follow(self, other: Stream) -> None:
        """Wait, in stream order, for all that ``other`` has enqueued so far."""
        state = other._state
        if other._why is not None:
            return  # ended streams were waited for
        if state.device._dead is not None and state.device is not self._state.device:
            return  # what a lost device had to do will never be done
        event = state.take_event()
        try:
            state.record_event(state.device._handle, event, other._handle)
            self._wait_event(state, event)
        finally:
            state.give_event(event)

    def _wait_event(self, owner: ContextState, event: EventHandle) -> None:
        """Let later work wait for the mark of an event, of another device too; the host waits where devices cannot."""
        state = self._state
        device, other = state.device, owner.device
        if device is other or (
            device.backend == other.backend
            and "peer_events" in device.capabilities
            and "peer_events" in other.capabilities
        ):
            state.wait_event(device._handle, self._handle, event)
        else:
            owner.synchronize_event(other._handle, event)

    def _read_records(self) -> None:
        if self._records is not None:
            self._records.read()

    def _end(self, why: str) -> None:
        self._why = why
        self._records = None
        timeline = self._timeline
        timeline.arenas, timeline.records = {}, None
        timeline.epoch += 1

    def __del__(self) -> None:
        # only a note: hooks are called by whoever drains it
        # (the default stream goes with its context, whichever of the two the collector takes first)
        if getattr(self, "_why", "") is None and self._state.default_stream is not self:
            self._state.dead_streams.append(self._timeline)


def live_stream(stream: object) -> Stream:
    """What was given as ``stream=``, once it is seen to be a stream that can be used.

    Raises
    ------
    TypeError, LaunchError
    """
    if not isinstance(stream, Stream):
        raise TypeError(f"stream= takes a Stream, as context.stream() makes, not {stream!r}")
    stream._check()
    return stream


def refuse_recording(
    state: ContextState,
    what: str,
    instead: str = "nothing runs while a graph is recorded; wait for it after graph.launch()",
) -> None:
    """Raise where this thread records a graph: nothing runs that could be waited for."""
    recorder = state.recorders.get(get_ident())
    if recorder is not None:
        recorder.refuse(what, instead)


class Event(ProcessBound):
    """A point in a stream; made by ``Context.event`` or ``Stream.record``.

    An event that was never recorded counts as passed.
    """

    __slots__ = ("__weakref__", "_generation", "_handle", "_state", "_stream", "timing")

    def __init__(self, state: ContextState, handle: EventHandle, timing: bool) -> None:
        self.timing = timing
        self._state = state
        self._handle = handle
        self._generation = state.device._generation
        self._stream: Stream | None = None
        state.events.add(self)

    def __repr__(self) -> str:
        return f"<Event of {self._state.device.backend}:{self._state.device.ordinal}, timing={self.timing}>"

    def synchronize(self) -> None:
        """Block until the point was passed, and raise what a checked kernel before it found."""
        self._check()
        state = self._state
        if state.recorders:
            refuse_recording(state, "event.synchronize()")
        state.synchronize_event(state.device._handle, self._handle)
        stream = self._stream
        if stream is not None and stream._why is None:
            stream._read_records()

    def query(self) -> bool:
        """Whether the point was passed."""
        self._check()
        state = self._state
        if state.recorders:
            refuse_recording(state, "event.query()")
        return bool(state.query_event(state.device._handle, self._handle))

    def elapsed_time(self, end: Event) -> float:
        """Milliseconds of device time from this event to ``end``, waiting for both.

        Raises
        ------
        NotSupportedError
            When either was not made with ``timing=True``.
        LaunchError
            When either was never recorded, or they belong to different devices.
        """
        self._check()
        if not isinstance(end, Event):
            raise TypeError(f"elapsed_time() takes the Event of the end, not {end!r}")
        end._check()
        if not (self.timing and end.timing):
            raise NotSupportedError(
                "elapsed_time wants events made with Context.event(timing=True)", capability="timing"
            )
        if self._stream is None or end._stream is None:
            raise LaunchError("elapsed_time wants two recorded events; record them with Stream.record(event)")
        if self._state.device is not end._state.device:
            raise LaunchError("elapsed_time wants two events of one device")
        state = self._state
        return float(state.elapsed_time(state.device._handle, self._handle, end._handle))

    def _check(self) -> None:
        state = self._state
        if state.closed or state.ending:
            raise LaunchError("the event is gone: its context is closed")
        if self._generation != state.device._generation:
            raise LaunchError("the event is gone: the device was reset since")

    def __del__(self) -> None:
        state = getattr(self, "_state", None)
        if state is not None:
            state.dead_events.append((self._handle, self._generation))
