"""The profile of one context: marks about its work, read later on the host's clock.

Backends that can (capability ``timestamps``) give them by hooks; of others, events made for timing are compared with a base event
whose time on the host's clock is known, renewed each time that times are read: clocks drift, and spans are floats.
"""

from __future__ import annotations

import functools
import logging
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import get_ident
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Literal, Protocol

from gpucore.errors import GpucoreError
from gpucore.hookspecs import StreamOptions

if TYPE_CHECKING:
    from gpucore.runtime.observation import ObservedLauncher
    from gpucore.runtime.profiler import profile
    from gpucore.runtime.state import ContextState
    from gpucore.runtime.stream import Stream

__all__ = ["Clock", "ContextProfile", "EventKind", "ProfileEvent", "clock_of"]


EventKind = Literal["kernel", "copy", "fill", "wait", "range", "alloc"]


@dataclass(frozen=True, slots=True)
class ProfileEvent:
    """One piece of work, or of waiting.

    Attributes
    ----------
    kind : {"kernel", "copy", "fill", "wait", "range", "alloc"}
        Kernels, copies and fills are timed on the device; waits, ranges and allocations on the host.
    name : str
        The kernel's, the range's, or what was done: ``"copy to device"``, ``"wait for stream"``, ``"allocate"``.
    stream : str or None
        Whose work it is, or was waited for: ``"cpu:0 default"``, ``"cuda:1 stream 2"``. Ranges have none.
    start_ns, end_ns : int
        By the clock of ``time.perf_counter_ns``.
    bytes : int
        Copied, filled or allocated; else 0.
    queued_ns : int
        When the host enqueued it; ``start_ns - queued_ns`` is the time in the queue.
    thread : str
        The host's thread.
    """

    kind: EventKind
    name: str
    stream: str | None
    start_ns: int
    end_ns: int
    bytes: int = 0
    queued_ns: int = 0
    thread: str = ""

    @property
    def duration_ns(self) -> int:
        """Nanoseconds from start to end."""
        return self.end_ns - self.start_ns


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


log = logging.getLogger("gpucore")

_MOST_PENDING = 8192
"""Marked pieces of work after which the older half is read, which waits for it."""


class _Nobody:
    """Takes what is noted for a profile that is gone: an interrupt ended its ``with`` block without a word."""

    allocations = False
    lost = 0

    def _add(self, events: list[ProfileEvent]) -> None:
        """Forget them."""

    def _on_host(self, kind: EventKind, name: str, stream: str | None, start: int, nbytes: int = 0) -> None:
        """Forget it."""

    def _thread_name(self, ident: int) -> str:
        return f"thread {ident}"


class ContextProfile:
    """The profile of one context: the observer of its launches, and the hooks that time the rest.

    It does not keep the profile that it notes for: one that nobody has any more is forsaken, and ends when the next begins.
    """

    def __init__(self, state: ContextState, sink: profile, label: str) -> None:
        state.observation.end_forsaken_profile()  # before its hooks are taken for the plugin's own
        self._state = state
        self._sink_ref = weakref.ref(sink)
        self._label = label
        self._clock = clock_of(state)
        self._mark = self._clock.mark
        self._pending: deque[tuple[Any, ...]] = deque()
        self._abandoned: deque[Any] = deque()
        self._lock = threading.RLock()
        self._streams: dict[int, tuple[Any, str]] = {}  # the handle is kept, so that its id stays its own
        self._last_end: dict[str, int] = {}
        self._plain = state.hooks
        self.finished = False
        # known to the profile first: an interrupt may come right after the beginning
        sink._profiles.append(self)
        try:
            state.observation.begin_profile(self)
        except BaseException:
            sink._profiles.remove(self)
            state.observation.end_profile(self)
            self._clock.close()
            raise

    @property
    def _sink(self) -> profile | _Nobody:
        return self._sink_ref() or _Nobody()

    @property
    def is_forsaken(self) -> bool:
        """Whether nobody has the profile any more."""
        return self._sink_ref() is None

    # --- streams
    def _stream_label(self, handle: Any) -> str:
        known = self._streams.get(id(handle))
        if known is None:
            with self._lock:
                if handle is self._state.default_stream._handle:
                    name = f"{self._label} default"
                else:
                    count = sum(not label.endswith(" default") for _, label in self._streams.values())
                    name = f"{self._label} stream {count + 1}"
                known = self._streams.setdefault(id(handle), (handle, name))
        return known[1]

    # --- what is timed
    def launch(
        self,
        kernel: str,
        stream: Stream,
        call: Callable[..., None],
        target: Any,
        packed: tuple[Any, ...],
        launcher: ObservedLauncher | None,
        configured: Any,
        arguments: tuple[Any, ...],
    ) -> None:
        """Mark the stream before and after a kernel."""
        handle = stream._handle
        queued = perf_counter_ns()
        start = self._mark(handle, True)
        try:
            call(target, *packed)
        except BaseException as error:
            self._abandoned.append(start)
            if isinstance(error, Exception):
                self._state.device._judge_launch(kernel, error)
            raise
        # as in _note, whose call would be a tenth of what a launch costs
        pending = self._pending
        pending.append((queued, "kernel", kernel, handle, start, self._mark(handle, False), 0, get_ident()))
        if len(pending) > _MOST_PENDING:
            self._collect(_MOST_PENDING // 2)

    def again(self, kernel: str, stream: Stream, ready: Callable[[Any], None], target: Any) -> None:
        """The same for a launch whose arguments are packed."""
        handle, mark = stream._handle, self._mark
        queued = perf_counter_ns()
        start = mark(handle, True)
        try:
            ready(target)
        except BaseException as error:
            self._abandoned.append(start)
            if isinstance(error, Exception):
                self._state.device._judge_launch(kernel, error)
            raise
        pending = self._pending
        pending.append((queued, "kernel", kernel, handle, start, mark(handle, False), 0, get_ident()))
        if len(pending) > _MOST_PENDING:
            self._collect(_MOST_PENDING // 2)

    def _note(self, queued: int, kind: EventKind, name: str, handle: Any, start: Any, nbytes: int) -> None:
        end = self._mark(handle, False)
        pending = self._pending
        pending.append((queued, kind, name, handle, start, end, nbytes, get_ident()))
        if len(pending) > _MOST_PENDING:
            self._collect(_MOST_PENDING // 2)

    def hooks(self) -> dict[str, Callable[..., Any]]:
        """The hooks to call instead of the plugin's."""
        found: dict[str, Callable[..., Any]] = {
            "copy": self._copy(), "fill": self._fill(),
            "synchronize_stream": self._wait("synchronize_stream", "wait for stream"),
            "synchronize_event": self._wait("synchronize_event", "wait for event"),
        }  # fmt: skip
        if self._plain.has("copy_peer"):
            found["copy_peer"] = self._copy_peer()
        if self._sink.allocations:
            found["alloc"], found["free"] = self._alloc(), self._free()
        return found

    def _timed(
        self, kind: EventKind, name: str, handle: Any, nbytes: int, work: Callable[..., None], *args: Any
    ) -> None:
        queued = perf_counter_ns()
        start = self._mark(handle, True)
        try:
            work(*args)
        except BaseException:
            self._abandoned.append(start)
            raise
        self._note(queued, kind, name, handle, start, nbytes)

    def _copy(self) -> Callable[..., None]:
        plain, pool = self._plain.copy, self._state.pool

        def copy(device: Any, dst: Any, to: int, src: Any, at: int, nbytes: int, stream: Any) -> None:
            if src.__class__ is memoryview or pool.is_host_memory(src):
                name = "copy to device"
            elif dst.__class__ is memoryview or pool.is_host_memory(dst):
                name = "copy to host"
            else:
                name = "copy on device"
            self._timed("copy", name, stream, nbytes, plain, device, dst, to, src, at, nbytes, stream)

        return copy

    def _copy_peer(self) -> Callable[..., None]:
        plain = self._plain.copy_peer

        def copy_peer(
            device: Any, dst: Any, to: int, src_device: Any, src: Any, at: int, nbytes: int, stream: Any
        ) -> None:
            args = (device, dst, to, src_device, src, at, nbytes, stream)
            self._timed("copy", "copy from another device", stream, nbytes, plain, *args)

        return copy_peer

    def _fill(self) -> Callable[..., None]:
        plain = self._plain.fill

        def fill(device: Any, dst: Any, offset: int, nbytes: int, pattern: bytes, stream: Any) -> None:
            self._timed("fill", "fill", stream, nbytes, plain, device, dst, offset, nbytes, pattern, stream)

        return fill

    def _wait(self, hook: str, name: str) -> Callable[..., None]:
        plain = getattr(self._plain, hook)
        is_stream = hook == "synchronize_stream"

        def wait(device: Any, waited: Any) -> None:
            start = perf_counter_ns()
            try:
                plain(device, waited)
            finally:
                label = self._stream_label(waited) if is_stream else None
                self._sink._on_host("wait", name, label, start)

        return wait

    # --- memory
    def _alloc(self) -> Callable[..., Any]:
        plain = self._plain.alloc

        def alloc(device: Any, nbytes: int, kind: Any, stream: Any) -> Any:
            start = perf_counter_ns()
            found = plain(device, nbytes, kind, stream)
            self._sink._on_host("alloc", "allocate from the driver", self._label, start, nbytes)
            return found

        return alloc

    def _free(self) -> Callable[..., None]:
        plain = self._plain.free

        def free(device: Any, allocation: Any, stream: Any) -> None:
            start, nbytes = perf_counter_ns(), allocation.nbytes
            plain(device, allocation, stream)
            self._sink._on_host("alloc", "free to the driver", self._label, start, nbytes)

        return free

    def memory(self, what: str, nbytes: int, used: int, stream: Stream | None) -> None:
        """The pool handed out or took back memory."""
        if self._sink.allocations:
            label = self._label if stream is None else self._stream_label(stream._handle)
            self._sink._on_host("alloc", what, label, perf_counter_ns(), nbytes)

    # --- reading
    def _collect(self, count: int | None = None) -> None:
        """Read the marks of the oldest pieces of work, waiting for it."""
        if count is not None and self.is_forsaken:
            self.finish()
            return
        with self._lock:
            taken: list[tuple[Any, ...]] = []
            while self._pending and (count is None or len(taken) < count):
                taken.append(self._pending.popleft())
            abandoned = [self._abandoned.popleft() for _ in range(len(self._abandoned))]
        marks = [mark for work in taken for mark in (work[4], work[5])]
        times = self._clock.read([*marks, *abandoned])
        events = []
        for number, (queued, kind, name, handle, _, _, nbytes, thread) in enumerate(taken):
            label = self._stream_label(handle)
            # what is marked by several threads at once on one stream ran one after another all the same
            start = max(times[2 * number], self._last_end.get(label, 0))
            end = max(times[2 * number + 1], start)
            self._last_end[label] = end
            host = self._sink._thread_name(thread)
            events.append(ProfileEvent(kind, name, label, start, end, nbytes, min(queued, start), host))
        self._sink._add(events)

    def finish(self) -> None:
        """Stop, wait for the work that was timed, and note its times; once more after an interrupt."""
        self._state.observation.end_profile(self)
        if self._state.closed or self._state.device._dead is not None:
            self._lose(str(self._state.device._dead or "the context is closed"))
        else:
            try:
                self._collect()
                self._clock.close()
            except GpucoreError as error:
                self._lose(str(error))
        self.finished = True

    def _lose(self, why: str) -> None:
        lost = len(self._pending)
        self._pending.clear()
        self._abandoned.clear()
        if lost:
            self._sink.lost += lost
            log.warning("the profile of %s lost the times of %d pieces of work: %s", self._label, lost, why)
