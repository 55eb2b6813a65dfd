"""The source of a pipeline: the thread that advances it, the workers, and pinned memory filled ahead.

Only here anything may block on what is the user's. What comes out is ready to be enqueued, in the order of the source.

An interrupt may end the consumer's thread between any two of its steps, and leave locks locked. So it shares none with these
threads, but numbers of which one thread sets each, queues, and tokens that wake who waits.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from queue import SimpleQueue
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from gpucore.ir.dtypes import from_numpy
from gpucore.runtime.array import Array
from gpucore.runtime.user_memory import pinned_location

if TYPE_CHECKING:
    from gpucore.ir.dtypes import DType
    from gpucore.runtime.device import Device
    from gpucore.runtime.memory_block import Block
    from gpucore.runtime.stream import Event, Timeline
    from gpucore.runtime.user_memory import PinnedRing

__all__ = ["Item", "Source", "Stage", "Staged"]

log = logging.getLogger("gpucore")
_PASSED_ON = (Array, bool, int, float, complex, str, bytes, type(None), np.generic)
"""Parts of items that a step gets as they are."""
Stage = Literal["source", "worker", "upload", "step", "download"]


class Item:
    """One item under way.

    Attributes
    ----------
    parts : dict
        What the item is made of, by name or number: :class:`Staged` arrays, and what a step gets as it is.
    form : type
        Of the item: dict, tuple, or object for one part.
    job : Callable or None
        What a worker calls for it, until that is done.
    result : object
        What the consumer gets.
    outputs : list
        The memory that is downloaded, and whose it was before.
    keep : list
        What the work of the item uses, until it was waited for.
    is_begun : bool
        Whether its work is enqueued, or was about to be.
    """

    __slots__ = (
        "done", "error", "form", "is_begun", "job", "keep", "last", "number", "outputs", "parts", "result", "stage",
    )  # fmt: skip

    def __init__(self, number: int) -> None:
        self.number = number
        self.stage: Stage = "source"
        self.parts: dict[Any, Any] = {}
        self.form: type = object
        self.job: Callable[[], Any] | None = None
        self.result: Any = None
        self.done: Event | None = None
        self.keep: list[Any] = []
        self.outputs: list[tuple[Block, Timeline | None]] = []
        self.error: BaseException | None = None
        self.last = False
        self.is_begun = False


@dataclass(slots=True)
class Staged:
    """An ndarray that can be uploaded at once: in pinned memory, ``offset`` bytes into ``block``, where the device has such."""

    host: npt.NDArray[Any]
    dtype: DType
    block: Block | None
    offset: int


class Source:
    """Advances an iterable, as far as items may be under way.

    Attributes
    ----------
    arrived : Lock
        A token, there while it is not held, that tells the consumer to look again. A queue is none: ``SimpleQueue.get`` with a
        short timeout may wait for ever: its thread was put aside for as long as that (CPython 3.11 and 3.12).
    ready : deque[Item]
        In their order; only the consumer takes from it. The first is to be enqueued once it has no job.
    begun : int
        Items so far.
    limit : int
        How many there may be.
    is_stopping, is_ended : bool
        It is to ask for no more; it has asked for the last time.
    """

    def __init__(
        self, device: Device, iterable: Iterable[Any], workers: int, limit: int, ring: PinnedRing
    ) -> None:
        self._device = device
        self._iterable = iterable
        self._workers = workers
        self._ring = ring
        self._has_pinned = "pinned_memory" in device.capabilities
        self.arrived = threading.Lock()
        self._room = threading.Lock()
        self.ready: deque[Item] = deque()
        self.begun = 0
        self.limit = limit
        self.is_stopping = False
        self.is_ended = False
        self._is_asking = False
        self._busy: set[threading.Thread] = set()  # workers whose callable has not returned
        self._threads: list[threading.Thread] = []
        self._jobs: SimpleQueue[Item | None] = SimpleQueue()
        self.seconds = dict.fromkeys(("source", "wait_for_slot"), 0.0)

    def start(self) -> None:
        """Begin to take items."""
        if self._workers > 1:
            for number in range(self._workers):
                self._thread(self._work, f"gpucore pipeline worker {number + 1}")
        self._thread(self._feed, "gpucore pipeline source")

    def _thread(self, target: Callable[[], None], name: str) -> None:
        # daemons: a source that blocks for ever is not to hold up the end of the program
        thread = threading.Thread(target=target, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def stop(self) -> None:
        """Let the threads end."""
        self.is_stopping = True
        _wake(self._room)
        _wake(self.arrived)

    def allow(self, limit: int) -> None:
        """Ask for items as long as there are fewer than these so far."""
        self.limit = limit
        _wake(self._room)

    def join(self, patience: float) -> None:
        """Wait for the threads, at most ``patience`` seconds for the user's."""
        mine = threading.current_thread()
        end = perf_counter() + patience
        for thread in self._threads:
            while thread is not mine and thread.is_alive():
                if (self._is_asking or thread in self._busy) and perf_counter() > end:
                    break
                thread.join(0.02)

    @property
    def has_next(self) -> bool:
        """Whether the first item can be enqueued."""
        ready = self.ready
        return bool(ready) and ready[0].job is None

    # --- the threads
    def _feed(self) -> None:
        iterator: Iterator[Any] | None = None
        last = False
        try:
            while not last and self._may_begin():
                item = Item(self.begun)
                start = perf_counter()
                value: Any = None
                try:
                    self._is_asking = True
                    if iterator is None:
                        iterator = iter(self._iterable)
                    value = next(iterator)
                    self.begun += 1
                    if callable(value) and not isinstance(value, Array):
                        if self._workers > 1:
                            item.job = value
                        else:
                            value = value()
                except BaseException as error:  # noqa: BLE001 - raised again by the consumer
                    last = True
                    if isinstance(error, StopIteration) and self.begun == item.number:
                        item.last = True
                    else:  # of a callable, it says nothing of the source
                        item.error = error
                finally:
                    self._is_asking = False
                    self.seconds["source"] += perf_counter() - start
                if item.job is not None:
                    self._jobs.put(item)
                elif not last:
                    last = not self._stage(item, value)
                self.ready.append(item)
                _wake(self.arrived)
        finally:
            for _ in range(self._workers if self._workers > 1 else 0):
                self._jobs.put(None)
            close = getattr(iterator, "close", None)
            if close is not None:
                try:
                    close()
                except Exception as error:  # noqa: BLE001 - nobody is left to hear of it but the log
                    log.warning("closing the source of a pipeline failed: %s", error)
            self.is_ended = True
            _wake(self.arrived)

    def _may_begin(self) -> bool:
        """Wait until one more item may be under way; False where no more is to be asked for."""
        if self.begun >= self.limit and not self.is_stopping:
            start = perf_counter()
            while self.begun >= self.limit and not self.is_stopping:
                self._room.acquire()
            self.seconds["wait_for_slot"] += perf_counter() - start
        return not self.is_stopping

    def _work(self) -> None:
        mine = threading.current_thread()
        while True:
            item = self._jobs.get()
            if item is None or self.is_stopping:
                return
            assert item.job is not None
            item.stage = "worker"
            self._busy.add(mine)
            start = perf_counter()
            try:
                value = item.job()
            except BaseException as error:  # noqa: BLE001 - raised again by the consumer
                item.error = error
            else:
                self._stage(item, value)
            self._busy.discard(mine)
            self.seconds["source"] += perf_counter() - start
            item.job = None
            _wake(self.arrived)

    # --- what an item is made of
    def _stage(self, item: Item, value: Any) -> bool:
        """Take an item apart, and copy to pinned memory what is not there; False where that failed."""
        item.stage = "upload"
        try:
            if value.__class__ is np.ndarray:
                item.parts = {0: self._part(value)}
            elif isinstance(value, Mapping):
                item.form = dict
                item.parts = {str(key): self._part(part) for key, part in value.items()}
            elif isinstance(value, (tuple, list)):
                item.form = tuple
                item.parts = {number: self._part(part) for number, part in enumerate(value)}
            else:
                item.parts = {0: self._part(value)}
        except BaseException as error:  # noqa: BLE001 - raised again by the consumer
            item.error = error
            return False
        return True

    def _part(self, part: Any) -> Any:
        if part.__class__ is np.ndarray:
            host = part
        elif isinstance(part, _PASSED_ON):
            return part
        else:
            host = part.view(np.ndarray) if isinstance(part, np.ndarray) else _as_ndarray(part)
        dtype = from_numpy(host.dtype)
        if dtype is None:
            raise TypeError(
                f"NumPy's {host.dtype} has no element type here; let the source convert it, or leave it out of the item"
            )
        if not host.size:
            return Staged(host, dtype, None, 0)
        found = pinned_location(host, self._device) if host.flags.c_contiguous else None
        if found is not None:
            return Staged(host, dtype, *found)
        if not self._has_pinned:
            return Staged(np.ascontiguousarray(host), dtype, None, 0)
        staged, block = self._ring.take(host.shape, dtype)
        np.copyto(staged, host)
        return Staged(staged, dtype, block, block.offset)


def _wake(token: threading.Lock) -> None:
    """Let who waits for a token look again; what is looked at has changed before."""
    if token.locked():
        with contextlib.suppress(RuntimeError):  # another thread was faster
            token.release()


def _as_ndarray(part: Any) -> np.ndarray[Any, Any]:
    """What another library holds in host memory, or numbers in lists."""
    host = np.asarray(part)
    if host.dtype == object:
        raise TypeError(f"an item's part is an ndarray, an Array or a number, not {type(part).__name__}")
    return host
