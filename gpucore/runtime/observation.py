"""What looks at the work of a context: a profiler, a recorder of graphs.

While nobody looks, nothing here runs. While somebody does, each launcher calls a second function, which hands the packed launch
to :meth:`Observation.launch`; a profiler replaces the hooks that it times as well.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from threading import get_ident
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from gpucore.backends.discovery import Hooks
from gpucore.errors import LaunchError

if TYPE_CHECKING:
    from gpucore.runtime.array import Array
    from gpucore.runtime.memory_block import Block, Owner
    from gpucore.runtime.state import ContextState
    from gpucore.runtime.stream import Event, Stream

__all__ = ["LaunchObserver", "Observation", "ObservedLauncher", "Profiler", "Recorder"]


class ObservedLauncher(Protocol):
    """Where launch functions come from, two for each kind of launch: plain, and handing over to who looks."""

    def observe(self, observed: bool) -> None:
        """Let launches call the one or the other from now on."""

    def repack(
        self, configured: Any, stream: Stream, arguments: Sequence[Any]
    ) -> tuple[Callable[..., None], tuple[Any, ...]]:
        """The call and the packed arguments of a launch of the same shape and types with other arguments."""

    def bound(self, call: Callable[..., None], packed: tuple[Any, ...]) -> Callable[[Any], None]:
        """A call with its packed arguments: what is left to give is the target."""

    def prepared(self, call: Callable[..., None]) -> Any:
        """What the backend prepared for a call; None where more belongs to it, an error record or somebody who listens."""

    @property
    def reads_scalars(self) -> bool:
        """Whether the values of scalars decide what is launched."""

    @property
    def compiled_in(self) -> frozenset[int]:
        """The numbers of the arguments whose values are part of the code."""


class LaunchObserver(Protocol):
    """Who gets launches instead of the backend."""

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
        """A launch that is ready: ``call(target, *packed)`` enqueues it.

        Parameters
        ----------
        stream : Stream
        target : object
            The backend's stream, or ``stream`` itself where the call adds an error record.
        launcher, configured : object
            What packs other ``arguments`` for the same launch; without a launcher it is the launch of a graph, which is never
            recorded.
        """


class Recorder(LaunchObserver, Protocol):
    """Who gets the work of one thread instead of the device; ``arrays`` keep the memory."""

    @property
    def elsewhere(self) -> Recorder:
        """Who gets the thread's work in other contexts."""

    def copy(
        self, stream: Stream, dst: Any, to: int, src: Any, at: int, nbytes: int, arrays: tuple[Any, ...]
    ) -> None:
        """A copy between memory of the device, pinned memory included."""

    def fill(
        self, stream: Stream, dst: Any, offset: int, nbytes: int, pattern: bytes, array: Array[Any]
    ) -> None:
        """A fill."""

    def record_event(self, event: Event, stream: Stream) -> None:
        """Mark this point of a stream."""

    def wait(self, stream: Stream, other: Event | Stream) -> None:
        """Let later work of a stream come after a mark, or after all of another stream so far."""

    def use(self, block: Block, stream: Stream) -> None:
        """Work of a stream uses memory whose home is another stream."""

    def join(self, block: Block) -> Stream:
        """Work of the home stream uses memory that others used."""

    def own(self, owner: Owner) -> None:
        """Memory was allocated."""

    def keeps(self, array: Array[Any]) -> bool:
        """Whether the memory of an array that is to be freed goes with the graph; refuses what the graph uses."""

    def refuse(self, what: str, instead: str) -> NoReturn:
        """Raise: this cannot be recorded."""


class Profiler(LaunchObserver, Protocol):
    """Who times launches, and what hooks do."""

    def again(self, kernel: str, stream: Stream, ready: Callable[[Any], None], target: Any) -> None:
        """A launch with the arguments of the last one: ``ready(target)`` enqueues it."""

    def hooks(self) -> dict[str, Callable[..., Any]]:
        """The hooks to call instead of the plugin's."""

    def memory(self, what: str, nbytes: int, used: int, stream: Stream | None) -> None:
        """The pool handed out or took back memory."""

    @property
    def is_forsaken(self) -> bool:
        """Whether nobody has what it notes for any more, so that another may take its place."""

    def finish(self) -> None:
        """Wait for the work that was timed and note its times; the context is about to close."""


class Observation:
    """Who looks at the work of one context.

    Attributes
    ----------
    profiler : Profiler or None
    """

    def __init__(self, state: ContextState) -> None:
        self._state = state
        self._launchers: weakref.WeakSet[ObservedLauncher] = weakref.WeakSet()
        self._plain: Hooks | None = None
        self.profiler: Profiler | None = None
        self._stale = False
        self.launch: Callable[..., None] = self._to_recorder
        """What launch functions hand launches over to, with the arguments of :meth:`LaunchObserver.launch`."""
        self.again: Callable[..., None] | None = None
        """The same for launches that are packed already, :meth:`Profiler.again`; None while a thread records."""

    @property
    def active(self) -> bool:
        """Whether anybody looks."""
        return self.profiler is not None or bool(self._state.recorders)

    def add_launcher(self, launcher: ObservedLauncher) -> None:
        """A new launcher of the context, which looks for the observers itself from now on."""
        with self._state.lock:
            self._launchers.add(launcher)
            if self.active:
                launcher.observe(True)

    def _switch(self) -> None:
        """Let launchers know whether anybody looks, and bound launches look once more."""
        self._stale = (
            True  # until all know: an interrupt may come in between, and who is interrupted calls again
        )
        profiler = self.profiler
        alone = profiler if not self._state.recorders else None
        self.launch = self._to_recorder if alone is None else alone.launch
        self.again = None if alone is None else alone.again
        for launcher in list(self._launchers):
            launcher.observe(self.active)
        self._state.version += 1
        self._stale = False

    # --- profilers
    def end_forsaken_profile(self) -> None:
        """End a profile whose block an interrupt left without a word."""
        other = self.profiler
        if other is not None and other.is_forsaken:
            other.finish()

    def begin_profile(self, profiler: Profiler) -> None:
        """Let a profiler time the work from now on.

        Raises
        ------
        LaunchError
            Where another one does already.
        """
        state = self._state
        with state.lock:
            if self.profiler is not None:
                raise LaunchError(
                    "the context is being profiled already; use the events of the profile around this one, and name parts of "
                    "it with gpucore.profile_range(name)"
                )
            plain = state.hooks
            timed = plain.replaced(profiler.hooks())
            # no interrupt comes between these two
            self._plain, self.profiler = plain, profiler
            state.use_hooks(timed)
            self._switch()

    def end_profile(self, profiler: Profiler) -> None:
        """Give the plugin's own hooks and the plain launch functions back."""
        state = self._state
        with state.lock:
            if self.profiler is profiler and self._plain is not None:
                state.use_hooks(self._plain)
                self._stale = True
                self.profiler = self._plain = None
            if self._stale:
                self._switch()

    # --- recorders
    def begin_recording(self, recorder: Recorder, thread: int) -> None:
        """Let a recorder have the work of a thread from now on."""
        state = self._state
        with state.lock:
            self._stale = True
            state.recorders[thread] = recorder
            self._switch()

    def end_recording(self, thread: int) -> None:
        """Enqueue the work of a thread again; where it is, do nothing."""
        state = self._state
        with state.lock:
            if thread in state.recorders:
                self._stale = True
                del state.recorders[thread]
            if self._stale:
                self._switch()

    def _to_recorder(
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
        """While threads record: their launches go to their recorders, those of others to the device."""
        recorder, profiler = self._state.recorders.get(get_ident()), self.profiler
        if recorder is not None:
            recorder.launch(kernel, stream, call, target, packed, launcher, configured, arguments)
        elif profiler is not None:
            profiler.launch(kernel, stream, call, target, packed, launcher, configured, arguments)
        else:
            try:
                call(target, *packed)
            except Exception as error:
                self._state.device._judge_launch(kernel, error)
                raise
