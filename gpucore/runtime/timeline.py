"""The order of a stream's work, as memory refers to it."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpucore.hookspecs import MemoryKind, StreamHandle
    from gpucore.runtime.kernel_reports import Records
    from gpucore.runtime.memory_block import Arena
    from gpucore.runtime.memory_pool import Pool
    from gpucore.runtime.state import ContextState
    from gpucore.runtime.stream import Stream

__all__ = ["Timeline"]


class Timeline:
    """What memory knows of a stream that used it, so that an array keeps no stream alive.

    Once the stream is gone its context's default stream takes its place, after waiting for its work.

    Attributes
    ----------
    handle : object
        The backend's stream; void once it is retired.
    epoch : int
        Counts the times that all work enqueued was seen to be done.
    arenas : dict
        Memory that is reused in the order of the stream, by pool and kind.
    records : Records | None
    reference : weakref.ref[Stream]
    retired : bool
        The stream is gone, and the default stream comes after its work.
    """

    __slots__ = ("arenas", "epoch", "handle", "records", "reference", "retired", "state")

    def __init__(self, state: ContextState, handle: StreamHandle, stream: Stream) -> None:
        self.state = state
        self.handle = handle
        self.epoch = 0
        self.arenas: dict[tuple[Pool, MemoryKind], Arena] = {}
        self.records: Records | None = None
        self.retired = False
        self.reference = weakref.ref(stream)

    @property
    def is_dropped(self) -> bool:
        """Whether nobody holds the stream any more."""
        return self.reference() is None

    def stream(self) -> Stream:
        """The stream, or the default stream where it is gone."""
        stream = self.reference()
        if stream is None:
            self.state.retire(self)
            return self.state.default_stream
        return stream
