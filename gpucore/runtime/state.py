"""What the views of one context share: bound hooks, pool, streams, and the queues that finalizers fill."""

from __future__ import annotations

import contextlib
import logging
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from gpucore.errors import GpucoreError, LaunchError, NotSupportedError
from gpucore.hookspecs import StreamOptions
from gpucore.runtime.device import DeviceToolchain
from gpucore.runtime.memory_block import Block, NoBlock
from gpucore.runtime.memory_pool import Pool
from gpucore.runtime.observation import Observation, Recorder
from gpucore.runtime.running_calls import interrupted_call, wait_for_calls
from gpucore.runtime.stream import Stream, launch_options

if TYPE_CHECKING:
    from gpucore.backends.discovery import Hooks
    from gpucore.compile.pipeline import Program
    from gpucore.config import Settings
    from gpucore.hookspecs import Allocation, DeviceHandle, EventHandle, StreamHandle
    from gpucore.runtime.context import Context
    from gpucore.runtime.device import Device
    from gpucore.runtime.geometry import Signature
    from gpucore.runtime.graph import Graph
    from gpucore.runtime.kernel_reports import Record, Records
    from gpucore.runtime.stream import Event, Timeline

log = logging.getLogger("gpucore")
_WHY = "its context is closed"

P = ParamSpec("P")
R = TypeVar("R")


class ContextState:
    """One opened context.

    Attributes
    ----------
    ending : bool
        It closes: new work is refused.
    recorders : dict[int, Recorder]
        Who records the work of a thread instead of enqueueing it, by the thread's number; empty but while graphs are recorded.
    kept_streams : list[Stream]
        Those that live until the context ends, whoever drops them.
    home_streams : dict[int, Stream]
        Whose order memory is handed out in where a thread names no stream; the default stream's for threads that are not here.
    version : int
        Grows whenever an array of the context ends before its last reference: bound launches look at it.
    """

    def __init__(self, device: Device, hooks: Hooks, limit: int | None, settings: Settings) -> None:
        from gpucore.runtime.device import open_devices

        # looked up now: finalizers run when nothing can be imported any more, too
        self._returned_states = open_devices.returned
        self.device = device
        self.settings = settings
        self._unobserved = hooks
        self.use_hooks(hooks)
        self.recorders: dict[int, Recorder] = {}
        self.home_streams: dict[int, Stream] = {}
        self.observation = Observation(self)
        self.graphs: weakref.WeakSet[Graph] = weakref.WeakSet()
        self.dead_graphs: deque[tuple[Any, Any, int]] = deque()
        self.toolchain = DeviceToolchain(device, hooks, self.load)
        self.lock = threading.RLock()
        self._close_lock = threading.RLock()
        self._closing = False
        self.ending = False
        self.closed = False
        self.version = 0
        self._streams: set[weakref.ref[Stream]] = set()
        self.kept_streams: list[Stream] = []
        self.events: weakref.WeakSet[Event] = weakref.WeakSet()
        self.dead_streams: deque[Timeline] = deque()
        self.dead_events: deque[tuple[EventHandle, int]] = deque()
        self._spare_events: list[EventHandle] = []
        self._user_pools: list[weakref.ref[Pool]] = []
        self.dead_pools: deque[Pool] = deque()
        self.pool = Pool(self, limit)
        self.signatures: dict[tuple[Any, ...], Signature] = {}
        self.options = launch_options(
            False, "strict"
        )  # of launches that no array and no view of the context decides
        self.default_stream: Stream = None  # type: ignore[assignment]  # until start()
        self.no_block: Block = NoBlock(self.pool, None)
        with device._lock:
            device._states.add(self)

    def use_hooks(self, hooks: Hooks) -> None:
        """Call these from now on: the plugin's own, or those of who times them."""
        self.hooks = hooks
        guard = self.device._guard
        self.alloc, self._free = guard(hooks.alloc), guard(hooks.free)
        self.copy, self.fill = guard(hooks.copy), guard(hooks.fill)
        self.create_stream, self.destroy_stream = guard(hooks.create_stream), guard(hooks.destroy_stream)
        self.query_stream, self.query_event = guard(hooks.query_stream), guard(hooks.query_event)
        self.synchronize_stream, self.prepare = guard(hooks.synchronize_stream), guard(hooks.prepare)
        self.synchronize_event, self.elapsed_time = guard(hooks.synchronize_event), guard(hooks.elapsed_time)
        self.create_event, self.destroy_event = guard(hooks.create_event), guard(hooks.destroy_event)
        self.record_event, self.wait_event = guard(hooks.record_event), guard(hooks.wait_event)
        self.load, self.unload = guard(hooks.load), guard(hooks.unload)

    def free(self, device: DeviceHandle, allocation: Allocation, stream: StreamHandle | None) -> None:
        """Let memory go, and give it back."""
        self.device._held.pop(id(allocation), None)
        self._free(device, allocation, stream)

    def start(self) -> None:
        """Make the default stream; again after the device was reset."""
        self.default_stream = self.new_stream(0, None, None)
        self.no_block = NoBlock(self.pool, self.default_stream._timeline)
        self.signatures.clear()

    def opened(self) -> None:
        """Let who looks at every context, or records a graph on any thread, know that one was opened."""
        from gpucore.runtime.device import open_devices

        for state in open_devices.states():
            for thread, recorder in list(state.recorders.items()):
                if recorder is not recorder.elsewhere:
                    self.observation.begin_recording(recorder.elsewhere, thread)
                    if state.recorders.get(thread) is not recorder:  # it ended meanwhile
                        self.observation.end_recording(thread)
        if open_devices.on_open is not None:
            open_devices.on_open(self)

    def call(self, hook: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a hook that is not among the bound ones, such as ``hooks.import_stream``."""
        return self.device._guard(hook)(*args, **kwargs)

    def check(self) -> None:
        """Raise where the context cannot be used any more."""
        if self.closed or self.ending:
            raise LaunchError("the context is closed")
        if self.device._dead is not None:
            raise self.device._failure()

    @property
    def unobserved(self) -> Hooks:
        """The hooks for what the context does for itself, which no profile is to show as the program's work."""
        return self._unobserved

    # --- streams and events
    def new_stream(self, priority: int, outside: int | None, context: Context | None) -> Stream:
        device = self.device
        if outside is None:
            handle = self.new_stream_handle(priority)
        else:
            if "import_stream" not in device.capabilities.names:
                raise NotSupportedError(
                    f"{device.backend} cannot wrap an outside stream", capability="import_stream"
                )
            handle = self.call(self.hooks.import_stream, device._handle, outside)
        with self.lock:
            return Stream(self, handle, priority, context)

    def new_stream_handle(self, priority: int) -> StreamHandle:
        """A new stream of the backend's."""
        return self.create_stream(self.device._handle, StreamOptions(priority))

    def remember(self, stream: Stream) -> None:
        """Count a stream among those that ``live_streams`` gives, until it is gone."""
        self._streams.add(weakref.ref(stream, self._streams.discard))

    def live_streams(self) -> list[Stream]:
        with self.lock:
            alive = [reference() for reference in tuple(self._streams)]
            if (
                self.default_stream not in alive
            ):  # of a context that was found in a cycle, which ends weak references
                alive.append(self.default_stream)
            return [stream for stream in alive if stream is not None and stream._why is None]

    def wait_for_streams(self) -> None:
        """Block until the work of all streams is done, and raise what checked kernels found."""
        streams = self.live_streams()
        for stream in streams:
            stream._wait_idle()
        if self.has_dead():
            self.drain()
        if self.device._unloadable:
            self.device._unload_if_idle()
        for stream in streams:
            if stream._records is not None:
                stream._records.read()

    def raise_found(self) -> None:
        """Raise what checked kernels have found by now and no waiting call has raised yet; running ones are not waited for
        where the host reaches what they find.
        """
        for stream in self.live_streams():
            if stream._records is not None:
                stream._records.raise_found()

    def has_unread_error(self) -> bool:
        """Whether a kernel that has run found something that no waiting call has raised yet."""
        return any(s._records is not None and s._records.holds_error for s in self.live_streams())

    def deliver_prints(self) -> None:
        """Write what kernels that have run printed; their errors stay for the next call that waits."""
        for stream in self.live_streams():
            if stream._records is not None:
                stream._records.deliver_prints()

    def take_event(self) -> EventHandle:
        """An event without timing for order between streams, from a small stock."""
        spare = self._spare_events
        try:
            # without a call, in which an interrupt could lose it
            event = spare[-1]
            del spare[-1]
            return event
        except IndexError:
            return self.create_event(self.device._handle, False)

    def give_event(self, event: EventHandle) -> None:
        """Put it back: a wait refers to the mark as it was, so the event may be recorded again."""
        if len(self._spare_events) < 64:
            self._spare_events.append(event)
        else:
            self.destroy_event(self.device._handle, event)

    def records(self, stream: Stream) -> Records:
        """The error records of a stream."""
        found = stream._records
        if found is None:
            from gpucore.runtime.kernel_reports import Records

            with self.lock:
                found = stream._records
                if found is None:
                    found = stream._timeline.records = Records(self, stream._handle)
                    stream._records = found
        return found

    def error_record(self, stream: Stream, program: Program) -> Record:
        """The error record of launches of a program on a stream."""
        return self.records(stream).of(program)

    # --- garbage
    def has_dead(self) -> bool:
        return bool(
            self.dead_events
            or self.dead_streams
            or self.dead_graphs
            or self.dead_pools
            or self.pool.has_returned
        )

    def drain(self) -> None:
        """Do what finalizers noted."""
        device = self.device
        if device._dead is not None or self.closed:
            self.dead_events.clear()
            self.dead_streams.clear()
            self.dead_graphs.clear()
            self.dead_pools.clear()
            return
        with self.lock:
            self._drain_graphs()
            self.pool.drain()
            if self.dead_pools:
                self.end_dead_pools()
            while self.dead_events:
                dead_event, generation = self.dead_events.popleft()
                if generation == device._generation:
                    self.destroy_event(device._handle, dead_event)
            self.retire_dropped()

    def retire_dropped(self) -> None:
        """Retire streams that nobody holds any more; the lock is held."""
        for timeline in list(self.dead_streams):
            if timeline.is_dropped:  # else found by a weak reference while its finalizer ran
                self.retire(timeline)
                with contextlib.suppress(ValueError):  # a finalizer was faster
                    self.dead_streams.remove(timeline)

    def retire(self, timeline: Timeline) -> None:
        """Let the default stream take the place of one that is gone: it waits for its work, and has its memory and errors."""
        device, default = self.device, self.default_stream
        with self.lock:
            if timeline.retired or self.closed or device._dead is not None:
                return
            if default is not None and timeline is default._timeline:
                return  # its context was dropped: it ends with it
            handle = timeline.handle
            if timeline.records is not None:
                self.synchronize_stream(device._handle, handle)
                timeline.epoch += 1
                unreported = timeline.records.end()
                if unreported is not None:
                    self.records(default).inherit(unreported)
                timeline.records = None
            elif self.query_stream(device._handle, handle):
                timeline.epoch += 1
            else:
                event = self.take_event()
                self.record_event(device._handle, event, handle)
                self.wait_event(device._handle, default._handle, event)
                self.give_event(event)
            self.pool.inherit(timeline.arenas, default)
            timeline.retired = True
            self.destroy_stream(device._handle, handle)

    def _drain_graphs(self) -> None:
        """Destroy graphs that nobody holds, once no launch of them is pending."""
        device = self.device
        for _ in range(len(self.dead_graphs)):
            try:
                handle, stream, generation = self.dead_graphs.popleft()
            except IndexError:
                return  # another thread was faster
            if generation != device._generation:
                continue
            if stream is None or stream._why is not None or self.query_stream(device._handle, stream._handle):
                self.call(self.hooks.destroy_graph, device._handle, handle)
            else:
                self.dead_graphs.append((handle, stream, generation))

    # --- pools
    @property
    def pools(self) -> list[Pool]:
        """The context's own pool, then the user's; those that nobody has any more but that hold memory still, too."""
        found = [self.pool, *(pool for ref in self._user_pools if (pool := ref()) is not None)]
        return found + [pool for pool in list(self.dead_pools) if pool not in found]

    def add_pool(self, pool: Pool) -> None:
        """Know a pool of the user's for as long as somebody has it."""
        with self.lock:
            self._user_pools.append(weakref.ref(pool))

    def remove_pool(self, pool: Pool) -> None:
        """Know it no more; twice does nothing."""
        with self.lock:
            self._user_pools = [ref for ref in self._user_pools if ref() not in (None, pool)]

    def end_dead_pools(self, *, wait: bool = False) -> None:
        """Close pools that nobody has any more, once no work is pending; with ``wait`` wait for it."""
        with self.lock:
            if not wait and not all(
                self.query_stream(self.device._handle, stream._handle) for stream in self.live_streams()
            ):
                return
            while self.dead_pools:
                pool = self.dead_pools[0]  # known until it is closed
                pool.close()
                self.dead_pools.popleft()

    def trim_others(self) -> None:
        """Give back what other contexts on the device have cached."""
        for state in self.device._all_states:
            if state is not self and not state.closed and state.lock.acquire(blocking=False):
                try:
                    for pool in list(state.pools):
                        pool.trim()
                finally:
                    state.lock.release()

    # --- life
    def close(self) -> list[Exception]:
        """Close; what kernels did wrong and was not reported yet.

        In the middle of a call of this thread, where finalizers and handlers of signals run, the context ends and is closed
        once the call has returned.
        """
        from gpucore.runtime.device import open_devices

        failures: list[Exception] = []
        if not self.closed:
            interrupted = interrupted_call(self, ContextState.close.__code__)
            if interrupted is not None:
                interrupted.close_afterwards(self)
                return failures
        with self._close_lock:
            if (
                self.closed or self._closing
            ):  # closing: by this thread, which a finalizer or a signal brought here again
                return failures
            self._closing = True
            try:
                device = self.device
                if device._dead is None:
                    try:
                        self._close_live(failures)
                    except GpucoreError as error:
                        failures.append(error)
                        self.forget(_WHY)
                else:
                    self.forget(_WHY)
                self.closed = True
            finally:
                self._closing = False
            with device._lock:
                device._states.discard(self)
            lending = device._dead is None and any(pool.lending for pool in self.pools)
        if lending:
            # the device stays open for as long as somebody outside holds memory of it
            open_devices.lend(self)
        else:
            open_devices.release(device)
        return failures

    def _close_live(self, failures: list[Exception]) -> None:
        device, closing = self.device, ContextState.close.__code__
        self.end_arrays()
        if wait_for_calls(self, closing):
            self.end_arrays()  # those that the calls made meanwhile
        if self.observation.profiler is not None:
            self.observation.profiler.finish()
        self.drain()
        streams = self.live_streams()
        for stream in streams:
            try:
                stream._finish()  # also where this thread records a graph
            except GpucoreError as error:
                failures.append(error)
            if device._dead is not None:
                self.forget(_WHY)
                return
        for pool in self.pools:
            pool.wait_for_others()
        for graph in list(self.graphs):
            graph._end(_WHY)
        self._drain_graphs()
        for stream in streams:
            unreported = stream._records.end() if stream._records is not None else None
            if unreported is not None:
                failures.append(unreported)
        self.pool.drain()
        for pool in self.pools:
            pool.trim()
        for stream in streams:
            for arena in list(stream._timeline.arenas.values()):  # of pools that were closed before
                while (found := arena.take_any()) is not None:
                    self.free(device._handle, found[0], None)
            stream._end(_WHY)
        if wait_for_calls(self, closing):  # kernels without arrays, events
            for stream in streams:
                self.synchronize_stream(device._handle, stream._handle)
        # before the memory: what a call that did not return enqueues still is refused by the backend
        for stream in streams:
            self.destroy_stream(device._handle, stream._handle)
        with self.lock:
            for pool in reversed(list(self.pools)):
                pool.close()
            self.dead_pools.clear()
        for handle in (*self._spare_events, *(event._handle for event in list(self.events))):
            self.destroy_event(device._handle, handle)
        self._spare_events.clear()
        self.kept_streams.clear()

    def end_arrays(self) -> None:
        """Let later launches and copies raise; what is enqueued still runs."""
        with self.lock:
            self.ending = True
            self.version += 1
            for pool in self.pools:
                pool.end(_WHY)
            self.no_block.home, self.no_block.why = None, _WHY

    def note_returned(self) -> None:
        """Called by finalizers: memory that outlived the context is wanted no more."""
        self._returned_states.append(self)

    def return_memory(self) -> bool:
        """Free what came back since the context was closed; whether that was the last."""
        with self.lock:
            self.pool.drain()
            return not any(pool.lending for pool in self.pools)

    def forget(self, why: str) -> None:
        """Drop everything without calling the driver."""
        with self.lock:
            self.version += 1
            for pool in list(self.pools):
                pool.forget(why)
            self.no_block.home, self.no_block.why = None, why
            for stream in self.live_streams():
                stream._end(why)
            for graph in list(self.graphs):
                graph._forget(why)
            self.dead_events.clear()
            self.dead_streams.clear()
            self.dead_graphs.clear()
            self.dead_pools.clear()
            self._spare_events.clear()
            self.kept_streams.clear()

    def renew(self) -> None:
        """Start again on the next generation of the device."""
        if not self.closed:
            self.start()
