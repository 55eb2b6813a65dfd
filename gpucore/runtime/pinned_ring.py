"""Pinned memory that is used again and again: the rings of a pipeline.

Memory from the pool would be handed out in the order of a stream and wait for it, which takes the overlap away. Here the host
knows that a piece is free: the work on it was waited for, and no ndarray stands on it any more.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gpucore.runtime.pinned_memory import PinnedMemory

if TYPE_CHECKING:
    from gpucore.ir.dtypes import DType
    from gpucore.runtime.memory_block import Block, Owner
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

    def take(self, shape: tuple[int, ...], dtype: DType) -> tuple[npt.NDArray[Any], Block]:
        """An ndarray with undefined contents, of at least one element, and the memory that it begins.

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
        raw: npt.NDArray[np.uint8] = np.asarray(PinnedMemory(owner, nbytes, free))
        array: npt.NDArray[Any] = np.ndarray(shape, dtype.numpy, raw.data)
        return array, owner.block

    def close(self) -> None:
        """Let the pieces go; those that ndarrays stand on follow with these."""
        rings, self._free = self._free, {}
        for free in rings.values():
            free.clear()

    def _idle(self, free: deque[Owner]) -> Owner | None:
        """A piece that nothing works on: one that other streams than the pipeline's used goes back to the pool, which waits."""
        while free:
            owner = free.popleft()
            if self.streams.issuperset(owner.block.users):
                return owner
            self.made -= 1
            self.nbytes -= owner.block.nbytes
        return None
