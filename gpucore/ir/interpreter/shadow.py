"""Shadow memory: finds two accesses to one element that nothing orders.

Two accesses conflict when different threads make them, one of them writes, not both are atomic, and they
are of different blocks or of one block within one interval between barriers.  (A subgroup operation orders
nothing.  Fences do: kernels with fences use :mod:`gpucore.ir.interpreter.happens_before`.)  For each element
three numbers remember who wrote it, who read it, and who used an atomic on it.  As blocks run one after another and a
block's intervals as well, one record of each kind is enough:

* 0: nobody.
* ``((epoch * threads + thread) * 2 + many) * sites + site``: the thread in this epoch; ``many`` says that
  other threads of the same epoch did so too.  Epochs count intervals over the whole launch.
* negative: that, and threads of other blocks too.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, Protocol

__all__ = ["AnyShadow", "Clock", "Report", "Shadow", "joint_shadow"]

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
