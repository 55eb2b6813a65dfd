"""Lists of strings of a file, which are long and mostly not looked at: each is decoded when it is asked for."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import overload

import numpy as np
import numpy.typing as npt

_PREFIX = 8
"""Bytes of the length before each string."""
_STEP = 4096
_FACTOR = 0x9E3779B97F4A7C15
"""An odd number, so that it has an inverse modulo 2**64."""


class Strings(Sequence[str]):
    """Strings that lie one after another, each behind its length.

    Parameters
    ----------
    data : bytes
        From the first length to the end of the last string.
    begins : ndarray of i64
        Where each length lies, and the end of the last string.
    """

    def __init__(self, data: bytes, begins: npt.NDArray[np.int64]) -> None:
        self._data = data
        self._begins = begins

    def __repr__(self) -> str:
        return f"<{len(self):,} strings>"

    def __len__(self) -> int:
        return len(self._begins) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        number = index + len(self) if index < 0 else index
        if not 0 <= number < len(self):
            raise IndexError(f"string {index} of {len(self)}")
        return self._data[self._begins[number] + _PREFIX : self._begins[number + 1]].decode()

    def __iter__(self) -> Iterator[str]:
        return iter(self.tolist())

    def tolist(self) -> list[str]:
        """All of them, decoded."""
        data = self._data
        places = self._begins.tolist()
        return [data[begin + _PREFIX : end].decode() for begin, end in pairwise(places)]

    def valid(self) -> bool:
        """Whether each is UTF-8."""
        # with bytes of ASCII in the place of the lengths, as short ones are, no character can lie in two strings
        data = self._data
        if len(self) and np.diff(self._begins).max() >= _PREFIX + 128:
            text = np.frombuffer(data, np.uint8).copy()
            text[self._begins[:-1, None] + np.arange(_PREFIX)] = 0
            data = text.tobytes()
        try:
            data.decode()
        except UnicodeDecodeError:
            return False
        return True

    def hashes(self) -> Hashes:
        """Hashes of all of them."""
        return Hashes(self._data, self._begins)


def short_strings(data: mmap.mmap, at: int, count: int) -> npt.NDArray[np.int64] | None:
    """Where each of so many strings begins, from ``at`` on, and where the last ends: all at once, by the zeros of lengths.

    None where that cannot be told: a string is longer than 255 bytes, holds zeros, is empty, or lies beyond the file.
    """
    window = np.frombuffer(data, np.uint8, min(len(data) - at, 64 * count + 1024), at)
    zero = window == 0
    two = zero[:-1] & zero[1:]
    four = two[:-2] & two[2:]
    seven = np.flatnonzero(four[:-3] & four[3:])  # a length below 256 is a byte and seven zeros
    if not count or len(seven) < count or seven[0] != 1:
        return None
    begins = np.empty(count + 1, np.int64)
    begins[:-1] = seven[:count] - 1
    ends = begins[:-1] + _PREFIX + window[begins[:-1]]
    begins[-1] = ends[-1]
    fits = at + int(ends[-1]) <= len(data) and bool((ends == begins[1:]).all())
    return begins if fits else None


class _Powers:
    """Powers of a number modulo 2**64, each a product of one of ``_STEP`` small and one of few large ones."""

    def __init__(self, factor: int, most: int) -> None:
        self._size = most
        self._small = self._table(factor, _STEP)
        self._large = self._table(pow(factor, _STEP, 1 << 64), most // _STEP + 1)

    @staticmethod
    def _table(factor: int, size: int) -> npt.NDArray[np.uint64]:
        table = np.full(size, factor, np.uint64)
        table[0] = 1
        return np.multiply.accumulate(table)

    def at(self, exponents: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
        """Those with some exponents, ``most`` at most."""
        found: npt.NDArray[np.uint64] = self._large[exponents // _STEP] * self._small[exponents % _STEP]
        return found

    def all(self) -> npt.NDArray[np.uint64]:
        """Those with the exponents below ``most``."""
        return (self._large[:, None] * self._small).ravel()[: self._size]


class Hashes:
    """Polynomial hashes modulo 2**64 of strings and of their parts, by prefix sums: equal bytes, equal hashes.

    Attributes
    ----------
    whole : ndarray of u64
        Of each string.
    """

    def __init__(self, data: bytes, begins: npt.NDArray[np.int64]) -> None:
        codes = np.frombuffer(data, np.uint8)
        self._powers, self._inverses = (
            _Powers(_FACTOR, len(codes)),
            _Powers(pow(_FACTOR, -1, 1 << 64), len(codes)),
        )
        self._codes = codes
        # a byte counts one more, so that zeros count, too
        terms = self._powers.all()
        terms *= codes + np.uint64(1)
        self._sums = np.zeros(len(codes) + 1, np.uint64)
        np.cumsum(terms, out=self._sums[1:])
        self.begins, self.ends = begins[:-1] + _PREFIX, begins[1:]
        self.whole = self.between(self.begins, self.ends)

    def between(self, begins: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
        """Of the bytes from each of ``begins`` to the one of ``ends``."""
        found: npt.NDArray[np.uint64] = (self._sums[ends] - self._sums[begins]) * self._inverses.at(begins)
        return found

    def places_of(self, byte: bytes) -> npt.NDArray[np.int64]:
        """Where a byte stands, be it in a string or in a length."""
        return np.flatnonzero(self._codes == byte[0])

    def begins_character(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Whether a character of UTF-8 begins there."""
        found: npt.NDArray[np.bool_] = (self._codes[places] & 0xC0) != 0x80
        return found

    def joined(
        self, left: npt.NDArray[np.uint64], sizes: npt.NDArray[np.int64], right: npt.NDArray[np.uint64]
    ) -> npt.NDArray[np.uint64]:
        """Of two strings put together, the first of which has ``sizes`` bytes."""
        found: npt.NDArray[np.uint64] = left + self._powers.at(sizes) * right
        return found


class _Numbers:
    """Numbers of strings by their hashes."""

    def __init__(self, hashes: npt.NDArray[np.uint64]) -> None:
        self._order = np.argsort(hashes)
        self._sorted = hashes[self._order]
        self.distinct = not bool((self._sorted[1:] == self._sorted[:-1]).any())

    def find(self, hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """The number of each, -1 where there is none."""
        place = np.minimum(np.searchsorted(self._sorted, hashes), len(self._sorted) - 1)
        return np.where(self._sorted[place] == hashes, self._order[place], -1)


def merges_fit(merges: Strings, tokens: Strings) -> bool:
    """Whether tokens differ, and each merge is two of them with a space between, and together makes a third; by hashes.

    False may be wrong, where hashes of two strings are equal.
    """
    if not len(merges) or not len(tokens):
        return False
    known = _Numbers(tokens.hashes().whole)
    hashes = merges.hashes()
    spaces = hashes.places_of(b" ")
    if not len(spaces):
        return False
    first = spaces[np.minimum(np.searchsorted(spaces, hashes.begins), len(spaces) - 1)]
    if ((first < hashes.begins) | (first >= hashes.ends)).any():
        return False
    left, right = hashes.between(hashes.begins, first), hashes.between(first + 1, hashes.ends)
    joined = hashes.joined(left, first - hashes.begins, right)
    return known.distinct and all((known.find(some) >= 0).all() for some in (left, right, joined))


def halves(
    tokens: Strings, chosen: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """All ways in which one of the chosen tokens is two tokens one after the other.

    Returns
    -------
    left, right, whole : ndarray of i64
        Numbers of tokens, in no order that is promised.
    """
    hashes = tokens.hashes()
    known = _Numbers(hashes.whole)
    begins, ends = hashes.begins[chosen], hashes.ends[chosen]
    # every place within a token where a character begins
    sizes = np.maximum(ends - begins - 1, 0)
    owner = np.repeat(np.arange(len(chosen)), sizes)
    inner = np.arange(len(owner)) - np.repeat(np.cumsum(sizes) - sizes, sizes) + 1 + begins[owner]
    at_character = hashes.begins_character(inner)
    owner, inner = owner[at_character], inner[at_character]
    left = known.find(hashes.between(begins[owner], inner))
    right = known.find(hashes.between(inner, ends[owner]))
    found = (left >= 0) & (right >= 0)
    left, right, whole = left[found], right[found], chosen[owner[found]]
    texts = tokens.tolist()
    # a hash may lie
    same = [
        texts[i] + texts[j] == texts[k]
        for i, j, k in zip(left.tolist(), right.tolist(), whole.tolist(), strict=True)
    ]
    kept = np.array(same, bool)
    return left[kept], right[kept], whole[kept]
