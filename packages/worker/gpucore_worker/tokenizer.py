"""Text to tokens and back, by Hugging Face's ``tokenizers``, set up from what a GGUF file says."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

from gpucore_worker.errors import ModelError, ParameterError
from gpucore_worker.gguf_file import GGUFFile

_NORMAL, _UNKNOWN, _CONTROL, _USER, _UNUSED, _BYTE = range(1, 7)
_ENDS = ("<|endoftext|>", "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<end_of_turn>")
"""Control tokens that end an answer, named in the file's metadata or not; llama.cpp has these among its own."""
_SPACE = "\u2581"
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_QWEN = rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA = rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def _split(pattern: str) -> list[Any]:
    return [
        pre_tokenizers.Split(Regex(pattern), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]


def _gpt2(*before: Any) -> list[Any]:
    return [*before, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]


_PRE_TOKENIZERS: dict[str, Callable[[], list[Any]]] = {
    "gpt-2": lambda: _gpt2(),
    "smollm": lambda: _gpt2(pre_tokenizers.Digits(individual_digits=True)),
    "qwen2": lambda: _split(_QWEN),
    "llama-bpe": lambda: _split(_LLAMA),
}
PRE_TOKENIZERS = tuple(_PRE_TOKENIZERS)
"""Names of the ways to cut text that are known, in ``tokenizer.ggml.pre``."""


def _byte_of_character() -> dict[str, int]:
    """GPT-2's characters for bytes: printable ones stand for themselves, others are moved past 255."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in set(plain)]
    return {chr(b): b for b in plain} | {chr(256 + i): b for i, b in enumerate(others)}


_BYTES = _byte_of_character()


class Vocabulary:
    """The tokens of a model.

    Parameters
    ----------
    file : GGUFFile
    size : int
        Rows of the embedding.

    Attributes
    ----------
    bos, eos : int | None
        The tokens that begin and end a text.
    ends : frozenset[int]
        Tokens that end a generation.
    adds_bos : bool
        Whether a prompt begins with ``bos``.
    chat_template : str | None

    Raises
    ------
    ModelError
        The file's tokenizer is not known, or its parts do not fit together.
    """

    def __init__(self, file: GGUFFile, size: int) -> None:
        self._path = file.path
        self._metadata = file.metadata
        self._texts = self._strings("tokens")
        if len(self._texts) != size:
            raise self._refuse(f"{len(self._texts):,} tokens are listed for {size:,} rows of the embedding")
        self._kinds = self._read_kinds()
        self._control = {
            text: number
            for number, (text, kind) in enumerate(zip(self._texts, self._kinds, strict=True))
            if kind == _CONTROL
        }
        model = self._metadata.get("tokenizer.ggml.model")
        if model not in ("gpt2", "llama"):
            raise self._refuse(f"the tokenizer {model!r} is not supported; 'gpt2' and 'llama' are")
        self._pieces = model == "llama"
        self._prefix = self._pieces and bool(self._metadata.get("tokenizer.ggml.add_space_prefix", True))
        made = self._make_pieces() if self._pieces else self._make_bytes()
        # one model for both: it is most of the time and memory
        plain = Tokenizer(made.model)
        if made.normalizer is not None:
            plain.normalizer = made.normalizer
        if made.pre_tokenizer is not None:
            plain.pre_tokenizer = made.pre_tokenizer
        self._parsing = self._with_special(made, (_CONTROL, _USER))
        self._plain = self._with_special(plain, (_USER,))
        self.bos = self._id("bos_token_id")
        self.eos = self._id("eos_token_id")
        ends = {self.eos, self._id("eot_token_id"), self._id("eom_token_id"), *map(self.control, _ENDS)}
        self.ends = frozenset(token for token in ends if token is not None)
        # where the file does not say, as llama.cpp has it: both kinds were trained with it
        usual = self._pieces or self._metadata.get("tokenizer.ggml.pre") == "llama-bpe"
        self.adds_bos = bool(self._metadata.get("tokenizer.ggml.add_bos_token", usual))
        template = self._metadata.get("tokenizer.chat_template")
        self.chat_template = template if isinstance(template, str) else None

    def __len__(self) -> int:
        return len(self._texts)

    def _refuse(self, what: str) -> ModelError:
        return ModelError(f"{self._path}: {what}")

    def _strings(self, name: str) -> list[str]:
        found = self._metadata.get(f"tokenizer.ggml.{name}")
        if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
            raise self._refuse(f"the metadata key 'tokenizer.ggml.{name}' is missing or no list of strings")
        return [text for text in found if isinstance(text, str)]

    def _id(self, name: str) -> int | None:
        found = self._metadata.get(f"tokenizer.ggml.{name}")
        if found is None:
            return None
        if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found < len(self._texts):
            raise self._refuse(f"'tokenizer.ggml.{name}' is {found!r}, which is no token")
        return found

    def _read_kinds(self) -> list[int]:
        kinds = self._metadata.get("tokenizer.ggml.token_type")
        if kinds is None:
            return [_NORMAL] * len(self._texts)
        if (
            not isinstance(kinds, np.ndarray)
            or kinds.dtype.kind not in "iu"
            or len(kinds) != len(self._texts)
        ):
            raise self._refuse("'tokenizer.ggml.token_type' does not list a kind for each token")
        found = [int(kind) for kind in kinds]
        for text, kind in zip(self._texts, found, strict=True):
            if kind == _BYTE and not re.fullmatch(r"<0x[0-9A-Fa-f]{2}>", text):
                raise self._refuse(f"the token {text!r} is marked as a byte and names none")
        return found

    def _numbered(self) -> dict[str, int]:
        vocabulary = {text: number for number, text in enumerate(self._texts)}
        if len(vocabulary) != len(self._texts):
            raise self._refuse("a token is listed twice")
        return vocabulary

    def _make_bytes(self) -> Tokenizer:
        """Byte-level BPE, as GPT-2 has it."""
        pre = self._metadata.get("tokenizer.ggml.pre")
        if pre is None:
            raise self._refuse(
                "the metadata key 'tokenizer.ggml.pre', which says how text is cut, is missing; convert the model anew"
            )
        if not isinstance(pre, str) or pre not in _PRE_TOKENIZERS:
            raise self._refuse(f"the pre-tokenizer {pre!r} is not supported; {', '.join(PRE_TOKENIZERS)} are")
        vocabulary = self._numbered()
        merges: list[tuple[str, str]] = []
        for merge in self._strings("merges"):
            left, _, right = merge.partition(" ")
            if left not in vocabulary or right not in vocabulary or left + right not in vocabulary:
                raise self._refuse(f"the merge {merge!r} joins or makes what is no token")
            merges.append((left, right))
        made = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=pre == "llama-bpe"))
        made.pre_tokenizer = pre_tokenizers.Sequence(_PRE_TOKENIZERS[pre]())
        return made

    def _make_pieces(self) -> Tokenizer:
        """SentencePiece's BPE: two neighbours that make a token are joined, those of the highest score first."""
        scores = self._metadata.get("tokenizer.ggml.scores")
        if not isinstance(scores, np.ndarray) or scores.dtype.kind != "f" or len(scores) != len(self._texts):
            raise self._refuse("'tokenizer.ggml.scores' does not list a number for each token")
        vocabulary = self._numbered()
        joined: list[tuple[float, int, int, str, str]] = []
        for text, score, kind in zip(self._texts, scores.tolist(), self._kinds, strict=True):
            if kind in (_NORMAL, _USER):
                for at in range(1, len(text)):
                    left, right = vocabulary.get(text[:at]), vocabulary.get(text[at:])
                    if left is not None and right is not None:
                        joined.append((-score, left, right, text[:at], text[at:]))
        joined.sort()
        unknown = next(
            (t for t, kind in zip(self._texts, self._kinds, strict=True) if kind == _UNKNOWN), None
        )
        merges = [(left, right) for *_, left, right in joined]
        made = Tokenizer(
            models.BPE(vocab=vocabulary, merges=merges, unk_token=unknown, fuse_unk=True, byte_fallback=True)
        )
        steps: list[Any] = [normalizers.Prepend(_SPACE)] if self._prefix else []
        made.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", _SPACE)])
        return made

    def _with_special(self, made: Tokenizer, parsed: tuple[int, ...]) -> Tokenizer:
        made.add_special_tokens(
            [
                AddedToken(text, special=True, normalized=False)
                for text, kind in zip(self._texts, self._kinds, strict=True)
                if kind in parsed and text
            ]
        )
        return made

    # --- use
    def encode(self, text: str, *, special: bool = True) -> list[int]:
        """The tokens of a text.

        Parameters
        ----------
        special : bool
            Whether control tokens that the text spells out are taken as such.
        """
        if not isinstance(text, str):
            raise ParameterError(f"the text is {text!r:.80}; a string was expected")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ParameterError(
                f"the text is no Unicode: {error.reason} at character {error.start}"
            ) from error
        chosen = self._parsing if special else self._plain
        return list(chosen.encode(text, add_special_tokens=False).ids)

    def is_control(self, token: int) -> bool:
        """Whether a token stands for no text."""
        return self._kinds[token] in (_CONTROL, _UNKNOWN, _UNUSED)

    def bytes_of(self, token: int) -> bytes:
        """The bytes that a token stands for; a control token's name.

        Raises
        ------
        ParameterError
            It is not in the vocabulary.
        """
        if not 0 <= token < len(self._texts):
            raise ParameterError(f"token {token} is not in the vocabulary of {len(self._texts):,}")
        text = self._texts[token]
        if self._pieces:
            if self._kinds[token] == _BYTE:
                return bytes((int(text[3:-1], 16),))
            return text.replace(_SPACE, " ").encode()
        if self._kinds[token] == _NORMAL:
            return b"".join(bytes((_BYTES[c],)) if c in _BYTES else c.encode() for c in text)
        return text.encode()

    def control(self, text: str) -> int | None:
        """The control token that is spelt so; None where there is none."""
        return self._control.get(text)

    def text_of(self, token: int | None) -> str:
        """How a token is spelt; "" for none."""
        return "" if token is None else self._texts[token]

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of some tokens; what is no UTF-8 becomes U+FFFD."""
        found = b"".join(self.bytes_of(int(token)) for token in tokens).decode(errors="replace")
        # the space that encoding put before the text
        return found[1:] if self._prefix and found.startswith(" ") else found
