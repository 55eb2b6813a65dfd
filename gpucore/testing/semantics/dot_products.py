"""Rows of ``gc.dot4``: products of packed bytes, signed, unsigned, and mixed."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from random import Random

from gpucore.ir.dtypes import dtype
from gpucore.testing.semantics.model import Case, Group

__all__ = ["groups"]

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


def _cases(name: str, kinds: tuple[str, str, str]) -> list[Case]:
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


def groups() -> Iterable[Group]:
    """The groups ``dot4.signed`` and so on."""
    for name, kinds in _FORMS.items():
        operands = tuple(dtype(kind) for kind in kinds)
        yield Group(f"dot4.{name}", "dot4", operands, operands[2:], partial(_cases, name, kinds))
