"""Pinned memory that is used again and again: the rings of a pipeline.

Memory from the pool would be handed out in the order of a stream and wait for it, which takes the overlap away. Here the host
knows that a piece is free: the work on it was waited for, and no ndarray stands on it any more.
"""

from __future__ import annotations

import threading
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
        self._lock = (
            threading.RLock()
        )  # for the two numbers: a source's thread and its workers take, and the consumer
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
            self._count(1, owner)
        raw: npt.NDArray[np.uint8] = np.asarray(PinnedMemory(owner, nbytes, free))
        array: npt.NDArray[Any] = np.ndarray(shape, dtype.numpy, raw)
        return array, owner.block

    def close(self) -> None:
        """Let the pieces go; those that ndarrays stand on follow with these."""
        rings, self._free = self._free, {}
        for free in rings.values():
            free.clear()

    def _idle(self, free: deque[Owner]) -> Owner | None:
        """A piece that nothing works on: one that other streams than the pipeline's used goes back to the pool, which waits."""
        while free:
            try:
                owner = free.popleft()
            except IndexError:
                break  # another thread was faster
            if self.streams.issuperset(owner.block.users):
                return owner
            self._count(-1, owner)
        return None

    def _count(self, pieces: int, owner: Owner) -> None:
        with self._lock:
            self.made += pieces
            self.nbytes += pieces * owner.block.nbytes
