"""Which architectures are known, the numbers that a file must give for one, and the tensors that it must hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gpucore_worker.errors import ModelError
from gpucore_worker.gguf_file import GGUFFile, Tensor

ARCHITECTURES = ("llama", "qwen2")
_MOST = 1 << 31


@dataclass(frozen=True, slots=True)
class Architecture:
    """The numbers of a model.

    Attributes
    ----------
    name : str
    blocks : int
    context : int
        Positions that the model was made for.
    width, hidden : int
        Of the activations, and within a feed-forward network.
    heads, shared_heads, head_size : int
        ``heads // shared_heads`` queries share a key and a value.
    epsilon : float
        Of the norms.
    rope_base : float
    rope_pairs : int
        Pairs of a head that are rotated.
    vocabulary : int
    tied : bool
        Whether the embedding serves as the last matrix.
    """

    name: str
    blocks: int
    context: int
    width: int
    hidden: int
    heads: int
    shared_heads: int
    head_size: int
    epsilon: float
    rope_base: float
    rope_pairs: int
    vocabulary: int
    tied: bool

    @property
    def neighbours(self) -> bool:
        """Whether a pair that is rotated is two neighbours, or an element and the one half a head further."""
        return self.name == "llama"

    @property
    def biases(self) -> bool:
        """Whether queries, keys and values have one."""
        return self.name == "qwen2"

    def tensors(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Names and shapes of what the file must hold; a matrix as (outputs, inputs)."""
        queries = self.heads * self.head_size
        keys = self.shared_heads * self.head_size
        yield "token_embd.weight", (self.vocabulary, self.width)
        yield "output_norm.weight", (self.width,)
        if not self.tied:
            yield "output.weight", (self.vocabulary, self.width)
        for b in range(self.blocks):
            yield f"blk.{b}.attn_norm.weight", (self.width,)
            yield f"blk.{b}.attn_q.weight", (queries, self.width)
            yield f"blk.{b}.attn_k.weight", (keys, self.width)
            yield f"blk.{b}.attn_v.weight", (keys, self.width)
            if self.biases:
                yield f"blk.{b}.attn_q.bias", (queries,)
                yield f"blk.{b}.attn_k.bias", (keys,)
                yield f"blk.{b}.attn_v.bias", (keys,)
            yield f"blk.{b}.attn_output.weight", (self.width, queries)
            yield f"blk.{b}.ffn_norm.weight", (self.width,)
            yield f"blk.{b}.ffn_gate.weight", (self.hidden, self.width)
            yield f"blk.{b}.ffn_up.weight", (self.hidden, self.width)
            yield f"blk.{b}.ffn_down.weight", (self.width, self.hidden)


class _Numbers:
    """Reads the numbers of an architecture from a file's metadata."""

    def __init__(self, file: GGUFFile, name: str) -> None:
        self.file = file
        self.name = name

    def refuse(self, what: str) -> ModelError:
        return ModelError(f"{self.file.path}: {what}")

    def count(self, key: str, default: int | None = None) -> int:
        value = self.file.metadata.get(f"{self.name}.{key}", default)
        if value is None:
            raise self.refuse(f"the metadata key '{self.name}.{key}' is missing")
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < _MOST:
            raise self.refuse(f"'{self.name}.{key}' is {value!r}; a whole number from 1 on was expected")
        return value

    def real(self, key: str, default: float | None = None) -> float:
        value = self.file.metadata.get(f"{self.name}.{key}", default)
        if value is None:
            raise self.refuse(f"the metadata key '{self.name}.{key}' is missing")
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e30:
            raise self.refuse(f"'{self.name}.{key}' is {value!r}; a positive number was expected")
        return float(value)


def read_architecture(file: GGUFFile) -> Architecture:
    """The architecture of a file, once all that it needs was found in it.

    Raises
    ------
    ModelError
        For an architecture that is not known, a number that is missing or impossible, a tensor that is missing, of another
        shape, or unknown.
    """
    name = file.metadata.get("general.architecture")
    if name not in ARCHITECTURES or not isinstance(name, str):
        raise ModelError(
            f"{file.path}: the architecture {name!r} is not supported; {', '.join(ARCHITECTURES)} are"
            if name is not None
            else f"{file.path}: the metadata key 'general.architecture' is missing"
        )
    numbers = _Numbers(file, name)
    width = numbers.count("embedding_length")
    heads = numbers.count("attention.head_count")
    shared = numbers.count("attention.head_count_kv", heads)
    size = numbers.count("attention.key_length", max(1, width // heads))
    if numbers.count("attention.value_length", size) != size:
        raise numbers.refuse("keys and values of different lengths are not supported")
    if heads % shared:
        raise numbers.refuse(f"{heads} heads cannot share {shared} keys evenly")
    rotated = numbers.count("rope.dimension_count", size)
    if rotated > size or rotated % 2:
        raise numbers.refuse(
            f"'{name}.rope.dimension_count' is {rotated}; an even number up to {size} was expected"
        )
    scaling = file.metadata.get(f"{name}.rope.scaling.type", "none")
    if scaling != "none":
        raise numbers.refuse(f"rotary positions with scaling {scaling!r} are not supported")
    if numbers.count("expert_count", 1) != 1:
        raise numbers.refuse("mixtures of experts are not supported")
    embedding = file.tensors.get("token_embd.weight")
    if embedding is None:
        raise numbers.refuse("the tensor 'token_embd.weight' is missing")
    found = Architecture(
        name,
        blocks=numbers.count("block_count"),
        context=numbers.count("context_length"),
        width=width,
        hidden=numbers.count("feed_forward_length"),
        heads=heads,
        shared_heads=shared,
        head_size=size,
        epsilon=numbers.real("attention.layer_norm_rms_epsilon"),
        rope_base=numbers.real("rope.freq_base", 10_000.0),
        rope_pairs=rotated // 2,
        vocabulary=embedding.shape[0],
        tied="output.weight" not in file.tensors,
    )
    _check_tensors(file, found)
    return found


def _check_tensors(file: GGUFFile, architecture: Architecture) -> None:
    if architecture.blocks > len(file.tensors):
        raise ModelError(
            f"{file.path}: {architecture.blocks} blocks are claimed; the file holds {len(file.tensors)} tensors in all"
        )
    wanted = dict(architecture.tensors())
    for name, shape in wanted.items():
        tensor = file.tensors.get(name)
        if tensor is None:
            raise ModelError(f"{file.path}: the tensor {name!r} is missing")
        if tensor.shape != shape:
            raise ModelError(
                f"{file.path}: the tensor {name!r} has the shape {tensor.shape}; {shape} was expected"
            )
        _check_storage(file, tensor)
    unknown = sorted(set(file.tensors) - set(wanted))
    if unknown:
        raise ModelError(
            f"{file.path}: the tensor {unknown[0]!r} has no place in the architecture {architecture.name!r} as it is "
            f"supported{f', nor have {len(unknown) - 1} others' if len(unknown) > 1 else ''}"
        )


def _check_storage(file: GGUFFile, tensor: Tensor) -> None:
    kind = tensor.quantisation
    if len(tensor.shape) == 1:
        if kind.name not in ("F32", "F16", "BF16"):
            raise ModelError(
                f"{file.path}: the vector {tensor.name!r} is stored as {kind.name}; floats were expected"
            )
    elif tensor.shape[-1] % kind.weights:
        raise ModelError(
            f"{file.path}: rows of {tensor.name!r} have {tensor.shape[-1]} elements; multiples of {kind.weights} are supported"
        )


def rotations(
    architecture: Architecture, positions: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Cosine and sine for each position and pair, rounded once: ``[position, pair, 0 or 1]``."""
    pairs = np.arange(architecture.rope_pairs, dtype=np.float64)
    angles = np.arange(positions, dtype=np.float64)[:, None] * architecture.rope_base ** (
        -pairs / architecture.rope_pairs
    )
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1).astype(np.float32)
