"""Keys and values of a sequence, on a device."""

from __future__ import annotations

from typing import Any

import gpucore as gc
from gpucore_worker.architecture import Architecture
from gpucore_worker.kernels.attention import TILE

Floats = gc.Array[Any]
_FIRST_TILES = 4
"""Tiles of a new cache."""


class Cache:
    """Keys and values of one sequence; it grows with it.

    Attributes
    ----------
    keys : Array of f32, (blocks, tiles, heads, elements, TILE)
    values : Array of f32, (blocks, tiles, heads, TILE, elements)
    tiles : int
    length : int
        Tokens that it holds.
    """

    def __init__(self, context: gc.Context, architecture: Architecture) -> None:
        self._context = context
        self._architecture = architecture
        self._limit = gc.cdiv(architecture.context, TILE)
        self.tiles = 0
        self.length = 0
        self.keys: Floats = context.empty(0, gc.f32)
        self.values: Floats = context.empty(0, gc.f32)
        self.reserve(1)

    @property
    def nbytes(self) -> int:
        """Bytes on the device."""
        return self.keys.nbytes + self.values.nbytes if self.tiles else 0

    def reserve(self, tokens: int) -> None:
        """Make room for that many tokens in all; what is there stays."""
        wanted = gc.cdiv(tokens, TILE)
        if wanted <= self.tiles:
            return
        tiles = min(max(wanted, 2 * self.tiles, _FIRST_TILES), max(self._limit, wanted))
        a = self._architecture
        keys = self._grown(self.keys, (tiles, a.shared_heads, a.head_size, TILE))
        # both or none: where memory runs out here, the cache stays as it was, and the same call may succeed later
        values = self._grown(self.values, (tiles, a.shared_heads, TILE, a.head_size))
        self.keys, self.values = keys, values
        self.tiles = tiles

    def free(self) -> None:
        """Give the memory back."""
        if self.tiles:
            self.keys.free()
            self.values.free()
        self.tiles = 0

    def _grown(self, old: Floats, shape: tuple[int, ...]) -> Floats:
        # zeros: what a masked position holds is multiplied with 0, and must be a number
        blocks = self._architecture.blocks
        new: Floats = self._context.zeros((blocks, *shape), gc.f32)
        if self.tiles:
            for block in range(blocks):
                new[block, : self.tiles].copy_from(old[block])
        return new
