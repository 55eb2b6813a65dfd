"""Matrices of weights on a device: uploaded in pieces, repacked there, compared with their file on request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

import gpucore as gc
from gpucore_worker.gguf_file import GGUFFile, Tensor
from gpucore_worker.kernels.layers import operand
from gpucore_worker.kernels.products import (
    SEGMENTS,
    TOKENS,
    gather,
    product,
    repack,
    repack_groups,
    repack_words,
    row_sums,
)
from gpucore_worker.quantisation import HOST_LANES, LANES, RUN, Quantisation

Floats = gc.Array[Any]
Work = tuple[gc.ConfiguredKernel, tuple[Any, ...]]
"""What is launched, and with what."""
PIECE = 8 << 20
"""Bytes of a file that are uploaded at once, about."""


@dataclass(frozen=True, slots=True)
class Operand:
    """Activations as products take them.

    Attributes
    ----------
    values : Array of f32, (tokens, columns)
    sums : Array of f32, (tokens, columns // 32)
        Of each run of 32; in quick mode of the rounded ones.
    codes : Array of u32, (tokens, columns // 4)
        In quick mode the activations as 8-bit integers, four in a word; else a dummy.
    steps : Array of f32, (tokens, columns // 32)
        In quick mode what the integers of each run are multiplied with; else a dummy.
    quick : bool
    """

    values: Floats
    sums: Floats
    codes: gc.Array[Any]
    steps: Floats
    quick: bool

    @classmethod
    def make(cls, context: gc.Context, tokens: int, columns: int, quick: bool) -> Operand:
        """New buffers."""
        runs = columns // RUN
        return cls(
            context.empty((tokens, columns), gc.f32),
            context.empty((tokens, runs), gc.f32),
            context.empty((tokens, columns // 4) if quick else (1, 1), gc.u32),
            context.empty((tokens, runs) if quick else (1, 1), gc.f32),
            quick,
        )

    def arrays(self) -> tuple[gc.Array[Any], ...]:
        """All of them, in the order of kernels' parameters."""
        return self.values, self.sums, self.codes, self.steps

    def finish(self) -> None:
        """Enqueue the making of what is not the values themselves."""
        operand(self.quick).over(self.sums.shape)(*self.arrays())

    def first(self, tokens: int) -> Operand:
        """The rows of the first tokens."""
        if not self.quick:
            return Operand(self.values[:tokens], self.sums[:tokens], self.codes, self.steps, False)
        return Operand(
            self.values[:tokens], self.sums[:tokens], self.codes[:tokens], self.steps[:tokens], True
        )


@dataclass(frozen=True, slots=True)
class Matrix:
    """Weights of ``rows`` outputs and ``columns`` inputs, quantised, on a device.

    Attributes
    ----------
    name : str
    quantisation : Quantisation
    rows, columns : int
    words : Array
        The blocks of ``lanes`` rows lie word by word side by side; rows that fill up the last group are 0.
    split : bool
        Whether the device has threads enough for one a segment of a row.
    """

    name: str
    quantisation: Quantisation
    rows: int
    columns: int
    words: gc.Array[Any]
    split: bool

    @property
    def lanes(self) -> int:
        """Rows of a group."""
        return lanes_of(self.split)

    @property
    def blocks(self) -> int:
        """Blocks of a row."""
        return self.columns // self.quantisation.weights

    def product(self, x: Operand, out: Floats, at: int = 0, *, add: bool = False) -> Work:
        """The kernel and the arguments of ``out[t, at + r] = sum over k of weights[r, k] * x[t, k]``, or ``+=``.

        Parameters
        ----------
        x : Operand
            Of ``columns`` activations a token.
        out : Array of f32, (tokens, at least at + rows)
        """
        tokens = x.values.shape[0]
        at_once = TOKENS if tokens > TOKENS // 2 and not self.split else 1
        kernel = product(self.quantisation.name, self.split, x.quick, self.lanes, at_once)
        shape = (gc.cdiv(tokens, at_once), gc.cdiv(self.rows, self.lanes))
        block = (SEGMENTS if self.split else 1, self.lanes)
        return kernel[shape, block], (self.words, *x.arrays(), out, self.rows, at, add)

    def take(self, ids: gc.Array[Any], out: Floats, factor: float = 1.0) -> Work:
        """The kernel and the arguments of ``out[t] = weights[ids[1 + t]] * factor``, dequantised."""
        kernel = gather(self.quantisation.name, False, self.lanes)
        return kernel.over(out.shape), (self.words, ids, out, factor)

    def add_positions(self, ids: gc.Array[Any], out: Floats) -> Work:
        """The kernel and the arguments of ``out[t] += weights[ids[0] + t]``, dequantised."""
        kernel = gather(self.quantisation.name, True, self.lanes)
        return kernel.over(out.shape), (self.words, ids, out, 1.0)

    def row_sums(self) -> npt.NDArray[np.uint32]:
        """What :func:`file_row_sums` gives, of the words on the device."""
        sums: gc.Array[Any] = self.words.context.empty(self.rows, gc.u32)
        row_sums.over(self.rows)(self.words, sums, self.blocks, self.quantisation.words, self.lanes)
        found: npt.NDArray[np.uint32] = sums.numpy()
        return found


@dataclass(frozen=True, slots=True)
class MappedFile:
    """A file as kernels of a processor read it, in place.

    Attributes
    ----------
    halves : Array of u16
    words : Array of u32
        The same bytes.
    """

    halves: gc.Array[Any]
    words: gc.Array[Any]

    @classmethod
    def of(cls, context: gc.Context, file: GGUFFile) -> MappedFile | None:
        """None where the device cannot read the host's memory."""
        try:
            halves = gc.from_dlpack(file.everything("<u2"), context=context, copy=False)
            return cls(halves, gc.from_dlpack(file.everything("<u4"), context=context, copy=False))
        except gc.NotSupportedError:
            return None


class Room:
    """Memory for weights: a piece of one allocation where their size in all is given, so that the system clears few large pages.

    Attributes
    ----------
    arrays : list of Array
        What was allocated.
    """

    def __init__(self, context: gc.Context, size: int | None = None) -> None:
        self._context = context
        self._at = 0
        self._whole: gc.Array[Any] | None = None if size is None else context.empty(size, gc.u32)
        self.arrays: list[gc.Array[Any]] = [] if self._whole is None else [self._whole]

    def take(self, rows: int, tensor: Tensor, split: bool) -> gc.Array[Any]:
        """Words for that many rows like those of a tensor."""
        lanes = lanes_of(split)
        size = words_of(rows, tensor, split)
        found: gc.Array[Any]
        if self._whole is None:
            found = self._context.empty(size, gc.u32)
            self.arrays.append(found)
        else:
            found = self._whole[self._at : self._at + size]
            self._at += size
        if rows % lanes:
            # all of it will be written, but for the rows that fill up the last group
            found[size - size // gc.cdiv(rows, lanes) :].fill(0)
        return found


def upload(
    context: gc.Context,
    file: GGUFFile,
    tensor: Tensor,
    *,
    split: bool,
    into: gc.Array[Any] | None = None,
    mapped: MappedFile | None = None,
    progress: Callable[[int], None] | None = None,
) -> Matrix:
    """Bring a matrix of a file onto a device.

    Parameters
    ----------
    into : Array of u32, optional
        Where to put it; new memory by default.
    mapped : MappedFile, optional
        Where the device reads the file; by default its bytes are brought there in pieces.
    progress : callable, optional
        Is told how many bytes each piece took.

    Raises
    ------
    gpucore.OutOfMemoryError
    """
    rows, columns = tensor.shape
    q = tensor.quantisation
    words = Room(context).take(rows, tensor, split) if into is None else into
    repacked = _repack_rows if split else _repack_groups
    if mapped is not None and not split:
        size = 2 if q.nbytes % 4 else 4
        source = mapped.halves if size == 2 else mapped.words
        begin = tensor.offset // size
        file.raw(tensor)  # which sees whether the file became shorter
        _repack_groups(source[begin : begin + tensor.nbytes // size], words, 0, rows, tensor)
        if progress is not None:
            progress(tensor.nbytes)
        return Matrix(tensor.name, q, rows, columns, words, split)
    row_bytes = columns // q.weights * q.nbytes
    lanes = lanes_of(split)
    step = max(1, PIECE // row_bytes // lanes) * lanes
    # what is read at once: every block has an even number of bytes
    size = 1 if split else 2 if q.nbytes % 4 else 4
    element = {1: gc.u8, 2: gc.u16, 4: gc.u32}[size]
    staging: gc.Array[Any] = context.empty(min(step, rows) * row_bytes // size, element)
    for first in range(0, rows, step):
        count = min(step, rows - first)
        piece = staging[: count * row_bytes // size]
        raw = file.raw(tensor, first * row_bytes, (first + count) * row_bytes)
        piece.copy_from(raw.view(f"<u{size}"))
        repacked(piece, words, first, count, tensor)
        if progress is not None:
            progress(count * row_bytes)
    return Matrix(tensor.name, q, rows, columns, words, split)


def _repack_rows(source: gc.Array[Any], words: gc.Array[Any], first: int, count: int, tensor: Tensor) -> None:
    q = tensor.quantisation
    blocks = tensor.shape[1] // q.weights
    pieces = words.context.array(np.array(q.pieces, np.int32))
    repack.over((count, blocks, q.words))(source, pieces, words, first, count, blocks, q.nbytes, LANES)


def _repack_groups(
    source: gc.Array[Any], words: gc.Array[Any], first: int, count: int, tensor: Tensor
) -> None:
    q = tensor.quantisation
    blocks = tensor.shape[1] // q.weights
    target = words[first * blocks * q.words :] if first else words
    threads = (gc.cdiv(count, HOST_LANES), blocks, HOST_LANES)
    if q.nbytes % 4:
        repack_groups.over(threads)(
            source, target, count, blocks, q.nbytes // 2, q.words, q.short_word, HOST_LANES
        )
    else:
        repack_words.over(threads)(source, target, count, blocks, q.words, HOST_LANES)


def lanes_of(split: bool) -> int:
    """Rows whose words lie side by side."""
    return LANES if split else HOST_LANES


def words_of(rows: int, tensor: Tensor, split: bool) -> int:
    """How many words that many rows like those of a tensor take."""
    q, lanes = tensor.quantisation, lanes_of(split)
    return gc.cdiv(rows, lanes) * (tensor.shape[1] // q.weights) * q.words * lanes


def upload_side_by_side(
    context: gc.Context,
    file: GGUFFile,
    tensors: Sequence[Tensor],
    *,
    split: bool,
    room: Room,
    mapped: MappedFile | None = None,
    progress: Callable[[int], None] | None = None,
) -> tuple[list[Matrix], list[Matrix]]:
    """Bring matrices that are multiplied with the same activations onto a device; neighbours stored alike become one.

    Returns
    -------
    parts : list of Matrix
        What is multiplied with: one matrix for neighbours of one quantisation whose rows fill their groups.
    each : list of Matrix
        The tensors, for comparisons with the file; their words are those of the parts.
    """
    lanes = lanes_of(split)
    groups: list[list[Tensor]] = []
    for tensor in tensors:
        alike = groups and groups[-1][-1].quantisation == tensor.quantisation
        if alike and groups[-1][-1].shape[0] % lanes == 0:
            groups[-1].append(tensor)
        else:
            groups.append([tensor])
    parts: list[Matrix] = []
    each: list[Matrix] = []
    for group in groups:
        rows = sum(tensor.shape[0] for tensor in group)
        first = group[0]
        words = room.take(rows, first, split)
        at = 0
        for tensor in group:
            size = words_of(tensor.shape[0], tensor, split)
            into = words if len(group) == 1 else words[at : at + size]
            each.append(
                upload(context, file, tensor, split=split, into=into, mapped=mapped, progress=progress)
            )
            at += size
        name = "+".join(tensor.name for tensor in group)
        parts.append(Matrix(name, first.quantisation, rows, first.shape[1], words, split))
    return parts, each


def file_row_sums(file: GGUFFile, tensor: Tensor) -> npt.NDArray[np.uint32]:
    """For each row of a matrix in its file the sum of its words, each times an odd number of its own, modulo 2**32."""
    rows, columns = tensor.shape
    q = tensor.quantisation
    raw = file.raw(tensor).reshape(rows, columns // q.weights, q.nbytes)
    total = np.zeros(rows, np.uint32)
    places = np.arange(raw.shape[1], dtype=np.uint32) * np.uint32(q.words)
    for number, (begin, size) in enumerate(q.pieces):
        words = np.ascontiguousarray(raw[:, :, begin : begin + size]).view("<u4" if size == 4 else "<u2")[
            :, :, 0
        ]
        factors = (places + np.uint32(number)) * np.uint32(2) + np.uint32(1)
        total += (words.astype(np.uint32) * factors).sum(axis=1, dtype=np.uint32)
    return total


def floats(file: GGUFFile, tensor: Tensor) -> npt.NDArray[np.float32]:
    """A vector of a file as f32; only floats are stored so."""
    raw = file.raw(tensor)
    if tensor.quantisation.name == "F32":
        return raw.view("<f4").astype(np.float32)
    if tensor.quantisation.name == "F16":
        return raw.view("<f2").astype(np.float32)
    return (raw.view("<u2").astype(np.uint32) << np.uint32(16)).view(np.float32)
