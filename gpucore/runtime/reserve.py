"""One large allocation from which a pool hands out pieces.

A piece that comes back remembers the streams in whose order it may still be used. Whoever gets it next, on whatever stream,
waits for these; neighbours that are free are joined.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpucore.hookspecs import Allocation
    from gpucore.runtime.stream import Stream
    from gpucore.runtime.timeline import Timeline

__all__ = ["Reserve"]


@dataclass
class _Piece:
    """Free bytes, and the streams that may still work on them, each with its epoch when they were given back."""

    offset: int
    nbytes: int
    pending: dict[Timeline, int] = field(default_factory=dict)


class Reserve:
    """Free pieces of one allocation, by offset.

    Attributes
    ----------
    free : int
        Bytes that are not handed out.
    """

    def __init__(self, allocation: Allocation, nbytes: int) -> None:
        self.allocation = allocation
        self.nbytes = nbytes
        self.free = nbytes
        self._pieces = [_Piece(0, nbytes)]

    def take(self, nbytes: int, stream: Stream) -> int | None:
        """The offset of the smallest piece that is large enough, usable in the order of a stream; None where there is none."""
        fitting = [piece for piece in self._pieces if piece.nbytes >= nbytes]
        if not fitting:
            return None
        piece = min(fitting, key=lambda one: one.nbytes)
        for timeline, epoch in piece.pending.items():
            if timeline is not stream._timeline and (timeline.epoch == epoch or timeline.is_dropped):
                other = timeline.stream()
                if other is not stream:
                    stream._follow(other)
        offset = piece.offset
        if piece.nbytes == nbytes:
            self._pieces.remove(piece)
        else:
            piece.offset += nbytes
            piece.nbytes -= nbytes
        self.free -= nbytes
        return offset

    def give(self, offset: int, nbytes: int, home: Timeline) -> None:
        """A piece comes back, in the order of a stream."""
        position = bisect.bisect_left([piece.offset for piece in self._pieces], offset)
        piece = _Piece(offset, nbytes, {home: home.epoch})
        self._pieces.insert(position, piece)
        self.free += nbytes
        for left in (position, position - 1):
            if 0 <= left < len(self._pieces) - 1:
                first, second = self._pieces[left], self._pieces[left + 1]
                if first.offset + first.nbytes == second.offset:
                    first.nbytes += second.nbytes
                    for timeline, epoch in second.pending.items():
                        first.pending[timeline] = max(epoch, first.pending.get(timeline, epoch))
                    del self._pieces[left + 1]
