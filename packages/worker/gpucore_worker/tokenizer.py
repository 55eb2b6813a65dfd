"""Text to tokens and back, by Hugging Face's ``tokenizers``, set up from what a GGUF file says."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

from gpucore_worker.errors import ModelError, ParameterError
from gpucore_worker.gguf_file import GGUFFile
from gpucore_worker.strings import Strings, halves, merges_fit

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
        control = np.flatnonzero(np.array(self._kinds) == _CONTROL).tolist()
        self._control = {self._texts[number]: number for number in control}
        model = self._metadata.get("tokenizer.ggml.model")
        if not isinstance(model, str) or model not in ("gpt2", "llama"):
            raise self._refuse(f"the tokenizer {model!r} is not supported; 'gpt2' and 'llama' are")
        self._pieces = model == "llama"
        self._prefix = self._pieces and self._flag("add_space_prefix", True)
        if self._pieces:
            self._scores()
        else:
            self._pre()
            self._check_merges()
        self._lock = threading.Lock()
        self._made: tuple[Tokenizer, Tokenizer] | None = None
        self.bos = self._id("bos_token_id")
        self.eos = self._id("eos_token_id")
        ends = {self.eos, self._id("eot_token_id"), self._id("eom_token_id"), *map(self.control, _ENDS)}
        self.ends = frozenset(token for token in ends if token is not None)
        # where the file does not say, as llama.cpp has it: both kinds were trained with it
        usual = self._pieces or self._metadata.get("tokenizer.ggml.pre") == "llama-bpe"
        self.adds_bos = self._flag("add_bos_token", usual)
        template = self._metadata.get("tokenizer.chat_template")
        self.chat_template = template if isinstance(template, str) else None

    def __len__(self) -> int:
        return len(self._texts)

    def _refuse(self, what: str) -> ModelError:
        return ModelError(f"{self._path}: {what}")

    def _strings(self, name: str) -> Strings:
        found = self._metadata.get(f"tokenizer.ggml.{name}")
        if not isinstance(found, Strings):
            raise self._refuse(f"the metadata key 'tokenizer.ggml.{name}' is missing or no list of strings")
        return found

    def _flag(self, name: str, default: bool) -> bool:
        found = self._metadata.get(f"tokenizer.ggml.{name}", default)
        if not isinstance(found, bool):
            raise self._refuse(f"'tokenizer.ggml.{name}' is {found!r}; true or false was expected")
        return found

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
        for number in np.flatnonzero(kinds == _BYTE).tolist():
            text = self._texts[number]
            if not re.fullmatch(r"<0x[0-9A-Fa-f]{2}>", text):
                raise self._refuse(f"the token {text!r} is marked as a byte and names none")
        found: list[int] = kinds.tolist()
        return found

    def _numbered(self, texts: list[str]) -> dict[str, int]:
        vocabulary = {text: number for number, text in enumerate(texts)}
        if len(vocabulary) != len(texts):
            raise self._refuse("a token is listed twice")
        return vocabulary

    def _pre(self) -> str:
        """The name of the way to cut text."""
        pre = self._metadata.get("tokenizer.ggml.pre")
        if pre is None:
            raise self._refuse(
                "the metadata key 'tokenizer.ggml.pre', which says how text is cut, is missing; convert the model anew"
            )
        if not isinstance(pre, str) or pre not in _PRE_TOKENIZERS:
            raise self._refuse(f"the pre-tokenizer {pre!r} is not supported; {', '.join(PRE_TOKENIZERS)} are")
        return pre

    def _scores(self) -> npt.NDArray[np.float64]:
        scores = self._metadata.get("tokenizer.ggml.scores")
        if not isinstance(scores, np.ndarray) or scores.dtype.kind != "f" or len(scores) != len(self._texts):
            raise self._refuse("'tokenizer.ggml.scores' does not list a number for each token")
        return scores.astype(np.float64)

    def _check_merges(self) -> None:
        """Refuse merges of what is no token, by hashes: the strings themselves are decoded when text first comes."""
        if not merges_fit(self._strings("merges"), self._texts):
            self._merges(self._numbered(self._texts.tolist()))

    def _merges(self, vocabulary: dict[str, int]) -> list[tuple[str, str]]:
        merges: list[tuple[str, str]] = []
        for merge in self._strings("merges"):
            left, _, right = merge.partition(" ")
            if left not in vocabulary or right not in vocabulary or left + right not in vocabulary:
                raise self._refuse(f"the merge {merge!r} joins or makes what is no token")
            merges.append((left, right))
        return merges

    # --- what encodes text
    def _tokenizers(self) -> tuple[Tokenizer, Tokenizer]:
        """With control tokens and without, made when text first comes: that takes longer than to load weights."""
        with self._lock:
            if self._made is None:
                made = self._make_pieces() if self._pieces else self._make_bytes()
                # one model for both: it is most of the time and memory
                plain = Tokenizer(made.model)
                if made.normalizer is not None:
                    plain.normalizer = made.normalizer
                if made.pre_tokenizer is not None:
                    plain.pre_tokenizer = made.pre_tokenizer
                self._made = (
                    self._with_special(made, (_CONTROL, _USER)),
                    self._with_special(plain, (_USER,)),
                )
            return self._made

    def _make_bytes(self) -> Tokenizer:
        """Byte-level BPE, as GPT-2 has it."""
        pre = self._pre()
        vocabulary = self._numbered(self._texts.tolist())
        merges = self._merges(vocabulary)
        made = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=pre == "llama-bpe"))
        made.pre_tokenizer = pre_tokenizers.Sequence(_PRE_TOKENIZERS[pre]())
        return made

    def _make_pieces(self) -> Tokenizer:
        """SentencePiece's BPE: two neighbours that make a token are joined, those of the highest score first."""
        texts = self._texts.tolist()
        vocabulary = self._numbered(texts)
        kinds = np.array(self._kinds)
        joinable = np.flatnonzero((kinds == _NORMAL) | (kinds == _USER))
        left, right, whole = halves(self._texts, joinable)
        order = np.lexsort((right, left, -self._scores()[whole]))
        merges = [
            (texts[i], texts[j]) for i, j in zip(left[order].tolist(), right[order].tolist(), strict=True)
        ]
        unknown = next((texts[i] for i in np.flatnonzero(kinds == _UNKNOWN).tolist()), None)
        made = Tokenizer(
            models.BPE(vocab=vocabulary, merges=merges, unk_token=unknown, fuse_unk=True, byte_fallback=True)
        )
        steps: list[Any] = [normalizers.Prepend(_SPACE)] if self._prefix else []
        made.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", _SPACE)])
        return made

    def _with_special(self, made: Tokenizer, parsed: tuple[int, ...]) -> Tokenizer:
        numbers = np.flatnonzero(np.isin(np.array(self._kinds), parsed)).tolist()
        texts = [self._texts[number] for number in numbers]
        made.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in texts if text])
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
        chosen = self._tokenizers()[0 if special else 1]
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
