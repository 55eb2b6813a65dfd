"""The profiler: what the work of contexts took, on one clock.

A profiled context marks its streams before and after each kernel, copy and fill; the marks are read when many have gathered,
when the context closes, and at the end of the profile. What a profile changes meanwhile is in :mod:`gpucore.runtime.observation`.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from threading import get_ident
from time import perf_counter_ns
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from gpucore.errors import LaunchError, NotSupportedError
from gpucore.runtime.context_profile import ContextProfile, EventKind, ProfileEvent
from gpucore.runtime.device import open_devices

if TYPE_CHECKING:
    from typing import Self

    from gpucore.runtime.context import Context
    from gpucore.runtime.state import ContextState

__all__ = ["EventKind", "ProfileEvent", "plot", "profile", "profile_range", "save_trace", "table", "tracks"]


ON_DEVICE = ("kernel", "copy", "fill")


def tracks(events: Sequence[ProfileEvent]) -> dict[tuple[str, str], list[ProfileEvent]]:
    """Events by process and track: kernels, and copies with fills, of each stream of a device; each thread of the host."""
    found: dict[tuple[str, str], list[ProfileEvent]] = {}
    for event in events:
        if event.kind in ON_DEVICE and event.stream is not None:
            device, _, stream = event.stream.partition(" ")
            what = "kernels" if event.kind == "kernel" else "copies"
            key = (device, f"{stream}: {what}")
        elif event.kind == "alloc":
            key = ("host", "memory")
        else:
            key = ("host", event.thread)
        found.setdefault(key, []).append(event)
    return dict(sorted(found.items(), key=lambda item: (item[0][0] == "host", item[0])))


def table(events: Sequence[ProfileEvent]) -> str:
    """Calls, total, mean, rate and share, by kind and name; the longest first."""
    groups: dict[tuple[str, str], list[ProfileEvent]] = {}
    for event in events:
        groups.setdefault((event.kind, event.name), []).append(event)
    on_device = sum(event.duration_ns for event in events if event.kind in ON_DEVICE)
    rows = [("kind", "name", "calls", "total ms", "mean us", "GB/s", "share")]
    ordered = sorted(
        groups.items(),
        key=lambda item: (item[0][0] not in ON_DEVICE, -sum(event.duration_ns for event in item[1])),
    )
    for (kind, name), group in ordered:
        total = sum(event.duration_ns for event in group)
        nbytes = sum(event.bytes for event in group)
        rows.append((
            kind, name, str(len(group)), f"{total / 1e6:.3f}", f"{total / 1e3 / len(group):.2f}",
            f"{nbytes / total:.2f}" if nbytes and total and kind in ("copy", "fill") else "",
            f"{total / on_device:.1%}" if on_device and kind in ON_DEVICE else "",
        ))  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def _trace_events(events: Sequence[ProfileEvent]) -> Iterable[dict[str, Any]]:
    processes: dict[str, int] = {}
    for thread, ((process, track), found) in enumerate(tracks(events).items(), start=1):
        if process not in processes:
            processes[process] = len(processes) + 1
            yield {
                "ph": "M", "pid": processes[process], "tid": 0, "name": "process_name", "args": {"name": process},
            }  # fmt: skip
        pid = processes[process]
        yield {"ph": "M", "pid": pid, "tid": thread, "name": "thread_name", "args": {"name": track}}
        for event in found:
            made: dict[str, Any] = {
                "ph": "X", "pid": pid, "tid": thread, "name": event.name, "cat": event.kind,
                "ts": event.start_ns / 1e3, "dur": event.duration_ns / 1e3,
            }  # fmt: skip
            args: dict[str, Any] = {}
            if event.bytes:
                args["bytes"] = event.bytes
            if event.kind in ON_DEVICE:
                args["queued_us"] = (event.start_ns - event.queued_ns) / 1e3
                args["thread"] = event.thread
            elif event.stream is not None:
                args["stream"] = event.stream
            if args:
                made["args"] = args
            yield made


def save_trace(events: Sequence[ProfileEvent], path: str | os.PathLike[str]) -> None:
    """Write Chrome's trace format."""
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"traceEvents": list(_trace_events(events)), "displayTimeUnit": "ns"}, file)


_COLORS = {
    "kernel": "#3b6fb6", "copy to device": "#e08a2e", "copy to host": "#5aa05a", "copy": "#b9a13c",
    "fill": "#9a9a9a", "wait": "#d7d7d7", "range": "#b7a1d6", "alloc": "#c05a5a",
}  # fmt: skip


def plot(events: Sequence[ProfileEvent], path: str | os.PathLike[str]) -> None:
    """Draw a row for each track, in milliseconds from the first event."""
    if not events:
        raise NotSupportedError("there is nothing to draw: no event was noted", capability="plot")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.patches import Patch
    except ImportError as error:
        raise NotSupportedError(
            "a picture wants matplotlib: pip install 'gpucore[plot]'", capability="plot"
        ) from error
    rows = [item for item in tracks(events).items() if item[0] != ("host", "memory")] or list(
        tracks(events).items()
    )
    begin = min(event.start_ns for event in events)
    figure = Figure(figsize=(11, 1.2 + 0.42 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    used: dict[str, str] = {}
    for row, (_, found) in enumerate(rows):
        for event in found:
            what = event.name if event.name in _COLORS else event.kind
            color = used.setdefault(what, _COLORS[what])
            start, width = (event.start_ns - begin) / 1e6, event.duration_ns / 1e6
            axes.broken_barh([(start, width)], (row - 0.38, 0.76), color=color, linewidth=0.4)
    axes.set_yticks(range(len(rows)), [f"{process} {track}" for (process, track), _ in rows])
    axes.invert_yaxis()
    axes.set_xlabel("ms")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(
        handles=[Patch(color=color, label=what) for what, color in used.items()],
        loc="upper center", bbox_to_anchor=(0.5, -0.18 - 0.5 / len(rows)), ncols=max(len(used), 1), frameon=False,
    )  # fmt: skip
    figure.savefig(path, dpi=120)


log = logging.getLogger("gpucore")
P = ParamSpec("P")
R = TypeVar("R")


class _Profiles:
    """The profiles that run in this process, by weak references."""

    def __init__(self) -> None:
        self._entered: tuple[weakref.ref[profile], ...] = ()
        self.lock = threading.RLock()

    @property
    def running(self) -> list[profile]:
        return [one for ref in self._entered if (one := ref()) is not None]

    def begin(self, one: profile) -> None:
        attach = weakref.WeakMethod(one._attach)

        def on_open(state: ContextState) -> None:
            bound = attach()
            if bound is not None:
                bound(state)

        with self.lock:
            self._entered = (*(ref for ref in self._entered if ref() is not None), weakref.ref(one))
            if one.everywhere:
                open_devices.on_open = on_open

    def end(self, one: profile) -> None:
        with self.lock:
            self._entered = tuple(ref for ref in self._entered if ref() not in (None, one))
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
        self._profiles: list[ContextProfile] = []
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
            states = [state for state in open_devices.states() if not state.device.is_lost]
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
        ContextProfile(state, self, f"{label}#{same + 1}" if same else label)

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
        return table(self.events)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a trace that https://ui.perfetto.dev and ``chrome://tracing`` open.

        Each stream has a track for its kernels and one for its copies and fills, each thread of the host one for ranges and
        waits; times are the host's ``time.perf_counter_ns``, in microseconds as the format wants it.

        Parameters
        ----------
        path : path
            Of the JSON file.
        """
        save_trace(self.events, path)

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
        plot(self.events, path)


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
        starts = self._starts.get(get_ident())
        if not starts:
            raise RuntimeError(
                f"the range {self._name!r} ends in a thread where it has not begun; write `with gc.profile_range(...):`"
            )
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
