"""Rows of products of bytes, which are exact: ``gc.dot4`` of packed bytes, and tiles."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from random import Random

from gpucore.ir.dtypes import dtype, i8, i32
from gpucore.testing.semantics.model import Case, Group

__all__ = ["dot_groups", "tile_groups"]


_FORMS = {
    "signed": ("u32", "u32", "i32"),
    "unsigned": ("u32", "u32", "u32"),
    "signed_words": ("i32", "i32", "i32"),
    "signed_words_wrapping": ("i32", "i32", "u32"),
    "mixed": ("u32", "i32", "i32"),
    "mixed_turned": ("i32", "u32", "u32"),
}
_BYTES = (0, 1, 2, 0x55, 0x7E, 0x7F, 0x80, 0x81, 0xAA, 0xFE, 0xFF)
_TOTALS = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x00010000, 0xFFFF0000)


def _number(byte: int, signed: bool) -> int:
    return byte - 256 if signed and byte > 127 else byte


def _dot(first: int, second: int, total: int, signs: tuple[bool, bool]) -> int:
    for shift in (0, 8, 16, 24):
        a, b = (
            _number(word >> shift & 0xFF, sign) for word, sign in zip((first, second), signs, strict=True)
        )
        total += a * b
    return total % (1 << 32)


def _dot_cases(name: str, kinds: tuple[str, str, str]) -> list[Case]:
    stream = Random(name)
    words = [sum(byte << shift for shift in (0, 8, 16, 24)) for byte in _BYTES]
    words += [byte << shift for byte in (1, 0x80, 0xFF) for shift in (0, 8, 16, 24)]
    rows = [(a, b, stream.choice(_TOTALS)) for a in words for b in words]
    rows += [
        (stream.getrandbits(32), stream.getrandbits(32), stream.choice((*_TOTALS, stream.getrandbits(32))))
        for _ in range(400)
    ]
    both = kinds[:2] == ("u32", "u32")
    signs = (kinds[2] == "i32",) * 2 if both else (kinds[0] == "i32", kinds[1] == "i32")
    return [(row, (_dot(*row, signs),)) for row in rows]


def dot_groups() -> Iterable[Group]:
    """The groups ``dot4.signed`` and so on."""
    for name, kinds in _FORMS.items():
        operands = tuple(dtype(kind) for kind in kinds)
        yield Group(f"dot4.{name}", "dot4", operands, operands[2:], partial(_dot_cases, name, kinds))


_SIZES = {16: 12, 32: 4, 48: 1}
"""Extents of the matrices and the number of rows; 48 is made of instructions of two depths where a device has those."""
_EXTREME_BYTES = (-128, -127, -1, 0, 1, 2, 126, 127)
_STARTS = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def _product(a: list[int], b: list[int], start: list[int], size: int) -> tuple[int, ...]:
    """The bits of ``start + a @ b`` of matrices in C order."""
    return tuple(
        (start[i * size + j] + sum(a[i * size + k] * b[k * size + j] for k in range(size))) % (1 << 32)
        for i in range(size)
        for j in range(size)
    )


def _tile_cases(size: int) -> list[Case]:
    stream, count = Random(size), size * size
    found: list[Case] = []
    for number in range(_SIZES[size]):
        if number == 1:
            a, b = [-128] * count, [-128] * count
        elif number == 2:
            a, b = [127] * count, [-128] * count
        elif number % 3 == 0:
            a, b = ([stream.choice(_EXTREME_BYTES) for _ in range(count)] for _ in range(2))
        else:
            a, b = ([stream.randrange(-128, 128) for _ in range(count)] for _ in range(2))
        start = [stream.choice((*_STARTS, stream.getrandbits(32))) for _ in range(count)]
        bits = [value % 256 for value in (*a, *b)]
        found.append(((*bits, *start), _product(a, b, start, size)))
    return found


def tile_groups() -> Iterable[Group]:
    """The groups ``tile.i8.16`` and so on."""
    for size in _SIZES:
        operands = (i8, i8, i32)
        yield Group(
            f"tile.i8.{size}", "tile", operands, (i32,), partial(_tile_cases, size), "tile", lanes=size * size
        )
