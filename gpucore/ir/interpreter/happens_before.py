"""Shadow memory for kernels with fences: release and acquire order accesses of different threads.

The rule is that of C++ and of the memory models of CUDA and Vulkan for relaxed atomics between fences: what a thread did before
a fence is ordered before what another thread does after a fence of its own, where the first thread, after its
fence, used an atomic on an element and the second, before its fence, used an atomic on it that came later.  In between
other threads may have used atomics on the element (the release sequence).  A barrier orders the threads of its
block; order is transitive.

Where a kernel has no fence, :mod:`gpucore.ir.interpreter.shadow` decides the same with less.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from gpucore.ir.interpreter.shadow import Clock, Report

__all__ = ["OrderedClock", "OrderedShadow"]


@dataclass(frozen=True, slots=True)
class _Past:
    """Accesses of other threads that are known to lie before.

    Attributes
    ----------
    intervals : dict[int, int]
        By block: all accesses of its threads in intervals before this one.
    segments : dict[tuple[int, int], int]
        By block and thread: its accesses up to and in this segment, which a fence ended.
    """

    intervals: dict[int, int] = field(default_factory=dict)
    segments: dict[tuple[int, int], int] = field(default_factory=dict)

    def __or__(self, other: _Past) -> _Past:
        if self is other or not (other.intervals or other.segments):
            return self
        if not (self.intervals or self.segments):
            return other
        intervals, segments = dict(self.intervals), dict(self.segments)
        for block, interval in other.intervals.items():
            intervals[block] = max(intervals.get(block, 0), interval)
        for thread, segment in other.segments.items():
            segments[thread] = max(segments.get(thread, -1), segment)
        return _Past(intervals, segments)


_NOTHING = _Past()

Access: TypeAlias = tuple[int, int, int, int, int]
"""Block, interval in the block, thread, segment of the thread, record in the clock's numbering."""


class OrderedClock(Clock):
    """The clock of a launch, with what each thread of the current block knows to lie before it.

    Attributes
    ----------
    number : int
        Of the current interval, from 0 in each block.
    known : list[_Past]
        By thread: what is ordered before its next access.
    segments : list[int]
        By thread: fences passed so far.
    released : list[_Past | None]
        By thread: what was ordered before its last fence, its own accesses included.
    seen : list[_Past]
        By thread: what atomics since its last fence met; the next fence makes it known.
    """

    __slots__ = ("known", "number", "released", "seen", "segments")

    def __init__(self, threads: int, sites: int) -> None:
        super().__init__(threads, sites)
        self.number = 0
        self.known: list[_Past] = []
        self.segments: list[int] = []
        self.released: list[_Past | None] = []
        self.seen: list[_Past] = []

    def next_block(self) -> None:
        super().next_block()
        self.number = 0
        self.known = [_NOTHING] * self.threads
        self.segments = [0] * self.threads
        self.released = [None] * self.threads
        self.seen = [_NOTHING] * self.threads

    def next_interval(self) -> None:
        super().next_interval()
        self.number += 1
        together = _NOTHING
        for past in {id(past): past for past in self.known}.values():
            together |= past
        self.known = [together] * self.threads

    @property
    def current(self) -> int:
        """The current block."""
        return len(self.starts) - 1

    def thread_of(self, offset: int) -> int:
        """The linear id of the thread with an offset."""
        return offset // (2 * self.sites)

    def fence(self, offset: int) -> None:
        """A fence of a thread."""
        thread = self.thread_of(offset)
        known = self.known[thread] | self.seen[thread]
        self.known[thread], self.seen[thread] = known, _NOTHING
        own = _Past({self.current: self.number}, {(self.current, thread): self.segments[thread]})
        self.released[thread] = known | own
        self.segments[thread] += 1

    def access(self, site: int, offset: int) -> Access:
        """An access that a thread makes now."""
        thread = self.thread_of(offset)
        return self.current, self.number, thread, self.segments[thread], self.interval + offset + site

    def is_before(self, earlier: Access, now: Access) -> bool:
        """Whether an access of the past is ordered before one that is made now."""
        block, interval, thread, segment, _ = earlier
        if block == now[0] and (thread == now[2] or interval < now[1]):
            return True
        known = self.known[now[2]]
        return known.intervals.get(block, 0) > interval or known.segments.get((block, thread), -1) >= segment

    def shadow(self, size: int, report: Report) -> OrderedShadow:
        return OrderedShadow(self, report)


class OrderedShadow:
    """The shadow of one memory.

    Of each element it keeps the last write, the reads and the atomics since then, the last of each thread, and what the
    atomics on it have released.  A write forgets what came before it: what is ordered after the write is
    ordered after that as well.
    """

    __slots__ = ("_atomics", "_clock", "_reads", "_released", "_report", "_writes")

    def __init__(self, clock: OrderedClock, report: Report) -> None:
        self._clock, self._report = clock, report
        self._writes: dict[int, Access] = {}
        self._reads: dict[int, dict[tuple[int, int], Access]] = {}
        self._atomics: dict[int, dict[tuple[int, int], Access]] = {}
        self._released: dict[int, _Past] = {}

    def read(self, element: int, site: int, offset: int) -> None:
        """A plain read by the thread with this offset."""
        now = self._clock.access(site, offset)
        self._check(element, site, offset, now, self._atomics)
        self._note(self._reads, element, now)

    def write(self, element: int, site: int, offset: int) -> None:
        """A plain write."""
        now = self._clock.access(site, offset)
        self._check(element, site, offset, now, self._reads, self._atomics)
        self._reads.pop(element, None)
        self._atomics.pop(element, None)
        self._writes[element] = now

    def atomic(self, element: int, site: int, offset: int) -> None:
        """An atomic operation, which sees what those before it released."""
        clock = self._clock
        now = clock.access(site, offset)
        self._check(element, site, offset, now, self._reads)
        self._note(self._atomics, element, now)
        clock.seen[now[2]] |= self._released.get(element, _NOTHING)

    def release(self, element: int, offset: int) -> None:
        """The atomic stored: those after it see what the thread's last fence released."""
        past = self._clock.released[self._clock.thread_of(offset)]
        if past is not None:
            self._released[element] = self._released.get(element, _NOTHING) | past

    def _check(
        self,
        element: int,
        site: int,
        offset: int,
        now: Access,
        *others: dict[int, dict[tuple[int, int], Access]],
    ) -> None:
        clock = self._clock
        write = self._writes.get(element)
        if write is not None and not clock.is_before(write, now):
            self._report(element, site, offset, write[4])
        for records in others:
            for access in records.get(element, {}).values():
                if not clock.is_before(access, now):
                    self._report(element, site, offset, access[4])

    def _note(self, records: dict[int, dict[tuple[int, int], Access]], element: int, now: Access) -> None:
        found = records.setdefault(element, {})
        if any(a[0] == now[0] and a[1] < now[1] for a in found.values()):
            # earlier intervals of the block lie before this one, and so before whatever lies after it
            records[element] = found = {
                k: a for k, a in found.items() if not (a[0] == now[0] and a[1] < now[1])
            }
        found[now[0], now[2]] = now
