"""Matrices of weights on a device: uploaded in pieces, repacked there, compared with their file on request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

import gpucore as gc
from gpucore_worker.gguf_file import GGUFFile, Tensor
from gpucore_worker.kernels.products import gather, product, repack, row_sums
from gpucore_worker.quantisation import LANES, Quantisation

Floats = gc.Array[Any]
Work = tuple[gc.ConfiguredKernel, tuple[Any, ...]]
"""What is launched, and with what."""
PIECE = 8 << 20
"""Bytes of a file that are uploaded at once, about."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """Weights of ``rows`` outputs and ``columns`` inputs, quantised, on a device.

    Attributes
    ----------
    name : str
    quantisation : Quantisation
    rows, columns : int
    words : Array
        The blocks of ``LANES`` rows lie word by word side by side; rows that fill up the last group are 0.
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
    def blocks(self) -> int:
        """Blocks of a row."""
        return self.columns // self.quantisation.weights

    def product(self, x: Floats, sums: Floats, out: Floats, *, add: bool = False) -> Work:
        """The kernel and the arguments of ``out[t, r] = sum over k of weights[r, k] * x[t, k]``, or ``+=``.

        Parameters
        ----------
        x : Array of f32, (tokens, columns)
        sums : Array of f32, (tokens, columns // 32)
            Sums of 32 neighbours of ``x``.
        out : Array of f32, (tokens, rows)
        """
        kernel = product(self.quantisation.name, self.split)
        shape = (x.shape[0], gc.cdiv(self.rows, LANES))
        return kernel[shape, (8 if self.split else 1, LANES)], (self.words, x, sums, out, self.rows, add)

    def multiply(self, x: Floats, sums: Floats, out: Floats, *, add: bool = False) -> None:
        """Enqueue :meth:`product`."""
        configured, arguments = self.product(x, sums, out, add=add)
        configured(*arguments)

    def take(self, ids: gc.Array[Any], out: Floats, factor: float = 1.0) -> None:
        """Enqueue ``out[t] = weights[ids[t]] * factor``, dequantised."""
        gather(self.quantisation.name).over(out.shape)(self.words, ids, out, factor)

    def row_sums(self) -> npt.NDArray[np.uint32]:
        """What :func:`file_row_sums` gives, of the words on the device."""
        sums: gc.Array[Any] = self.words.context.empty(self.rows, gc.u32)
        row_sums.over(self.rows)(self.words, sums, self.blocks, self.quantisation.words)
        found: npt.NDArray[np.uint32] = sums.numpy()
        return found


def upload(
    context: gc.Context,
    file: GGUFFile,
    tensor: Tensor,
    *,
    split: bool,
    progress: Callable[[int], None] | None = None,
) -> Matrix:
    """Bring a matrix of a file onto a device.

    Parameters
    ----------
    progress : callable, optional
        Is told how many bytes each piece took.

    Raises
    ------
    gpucore.OutOfMemoryError
    """
    rows, columns = tensor.shape
    q = tensor.quantisation
    blocks = columns // q.weights
    groups = gc.cdiv(rows, LANES)
    # all of it is written below, but for the rows that fill up the last group
    allocate = context.zeros if rows % LANES else context.empty
    words: gc.Array[Any] = allocate(groups * blocks * q.words * LANES, gc.u32)
    pieces = context.array(np.array(q.pieces, np.int32))
    row_bytes = blocks * q.nbytes
    step = max(1, PIECE // row_bytes)
    staging: gc.Array[Any] = context.empty(min(step, rows) * row_bytes, gc.u8)
    for first in range(0, rows, step):
        count = min(step, rows - first)
        source = staging[: count * row_bytes]
        source.copy_from(file.raw(tensor, first * row_bytes, (first + count) * row_bytes))
        repack.over((count, blocks, q.words))(source, pieces, words, first, count, blocks, q.nbytes)
        if progress is not None:
            progress(count * row_bytes)
    return Matrix(tensor.name, q, rows, columns, words, split)


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
