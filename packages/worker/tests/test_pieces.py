"""SentencePiece's tokens, against its algorithm written down: the best pair of neighbours is joined until there is none."""

from __future__ import annotations

import random

import pytest
from gguf_writer import TinyModel

from gpucore_worker.errors import ModelError
from gpucore_worker.gguf_file import GGUFFile
from gpucore_worker.tokenizer import Vocabulary

WORDS = (
    "th the \u2581the \u2581t he er ther other \u2581o an and \u2581and \u2581a nd in \u2581\u2581"
).split()
LETTERS = list("abcdefghijklmnopqrstuvwxyz.,\u2581")
TOKENS = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)] + WORDS + LETTERS
KINDS = [2, 3, 3] + [6] * 256 + [1] * (len(WORDS) + len(LETTERS))
SCORES = [0.0] * 259 + [-float(i) for i in range(len(WORDS))] + [-100.0 - i for i in range(len(LETTERS))]


def vocabulary(tmp_path, **change):
    model = TinyModel(0, blocks=1)
    fill = 320 - len(TOKENS)
    unused = [f"<u{i}>" for i in range(fill)]
    entries = {
        "tokenizer__ggml__model": ("str", "llama"), "tokenizer__ggml__tokens": ("strs", TOKENS + unused),
        "tokenizer__ggml__token_type": ("i32s", KINDS + [5] * fill), "tokenizer__ggml__scores": ("f32s", SCORES + [0.0] * fill),
        "tokenizer__ggml__merges": None, **change,
    }  # fmt: skip
    return Vocabulary(GGUFFile(model.write(tmp_path / "m.gguf", **entries)), 320)


def joined(text):
    """The tokens of a text, by the algorithm."""
    known = {t: i for i, (t, kind) in enumerate(zip(TOKENS, KINDS, strict=True)) if kind == 1}
    parts = list(("\u2581" + text.replace(" ", "\u2581")) if text else "")
    while True:
        best = None
        for i in range(len(parts) - 1):
            pair = parts[i] + parts[i + 1]
            if pair in known and (best is None or SCORES[known[pair]] > best[0]):
                best = SCORES[known[pair]], i
        if best is None:
            break
        at = best[1]
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    found = []
    for part in parts:
        found += [known[part]] if part in known else [3 + b for b in part.encode()]
    return found


def test_tokens_are_those_of_the_algorithm(tmp_path):
    v = vocabulary(tmp_path)
    chance = random.Random(3)
    texts = ["the other and", "", " the", "and  the", "b\u00fccher", "\U0001f600 in"]
    texts += [
        "".join(chance.choice("theroand  in.") for _ in range(chance.randint(1, 40))) for _ in range(200)
    ]
    for text in texts:
        assert v.encode(text) == joined(text), text
        assert v.decode(v.encode(text)) == text


def test_control_tokens_are_parsed_where_wanted(tmp_path):
    v = vocabulary(tmp_path)
    assert v.encode("<s>the")[0] == 1 and 1 not in v.encode("<s>the", special=False)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"tokenizer__ggml__scores": None}, "scores"),
        ({"tokenizer__ggml__scores": ("f32s", [0.0])}, "scores"),
        ({"tokenizer__ggml__token_type": ("i32s", [6] * 320)}, "names none"),
    ],
)
def test_parts_that_do_not_fit_are_refused(tmp_path, change, says):
    with pytest.raises(ModelError, match=says):
        vocabulary(tmp_path, **change)


@pytest.mark.parametrize("said", [None, True, False])
def test_texts_begin_as_the_model_was_trained_where_the_file_does_not_say(tmp_path, said):
    """SentencePiece's and Llama 3's begin with a token of their own, GPT-2's and those of its kin do not."""
    change = {} if said is None else {"tokenizer__ggml__add_bos_token": ("bool", said)}
    assert vocabulary(tmp_path, **change).adds_bos is (said is not False)
    for pre in ("llama-bpe", "gpt-2", "smollm", "qwen2"):
        path = TinyModel(0, blocks=1).write(tmp_path / "m.gguf", tokenizer__ggml__pre=("str", pre), **change)
        usual = pre == "llama-bpe" if said is None else said
        assert Vocabulary(GGUFFile(path), 320).adds_bos is usual


def test_a_file_that_does_not_say_how_text_is_cut_is_refused(tmp_path):
    path = TinyModel(0, blocks=1).write(tmp_path / "m.gguf", tokenizer__ggml__pre=None)
    with pytest.raises(ModelError, match="tokenizer.ggml.pre"):
        Vocabulary(GGUFFile(path), 320)
