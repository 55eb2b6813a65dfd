"""Pinned memory that is used again and again: the rings of a pipeline.

Memory from the pool would be handed out in the order of a stream and wait for it, which takes the overlap away. Here the host
knows that a piece is free: the work on it was waited for, and no ndarray stands on it any more.
"""

from __future__ import annotations

import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gpucore.runtime.copies import PinnedMemory

if TYPE_CHECKING:
    from gpucore.ir.dtypes import DType
    from gpucore.runtime.memory_block import Owner
    from gpucore.runtime.state import ContextState
    from gpucore.runtime.timeline import Timeline

__all__ = ["PinnedRing"]


class PinnedRing:
    """Pieces of pinned memory by size, each handed out as an ndarray and taken back when nothing stands on it any more.

    Attributes
    ----------
    streams : set[Timeline]
        Whose work on the pieces is waited for before they are given back.
    made : int
        Pieces that were allocated.
    nbytes : int
        Their bytes.
    """

    def __init__(self, state: ContextState) -> None:
        self._state = state
        self._free: dict[int, deque[Owner]] = {}
        self.streams: set[Timeline] = set()
        self.made = 0
        self.nbytes = 0

    def take(self, shape: tuple[int, ...], dtype: DType) -> npt.NDArray[Any]:
        """An ndarray with undefined contents, of at least one element.

        Raises
        ------
        OutOfMemoryError
        """
        nbytes = dtype.itemsize
        for extent in shape:
            nbytes *= extent
        free = self._free.setdefault(nbytes, deque())
        owner = self._idle(free)
        if owner is None:
            owner = self._state.pool.allocate(nbytes, "pinned", self._state.default_stream)
            self.made += 1
            self.nbytes += owner.block.nbytes
        memory = PinnedMemory(owner, nbytes)
        # views of an ndarray stand on the memory itself, so all of them are gone once it is
        weakref.finalize(memory, free.append, owner).atexit = False
        array: npt.NDArray[Any] = np.asarray(memory).view(dtype.numpy).reshape(shape)
        return array

    def close(self) -> None:
        """Let the pieces go; those that ndarrays stand on follow with these."""
        self._free = {}

    def _idle(self, free: deque[Owner]) -> Owner | None:
        """A piece that nothing works on: one that other streams than the pipeline's used goes back to the pool, which waits."""
        while free:
            owner = free.popleft()
            if self.streams.issuperset(owner.block.users):
                return owner
            self.made -= 1
            self.nbytes -= owner.block.nbytes
        return None
