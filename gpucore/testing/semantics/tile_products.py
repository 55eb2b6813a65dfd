"""Rows of products of tiles of bytes, which are exact: a row is one product, added to a start, of square matrices."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from random import Random

from gpucore.ir.dtypes import i8, i32
from gpucore.testing.semantics.model import Case, Group

__all__ = ["groups"]

_SIZES = {16: 12, 32: 4, 48: 1}
"""Extents of the matrices and the number of rows; 48 is made of instructions of two depths where a device has those."""
_BYTES = (-128, -127, -1, 0, 1, 2, 126, 127)
_TOTALS = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def _product(a: list[int], b: list[int], start: list[int], size: int) -> tuple[int, ...]:
    """The bits of ``start + a @ b`` of matrices in C order."""
    return tuple(
        (start[i * size + j] + sum(a[i * size + k] * b[k * size + j] for k in range(size))) % (1 << 32)
        for i in range(size)
        for j in range(size)
    )


def _cases(size: int) -> list[Case]:
    stream, count = Random(size), size * size
    found: list[Case] = []
    for number in range(_SIZES[size]):
        if number == 1:
            a, b = [-128] * count, [-128] * count
        elif number == 2:
            a, b = [127] * count, [-128] * count
        elif number % 3 == 0:
            a, b = ([stream.choice(_BYTES) for _ in range(count)] for _ in range(2))
        else:
            a, b = ([stream.randrange(-128, 128) for _ in range(count)] for _ in range(2))
        start = [stream.choice((*_TOTALS, stream.getrandbits(32))) for _ in range(count)]
        bits = [value % 256 for value in (*a, *b)]
        found.append(((*bits, *start), _product(a, b, start, size)))
    return found


def groups() -> Iterable[Group]:
    """The groups ``tile.i8.16`` and so on."""
    for size in _SIZES:
        operands = (i8, i8, i32)
        yield Group(
            f"tile.i8.{size}", "tile", operands, (i32,), partial(_cases, size), "tile", lanes=size * size
        )
