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
import weakref
from collections.abc import Callable, Iterator
from threading import get_ident
from time import perf_counter_ns
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from gpucore.errors import LaunchError
from gpucore.runtime import profile_report
from gpucore.runtime.context_profile import ContextProfile, EventKind, ProfileEvent
from gpucore.runtime.device import open_devices

if TYPE_CHECKING:
    from typing import Self

    from gpucore.runtime.context import Context
    from gpucore.runtime.state import ContextState

__all__ = ["EventKind", "ProfileEvent", "profile", "profile_range"]

log = logging.getLogger("gpucore")
P = ParamSpec("P")
R = TypeVar("R")


class _Profiles:
    """The profiles that run in this process; nobody but its ``with`` block keeps one, so that an interrupt cannot leave it."""

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
            living = [device for device in list(open_devices.devices.values()) if not device.is_lost]
            states = [state for device in living for state in list(device._states)]
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
