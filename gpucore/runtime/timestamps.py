"""Device times on the host's clock, which is ``time.perf_counter_ns``.

Backends that can (capability ``timestamps``) give them by hooks of their own; of all others, events made for timing are compared
with a base event whose time on the host's clock is known, and which is renewed each time that times are read: clocks of devices
drift, and spans between events are floats.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Protocol

from gpucore.hookspecs import StreamOptions

if TYPE_CHECKING:
    from gpucore.runtime.state import ContextState

__all__ = ["Clock", "clock_of"]


class Clock(Protocol):
    """Marks points of streams, and says later when they were passed."""

    def mark(self, stream: Any, begins: bool) -> Any:
        """Mark this point of a backend's stream; ``begins`` where what is to be timed follows at once."""

    def read(self, marks: Sequence[Any]) -> Sequence[int]:
        """The times of marks, in nanoseconds of the host's clock, waiting for them; each is read once."""

    def close(self) -> None:
        """Give back what the clock holds."""


class _HookClock:
    """The backend's own."""

    def __init__(self, state: ContextState) -> None:
        self._device = state.device._handle
        self._read = state.device._guard(state.hooks.read_timestamps)
        # a partial adds no Python call to each mark
        self.mark = functools.partial(state.hooks.record_timestamp, self._device)

    def read(self, marks: Sequence[Any]) -> Sequence[int]:
        times: Sequence[int] = self._read(self._device, marks)
        return times

    def close(self) -> None:
        """It holds nothing."""


_TRIES = 5
"""How often the base is tried: the quickest try says best when it was."""


class _EventClock:
    """Events against a base."""

    def __init__(self, state: ContextState) -> None:
        # the hooks as they are now: a profiler, which replaces those of the context, is not to see what its clock does
        hooks, guard = state.hooks, state.device._guard
        self._device = device = state.device._handle
        self._record_event = guard(hooks.record_event)
        self._create_event = guard(hooks.create_event)
        self._destroy_event = guard(hooks.destroy_event)
        self._destroy_stream = guard(hooks.destroy_stream)
        self._synchronize_event = guard(hooks.synchronize_event)
        self._elapsed_time = guard(hooks.elapsed_time)
        self._spare: list[Any] = []
        self._lock = threading.RLock()
        self._stream = guard(hooks.create_stream)(device, StreamOptions(0))
        self._base = self._create_event(device, True)
        self._base_ns = self._renew()

    def _renew(self) -> int:
        """Record the base once more; its time on the host's clock."""
        quickest = 0
        for number in range(_TRIES):
            before = perf_counter_ns()
            self._record_event(self._device, self._base, self._stream)
            self._synchronize_event(self._device, self._base)
            after = perf_counter_ns()
            took = after - before
            if number and took <= quickest:
                break  # as good as it gets, and the base is what was recorded last
            quickest = min(took, quickest) if number else took
        return (before + after) // 2

    def mark(self, stream: Any, begins: bool) -> Any:
        try:
            event = self._spare.pop()
        except IndexError:
            event = self._create_event(self._device, True)
        self._record_event(self._device, event, stream)
        return event

    def read(self, marks: Sequence[Any]) -> Sequence[int]:
        with self._lock:
            spans = [self._elapsed_time(self._device, self._base, mark) for mark in marks]
            base = self._base_ns
            self._base_ns = self._renew()
        self._spare += marks
        return [base + round(span * 1e6) for span in spans]

    def close(self) -> None:
        for event in (*self._spare, self._base):
            self._destroy_event(self._device, event)
        self._spare = []
        self._destroy_stream(self._device, self._stream)


def clock_of(state: ContextState) -> Clock:
    """The clock of a context's device."""
    if "timestamps" in state.device.capabilities:
        return _HookClock(state)
    return _EventClock(state)
