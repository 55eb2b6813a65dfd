"""Events: points in a stream, for order across streams and for time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpucore.errors import LaunchError, NotSupportedError
from gpucore.runtime.handles import ProcessBound
from gpucore.runtime.stream import refuse_recording

if TYPE_CHECKING:
    from gpucore.hookspecs import EventHandle
    from gpucore.runtime.state import ContextState
    from gpucore.runtime.stream import Stream

__all__ = ["Event"]


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
