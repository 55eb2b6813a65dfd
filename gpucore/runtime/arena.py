"""Free memory of one stream and kind."""

from __future__ import annotations

import bisect
from operator import itemgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpucore.hookspecs import Allocation

__all__ = ["Arena", "size_class"]

_LARGE_STEP = 1 << 21


def size_class(nbytes: int) -> int:
    """The size that a request is rounded up to: four classes an octave to 1 MiB, then at most an eighth more.

    >>> size_class(1), size_class(4000), size_class(5000)
    (256, 4096, 5120)
    """
    if nbytes <= 256:
        return 256
    if nbytes > 16 * _LARGE_STEP:
        return -(-nbytes // _LARGE_STEP) * _LARGE_STEP
    step = max(256, 1 << ((nbytes - 1).bit_length() - 3))
    return -(-nbytes // step) * step


_SIZE = itemgetter(0)


class Arena:
    """Free allocations of one stream and kind, sorted by size; equal sizes last in, first out.

    An interrupt leaves it whole, as each change is one call. A finalizer may use it in between, wherever CPython runs one (after
    a call, and as a function or the body of a loop begins), so a position counts while ``_turn`` is the number taken for it.

    Attributes
    ----------
    entries : list
        Size in bytes, allocation, and the home stream's epoch when it was returned.
    """

    __slots__ = ("_turn", "entries")

    def __init__(self) -> None:
        self.entries: list[tuple[int, Allocation, int]] = []
        self._turn = 0

    def put(self, allocation: Allocation, nbytes: int, epoch: int) -> None:
        entry = (nbytes, allocation, epoch)
        while True:
            self._turn = turn = self._turn + 1
            position = bisect.bisect_right(self.entries, nbytes, key=_SIZE)
            if self._turn == turn:
                self.entries.insert(position, entry)
                return

    def take(self, nbytes: int) -> tuple[Allocation, int, int] | None:
        most = nbytes + max(nbytes >> 2, 512)  # a worse fit would waste more than a quarter
        while True:
            self._turn = turn = self._turn + 1
            # the last of the smallest size that is large enough
            after = bisect.bisect_right(self.entries, most, key=_SIZE)
            first = bisect.bisect_left(self.entries, nbytes, hi=after, key=_SIZE)
            if self._turn != turn:
                continue
            if first == after:
                return None
            last = (
                bisect.bisect_right(self.entries, self.entries[first][0], lo=first, hi=after, key=_SIZE) - 1
            )
            if self._turn == turn:
                size, allocation, epoch = self.entries.pop(last)
                return allocation, size, epoch

    def take_any(self) -> tuple[Allocation, int] | None:
        """One of the largest, None where there is none left."""
        try:
            size, allocation, _ = self.entries.pop()
        except IndexError:
            return None
        return allocation, size
