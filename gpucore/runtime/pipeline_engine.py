"""What drives a pipeline.

One stream uploads, one computes, one downloads; events order them item by item. A thread advances the source
(:mod:`gpucore.runtime.pipeline_source`). The consumer's does all else while it asks for a result: it enqueues what is ready,
whole items at a time, and waits for the oldest. Two threads that call a driver get in each other's way.

At most ``depth`` items are under way, and while the consumer waits for one, another: the source is asked for it only then.
"""

from __future__ import annotations

import contextlib
import sys
from collections import deque
from collections.abc import Iterable
from time import perf_counter
from typing import TYPE_CHECKING, Any

from gpucore.errors import GpucoreError
from gpucore.runtime.copies import copy_pinned
from gpucore.runtime.pipeline_source import Item, Source, Staged
from gpucore.runtime.running_calls import calls_outside
from gpucore.runtime.stream import refuse_recording
from gpucore.runtime.user_memory import PinnedRing

if TYPE_CHECKING:
    from gpucore.runtime.array import Array
    from gpucore.runtime.context import Context
    from gpucore.runtime.stream import Stream

__all__ = ["Engine"]

_PATIENCE = 0.5
"""Seconds that closing waits for a source or a worker's callable to return."""
_SPIN = 100e-6
"""Seconds for which a consumer looks again and again whether the oldest item is done; then it sleeps in between."""
_SHORTEST_SLEEP, _LONGEST_SLEEP = 30e-6, 1e-3


class _Slot:
    """The device memory that an item's inputs are uploaded to, used again for a later item of the same shapes."""

    __slots__ = ("arrays",)

    def __init__(self) -> None:
        self.arrays: dict[Any, Array[Any]] = {}

    def take(
        self, context: Context, key: Any, shape: tuple[int, ...], dtype: Any, stream: Stream
    ) -> Array[Any]:
        """An array for an input, which nothing else uses."""
        found = self.arrays.get(key)
        # the array, its owner's argument of getrefcount: more are views that somebody kept
        if (
            found is None
            or found.shape != shape
            or found.dtype is not dtype
            or found._block.home is None
            or (found._owner is not None and sys.getrefcount(found._owner) > 2)
        ):
            found = self.arrays[key] = context._allocate(shape, dtype, "device", stream)
        # what indexing gives, without its cost
        return found._view(found.shape, found.strides, found._offset)


class Engine:
    """What a pipeline and its source share; it does not refer to what the user holds, whose end it is to notice."""

    waits = True
    """Whether the host waits for an item before the consumer gets it."""

    def __init__(
        self, context: Context, iterable: Iterable[Any], depth: int, workers: int, slots: int
    ) -> None:
        state = context._state
        state.check()
        self.context = context
        self.state = state
        self.depth = depth
        self.upload_stream = context.stream()
        self.ring = PinnedRing(state)
        self.has_pinned = "pinned_memory" in context.device.capabilities
        self.source = Source(context.device, iterable, workers, depth, self.ring)
        self.slots = [_Slot() for _ in range(slots)]
        # where the device is the host, a wait takes nothing from it
        self._polls = context.device.kind not in ("cpu", "software")
        self.items: deque[Item] = deque()  # enqueued, in their order
        self.has_failed = False  # an item: none after it is enqueued
        self.failed = False  # the consumer got an error
        self.finished = False
        self.seconds = dict.fromkeys(("upload", "step", "download", "wait_for_result"), 0.0)
        self.counts = dict.fromkeys(("items", "bytes_up", "bytes_down"), 0)

    def dispatch(self, item: Item) -> None:
        """Enqueue the work of an item."""
        raise NotImplementedError

    def start(self) -> None:
        """Begin to take items from the source."""
        self.ring.streams = {stream._timeline for stream in self.streams()}
        self.source.start()

    # --- uploads
    def upload(self, item: Item) -> tuple[list[Any], dict[str, Any], Any]:
        """Enqueue the upload of an item; positional and named arguments, and the item with arrays of the device in it."""
        slot = self.slots[item.number % len(self.slots)]
        parts = {
            key: self._upload(item, slot, key, part) if part.__class__ is Staged else part
            for key, part in item.parts.items()
        }
        item.parts = {}
        if item.form is dict:
            return [], parts, parts
        positional = list(parts.values())
        return positional, {}, positional[0] if item.form is object else tuple(positional)

    def _upload(self, item: Item, slot: _Slot, key: Any, part: Staged) -> Array[Any]:
        host, stream = part.host, self.upload_stream
        array = slot.take(self.context, key, host.shape, part.dtype, stream)
        if host.size:
            self.counts["bytes_up"] += array.nbytes
            if part.block is None:
                array.copy_from(host, stream=stream)
            else:
                item.keep.append(host)
                copy_pinned(array, host, part.block, part.offset, stream, up=True)
        return array

    def _enqueue_ready(self) -> None:
        """Enqueue the items that are ready."""
        source = self.source
        while source.has_next and not self.has_failed:
            item = source.ready[0]
            if not item.is_begun:
                item.is_begun = True
                if item.error is None and not item.last:
                    try:
                        self.dispatch(item)
                    except BaseException as error:  # noqa: BLE001 - raised at its item
                        item.error = error
            elif item.error is None and item.done is None and not item.last:
                item.error = KeyboardInterrupt()  # it came in the middle, and went to an earlier call
            if not self.items or self.items[-1] is not item:
                self.items.append(item)
            if source.ready and source.ready[0] is item:
                source.ready.popleft()
            if item.error is not None:
                self.has_failed = True
                source.stop()

    # --- the consumer
    def _ask(self) -> None:
        """The consumer asks for a result: one more item may be under way, but for items that take turns.

        Without it the device would run dry while the host hands over a result and enqueues an item.
        """
        self.source.allow(self.counts["items"] + self.depth + (self.depth > 1))

    @calls_outside
    def _first(self) -> Item:
        """The oldest item, done or failed."""
        source, arrived = self.source, self.source.arrived
        since: float | None = None
        while True:
            self._enqueue_ready()
            if self.items:
                item = self.items[0]
                if item.done is None or item.error is not None or self._is_done(item):
                    return item
                now = perf_counter()
                since = now if since is None else since
                if now - since > _SPIN and (not source.has_next or self.has_failed):
                    arrived.acquire(timeout=min(max((now - since) / 8, _SHORTEST_SLEEP), _LONGEST_SLEEP))
                continue
            if source.is_stopping or (source.is_ended and not source.ready):
                raise StopIteration
            if not source.has_next:
                arrived.acquire()

    def _is_done(self, item: Item) -> bool:
        """Whether an item is done or failed; where the device is the host, it is waited for."""
        assert item.done is not None
        try:
            if self.waits:
                if self._polls and not item.done.query():
                    return False
                self.wait(item)
        except GpucoreError as error:
            item.error = error
        return True

    @calls_outside
    def next(self) -> Any:
        """The result of the oldest item, waited for; after an interrupt it is delivered again."""
        state, source = self.state, self.source
        if state.recorders:
            refuse_recording(state, "a pipeline's next result", "iterate outside of the graph's block")
        start = perf_counter()
        try:
            self._ask()
            item = self._first()
        finally:
            self.seconds["wait_for_result"] += perf_counter() - start
        if item.error is not None:
            source.stop()
            for one in self.items:
                one.keep.clear()  # what the error's traceback would hold for long
            self.items.clear()
            self.failed = True
            error = item.error
            if isinstance(error, StopIteration):  # it would end the consumer's loop as if all had come
                error = RuntimeError("StopIteration was raised")
                error.__cause__ = item.error
            error.add_note(f"raised in the stage {item.stage!r} of item {item.number} of a pipeline")
            raise error
        if item.number > self.counts["items"]:
            raise StopIteration  # another thread has closed this meanwhile
        if item.last:
            source.stop()
            self.items.clear()
            raise StopIteration
        # the error of a later item, raised while this one was waited for, keeps these frames: no variable of theirs is to keep
        # the result
        result = [self.deliver(item)]
        item.keep.clear()
        if self.depth == 1:
            source.allow(item.number + 2)
        self.counts["items"] = item.number + 1
        with contextlib.suppress(IndexError):  # as above
            self.items.popleft()
        item.result = None
        return result.pop()

    def wait(self, item: Item) -> None:
        """Wait for the work of an item, and raise what its kernels found."""
        raise NotImplementedError

    def deliver(self, item: Item) -> Any:
        """What the consumer gets."""
        return item.result

    def stop(self) -> None:
        """Let the threads end; what is enqueued still runs."""
        self.source.stop()

    def streams(self) -> list[Stream]:
        """The streams that work may be pending on."""
        return [self.upload_stream]

    def finish(self) -> None:
        """Stop, wait for the threads (but not for ever for a source that blocks) and for the work, and let everything go."""
        self.source.stop()
        self.source.join(_PATIENCE)
        for stream in self.streams():
            if stream._why is None and not self.state.closed and self.state.device._dead is None:
                stream._wait_idle()
                if self.failed:
                    with contextlib.suppress(GpucoreError):  # of items after the one whose error was raised
                        stream._read_records()
        for items in (self.items, self.source.ready):
            for item in list(items):
                item.keep.clear()
            items.clear()
        for slot in self.slots:
            slot.arrays.clear()
        self.ring.close()
        self.finished = True

    def stats(self) -> dict[str, float]:
        """Seconds by stage, items, bytes, buffers."""
        return {
            **self.source.seconds, **self.seconds, **self.counts, "buffers": self.ring.made,
            "buffer_bytes": self.ring.nbytes, "under_way": self.source.begun - self.counts["items"],
        }  # fmt: skip
