"""The caching allocator: one pool a context, an arena for each stream and kind of memory.

A freed block goes back to the arena of its home stream, after that stream was made to wait for every other
stream that used the block; whoever gets it next in the home stream's order may therefore write it at once.
Finalizers only append to a queue, which the next call drains: no hook runs inside ``__del__``.
"""

from __future__ import annotations

import contextlib
import gc
from collections import deque
from threading import get_ident
from typing import TYPE_CHECKING

from gpucore.errors import GpucoreError, OutOfMemoryError
from gpucore.runtime import ProcessBound
from gpucore.runtime.dlpack_exports import exports
from gpucore.runtime.memory_block import Arena, Block, Owner, size_class

if TYPE_CHECKING:
    from gpucore.hookspecs import Allocation, EventHandle, MemoryKind
    from gpucore.runtime.memory_block import Reserve
    from gpucore.runtime.state import ContextState
    from gpucore.runtime.stream import Stream, Timeline

__all__ = ["Pool"]

_MOST_RETIRED = 64
"""Pieces of outside memory that may wait for work on them before a drain waits for the oldest."""


class Pool(ProcessBound):
    """The memory of one context.  See ``stats`` and ``trim``."""

    def __init__(self, state: ContextState, limit: int | None) -> None:
        self._state = state
        self.limit = limit
        self.returned: deque[Block] = deque()
        # outside memory that nobody uses any more, each with an event after the work on it
        self._retired: deque[tuple[EventHandle, Allocation]] = deque()
        self._live: set[Block] = set()
        self._used = 0
        self._peak = 0
        self._held = state.device._held
        self._number = id(self)
        self._delegated = "stream_ordered_alloc" in state.device.capabilities.names

    def __repr__(self) -> str:
        return f"<Pool used={self._used} cached={self._cached} limit={self.limit}>"

    @property
    def _cached(self) -> int:
        """Bytes that are kept to be handed out again; counted where they lie, so that no interrupt comes between the two."""
        state = self._state
        with state.lock:
            timelines = {stream._timeline for stream in state.live_streams()} | set(state.dead_streams)
            return sum(
                entry[0]
                for timeline in timelines
                for (pool, _), arena in list(timeline.arenas.items())
                if pool == self._number
                for entry in list(arena.entries)
            )

    # --- public
    def stats(self) -> dict[str, int]:
        """Figures in bytes: ``used cached limit peak``, and the number of live ``allocations``.

        ``limit`` is 0 where the context has none.
        """
        state = self._state
        self.drain()
        if state.dead_pools:
            state.drain()
        cached = self._cached
        if self._delegated and "pool" in state.device.capabilities.names:
            cached += state.call(state.hooks.pool_stats, state.device._handle).get("cached", 0)
        return {
            "used": self._used,
            "cached": cached,
            "limit": self.limit or 0,
            "peak": self._peak,
            "allocations": len(self._live),
        }

    def trim(self) -> int:
        """Give cached memory back to the driver; the bytes given back."""
        state = self._state
        with state.lock:
            self.drain(wait=True)
            state.retire_dropped()
            given = 0
            for stream in state.live_streams():
                arenas = stream._timeline.arenas
                mine = [
                    arena
                    for (pool, _), arena in list(arenas.items())
                    if pool == self._number and arena.entries
                ]
                if not mine:
                    continue
                stream._wait_idle()
                for arena in mine:
                    while (found := arena.take_any()) is not None:
                        state.free(state.device._handle, found[0], None)
                        given += found[1]
                for key in [key for key in arenas if key[0] == self._number]:
                    if not arenas[key].entries:
                        del arenas[key]
            if self._delegated and "pool" in state.device.capabilities.names:
                given += int(state.call(state.hooks.pool_trim, state.device._handle))
            return given

    # --- for core
    def allocate(self, nbytes: int, kind: MemoryKind, stream: Stream) -> Owner:
        """A block of at least ``nbytes`` > 0, usable in the order of ``stream``.

        Raises
        ------
        OutOfMemoryError
            After the cache was given back and garbage collected.
        """
        state = self._state
        with state.lock:
            if self.returned or exports.capsules:
                self.drain()
            size = size_class(nbytes)
            if self.limit is not None and size > self.limit >= nbytes:
                size = nbytes
            if not self._delegated or kind != "device":
                arena = stream._timeline.arenas.get((self._number, kind))
                found = arena.take(size) if arena is not None else None
                if found is not None:
                    allocation, size, epoch = found
                    if kind != "device" and epoch == stream._timeline.epoch:
                        # the host writes it when it likes, in no stream's order
                        stream._wait_idle()
                    return self._begin(allocation, size, kind, stream, epoch)
                inherited = self._inherited(size, kind, stream)
                if inherited is not None:
                    return self._begin(*inherited, kind, stream, -1)
            allocation = self._allocate_raw(nbytes, size, kind, stream)
            return self._begin(
                allocation, size, kind, stream, stream._timeline.epoch if self._delegated else -1
            )

    def _inherited(self, size: int, kind: MemoryKind, stream: Stream) -> tuple[Allocation, int] | None:
        """Idle memory of the default stream, which has what ended streams had cached: without it a program that makes
        stream after stream would take new memory for each.
        """
        state = self._state
        default = state.default_stream
        arena = default._timeline.arenas.get((self._number, kind)) if default is not stream else None
        if (
            arena is None
            or not arena.entries
            or not state.query_stream(state.device._handle, default._handle)
        ):
            return None
        found = arena.take(size)
        return None if found is None else found[:2]

    def adopt(self, allocation: Allocation, nbytes: int, stream: Stream) -> Owner:
        """A block for imported memory, which is neither counted nor cached."""
        with self._state.lock:
            if self.has_returned:
                self.drain()  # a loop that imports and drops needs no other call
            block = Block(
                self, allocation, nbytes, "device", stream._timeline, stream._timeline.epoch, outside=True
            )
            owner = Owner(block)
            self._live.add(block)
            return owner

    def _begin(
        self,
        allocation: Allocation,
        size: int,
        kind: MemoryKind,
        stream: Stream,
        last_use_epoch: int,
        reserve: Reserve | None = None,
        offset: int = 0,
    ) -> Owner:
        block = Block(
            self, allocation, size, kind, stream._timeline, last_use_epoch, reserve=reserve, offset=offset
        )
        number, held = id(allocation), (allocation, kind)
        # from where the owner has the block its finalizer gives it back: no interrupt comes until it is counted
        owner: Owner = object.__new__(Owner)
        owner.block = block
        self._held[number] = held
        self._used += size
        self._live.add(block)
        self._peak = max(self._peak, self._used)
        profiler = self._state.observation.profiler
        if profiler is not None:
            profiler.memory("allocate", size, self._used, stream)
        recorder = self._state.recorders.get(get_ident()) if self._state.recorders else None
        if recorder is not None:
            recorder.own(owner)
        return owner

    @property
    def name(self) -> str:
        """How errors call it."""
        return f"{self._state.device.backend}:{self._state.device.ordinal}"

    def _piece_returned(self) -> None:
        """A piece of a reserve came back."""

    def _fits(self, size: int) -> bool:
        """Whether so much more is within the limits of this pool and of the context."""
        if self.limit is not None and self._used + self._cached + size > self.limit:
            return False
        pools, limit = self._state.pools, self._state.pool.limit
        return limit is None or sum(pool._used + pool._cached for pool in pools) + size <= limit

    def _allocate_raw(self, nbytes: int, size: int, kind: MemoryKind, stream: Stream) -> Allocation:
        state = self._state
        cause: OutOfMemoryError | None = None
        for attempt in range(3):
            if attempt == 1:
                for pool in list(state.pools):
                    pool.trim()
                state.trim_others()
            elif attempt == 2:
                gc.collect()
                self.drain()
                state.end_dead_pools(wait=True)
                self.trim()
            if not self._fits(size):
                continue
            try:
                return state.alloc(state.device._handle, size, kind, stream._handle)
            except OutOfMemoryError as error:
                cause = error
        limit = "" if self.limit is None else f", limit {self.limit:,}"
        reason = f": {cause}" if cause is not None else ""
        raise OutOfMemoryError(
            f"out of memory on {self.name}: {nbytes:,} bytes requested, "
            f"{self._used:,} in use, {self._cached:,} cached{limit}{reason}",
            requested=nbytes,
            used=self._used,
            cached=self._cached,
            limit=self.limit,
        ) from None

    def release(self, block: Block, why: str = "it was freed", *, owned: bool = True) -> None:
        """End a block's life now, in stream order; its memory too, unless somebody outside may use it.

        ``owned`` says that arrays stand on it still.
        """
        state = self._state
        with state.lock:
            if block.home is None:
                if owned or block.reclaiming_stream is None:
                    return
                home, block.reclaiming_stream = block.reclaiming_stream.stream(), None
                if home._why is not None:
                    home = state.default_stream
            elif state.device._dead is not None or state.closed:
                self._forget(block, why)
                return
            else:
                home = block.join_streams()
                if owned and block.exposed:
                    self._end(block, why, home._timeline)
                    return
            self._forget(block, why)
            if state.device._dead is not None:
                return
            if state.closed:
                if block.reserve is None:
                    state.free(state.device._handle, block.allocation, None)
                else:
                    self._piece_returned()
            elif block.outside:
                self._retire(block.allocation, home)
            elif block.reserve is not None:
                block.reserve.give(block.offset, block.nbytes, home._timeline)
                self._piece_returned()
            elif self._delegated and block.kind == "device":
                state.free(state.device._handle, block.allocation, home._handle)
            else:
                arenas = home._timeline.arenas
                arena = arenas.get((self._number, block.kind))
                if arena is None:
                    arena = arenas[self._number, block.kind] = Arena(self._held)
                arena.put(block.allocation, block.nbytes, home._timeline.epoch)

    def _end(self, block: Block, why: str, reclaiming_stream: Timeline | None) -> None:
        if block.home is not None:
            block.home, block.why, block.reclaiming_stream = None, why, reclaiming_stream
            self._state.version += 1

    def _forget(self, block: Block, why: str) -> None:
        counted = block in self._live  # else an interrupt ended this after it was counted out
        if counted and not block.outside:
            self._used -= block.nbytes
        self._live.discard(block)
        if counted and not block.outside:
            profiler = self._state.observation.profiler
            if profiler is not None:
                home = block.home or block.reclaiming_stream
                profiler.memory("release", block.nbytes, self._used, None if home is None else home.stream())
        number = id(block.allocation)
        if block.home is not None:
            self._state.version += 1
            block.why = why
        # no interrupt comes between these: without a home nobody gives it back
        if block.reserve is None and number in self._held:
            del self._held[number]
        block.home = block.reclaiming_stream = None

    def _retire(self, allocation: Allocation, home: Stream) -> None:
        """Give outside memory back to its owner, once the work on it is done: waiting for that would stop the caller."""
        state = self._state
        if state.query_stream(state.device._handle, home._handle):
            state.free(state.device._handle, allocation, None)
            return
        event = state.take_event()
        state.record_event(state.device._handle, event, home._handle)
        self._retired.append((event, allocation))

    def _free_retired(self, *, wait: bool) -> None:
        state, retired = self._state, self._retired
        while True:
            if not retired:
                return
            first = retired[0]
            event, allocation = first
            if wait or len(retired) > _MOST_RETIRED:
                state.synchronize_event(state.device._handle, event)
            elif not state.query_event(state.device._handle, event):
                return
            if not retired or retired[0] is not first:
                continue  # a finalizer was faster
            retired.popleft()
            state.give_event(event)
            state.free(state.device._handle, allocation, None)

    def is_host_memory(self, allocation: object) -> bool:
        """Whether an allocation that is in use is pinned memory of the host."""
        return (allocation, "pinned") == self._held.get(id(allocation))

    @property
    def has_returned(self) -> bool:
        """Whether :meth:`drain` has anything to do."""
        return bool(self.returned or self._retired or exports.capsules)

    def drain(self, *, wait: bool = False) -> None:
        """Take back what finalizers left; with ``wait`` also outside memory that is still worked on."""
        if exports.capsules:
            exports.sweep()
        returned = self.returned
        with self._state.lock:
            while returned:
                block = returned[0]  # it stays there until it is released: an interrupt may end this
                block.pool.release(block, owned=False)
                if returned and returned[0] is block:  # else a finalizer was faster
                    returned.popleft()
            if self._retired:
                self._free_retired(wait=wait)

    def inherit(self, arenas: dict[tuple[int, MemoryKind], Arena], reclaiming_stream: Stream) -> None:
        """Hand what all pools cached for a stream that ended to another, which waits for it."""
        for key, arena in arenas.items():
            into = reclaiming_stream._timeline.arenas.setdefault(key, Arena(self._held))
            while (found := arena.take_any()) is not None:
                into.put(*found, reclaiming_stream.epoch)

    def wait_for_others(self) -> None:
        """Wait for what streams of other devices still do with the memory: they reach it where devices are peers."""
        others = {
            user for block in list(self._live) for user in list(block.users) if user.state is not self._state
        }
        for user in others:
            stream = user.reference()
            if stream is not None and stream._why is None and user.state.device._dead is None:
                with contextlib.suppress(GpucoreError):  # its own context raises it
                    stream._wait_idle()

    def end(self, why: str) -> None:
        """End every array; the memory stays until :meth:`close`."""
        for block in list(self._live):
            self._end(block, why, block.home if block.exposed else None)

    def close(self, why: str = "its context is closed") -> None:
        """Free everything that nobody outside may use; the caller has waited for all streams."""
        state = self._state
        self.end(why)
        self.trim()
        for block in list(self._live):
            if block.exposed:
                continue
            self._forget(block, why)
            if block.reserve is None:
                state.free(state.device._handle, block.allocation, None)
            else:
                block.reserve.free += block.nbytes

    @property
    def lending(self) -> bool:
        """Whether somebody outside may use memory of the pool."""
        return any(block.exposed for block in self._live)

    def forget(self, why: str) -> None:
        """Drop everything without calling the driver: the device's memory is void."""
        self.returned.clear()
        self._retired.clear()
        for block in list(self._live):
            self._forget(block, why)
