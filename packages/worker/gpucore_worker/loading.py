"""The weights of a model on a device, block by block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import gpucore as gc
from gpucore_worker.architecture import Architecture
from gpucore_worker.errors import ResidencyError
from gpucore_worker.gguf_file import GGUFFile
from gpucore_worker.weights import (
    MappedFile,
    Matrix,
    Room,
    file_row_sums,
    floats,
    upload_side_by_side,
    words_of,
)

Floats = gc.Array[Any]


@dataclass(frozen=True, slots=True)
class Linear:
    """What activations are multiplied with, and what is added then.

    Attributes
    ----------
    parts : list of Matrix
        Their outputs lie side by side.
    bias : list of Array
        With the place where each begins.
    """

    parts: list[Matrix]
    biases: list[tuple[int, Floats]]


@dataclass(frozen=True, slots=True)
class Norm:
    """Weights of a norm; the bias of RMSNorm is a dummy."""

    weight: Floats
    bias: Floats


@dataclass(frozen=True, slots=True)
class Block:
    """The weights of one block; None for what the architecture has not."""

    attention_norm: Norm
    qkv: Linear
    head_norms: tuple[Floats, Floats] | None
    attention_output: Linear
    attention_post_norm: Floats | None
    feed_forward_norm: Norm
    inner: Linear
    down: Linear
    feed_forward_post_norm: Floats | None


class Weights:
    """All weights of a file on a device.

    Parameters
    ----------
    context : gpucore.Context
    file : GGUFFile
    architecture : Architecture
    split : bool
        Whether products give each segment of a row a thread.
    progress : callable, optional
        Is told bytes done and bytes in all.

    Attributes
    ----------
    blocks : list of Block
    embedding, last : Matrix
    positions : Matrix | None
        What is added to embeddings.
    norm : Norm
        The last one.

    Raises
    ------
    gpucore.OutOfMemoryError
    """

    def __init__(
        self,
        context: gc.Context,
        file: GGUFFile,
        architecture: Architecture,
        *,
        split: bool,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._context = context
        self._file = file
        self._architecture = architecture
        self._split = split
        self._progress = progress
        self._total = sum(t.nbytes for t in file.tensors.values())
        self._done = 0
        self._matrices: dict[str, Matrix] = {}
        # a device that reads the file where it is gets all weights in one piece of memory: it is the host's
        self._mapped = None if split else MappedFile.of(context, file)
        matrices = [tensor for tensor in file.tensors.values() if len(tensor.shape) > 1]
        size = sum(words_of(tensor.shape[0], tensor, split) for tensor in matrices)
        self._room = Room(context, None if self._mapped is None else size)
        self._vectors = self._all_vectors()
        self._nothing: Floats = context.zeros(1, gc.f32)
        self.embedding = self._matrix("token_embd")
        self.positions = self._matrix("position_embd") if architecture.traits.layer_norms else None
        self.norm = self._norm("output_norm")
        self.last = self.embedding if architecture.tied else self._matrix("output")
        self.blocks = [self._block(f"blk.{number}.") for number in range(architecture.blocks)]
        if self._mapped is not None:
            context.synchronize()
            self._mapped = None
        file.forget()

    def _tell(self, nbytes: int) -> None:
        self._done += nbytes
        if self._progress is not None:
            self._progress(self._done, self._total)

    def _all_vectors(self) -> dict[str, Floats]:
        """Parts of one array, each at a multiple of 64 elements."""
        tensors = [tensor for tensor in self._file.tensors.values() if len(tensor.shape) == 1]
        places: dict[str, slice] = {}
        end = 0
        for tensor in tensors:
            places[tensor.name] = slice(end, end + tensor.shape[0])
            end += gc.cdiv(tensor.shape[0], 64) * 64
        host = np.zeros(end, np.float32)
        for tensor in tensors:
            host[places[tensor.name]] = floats(self._file, tensor)
            self._tell(tensor.nbytes)
        whole: Floats = self._context.array(host)
        self._room.arrays.append(whole)
        return {name: whole[place] for name, place in places.items()}

    def _side_by_side(self, names: Sequence[str]) -> list[Matrix]:
        tensors = [self._file.tensors[f"{name}.weight"] for name in names]
        parts, each = upload_side_by_side(
            self._context,
            self._file,
            tensors,
            split=self._split,
            room=self._room,
            mapped=self._mapped,
            progress=self._tell,
        )
        self._matrices |= {matrix.name: matrix for matrix in each}
        return parts

    def _matrix(self, name: str) -> Matrix:
        return self._side_by_side([name])[0]

    def _norm(self, name: str) -> Norm:
        layer = self._architecture.traits.layer_norms
        return Norm(
            self._vectors[f"{name}.weight"], self._vectors[f"{name}.bias"] if layer else self._nothing
        )

    def _linear(self, prefix: str, names: Sequence[str]) -> Linear:
        parts = self._side_by_side([prefix + name for name in names])
        biases: list[tuple[int, Floats]] = []
        at = 0
        for name in names:
            if f"{prefix}{name}.bias" in self._file.tensors:
                biases.append((at, self._vectors[f"{prefix}{name}.bias"]))
            at += self._file.tensors[f"{prefix}{name}.weight"].shape[0]
        return Linear(parts, biases)

    def _block(self, prefix: str) -> Block:
        traits = self._architecture.traits
        post = traits.post_norms
        return Block(
            self._norm(f"{prefix}attn_norm"),
            self._linear(prefix, ["attn_qkv"] if traits.layer_norms else ["attn_q", "attn_k", "attn_v"]),
            (self._vectors[f"{prefix}attn_q_norm.weight"], self._vectors[f"{prefix}attn_k_norm.weight"])
            if traits.head_norms
            else None,
            self._linear(prefix, ["attn_output"]),
            self._vectors[f"{prefix}post_attention_norm.weight"] if post else None,
            self._norm(f"{prefix}ffn_norm"),
            self._linear(prefix, ["ffn_up"] if traits.layer_norms else ["ffn_gate", "ffn_up"]),
            self._linear(prefix, ["ffn_down"]),
            self._vectors[f"{prefix}post_ffw_norm.weight"] if post else None,
        )

    @property
    def matrices(self) -> dict[str, Matrix]:
        """Matrices by their names in the file."""
        return self._matrices

    @property
    def nbytes(self) -> int:
        """Bytes on the device."""
        return sum(a.nbytes for a in (*self._room.arrays, self._nothing))

    def check(self) -> None:
        """Compare every weight on the device with the file.

        Raises
        ------
        ResidencyError
            Names the first tensor that differs, and the row.
        """
        for name, tensor in self._file.tensors.items():
            if name in self._matrices:
                same = self._matrices[name].row_sums() == file_row_sums(self._file, tensor)
            else:
                expected = floats(self._file, tensor).view(np.uint32)
                same = self._vectors[name].numpy().view(np.uint32) == expected
            if not same.all():
                raise ResidencyError(
                    f"{name!r} on {self._context.device.name} differs from {self._file.path} in row {int(np.argmin(same))}; "
                    "unload the model and load it again"
                )

    def free(self) -> None:
        """Give the memory back."""
        for array in (*self._room.arrays, self._nothing):
            array.free()
