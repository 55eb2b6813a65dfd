"""What drives a pipeline: the thread that feeds it, its workers, and the uploads.

Three streams do one thing each: one uploads, one computes, one downloads; events order them item by item. A thread advances the
source and enqueues; the consumer's thread waits for results. At most ``depth`` items are under way, and while the consumer waits
for one, another: the source is asked for it only then.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from queue import SimpleQueue
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from gpucore.errors import GpucoreError
from gpucore.ir.dtypes import from_numpy
from gpucore.runtime.array import Array
from gpucore.runtime.copies import copy_pinned
from gpucore.runtime.pinned_memory import pinned_location
from gpucore.runtime.pinned_ring import PinnedRing

if TYPE_CHECKING:
    from gpucore.runtime.context import Context
    from gpucore.runtime.event import Event
    from gpucore.runtime.memory_block import Block
    from gpucore.runtime.stream import Stream
    from gpucore.runtime.timeline import Timeline

__all__ = ["Engine", "Item", "Stage"]

log = logging.getLogger("gpucore")
_PATIENCE = 0.5
"""Seconds that closing waits for a source or a worker's callable to return; they cannot be ended from outside."""
_PASSED_ON = (Array, bool, int, float, complex, str, bytes, type(None), np.generic)
"""Parts of items that a step gets as they are."""
Stage = Literal["source", "worker", "upload", "step", "download"]


class Item:
    """One item under way.

    Attributes
    ----------
    result : object
        What the consumer gets.
    outputs : list
        The memory that is downloaded, and whose it was before.
    keep : list
        What the work of the item uses, until it was waited for.
    """

    __slots__ = ("done", "error", "keep", "last", "number", "outputs", "result", "stage")

    def __init__(self, number: int) -> None:
        self.number = number
        self.stage: Stage = "source"
        self.result: Any = None
        self.done: Event | None = None
        self.keep: list[Any] = []
        self.outputs: list[tuple[Block, Timeline | None]] = []
        self.error: BaseException | None = None
        self.last = False


class _Slot:
    """The device memory that an item's inputs are uploaded to, used again for a later item of the same shapes."""

    __slots__ = ("arrays", "released")

    def __init__(self) -> None:
        self.arrays: dict[Any, Array[Any]] = {}
        self.released: Event | None = None

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
    """What the threads of a pipeline share; it does not refer to what the user holds, whose end it is to notice."""

    def __init__(
        self,
        context: Context,
        source: Iterable[Any],
        depth: int,
        workers: int,
        slots: int,
        after: Stream | None,
    ) -> None:
        state = context._state
        state.check()
        self.context = context
        self.state = state
        self.source = source
        self.depth = depth
        self.workers = workers
        self.upload_stream = context.stream()
        self.after = after
        self.ring = PinnedRing(state)
        self.has_pinned = "pinned_memory" in context.device.capabilities
        self.slots = [_Slot() for _ in range(slots)]
        self.lock = threading.Condition()
        self.free = depth
        self.freed = 0
        self.items: deque[Item] = deque()
        self.stopping = False
        self.ended = False
        self.in_source = False
        self.failed = False  # the consumer got an error
        self.busy: set[threading.Thread] = set()  # workers whose callable has not returned
        self.threads: list[threading.Thread] = []
        self.jobs: SimpleQueue[tuple[Callable[[], Any], _Job] | None] = SimpleQueue()
        self.seconds = dict.fromkeys(
            ("source", "upload", "step", "download", "wait_for_slot", "wait_for_result"), 0.0
        )
        self.counts = dict.fromkeys(("items", "bytes_up", "bytes_down"), 0)

    def dispatch(self, item: Item, value: Any) -> None:
        """Enqueue the work of an item."""
        raise NotImplementedError

    # --- the feeding thread
    def start(self) -> None:
        """Begin to take items from the source."""
        self.ring.streams = {stream._timeline for stream in self.streams()}
        if self.workers > 1:
            for number in range(self.workers):
                self._thread(self._work, f"gpucore pipeline worker {number + 1}")
        self._thread(self._feed, "gpucore pipeline source")

    def _thread(self, target: Callable[[], None], name: str) -> None:
        # daemons: a source that blocks for ever is not to hold up the end of the program
        thread = threading.Thread(target=target, name=name, daemon=True)
        self.threads.append(thread)
        thread.start()

    def _feed(self) -> None:
        iterator: Iterator[Any] | None = None
        number = 0
        waiting: deque[tuple[Item, Any]] = deque()
        last = False
        try:
            while not self.stopping and not last:
                if not self._take_slot(bool(waiting)):
                    if waiting:
                        self._finish_first(waiting)
                    continue
                item = Item(number)
                number += 1
                start = perf_counter()
                try:
                    self.in_source = True
                    if iterator is None:
                        iterator = iter(self.source)
                    value = next(iterator)
                except StopIteration:
                    item.last = last = True
                    value = None
                except BaseException as error:  # noqa: BLE001 - raised again by the consumer
                    item.error, last, value = error, True, None
                finally:
                    self.in_source = False
                    self.seconds["source"] += perf_counter() - start
                if callable(value) and not isinstance(value, Array) and self.workers > 1:
                    job = _Job()
                    self.jobs.put((value, job))
                    waiting.append((item, job))
                else:
                    waiting.append((item, value))
                while waiting and (self.workers == 1 or last or self._is_ready(waiting[0][1])):
                    if self.stopping:
                        return
                    self._finish_first(waiting)
        finally:
            for _ in range(self.workers if self.workers > 1 else 0):
                self.jobs.put(None)
            close = getattr(iterator, "close", None)
            if close is not None:
                try:
                    close()
                except Exception as error:  # noqa: BLE001 - nobody is left to hear of it but the log
                    log.warning("closing the source of a pipeline failed: %s", error)
            with self.lock:
                self.ended = True
                self.lock.notify_all()

    @staticmethod
    def _is_ready(value: Any) -> bool:
        return not isinstance(value, _Job) or value.done.is_set()

    def _take_slot(self, busy: bool) -> bool:
        """Wait for a free slot; with work of workers to be finished meanwhile, give up at once where there is none."""
        with self.lock:
            if self.free == 0:
                if busy:
                    return False
                start = perf_counter()
                while self.free == 0 and not self.stopping:
                    self.lock.wait()
                self.seconds["wait_for_slot"] += perf_counter() - start
            if self.stopping:
                return False
            self.free -= 1
            return True

    def _finish_first(self, waiting: deque[tuple[Item, Any]]) -> None:
        """Enqueue the work of the oldest item, whose value may be a worker's."""
        item, value = waiting.popleft()
        if not item.last and item.error is None:
            try:
                if isinstance(value, _Job):
                    item.stage = "worker"
                    while not value.done.wait(0.05):
                        if self.stopping:
                            return
                    value = value.get()
                elif callable(value) and not isinstance(value, Array):
                    start = perf_counter()
                    try:
                        value = value()
                    finally:
                        self.seconds["source"] += perf_counter() - start
                self.dispatch(item, value)
            except BaseException as error:  # noqa: BLE001 - raised again by the consumer
                item.error = error
        with self.lock:
            self.items.append(item)
            self.lock.notify_all()
            if item.error is not None:
                self.stopping = True

    def _work(self) -> None:
        while True:
            job = self.jobs.get()
            if job is None or self.stopping:
                return
            function, answer = job
            mine = threading.current_thread()
            self.busy.add(mine)
            start = perf_counter()
            answer.run(function)
            self.seconds["source"] += perf_counter() - start
            self.busy.discard(mine)

    # --- uploads
    def upload(self, item: Item, value: Any) -> tuple[list[Any], dict[str, Any], Any]:
        """Enqueue the upload of an item; positional and named arguments, and the item with arrays of the device in it."""
        item.stage = "upload"
        slot = self.slots[item.number % len(self.slots)]
        if slot.released is not None:
            self.upload_stream.wait(slot.released)
        if value.__class__ is np.ndarray:
            one = self._upload(item, slot, 0, value)
            return [one], {}, one
        if isinstance(value, Mapping):
            named = {str(key): self._upload(item, slot, key, part) for key, part in value.items()}
            return [], named, named
        if isinstance(value, (tuple, list)):
            parts = [self._upload(item, slot, number, part) for number, part in enumerate(value)]
            return parts, {}, tuple(parts)
        one = self._upload(item, slot, 0, value)
        return [one], {}, one

    def _upload(self, item: Item, slot: _Slot, key: Any, part: Any) -> Any:
        if part.__class__ is not np.ndarray:
            if isinstance(part, _PASSED_ON):
                return part
            host = part.view(np.ndarray) if isinstance(part, np.ndarray) else _as_ndarray(part)
        else:
            host = part
        dtype = from_numpy(host.dtype)
        if dtype is None:
            raise TypeError(
                f"NumPy's {host.dtype} has no element type here; let the source convert it, or leave it out of the item"
            )
        array = slot.take(self.context, key, host.shape, dtype, self.upload_stream)
        if not host.size:
            return array
        self.counts["bytes_up"] += array.nbytes
        stream = self.upload_stream
        found = pinned_location(host, self.state.device) if host.flags.c_contiguous else None
        if found is None and not self.has_pinned:
            array.copy_from(np.ascontiguousarray(host), stream=stream)
            return array
        if found is None:
            staged, block = self.ring.take(host.shape, dtype)
            np.copyto(staged, host)
            host, found = staged, (block, block.offset)
        item.keep.append(host)
        copy_pinned(array, host, *found, stream, up=True)
        return array

    # --- the consumer
    def next(self) -> Any:
        """The result of the oldest item, waited for."""
        start = perf_counter()
        try:
            with self.lock:
                if self.depth > 1 and self.freed == self.counts["items"]:
                    # while the consumer waits there is one more under way: without it the device would run dry for as long
                    # as the host takes to hand over a result and enqueue an item
                    self.freed += 1
                    self.free += 1
                    self.lock.notify_all()
                while not self.items:
                    if self.ended or self.stopping:
                        raise StopIteration
                    self.lock.wait()
                item = self.items[0]
            if item.error is None and item.done is not None:
                try:
                    self.wait(item)
                except GpucoreError as error:
                    item.error = error
        finally:
            self.seconds["wait_for_result"] += perf_counter() - start
        if item.error is not None:
            with self.lock:
                for one in self.items:
                    one.keep.clear()  # what the error's traceback would hold for long
                self.items.clear()
                self.stopping = True
                self.lock.notify_all()
            self.failed = True
            item.error.add_note(f"raised in the stage {item.stage!r} of item {item.number} of a pipeline")
            raise item.error
        if item.last:
            with self.lock:
                self.items.clear()
                self.ended = True
                self.free += self.depth == 1
            raise StopIteration
        result = self.deliver(item)
        item.keep.clear()
        with self.lock:
            self.items.popleft()
            self.counts["items"] += 1
            if self.depth == 1:
                self.freed += 1
                self.free += 1
                self.lock.notify_all()
        return result

    def wait(self, item: Item) -> None:
        """Wait for the work of an item, and raise what its kernels found."""
        raise NotImplementedError

    def deliver(self, item: Item) -> Any:
        """What the consumer gets."""
        return item.result

    def stop(self) -> None:
        """Let the threads end; what is enqueued still runs."""
        with self.lock:
            self.stopping = True
            self.lock.notify_all()

    def streams(self) -> list[Stream]:
        """The streams that work may be pending on."""
        return [self.upload_stream]

    def finish(self) -> None:
        """Stop, wait for the threads (but not for ever for a source that blocks) and for the work, and let everything go."""
        self.stop()
        mine = threading.current_thread()
        patience = perf_counter() + _PATIENCE
        for thread in self.threads:
            while thread is not mine and thread.is_alive():
                if (self.in_source or thread in self.busy) and perf_counter() > patience:
                    break
                thread.join(0.02)
        for stream in self.streams():
            if stream._why is None and not self.state.closed and self.state.device._dead is None:
                stream._wait_idle()
                if self.failed:
                    with contextlib.suppress(GpucoreError):  # of items after the one whose error was raised
                        stream._read_records()
        with self.lock:
            for item in self.items:
                item.keep.clear()
            self.items.clear()
            for slot in self.slots:
                slot.arrays.clear()
            self.ring.close()
            self.ended = True

    def stats(self) -> dict[str, float]:
        """Seconds by stage, items, bytes, buffers."""
        return {
            **self.seconds, **self.counts, "buffers": self.ring.made, "buffer_bytes": self.ring.nbytes,
            "under_way": self.depth - self.free,
        }  # fmt: skip


class _Job:
    """A callable item that a worker calls."""

    __slots__ = ("_error", "_value", "done")

    def __init__(self) -> None:
        self.done = threading.Event()
        self._value: Any = None
        self._error: BaseException | None = None

    def run(self, function: Callable[[], Any]) -> None:
        try:
            self._value = function()
        except BaseException as error:  # noqa: BLE001 - raised again by the consumer
            self._error = error
        self.done.set()

    def get(self) -> Any:
        if self._error is not None:
            raise self._error
        return self._value


def _as_ndarray(part: Any) -> np.ndarray[Any, Any]:
    """What another library holds in host memory, or numbers in lists."""
    host = np.asarray(part)
    if host.dtype == object:
        raise TypeError(f"an item's part is an ndarray, an Array or a number, not {type(part).__name__}")
    return host
