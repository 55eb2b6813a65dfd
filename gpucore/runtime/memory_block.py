"""Pieces of memory: those that a pool handed out, free ones, large allocations to cut.

A piece that comes back remembers the streams in whose order it may still be used. Whoever gets it next, on whatever stream,
waits for these; neighbours that are free are joined.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field
from operator import itemgetter
from threading import get_ident
from typing import TYPE_CHECKING

from gpucore.errors import LaunchError

if TYPE_CHECKING:
    from gpucore.hookspecs import Allocation, MemoryKind
    from gpucore.runtime.device import Held
    from gpucore.runtime.memory_pool import Pool
    from gpucore.runtime.stream import Stream, Timeline

__all__ = ["Arena", "Block", "NoBlock", "Owner", "Reserve", "size_class"]


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

    An interrupt leaves it whole, as each change is one call. A finalizer may use it after any call, so a position counts while
    ``_turn`` is the number taken for it.

    Attributes
    ----------
    entries : list
        Size in bytes, allocation, the home stream's epoch when it was returned, number in ``Device._held``.
    """

    __slots__ = ("_held", "_turn", "entries")

    def __init__(self, held: Held) -> None:
        self.entries: list[tuple[int, Allocation, int, int]] = []
        self._held = held
        self._turn = 0

    def put(self, allocation: Allocation, nbytes: int, epoch: int) -> None:
        number = id(allocation)
        entry = (nbytes, allocation, epoch, number)
        while True:
            self._turn = turn = self._turn + 1
            position = bisect.bisect_right(self.entries, nbytes, key=_SIZE)
            if self._turn == turn:
                self._held[number] = allocation, "device"
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
                size, allocation, epoch, number = self.entries[last]
                del self._held[number], self.entries[last]
                return allocation, size, epoch

    def take_any(self) -> tuple[Allocation, int] | None:
        """One of the largest, None where there is none left."""
        if not self.entries:
            return None
        size, allocation, _, number = self.entries[-1]
        del self._held[number], self.entries[-1]
        return allocation, size


class Block:
    """One life of a piece of memory: from ``Pool.allocate`` until it is freed.

    Attributes
    ----------
    allocation : object
        The plugin's.
    nbytes : int
        Its size, which may be more than was asked for.
    reserve : Reserve | None
        What it is a piece of, from ``offset`` on; else it is an allocation of its own.
    home : Timeline | None
        Of the stream in whose order it is reused; None once it was freed.
    users : dict[Timeline, int]
        Other streams that used it.
    last_use_epoch : int
        While the home stream's ``epoch`` equals it, work of the home stream may be pending on this memory,
        and another stream waits for the home stream at its first use.
    exposed : bool
        Its address was given to somebody outside, who may use the memory for as long as an owner lives.  Freeing the
        array or closing the context then ends the array and leaves the memory.
    reclaiming_stream : Stream | None
        Of a block that ended and was exposed: the stream in whose order its memory is reused once no owner is left.
    why : str
        Why it is gone, once it is.
    """

    __slots__ = (
        "allocation", "exposed", "home", "kind", "last_use_epoch", "nbytes", "offset", "outside", "pool", "reclaiming_stream",
        "reserve", "users", "why",
    )  # fmt: skip

    def __init__(
        self,
        pool: Pool,
        allocation: Allocation,
        nbytes: int,
        kind: MemoryKind,
        home: Timeline | None,
        last_use_epoch: int,
        outside: bool = False,
        reserve: Reserve | None = None,
        offset: int = 0,
    ) -> None:
        self.reserve = reserve
        self.offset = offset
        self.pool = pool
        self.allocation = allocation
        self.nbytes = nbytes
        self.kind = kind
        self.home: Timeline | None = home
        self.users: dict[Timeline, int] = {}
        self.last_use_epoch = last_use_epoch
        self.outside = outside
        self.exposed = False
        self.reclaiming_stream: Timeline | None = None
        self.why = "it was freed"

    @property
    def host_address(self) -> int:
        """Where the host reaches the memory, of a kind that it does reach."""
        address = self.allocation.host
        assert address is not None  # gpucore.backends.hooks has looked at it
        return address + self.offset

    def home_stream(self) -> Stream:
        """The stream in whose order the memory is reused: the default stream where that one is gone."""
        home = self.home
        if home is None:
            raise LaunchError(f"the array is gone: {self.why}")
        stream = home.stream()
        timeline = stream._timeline
        if timeline is not home:
            # it waits for the work of the other, so what was pending there is now pending here
            self.last_use_epoch = timeline.epoch if self.last_use_epoch == home.epoch else -1
            self.users.pop(timeline, None)
            self.home = timeline
        return stream

    def record_use(self, stream: Stream) -> None:
        """Record that work of ``stream`` uses this memory from now on."""
        timeline = stream._timeline
        if timeline is self.home:
            return
        home = self.home_stream()
        recorder = stream._state.recorders.get(get_ident()) if stream._state.recorders else None
        if recorder is not None:
            recorder.use(self, stream)
            return
        if stream is home:
            self.last_use_epoch = timeline.epoch
            return
        if timeline not in self.users:
            if self.last_use_epoch == home._timeline.epoch:
                stream._follow(home)
            if len(self.users) % 64 == 63 and stream is not stream._state.default_stream:
                # that one takes the place of dropped ones
                for user in [user for user in list(self.users) if user.is_dropped]:
                    self.record_use(user.stream())
                    self.users.pop(user, None)
        self.users[timeline] = timeline.epoch

    def join_streams(self) -> Stream:
        """The home stream, after making it wait for the others, and others for what it does next."""
        own = self.home
        home = None if own is None else own.reference()
        if home is None:
            home = self.home_stream()
        recorder = home._state.recorders.get(get_ident()) if home._state.recorders else None
        if recorder is not None:
            return recorder.join(self)
        if self.users:
            for timeline, epoch in list(self.users.items()):
                user = timeline.stream()
                # the default stream may be used by several threads, so its epoch proves nothing here
                if user is not home and (
                    timeline.epoch == epoch or timeline is user._state.default_stream._timeline
                ):
                    home._follow(user)
            self.users.clear()
        self.last_use_epoch = home._timeline.epoch
        return home


class NoBlock(Block):
    """What arrays of size zero stand on: no memory, used by anyone."""

    __slots__ = ()

    def __init__(self, pool: Pool, home: Timeline | None) -> None:
        # launches pass the None on, as the contract wants it; nothing else looks at it
        super().__init__(pool, None, 0, "device", home, -1)  # type: ignore[arg-type]

    def record_use(self, stream: Stream) -> None:
        if self.home is None:
            super().record_use(stream)


class Owner:
    """Keeps a block alive; arrays and their views share one."""

    __slots__ = ("__weakref__", "block")

    def __init__(self, block: Block) -> None:
        self.block = block

    def __del__(self) -> None:
        try:
            block = self.block
        except AttributeError:
            return  # an interrupt came before it had one
        if block.home is not None or block.reclaiming_stream is not None:
            block.pool.returned.append(block)  # nothing before it that an interrupt could come in
            if block.pool._state.closed:
                block.pool._state.note_returned()
