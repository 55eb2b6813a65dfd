"""Lists of strings of a file are found at once or one by one, and what is said of them by hashes is what their bytes say."""

from __future__ import annotations

import mmap
import struct

import numpy as np
import pytest

from gpucore_worker.strings import Strings, halves, merges_fit, short_strings


def strings_of(texts):
    raw = [text.encode() for text in texts]
    begins = np.cumsum([0, *(8 + len(text) for text in raw)])
    return Strings(b"".join(struct.pack("<Q", len(text)) + text for text in raw), begins)


def mapped(data):
    found = mmap.mmap(-1, len(data))
    found[:] = data
    return found


TEXTS = ["a", "b", "ab", "é", "aé", "é b", " ", "x" * 200, "日本", "日", "本"]


def test_each_is_decoded_when_asked_for():
    found = strings_of(TEXTS)
    assert (len(found), found[2], found[-1], found[1:3], list(found)) == (
        len(TEXTS), "ab", "本", ["b", "ab"], TEXTS,
    )  # fmt: skip
    with pytest.raises(IndexError):
        found[len(TEXTS)]


@pytest.mark.parametrize("text", ["x" * 300, "", "a\0\0\0\0\0\0\0\0b"])
def test_strings_are_found_at_once_or_left_to_be_found_one_by_one(text):
    plain = strings_of(TEXTS)
    data = b"head" + plain._data + b"tail" * 8
    assert (short_strings(mapped(data), 4, len(TEXTS)) == plain._begins).all()
    odd = strings_of([*TEXTS, text, *TEXTS])
    assert short_strings(mapped(b"head" + odd._data), 4, len(odd)) is None
    assert list(odd) == [*TEXTS, text, *TEXTS]


def test_a_string_is_not_taken_for_text_that_it_shares_a_character_with():
    whole = "é".encode()
    for first, second in ((whole[:1], whole[1:]), (b"y" * 150 + whole[:1], whole[1:])):
        data = b"".join(struct.pack("<Q", len(part)) + part for part in (first, second))
        begins = np.array([0, 8 + len(first), len(data)])
        assert not Strings(data, begins).valid()
    assert strings_of([*TEXTS, "é" * 200]).valid()


@pytest.mark.parametrize(
    ("merges", "fit"),
    [
        (["a b", "a é", "日 本"], True),
        (["a b", "b a"], False),  # makes no token
        (["ab"], False),
        (["q b"], False),
        (["a q"], False),
    ],
)
def test_merges_fit_tokens(merges, fit):
    assert merges_fit(strings_of(merges), strings_of(TEXTS)) is fit
    assert not merges_fit(strings_of(merges), strings_of([*TEXTS, "a"]))  # a token twice


def test_halves_are_all_pairs_of_tokens_that_make_a_token():
    rng = np.random.default_rng(3)
    texts = list(dict.fromkeys("".join(rng.choice(list("abé日"), rng.integers(1, 6))) for _ in range(300)))
    numbers = {text: number for number, text in enumerate(texts)}
    expected = {
        (numbers[text[:at]], numbers[text[at:]], numbers[text])
        for text in texts[10:]
        for at in range(1, len(text))
        if text[:at] in numbers and text[at:] in numbers
    }
    found = halves(strings_of(texts), np.arange(10, len(texts)))
    assert len(expected) > 100
    assert set(zip(*(part.tolist() for part in found), strict=True)) == expected
