"""Rows of ``gc.random``: the known answers of Random123 and Philox in Python's integers.

``normal`` is not among them: it is the table's ``log``, ``cos`` and ``sqrt`` of the words that are.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from functools import partial
from random import Random

from gpucore.ir.dtypes import DType, f32, f64, i64, u32, u64
from gpucore.testing.semantics.model import Case, Group
from gpucore.testing.semantics.reference import FORMATS
from gpucore.testing.semantics.values import encode

__all__ = ["groups", "philox"]

KNOWN_ANSWERS: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (
    ((0,) * 6, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 6, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344, 0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
)
"""Counter and key, and the words: ``philox4x32 10`` of Random123's ``tests/kat_vectors``."""

_MASK = (1 << 32) - 1


def philox(counter: tuple[int, ...], key: tuple[int, ...]) -> tuple[int, ...]:
    """Philox 4x32-10 as the paper has it."""
    left, right = counter[0], counter[2]
    ahead, behind = counter[1], counter[3]
    for turn in range(10):
        k0, k1 = (key[0] + turn * 0x9E3779B9) & _MASK, (key[1] + turn * 0xBB67AE85) & _MASK
        first, second = 0xD2511F53 * left, 0xCD9E8D57 * right
        left, ahead, right, behind = (
            (second >> 32) ^ ahead ^ k0,
            second & _MASK,
            (first >> 32) ^ behind ^ k1,
            first & _MASK,
        )
    return left, ahead, right, behind


def _words(seed: int, index: int) -> tuple[int, ...]:
    return philox((index & _MASK, index >> 32, 0, 0), (seed & _MASK, seed >> 32))


def _philox_cases(word: int) -> list[Case]:
    stream = Random(4)
    drawn = [tuple(stream.getrandbits(32) for _ in range(6)) for _ in range(60)]
    known: list[Case] = [(inputs, (words[word],)) for inputs, words in KNOWN_ANSWERS]
    return known + [(inputs, (philox(inputs[:4], inputs[4:])[word],)) for inputs in drawn]


def _seeds() -> list[tuple[int, int]]:
    stream = Random(5)
    edges = [0, 1, 2, _MASK, 1 << 32, (1 << 63) - 1, (1 << 64) - 1]
    pairs = [(a, b) for a in edges for b in edges]
    return pairs + [(stream.getrandbits(64), stream.getrandbits(64)) for _ in range(100)]


def _uniform_cases(dtype: DType) -> list[Case]:
    cases: list[Case] = []
    for seed, index in _seeds():
        a, b, _, _ = _words(seed, index)
        value = Fraction(a >> 8, 1 << 24) if dtype is f32 else Fraction((b << 32 | a) >> 11, 1 << 53)
        cases.append(((seed, index), (encode(FORMATS[dtype.name], value),)))
    return cases


def _integer_cases() -> list[Case]:
    low, high = -(1 << 63), (1 << 63) - 1
    ranges = [
        (0, 1),
        (0, 10),
        (-3, 12),
        (5, 5),
        (7, -7),
        (0, 1 << 32),
        (0, (1 << 32) + 1),
        (low, high),
        (-1, high),
    ]
    cases: list[Case] = []
    for number, (seed, index) in enumerate(_seeds()):
        least, past = ranges[number % len(ranges)]
        a, b, _, _ = _words(seed, index)
        value = least + ((b << 32 | a) * max(past - least, 0) >> 64)
        bits = tuple(n % (1 << 64) for n in (least, past))
        cases.append(((seed, index, *bits), (value % (1 << 64),)))
    return cases


def groups() -> Iterable[Group]:
    """The groups ``random.philox.word0`` and so on."""
    for word in range(4):
        template = f"gc.random.philox(({{}}, {{}}, {{}}, {{}}), ({{}}, {{}}))[{word}]"
        cases = partial(_philox_cases, word)
        yield Group(f"random.philox.word{word}", "philox", (u32,) * 6, (u32,), cases, template=template)
    for dtype, name in ((f32, "uniform"), (f64, "uniform_f64")):
        template = f"gc.random.{name}({{}}, {{}})"
        yield Group(
            f"random.{name}", name, (u64, u64), (dtype,), partial(_uniform_cases, dtype), template=template
        )
    template = "gc.random.integers({}, {}, {}, {})"
    yield Group(
        "random.integers", "integers", (u64, u64, i64, i64), (i64,), _integer_cases, template=template
    )
