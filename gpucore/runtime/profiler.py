"""The profiler: what the work of contexts took, on one clock.

A profiled context marks the points of its streams before and after each kernel, copy and fill; the marks are read when many have
gathered, when the context closes, and at the end of the profile, which waits for the work. What a profile changes while it runs
is in :mod:`gpucore.runtime.observation`.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import get_ident
from time import perf_counter_ns
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, cast

from gpucore.errors import GpucoreError, LaunchError
from gpucore.runtime import profile_report
from gpucore.runtime.device import open_devices
from gpucore.runtime.timestamps import clock_of

if TYPE_CHECKING:
    from typing import Self

    from gpucore.runtime.context import Context
    from gpucore.runtime.observation import ObservedLauncher
    from gpucore.runtime.state import ContextState
    from gpucore.runtime.stream import Stream

__all__ = ["EventKind", "ProfileEvent", "profile", "profile_range"]

log = logging.getLogger("gpucore")
EventKind = Literal["kernel", "copy", "fill", "wait", "range", "alloc"]
P = ParamSpec("P")
R = TypeVar("R")

_MOST_PENDING = 8192
"""Marked pieces of work after which the older half is read, which waits for it."""


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


class _ContextProfile:
    """The profile of one context: the observer of its launches, and the hooks that time the rest."""

    def __init__(self, state: ContextState, sink: profile, label: str) -> None:
        self._state = state
        self._sink = sink
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


class _Profiles:
    """The profiles that run in this process."""

    def __init__(self) -> None:
        self.running: tuple[profile, ...] = ()
        self.lock = threading.RLock()

    def begin(self, one: profile) -> None:
        with self.lock:
            self.running = (*self.running, one)
            if one.everywhere:
                open_devices.on_open = one._attach

    def end(self, one: profile) -> None:
        with self.lock:
            self.running = tuple(other for other in self.running if other is not one)
            if one.everywhere:
                open_devices.on_open = None


_profiles = _Profiles()


class profile:
    """Time what a context does inside a ``with`` block.

    Parameters
    ----------
    context : Context, optional
        Without it all contexts of the process, those opened meanwhile too.
    allocations : bool
        Note allocations as well: of the pool and of the driver.

    Attributes
    ----------
    events : list[ProfileEvent]
        By their start; complete once the block was left, which waits for the work.
    lost : int
        Pieces of work whose times are not known, since the device was lost or closed under them.

    Raises
    ------
    LaunchError
        On entry, where a context is being profiled already.

    Examples
    --------
    >>> with gc.profile(ctx) as prof:                       # doctest: +SKIP
    ...     step(ctx)
    >>> print(prof.table()); prof.save("trace.json")        # doctest: +SKIP
    """

    def __init__(self, context: Context | None = None, *, allocations: bool = False) -> None:
        from gpucore.runtime.context import Context

        if context is not None and not isinstance(context, Context):
            raise TypeError(
                f"profile() takes a Context, or nothing for all of them, not {type(context).__name__}"
            )
        self.everywhere = context is None
        self.allocations = bool(allocations)
        self.lost = 0
        self._context = context
        self._events: list[ProfileEvent] = []
        self._profiles: list[_ContextProfile] = []
        self._threads: dict[int, str] = {}
        self._entered = False
        self._pid = 0
        self._begin_ns = self._end_ns = 0

    def __repr__(self) -> str:
        return f"<profile of {'all contexts' if self.everywhere else self._context!r}, {len(self._events)} events>"

    # --- the block
    def __enter__(self) -> Self:
        if self._entered:
            raise LaunchError("this profile has begun already; make another: gpucore.profile(context)")
        if self._context is not None:
            self._context._state.check()
            states = [self._context._state]
        else:
            if any(other.everywhere for other in _profiles.running):
                raise LaunchError(
                    "all contexts are being profiled already; use the events of the profile around this one"
                )
            states = [
                state for device in list(open_devices.devices.values()) for state in list(device._states)
            ]
        self._entered = True
        self._pid = os.getpid()
        self._begin_ns = perf_counter_ns()
        try:
            for state in states:
                self._attach(state)
            _profiles.begin(self)
        except BaseException:
            self._detach()
            raise
        return self

    def _attach(self, state: ContextState) -> None:
        device = state.device
        label = f"{device.backend}:{device.ordinal}"
        same = sum(other._label.split("#")[0] == label for other in self._profiles)
        _ContextProfile(state, self, f"{label}#{same + 1}" if same else label)

    def _detach(self) -> None:
        for one in self._profiles:
            if not one.finished:
                one.finish()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._leave()
        except BaseException:
            self._leave()  # an interrupt leaves no context that takes time for nobody
            raise
        self._end_ns = perf_counter_ns()

    def _leave(self) -> None:
        _profiles.end(self)
        if os.getpid() == self._pid:  # else a child that was forked meanwhile: the device is the parent's
            self._detach()

    # --- what the observers note
    def _thread_name(self, ident: int) -> str:
        found = self._threads.get(ident)
        if found is None:
            names = {thread.ident: thread.name for thread in threading.enumerate()}
            found = self._threads[ident] = names.get(ident) or f"thread {ident}"
        return found

    def _on_host(self, kind: EventKind, name: str, stream: str | None, start: int, nbytes: int = 0) -> None:
        end = perf_counter_ns()
        self._events.append(
            ProfileEvent(kind, name, stream, start, end, nbytes, start, self._thread_name(get_ident()))
        )

    def _add(self, events: list[ProfileEvent]) -> None:
        self._events += events

    # --- results
    @property
    def events(self) -> list[ProfileEvent]:
        """What was noted, by its start."""
        return sorted(self._events, key=lambda event: (event.start_ns, -event.end_ns))

    def table(self) -> str:
        """By name: calls, time in all, mean, bytes a second, and the share of the time of all kernels, copies and fills."""
        return profile_report.table(self.events)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a trace that https://ui.perfetto.dev and ``chrome://tracing`` open.

        Each stream has a track for its kernels and one for its copies and fills, each thread of the host one for ranges and
        waits; times are the host's ``time.perf_counter_ns``, in microseconds as the format wants it.

        Parameters
        ----------
        path : path
            Of the JSON file.
        """
        profile_report.save_trace(self.events, path)

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draw the timeline, a row for each track (extra ``plot``).

        Parameters
        ----------
        path : path
            Of the picture; its suffix says the format, such as ``.png`` or ``.svg``.

        Raises
        ------
        NotSupportedError
            Without matplotlib, or where nothing was noted.
        """
        profile_report.plot(self.events, path)


class profile_range:
    """Name a part of the program in the profiles that run; without any it does nothing.

    A context manager and a decorator, of coroutines too. Ranges may lie within one another.

    Parameters
    ----------
    name : str
    """

    def __init__(self, name: str) -> None:
        if not isinstance(name, str):
            raise TypeError(f"profile_range() takes a name, not {name!r}")
        self._name = name
        self._starts: dict[int, list[int]] = {}

    def __enter__(self) -> Self:
        self._starts.setdefault(get_ident(), []).append(perf_counter_ns())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        starts = self._starts[get_ident()]
        start = starts.pop()
        if not starts:
            del self._starts[get_ident()]
        for one in _profiles.running:
            if start >= one._begin_ns:
                one._on_host("range", self._name, None, start)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Name the calls of a function."""
        name = self._name
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def ranged(*args: P.args, **kwargs: P.kwargs) -> Any:
                with _one_range(name):
                    return await function(*args, **kwargs)

            return cast("Callable[P, R]", ranged)

        @functools.wraps(function)
        def ranged_call(*args: P.args, **kwargs: P.kwargs) -> R:
            with profile_range(name):
                return function(*args, **kwargs)

        return ranged_call


@contextlib.contextmanager
def _one_range(name: str) -> Iterator[None]:
    """A range that may end on another thread than it began, and beside others, as coroutines do."""
    start = perf_counter_ns()
    try:
        yield
    finally:
        for one in _profiles.running:
            if start >= one._begin_ns:
                one._on_host("range", name, None, start)
