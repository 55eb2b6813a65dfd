"""Which architectures are known, the numbers that a file must give for one, and the tensors that it must hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from gpucore_worker.errors import ModelError
from gpucore_worker.gguf_file import GGUFFile, Tensor

_MOST = 1 << 31


@dataclass(frozen=True, slots=True)
class Traits:
    """What the models of an architecture have in common.

    Attributes
    ----------
    neighbours : bool
        Whether a pair that is rotated is two neighbours, or an element and the one half a head further.
    biases : bool
        Whether queries, keys and values have one.
    head_norms : bool
        Whether queries and keys are normalised, a head at a time.
    post_norms : bool
        Whether what attention and feed-forward network give is normalised before it is added.
    gelu : bool
        Whether the gate is GELU, or SiLU.
    scaled : bool
        Whether embeddings are multiplied by the square root of their width.
    layer_norms : bool
        LayerNorm in the place of RMSNorm, biases everywhere, no gate, positions that were learned and are added to the
        embeddings: GPT-2.
    """

    neighbours: bool = False
    biases: bool = False
    head_norms: bool = False
    post_norms: bool = False
    gelu: bool = False
    scaled: bool = False
    layer_norms: bool = False


TRAITS = {
    "llama": Traits(neighbours=True),
    "qwen2": Traits(biases=True),
    "gemma3": Traits(head_norms=True, post_norms=True, gelu=True, scaled=True),
    "gpt2": Traits(biases=True, gelu=True, layer_norms=True),
}
ARCHITECTURES = tuple(TRAITS)
_GEMMA_PERIOD = 6
"""Of so many blocks of gemma3 the last one attends to all positions, the others to a window."""
_GEMMA_LOCAL_BASE = 10_000.0
"""Base of the rotations within a window; files do not hold it."""
_GEMMA_27B_BLOCKS = 62
_OTHERS: Mapping[str, tuple[float, ...]] = {
    "rope.scaling.factor": (0, 1), "rope.scale_linear": (0, 1), "rope.freq_base_swa": (_GEMMA_LOCAL_BASE,),
    "attention.sliding_window_pattern": (_GEMMA_PERIOD,), "attention.scale": (0,), "attention.causal": (True,),
    "attention.clamp_kqv": (0,), "attention.max_alibi_bias": (0,), "use_parallel_residual": (False,),
    "logit_scale": (0, 1), "embedding_scale": (0, 1), "residual_scale": (0, 1),
}  # fmt: skip
"""What files of other models of an architecture's name say, with the values that change nothing."""


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
    window : int | None
        Positions that the blocks with a window attend to; None where no block has one.
    scale : float
        Of the products of queries and keys.
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
    window: int | None
    scale: float

    @property
    def traits(self) -> Traits:
        """What all models of the architecture have in common."""
        return TRAITS[self.name]

    def is_local(self, block: int) -> bool:
        """Whether a block attends to a window alone."""
        return self.window is not None and block % _GEMMA_PERIOD != _GEMMA_PERIOD - 1

    def tensors(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Names and shapes of what the file must hold; a matrix as (outputs, inputs)."""
        traits = self.traits
        yield "token_embd.weight", (self.vocabulary, self.width)
        if traits.layer_norms:
            yield "position_embd.weight", (self.context, self.width)
        yield from self._norm("output_norm")
        if not self.tied:
            yield "output.weight", (self.vocabulary, self.width)
        for b in range(self.blocks):
            for name, shape in self._block():
                yield f"blk.{b}.{name}", shape

    def _norm(self, name: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield f"{name}.weight", (self.width,)
        if self.traits.layer_norms:
            yield f"{name}.bias", (self.width,)

    def _block(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        traits = self.traits
        queries = self.heads * self.head_size
        keys = self.shared_heads * self.head_size

        def linear(name: str, outputs: int, inputs: int, bias: bool) -> Iterator[tuple[str, tuple[int, ...]]]:
            yield f"{name}.weight", (outputs, inputs)
            if bias:
                yield f"{name}.bias", (outputs,)

        yield from self._norm("attn_norm")
        if traits.layer_norms:
            yield from linear("attn_qkv", queries + 2 * keys, self.width, True)
        else:
            yield from linear("attn_q", queries, self.width, traits.biases)
            yield from linear("attn_k", keys, self.width, traits.biases)
            yield from linear("attn_v", keys, self.width, traits.biases)
        if traits.head_norms:
            yield "attn_q_norm.weight", (self.head_size,)
            yield "attn_k_norm.weight", (self.head_size,)
        yield from linear("attn_output", self.width, queries, traits.layer_norms)
        if traits.post_norms:
            yield "post_attention_norm.weight", (self.width,)
        yield from self._norm("ffn_norm")
        if not traits.layer_norms:
            yield from linear("ffn_gate", self.hidden, self.width, False)
        yield from linear("ffn_up", self.hidden, self.width, traits.layer_norms)
        yield from linear("ffn_down", self.width, self.hidden, traits.layer_norms)
        if traits.post_norms:
            yield "post_ffw_norm.weight", (self.width,)


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

    def refuse_others(self) -> None:
        """Refuse what would change logits and is not computed."""
        for key, nothing in _OTHERS.items():
            value = self.file.metadata.get(f"{self.name}.{key}")
            if value is not None and not (isinstance(value, (bool, int, float)) and value in nothing):
                raise self.refuse(f"'{self.name}.{key}' is {value!r}, which is not supported")

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
    if not isinstance(name, str) or name not in ARCHITECTURES:
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
    if not isinstance(scaling, str) or scaling != "none":
        raise numbers.refuse(f"rotary positions with scaling {scaling!r} are not supported")
    numbers.refuse_others()
    if numbers.count("expert_count", 1) != 1:
        raise numbers.refuse("mixtures of experts are not supported")
    embedding = file.tensors.get("token_embd.weight")
    if embedding is None:
        raise numbers.refuse("the tensor 'token_embd.weight' is missing")
    if (
        f"{name}.final_logit_softcapping" in file.metadata
        or f"{name}.attn_logit_softcapping" in file.metadata
    ):
        raise numbers.refuse("logits that are capped are not supported")
    traits = TRAITS[name]
    blocks = numbers.count("block_count")
    # the largest gemma3 alone scales by the width of a head among all of them
    scaled_size = width / heads if name == "gemma3" and blocks == _GEMMA_27B_BLOCKS else float(size)
    found = Architecture(
        name,
        blocks=blocks,
        context=numbers.count("context_length"),
        width=width,
        hidden=numbers.count("feed_forward_length"),
        heads=heads,
        shared_heads=shared,
        head_size=size,
        epsilon=numbers.real(
            "attention.layer_norm_epsilon" if traits.layer_norms else "attention.layer_norm_rms_epsilon"
        ),
        rope_base=numbers.real("rope.freq_base", 10_000.0),
        rope_pairs=0 if traits.layer_norms else rotated // 2,
        vocabulary=embedding.shape[0],
        tied="output.weight" not in file.tensors,
        window=numbers.count("attention.sliding_window") if name == "gemma3" else None,
        scale=scaled_size**-0.5,
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
    architecture: Architecture, positions: int, *, local: bool = False
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Cosine and sine for each position and pair, rounded once: ``[position, pair, 0 or 1]``.

    Parameters
    ----------
    local : bool
        Whether they are those of the blocks with a window.
    """
    base = _GEMMA_LOCAL_BASE if local else architecture.rope_base
    pairs = np.arange(architecture.rope_pairs, dtype=np.float64)
    angles = np.arange(positions, dtype=np.float64)[:, None] * base ** (
        -pairs / max(architecture.rope_pairs, 1)
    )
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1).astype(np.float32)
