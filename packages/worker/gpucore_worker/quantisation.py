"""The quantisations that are known: sizes of a block, and its place in 32-bit words on the device.

Layouts are those of ggml (``ggml-common.h``), whose blocks hold 32 weights, the K-quantisations' 256, along a row. On
the device a
block is a number of 32-bit words; a lone 16-bit scale gets a word of its own, so that every quantised number is aligned.
"""

from __future__ import annotations

from dataclasses import dataclass

LANES = 32
"""Rows whose words lie side by side on the device, one for each thread of a group."""
HOST_LANES = 16
"""The same on processors: words that one vector holds, so that a row of vectors is read from memory without gaps."""
RUN = 32
"""Weights of a row that are multiplied with one scale, or two."""


@dataclass(frozen=True, slots=True)
class Quantisation:
    """One way to store weights.

    Attributes
    ----------
    name : str
    number : int
        In GGUF files.
    weights, nbytes : int
        Of a block in the file.
    pieces : tuple[tuple[int, int], ...]
        For each word of a block on the device, the byte that it begins at in the file's block, and how many it takes.
    """

    name: str
    number: int
    weights: int
    nbytes: int
    pieces: tuple[tuple[int, int], ...]

    @property
    def words(self) -> int:
        """Words of a block on the device."""
        return len(self.pieces)

    @property
    def short_word(self) -> int:
        """The word that holds a lone 16-bit number; -1 where there is none."""
        return next((number for number, (_, size) in enumerate(self.pieces) if size == 2), -1)

    @property
    def runs(self) -> int:
        """Runs of 32 weights in a block."""
        return self.weights // RUN


def _pieces(nbytes: int, short: int | None) -> tuple[tuple[int, int], ...]:
    """A block cut into words; ``short`` is where a lone 16-bit number stands."""
    found: list[tuple[int, int]] = []
    at = 0
    while at < nbytes:
        size = 2 if at == short else 4
        found.append((at, size))
        at += size
    return tuple(found)


def _make(name: str, number: int, weights: int, nbytes: int, short: int | None = None) -> Quantisation:
    return Quantisation(name, number, weights, nbytes, _pieces(nbytes, short))


QUANTISATIONS = {
    q.number: q
    for q in (
        _make("F32", 0, 32, 128),
        _make("F16", 1, 32, 64),
        _make("Q4_0", 2, 32, 18, short=0),
        _make("Q4_1", 3, 32, 20),
        _make("Q5_0", 6, 32, 22, short=0),
        _make("Q5_1", 7, 32, 24),
        _make("Q8_0", 8, 32, 34, short=0),
        _make("Q4_K", 12, 256, 144),
        _make("Q5_K", 13, 256, 176),
        _make("Q6_K", 14, 256, 210, short=208),
        _make("BF16", 30, 32, 64),
    )
}
"""By the number in GGUF files."""

OTHERS = {
    9: "Q8_1", 10: "Q2_K", 11: "Q3_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL",
    21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 29: "IQ1_M",
    34: "TQ1_0", 35: "TQ2_0",
    39: "MXFP4",
}  # fmt: skip
"""Names of what files may hold and the worker does not read."""

STORED = {0: (1, 4), 1: (1, 2), 30: (1, 2)}
"""Floats: weights and bytes of the smallest piece of a file's tensor, where that is less than a run."""


def file_block(quantisation: Quantisation) -> tuple[int, int]:
    """Weights and bytes of the smallest piece of a tensor in a file."""
    return STORED.get(quantisation.number, (quantisation.weights, quantisation.nbytes))
