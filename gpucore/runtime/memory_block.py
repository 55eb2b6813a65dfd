"""Blocks: pieces of memory that a pool handed out, which streams use them, and what keeps them alive."""

from __future__ import annotations

from threading import get_ident
from typing import TYPE_CHECKING

from gpucore.errors import LaunchError

if TYPE_CHECKING:
    from gpucore.hookspecs import Allocation, MemoryKind
    from gpucore.runtime.memory_pool import Pool
    from gpucore.runtime.reserve import Reserve
    from gpucore.runtime.stream import Stream
    from gpucore.runtime.timeline import Timeline

__all__ = ["Block", "NoBlock", "Owner"]


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
        if timeline not in self.users and self.last_use_epoch == home._timeline.epoch:
            stream._follow(home)
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
