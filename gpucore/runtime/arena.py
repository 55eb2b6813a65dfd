"""Free memory of one stream and kind."""

from __future__ import annotations

import bisect
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


class Arena:
    """Free allocations of one stream and kind, sorted by size; equal sizes last in, first out."""

    __slots__ = ("entries", "sizes")

    def __init__(self) -> None:
        self.sizes: list[int] = []
        # with the home stream's epoch when it was returned
        self.entries: list[tuple[Allocation, int]] = []

    def put(self, allocation: Allocation, nbytes: int, epoch: int) -> None:
        position = bisect.bisect_right(self.sizes, nbytes)
        self.sizes.insert(position, nbytes)
        self.entries.insert(position, (allocation, epoch))

    def take(self, nbytes: int) -> tuple[Allocation, int, int] | None:
        position = bisect.bisect_left(self.sizes, nbytes)
        if position == len(self.sizes):
            return None
        size = self.sizes[position]
        if size > nbytes + max(nbytes >> 2, 512):
            return None  # the best fit would waste more than a quarter
        last = bisect.bisect_right(self.sizes, size, lo=position) - 1
        del self.sizes[last]
        allocation, epoch = self.entries.pop(last)
        return allocation, size, epoch
