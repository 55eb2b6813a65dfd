"""The profile of one context: marks about its launches, copies and fills, waits and allocations, read later."""

from __future__ import annotations

import logging
import threading
import weakref
from collections import deque
from collections.abc import Callable
from threading import get_ident
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from gpucore.errors import GpucoreError
from gpucore.runtime.profile_event import EventKind, ProfileEvent
from gpucore.runtime.timestamps import clock_of

if TYPE_CHECKING:
    from gpucore.runtime.observation import ObservedLauncher
    from gpucore.runtime.profiler import profile
    from gpucore.runtime.state import ContextState
    from gpucore.runtime.stream import Stream

__all__ = ["ContextProfile"]

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
