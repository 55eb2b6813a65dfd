"""Streams: a timeline semaphore, a counter, and an open command buffer that is sent in batches.

What is recorded is sent at once when the device is known to be idle, else in batches that grow up to
:data:`BATCH` commands, and at every synchronise, event and transfer to the host.  Every command buffer ends with
a barrier against all later ones of its queue and against the host, and every command after the first begins with
another: a stream is ordered.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import starmap
from operator import call
from threading import get_ident
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any, Final

from gpucore.errors import DeviceError, DeviceLostError
from gpucore_vulkan.command_buffers import CommandBuffers
from gpucore_vulkan.loader import DEVICE_LOST
from gpucore_vulkan.memory import Piece
from gpucore_vulkan.submissions import Submission

if TYPE_CHECKING:
    from gpucore_vulkan.logical_device import LogicalDevice, Queue
    from gpucore_vulkan.memory import MemoryManager

__all__ = ["Stream"]

BATCH: Final = 32
PEEK: Final = 4
"""How many commands are recorded before looking whether the device ran dry.  Where it did, twice as many the next time:
a submission takes the device several times as long as a short kernel."""
PAGE_BYTES: Final = 64 << 10
MOST_FLYING: Final = 128
"""How many submissions, of up to :data:`BATCH` commands each, are in flight before enqueueing waits."""
WAIT_NANOSECONDS: Final = 200_000_000
"""A wait is cut in slices, so that signals reach Python in between."""
POLL_SECONDS: Final = 30e-6
"""How long a thread among several sleeps before it looks again."""
SPIN_SECONDS: Final = 100e-6
"""How long a wait looks again and again before it sleeps: to be woken takes several times as long as a short kernel."""


class Page:
    """Memory for the arguments of launches whose arguments do not fit the push constants."""

    __slots__ = ("piece", "used")

    def __init__(self, piece: Piece) -> None:
        self.piece = piece
        self.used = 0


class Stream:
    """An ordered queue of work.

    ``value`` is the semaphore's value when all that was sent is done; ``region`` makes the struct of a copy from its two offsets
    and size.
    ``lock`` guards everything; methods with a leading underscore want it held.

    A finalizer or a signal's handler may use the stream while its thread holds the lock.  CPython runs them at the start of a
    function, after a call, and before the body of a loop begins anew, nowhere else.  So whoever records or sends takes a number,
    ``turn``, and looks right before each call of the driver whether it is still the last one taken; where it is not, it begins
    anew.
    """

    # each launch reads a dozen of these, which takes longer from a dictionary
    __slots__ = (
        "__weakref__", "_all_buffers", "_barrier2", "_buffers", "_copies_count", "_copies_queue", "_copy_buffers", "_counter",
        "_end_buffer", "_flying", "_free_pages", "_get_counter", "_keep", "_last_queue", "_memory", "_pages",
        "_semaphores", "_spin", "_submission", "_submit", "_wait_semaphores", "_waits", "_waits_made", "closed",
        "copies", "count", "limit", "lock", "logical", "open", "pipeline", "queue", "region", "semaphore", "turn",
        "value",
    )  # fmt: skip

    def __init__(self, logical: LogicalDevice, memory: MemoryManager, queue: Queue) -> None:
        self.logical = device = logical
        self._memory = memory
        self.queue = queue
        self.lock = threading.RLock()
        self.turn = 0
        self.value = 0
        self.closed = False
        self.open: Any = None
        self.count = 0
        self.limit = 1
        self.pipeline: Any = None
        self._waits: dict[Any, int] = {}
        # value, buffer, those that it goes back to, pages; None for buffers that are not the stream's
        self._flying: deque[tuple[int, Any, list[Any], list[Page]]] = deque()
        self._buffers = CommandBuffers(logical, queue.family)
        self.copies: Any = None
        self._copies_count = 0
        self._copies_queue = queue
        self._copy_buffers = self._buffers
        self._all_buffers = {queue.family: self._buffers}
        self._last_queue = queue
        self._pages: list[Page] = []
        self._free_pages: list[Page] = []
        bound, vk, handle = device.bound, device.vk, device.handle
        ffi = bound.ffi
        kind = bound.new(
            "VkSemaphoreTypeCreateInfo", "SEMAPHORE_TYPE_CREATE_INFO", semaphoreType=1, initialValue=0
        )
        info = bound.new("VkSemaphoreCreateInfo", "SEMAPHORE_CREATE_INFO", pNext=kind)
        out = ffi.new("VkSemaphore*")
        device.check(vk.vkCreateSemaphore(handle, info, device.null, out), "vkCreateSemaphore")
        self.semaphore = out[0]
        self._counter = ffi.new("uint64_t*")
        self._get_counter = vk.vkGetSemaphoreCounterValue
        self._end_buffer = vk.vkEndCommandBuffer
        self._submit = vk.vkQueueSubmit2
        self._barrier2 = vk.vkCmdPipelineBarrier2
        self._submission = Submission(logical, self.semaphore)
        self._semaphores = ffi.new("VkSemaphore[]", [self.semaphore])
        self._waits_made: list[tuple[Any, Any]] = []
        self._wait_semaphores = vk.vkWaitSemaphores
        # software devices need the processor that the host would spin on
        self._spin = 0.0 if device.physical.info.kind == "software" else SPIN_SECONDS
        self.region = partial(ffi.new, ffi.typeof("VkBufferCopy*"))
        self._keep = kind

    def alive(self) -> None:
        """Fail fast once the device is lost, or was made anew without this stream."""
        if self.closed and self.logical.lost is not None:
            raise DeviceLostError(
                "this stream went with the device that it was made on",
                code=DEVICE_LOST,
                name="VK_ERROR_DEVICE_LOST",
            )
        self.logical.alive()

    # --- recording -----------------------------------------------------------------------------------
    def begin(self) -> None:
        """Open a command buffer (lock held); the last one of the queue ended with a barrier."""
        self.alive()
        if self.copies is not None:
            self._flush()
        buffers = self._buffers
        if not buffers.spare:
            self._collect(self.completed())
            if not buffers.spare:
                buffers.allocate()
        # as buffers.begun(), without a call of Python's
        buffer = buffers.spare.pop()
        code = buffers.begin(buffer, buffers.begin_info)
        if code:
            self.logical.check(code, "vkBeginCommandBuffer")
        if self.open is None and self.copies is None:
            self.pipeline = None
            self.count = 0
            self.open = buffer
        else:  # a finalizer opened another
            self._end_buffer(buffer)
            buffers.spare.append(buffer)

    def _begin_copies(self, queue: Queue) -> None:
        """Open a command buffer for a queue that copies only (lock held)."""
        self.alive()
        buffers = self._all_buffers.get(queue.family)
        if buffers is None:
            buffers = self._all_buffers[queue.family] = CommandBuffers(self.logical, queue.family)
        self._collect(self.completed())
        buffer = buffers.begun()
        if self.open is None and self.copies is None:
            self._copies_count = 0
            self._copies_queue, self._copy_buffers = queue, buffers
            self.copies = buffer
        else:
            self._end_buffer(buffer)
            buffers.spare.append(buffer)

    def record(self, command: Callable[..., None], *arguments: Any, is_apart: bool = True) -> int:
        """Record ``command(buffer, *arguments)``, ordered after the last command (lock held), where ``is_apart`` by a barrier.

        Returns
        -------
        int
            The value that the semaphore takes once the command is done.
        """
        while True:
            self.turn = turn = self.turn + 1
            buffer = self.open
            if buffer is None:
                self.begin()
                continue
            if self.count and is_apart:
                self._barrier2(buffer, self.logical.barrier)
            self.count += 1
            whole = (buffer, *arguments)
            value = self.value + 1
            if self.turn == turn:
                command(*whole)
                return value

    def record_apart(
        self, queue: Queue, command: Callable[..., None], *arguments: Any, is_apart: bool = True
    ) -> int:
        """As :meth:`record` for a queue that copies only; recording for another queue sends it."""
        while True:
            self.turn = turn = self.turn + 1
            buffer = self.copies
            if self.open is not None or (buffer is not None and self._copies_queue is not queue):
                self._flush()
                continue
            if buffer is None:
                self._begin_copies(queue)
                continue
            if self._copies_count and is_apart:
                self._barrier2(buffer, self.logical.copy_barrier)
            self._copies_count += 1
            whole = (buffer, *arguments)
            value = self.value + 1
            if self.turn == turn:
                command(*whole)
                return value

    def mark_queue(self) -> Queue | None:
        """The queue that only copies where the stream's last work is, if there, and if it can write timestamps (lock held)."""
        if self.open is not None:
            return None
        queue = self._last_queue if self.copies is None else self._copies_queue
        return queue if queue is not self.queue and queue.timestamp_bits else None

    def after(self) -> bool:
        """After a command was recorded and ``count`` reached ``limit`` (lock held): send, or go on collecting.

        Whether so much is in flight that the caller is to :meth:`make_room`, without the lock.
        """
        # a limit of one means that nothing was sent since the stream was last seen idle
        if self.limit == 1 or self.count >= BATCH or self.completed() >= self.value:
            self.limit = min(max(PEEK, 2 * self.count), BATCH)
            self._flush()
        else:
            self.limit = BATCH
        return self.is_full()

    def is_full(self) -> bool:
        """Whether so much is in flight that enqueueing is to wait (lock held)."""
        return len(self._flying) > MOST_FLYING

    def make_room(self) -> None:
        """Wait until no more than :data:`MOST_FLYING` submissions are in flight."""
        with self.lock:
            self._collect(self.completed())
            beyond = len(self._flying) - MOST_FLYING
            value = self._flying[beyond - 1][0] if beyond > 0 else 0
        if value:
            self.wait(value, spin=False)

    def argument_room(self, size: int) -> tuple[int, int]:
        """Device and host address of room for a launch's arguments (lock held, within an open command
        buffer)."""
        size += -size % 16
        while True:
            page = self._pages[-1] if self._pages else None
            if page is not None and page.used + size <= page.piece.nbytes:
                at = page.used
                page.used = at + size
                break
            if self._free_pages and self._free_pages[-1].piece.nbytes >= size:
                page = self._free_pages.pop()
            else:
                page = Page(self._memory.alloc(max(size, PAGE_BYTES), "pinned"))
            page.used = 0
            self._pages.append(page)
        host = page.piece.mapped
        if host is None:
            raise RuntimeError("argument pages are always mapped")
        return page.piece.address + at, host + at

    # --- sending -------------------------------------------------------------------------------------
    def flush(self) -> int:
        """Send what is recorded; the value that the semaphore takes when all is done."""
        with self.lock:
            self._flush()
            return self.value

    def _flush(self) -> None:
        while self.open is not None or self.copies is not None or self._waits:
            self.turn = turn = self.turn + 1
            buffer, queue, name, pages = self.open, self.queue, "open", self._pages
            spare, barrier = self._buffers.spare, self.logical.last_barrier
            if buffer is None:
                buffer, queue, name, pages = self.copies, self._copies_queue, "copies", []
                spare, barrier = self._copy_buffers.spare, self.logical.last_copy_barrier
            if buffer is None:
                self.begin()
                continue
            value = self.value + 1
            waits = self._waits if queue is self._last_queue else {**self._waits, self.semaphore: self.value}
            submission = self._submission
            info = submission.one
            if waits or info.waitSemaphoreInfoCount:
                submission.put(info, waits)
            submission.signal.value = value
            submission.buffer.commandBuffer = buffer
            with queue.lock:
                # whole or not at all: a signal's handler runs between two instructions of Python, never within a call from C to C
                codes = filter(None, starmap(call, (
                    (self._barrier2, buffer, barrier),
                    (self._end_buffer, buffer),
                    (self._submit, queue.handle, 1, info, self.logical.null),
                    (setattr, self, name, None),
                    (setattr, self, "value", value),
                    (setattr, self, "_last_queue", queue),
                    (self._flying.append, (value, buffer, spare, pages)),
                    (setattr, self, "_pages", [] if pages is self._pages else self._pages),
                    (setattr, self, "_waits", {}),
                )))  # fmt: skip
                if self.turn != turn:
                    continue
                code = next(codes, 0)
            if code:
                setattr(self, name, None)
                self.logical.check(code, "vkQueueSubmit2")
            return

    def _send(self, buffers: Any, count: int, value: int) -> bool:
        """Send command buffers that were recorded elsewhere (lock held), the last of which ends with the last barrier.

        Whether they were sent; not where the semaphore would take another value, or a command buffer was opened since.
        """
        self.turn = turn = self.turn + 1
        queue = self.queue
        # this stream's last work, too, where that went to another queue
        waits = self._waits if queue is self._last_queue else {**self._waits, self.semaphore: self.value}
        info = self._submission.of_many(buffers, count, waits, value)
        with queue.lock:
            codes = filter(None, starmap(call, (
                (self._submit, queue.handle, 1, info, self.logical.null),
                (setattr, self, "value", value),
                (setattr, self, "_last_queue", queue),
                (self._flying.append, (value, None, [], [])),
                (setattr, self, "_waits", {}),
            )))  # fmt: skip
            if (
                self.turn != turn
                or self.open is not None
                or self.copies is not None
                or self.value + 1 != value
            ):
                return False
            code = next(codes, 0)
        if code:
            self.logical.check(code, "vkQueueSubmit2")
        self.limit = max(self.limit, PEEK)
        return True

    def wait_for(self, semaphore: Any, value: int) -> None:
        """Later work waits until another stream's semaphore has the value; that value was sent before."""
        with self.lock:
            if semaphore == self.semaphore:
                return
            if self.open is not None or self.copies is not None:
                self._flush()
            self.turn += 1
            self._waits[semaphore] = max(value, self._waits.get(semaphore, 0))

    # --- waiting -------------------------------------------------------------------------------------
    def completed(self) -> int:
        """The semaphore's value now (lock held, or the thread counted among the waiting)."""
        if self.closed:
            return self.value
        code = self._get_counter(self.logical.handle, self.semaphore, self._counter)
        if code:
            self.logical.check(code, "vkGetSemaphoreCounterValue")
        return int(self._counter[0])

    def passed(self, value: int) -> bool:
        """Whether the semaphore has a value."""
        with self.lock:
            return self.completed() >= value

    def wait(self, value: int, spin: bool = True) -> None:
        """Block until the semaphore has a value that was sent; other threads run meanwhile.

        Threads among several that wait do better not to spin.
        """
        waiting, mine = self.logical.waiting, object()
        try:
            waiting[mine] = get_ident()
            get, handle, semaphore = self._get_counter, self.logical.handle, self.semaphore
            counter = self._counter
            end = perf_counter() + (self._spin if spin else 0.0)
            while True:
                if self.closed:
                    raise self._gone()
                code = get(handle, semaphore, counter)
                if code:
                    self.logical.check(code, "vkGetSemaphoreCounterValue")
                if counter[0] >= value:
                    return
                if perf_counter() >= end:
                    break
            self._sleep(value)
        finally:
            waiting.pop(mine, None)

    def poll(self, value: int) -> None:
        """As :meth:`wait`, for threads among several: it looks now and then."""
        waiting, mine = self.logical.waiting, object()
        try:
            waiting[mine] = get_ident()
            while self.completed() < value:
                sleep(POLL_SECONDS)
                self.logical.alive()
            if self.closed:
                raise self._gone()
        finally:
            waiting.pop(mine, None)

    def _sleep(self, value: int) -> None:
        """Block until the semaphore has a value."""
        try:
            info, values = self._waits_made.pop()
        except IndexError:
            bound = self.logical.bound
            values = bound.ffi.new("uint64_t[]", 1)
            info = bound.new(
                "VkSemaphoreWaitInfo", "SEMAPHORE_WAIT_INFO", semaphoreCount=1, pSemaphores=self._semaphores,
                pValues=values,
            )  # fmt: skip
        values[0] = value
        device = self.logical
        while True:
            if self.closed:
                raise self._gone()
            code = self._wait_semaphores(device.handle, info, WAIT_NANOSECONDS)
            if code == 0:
                break
            if code < 0:
                device.check(code, "vkWaitSemaphores")
            # by another thread meanwhile
            if device.lost is not None:
                device.alive()
        self._waits_made.append((info, values))

    @staticmethod
    def _gone() -> DeviceError:
        return DeviceError("the device was closed while a thread waited for its work")

    def _collect(self, done: int) -> None:
        """Take back command buffers and pages whose work is done."""
        flying = self._flying
        while True:  # others may come in before a loop begins anew, which is after its condition
            if not flying or flying[0][0] > done:
                return
            _, buffer, spare, pages = flying.popleft()
            if buffer is not None:
                spare.append(buffer)
            if pages:
                self._free_pages += pages

    def idle(self) -> bool:
        """Whether nothing is open, sent or waited for (lock held)."""
        return (
            self.open is None and self.copies is None and not self._waits and self.completed() >= self.value
        )

    def query(self) -> bool:
        """Whether all work is done; sends on what was collected."""
        with self.lock:
            self.alive()
            self._flush()
            done = self.completed()
            self._collect(done)
            if done >= self.value:
                self.limit = 1
            return done >= self.value

    def synchronize(self) -> None:
        """Block until all work is done, without the GIL."""
        with self.lock:
            self.alive()
            self._flush()
            target = self.value
        self.wait(target)
        with self.lock:
            if self.value == target and self.open is None:
                self.limit = 1
            self._collect(target)

    def end(self) -> None:
        """Refuse whatever comes from here on; who waits for it leaves at once."""
        with self.lock:
            self.closed = True
            self.turn += 1
            self.open = self.copies = None

    def destroy(self) -> None:
        """Give it back to the driver; it has ended, its work is done and nobody waits for it."""
        device = self.logical
        for buffers in self._all_buffers.values():
            buffers.destroy()
        device.vk.vkDestroySemaphore(device.handle, self.semaphore, device.null)
