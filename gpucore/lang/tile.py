"""``gc.tile``: products of small matrices that groups of 32 threads hold together; placeholders as those of ``builtins``.

The threads of a block with linear ids ``32 * g`` to ``32 * g + 31`` are group ``g``, and each has some elements of every tile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gpucore.lang.math_builtins import outside

__all__ = ["TILE_TABLE", "Tile", "load_a", "load_b", "load_c", "store", "zeros"]


class Tile:
    """A tile as type checkers see it."""

    def __matmul__(self, other: Tile) -> Tile:
        """The product, which stands behind ``total +=``."""
        outside("tile")

    def __iadd__(self, product: Tile) -> Tile:
        """Add a product of two tiles."""
        outside("tile")


def zeros(shape: tuple[int, int], dtype: Any) -> Tile:
    """A tile of zeros that sums up products: f32 for those of f16 and bf16, i32 for those of i8.

    Parameters
    ----------
    shape : tuple[int, int]
        A multiple of 16 rows, a multiple of 8 columns; a constant.
    dtype : DType
    """
    outside("tile.zeros")


def load_a(array: Any, index: tuple[int, int], shape: tuple[int, int], dtype: Any = None) -> Tile:
    """A left factor: the part of an array of f16, bf16 or i8 that begins at an index.

    Parameters
    ----------
    array : Array
        Of two axes; a part such as ``x[k].T`` too.
    index : tuple[int, int]
        Of the first element, the same in all threads of a group.
    shape : tuple[int, int]
        Multiples of 16; constants.
    dtype : DType, optional
        Of what u32 words of the array hold: two elements of f16 or bf16, or four of i8, that follow one another in a row.
    """
    outside("tile.load_a")


def load_b(array: Any, index: tuple[int, int], shape: tuple[int, int], dtype: Any = None) -> Tile:
    """A right factor, as :func:`load_a`: a multiple of 16 rows, a multiple of 8 columns; words hold elements of a column."""
    outside("tile.load_b")


def load_c(array: Any, index: tuple[int, int], shape: tuple[int, int]) -> Tile:
    """A sum to go on with, from an array of f32 or i32: a multiple of 16 rows, a multiple of 8 columns."""
    outside("tile.load_c")


def store(array: Any, index: tuple[int, int], tile: Tile) -> None:
    """Write a sum to the part of an array that begins at an index, converted to its dtype as every store is."""
    outside("tile.store")


TILE_TABLE: dict[Callable[..., Any], str] = {
    f: f"tile.{f.__name__}" for f in (zeros, load_a, load_b, load_c, store)
}
