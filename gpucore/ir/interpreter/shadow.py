"""Shadow memory: finds two accesses to one element that nothing orders, neither barriers nor fences.

Two accesses conflict when different threads make them, one of them writes, not both are atomic, and they
are of different blocks or of one block within one interval between barriers.  (A subgroup operation orders
nothing.  Fences do, see below.)  For each element
three numbers remember who wrote it, who read it, and who used an atomic on it.  As blocks run one after another and a
block's intervals as well, one record of each kind is enough:

* 0: nobody.
* ``((epoch * threads + thread) * 2 + many) * sites + site``: the thread in this epoch; ``many`` says that
  other threads of the same epoch did so too.  Epochs count intervals over the whole launch.
* negative: that, and threads of other blocks too.

In kernels with fences :class:`OrderedShadow` decides. The rule is that of C++ and of the memory models of CUDA and Vulkan
for relaxed atomics between fences: what a thread did before a fence is ordered before what another thread does after a fence
of its own, where the first thread, after its fence, used an atomic on an element and the second, before its fence, used an
atomic on it that came later. In between other threads may have used atomics on the element (the release sequence). A barrier
orders the threads of its block; order is transitive.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol, TypeAlias

__all__ = ["AnyShadow", "Clock", "OrderedClock", "OrderedShadow", "Report", "Shadow", "joint_shadow"]


Report = Callable[[int, int, int, int], NoReturn]

_DENSE_LIMIT = 1 << 22


class AnyShadow(Protocol):
    """What is told of each access to a memory: element, site, and the thread by its offset."""

    def read(self, element: int, site: int, offset: int) -> None: ...
    def write(self, element: int, site: int, offset: int) -> None: ...
    def atomic(self, element: int, site: int, offset: int) -> None: ...
    def release(self, element: int, offset: int) -> None: ...


class Clock:
    """The current block and interval of a launch, as borders in the numbering of records.

    Attributes
    ----------
    block : int
        Records from here on are of this block.
    interval : int
        Records from here on are of this interval.
    sites : int
        Width of one thread's part; a thread's offset in an interval is ``2 * sites * thread``.
    """

    __slots__ = ("block", "interval", "sites", "starts", "step", "threads")

    def __init__(self, threads: int, sites: int) -> None:
        self.threads = threads
        self.sites = max(sites, 1)
        self.step = 2 * self.sites * threads
        self.interval = self.block = 0
        self.starts: list[int] = []

    def next_block(self) -> None:
        """A block begins."""
        self.interval += self.step
        self.block = self.interval
        self.starts.append(self.interval)

    def next_interval(self) -> None:
        """All threads of the block passed a barrier."""
        self.interval += self.step

    def shadow(self, size: int, report: Report) -> AnyShadow:
        """The shadow of a memory of this launch."""
        return Shadow(self, size, report)

    def decode(self, record: int) -> tuple[int, int, int]:
        """Number of the block, linear thread id, site."""
        record = abs(record)
        block = bisect_right(self.starts, record) - 1
        return block, record % self.step // (2 * self.sites), record % self.sites


class Shadow:
    """The shadow of one memory.

    Parameters
    ----------
    clock : Clock
    size : int
        Elements.
    report : Report
        Called with element, site, thread offset and the other's record.
    """

    __slots__ = ("a", "clock", "r", "report", "w")

    def __init__(self, clock: Clock, size: int, report: Report) -> None:
        self.clock, self.report = clock, report
        if size <= _DENSE_LIMIT:
            self.w: Any = [0] * size
            self.r: Any = [0] * size
            self.a: Any = [0] * size
        else:
            self.w, self.r, self.a = (defaultdict[int, int](int) for _ in range(3))

    def read(self, element: int, site: int, offset: int) -> None:
        """A plain read by the thread with this offset."""
        clock = self.clock
        interval = clock.interval
        mine = interval + offset
        end = mine + clock.sites
        other = self.w[element]
        if other and not (clock.block <= other < interval or mine <= other < end):
            self.report(element, site, offset, other)
        other = self.a[element]
        if other and not (clock.block <= other < interval or mine <= other < end):
            self.report(element, site, offset, other)
        self._note(self.r, element, mine + site, mine, end)

    def write(self, element: int, site: int, offset: int) -> None:
        """A plain write."""
        clock = self.clock
        interval = clock.interval
        mine = interval + offset
        end = mine + clock.sites
        for records in (self.w, self.r, self.a):
            other = records[element]
            if other and not (clock.block <= other < interval or mine <= other < end):
                self.report(element, site, offset, other)
        self.w[element] = mine + site

    def atomic(self, element: int, site: int, offset: int) -> None:
        """An atomic operation."""
        clock = self.clock
        interval = clock.interval
        mine = interval + offset
        end = mine + clock.sites
        for records in (self.w, self.r):
            other = records[element]
            if other and not (clock.block <= other < interval or mine <= other < end):
                self.report(element, site, offset, other)
        self._note(self.a, element, mine + site, mine, end)

    def release(self, element: int, offset: int) -> None:
        """The atomic stored: without fences nothing follows from that."""

    def _note(self, records: Any, element: int, record: int, mine: int, end: int) -> None:
        clock = self.clock
        old = records[element]
        if old == 0 or clock.block <= old < clock.interval:
            records[element] = record
        elif mine <= old < end or old < 0:
            return
        elif old >= clock.interval:
            if old % (2 * clock.sites) < clock.sites:
                records[element] = old + clock.sites
        else:
            records[element] = -old


class _Part:
    """An array's view of a shadow that overlapping arrays share: each element is some of its cells."""

    __slots__ = ("cells", "first", "report", "shadow")

    def __init__(self, shadow: AnyShadow, first: int, cells: int, report: Report) -> None:
        self.shadow, self.first, self.cells, self.report = shadow, first, cells, report

    def _each(self, access: Callable[[int, int, int], None], element: int, site: int, offset: int) -> None:
        start = self.first + element * self.cells
        for cell in range(start, start + self.cells):
            try:
                access(cell, site, offset)
            except _Conflict as conflict:
                other = conflict.record
                break
        else:
            return
        self.report(element, site, offset, other)

    def read(self, element: int, site: int, offset: int) -> None:
        self._each(self.shadow.read, element, site, offset)

    def write(self, element: int, site: int, offset: int) -> None:
        self._each(self.shadow.write, element, site, offset)

    def atomic(self, element: int, site: int, offset: int) -> None:
        self._each(self.shadow.atomic, element, site, offset)

    def release(self, element: int, offset: int) -> None:
        start = self.first + element * self.cells
        for cell in range(start, start + self.cells):
            self.shadow.release(cell, offset)


class _Conflict(Exception):
    def __init__(self, record: int) -> None:
        super().__init__(record)
        self.record = record


def _raise_conflict(element: int, site: int, offset: int, other: int) -> NoReturn:
    raise _Conflict(other)


def joint_shadow(
    clock: Clock, extents: Sequence[tuple[int, int, int]], reports: Sequence[Report]
) -> Sequence[AnyShadow]:
    """Shadows of arrays whose bytes overlap, or of one array.

    Parameters
    ----------
    clock : Clock
    extents : Sequence[tuple[int, int, int]]
        Address, elements and bytes of an element.
    reports : Sequence[Report]
        One an array.
    """
    if len(extents) == 1:
        return [clock.shadow(extents[0][1], reports[0])]
    start = min(address for address, _, _ in extents)
    end = max(address + size * item for address, size, item in extents)
    grain = math.gcd(*(g for address, _, item in extents for g in (address - start, item)))
    shadow = clock.shadow((end - start) // grain, _raise_conflict)
    return [
        _Part(shadow, (address - start) // grain, item // grain, report)
        for (address, _, item), report in zip(extents, reports, strict=True)
    ]


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
