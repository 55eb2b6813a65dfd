"""The network of a model on a device: from tokens to logits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

import gpucore as gc
from gpucore_worker.architecture import Architecture, rotations
from gpucore_worker.errors import InferenceError, ParameterError, ResidencyError
from gpucore_worker.gguf_file import GGUFFile
from gpucore_worker.kernels.layers import NORM_THREADS, TILE, add_bias, attention, gate, norm, rotate
from gpucore_worker.kernels.products import run_sums
from gpucore_worker.weights import Matrix, Work, file_row_sums, floats, upload

Floats = gc.Array[Any]
Key = tuple[int, str]
"""A piece of the network's work: the block, and what it does there."""
CHUNK = 32
"""Tokens of a prompt that are processed at once, unless something else is asked for."""
_FIRST_TILES = 4
"""Tiles of a new cache."""


@dataclass(frozen=True, slots=True)
class Block:
    """The weights of one block."""

    attention_norm: Floats
    queries: Matrix
    keys: Matrix
    values: Matrix
    attention_output: Matrix
    feed_forward_norm: Floats
    gate: Matrix
    up: Matrix
    down: Matrix


@dataclass(frozen=True, slots=True)
class Activations:
    """Buffers for some tokens at once, a row for each."""

    ids: gc.Array[Any]
    x: Floats
    normed: Floats
    normed_sums: Floats
    queries: Floats
    keys: Floats
    values: Floats
    attended: Floats
    attended_sums: Floats
    gates: Floats
    ups: Floats
    gate_sums: Floats
    logits: Floats

    @classmethod
    def make(cls, context: gc.Context, a: Architecture, tokens: int) -> Activations:
        """New buffers."""
        queries, keys = a.heads * a.head_size, a.shared_heads * a.head_size

        def buffer(width: int) -> Floats:
            found: Floats = context.empty((tokens, width), gc.f32)
            return found

        return cls(
            context.zeros(tokens, gc.i32), buffer(a.width), buffer(a.width), buffer(a.width // 32), buffer(queries),
            buffer(keys), buffer(keys), buffer(queries), buffer(queries // 32), buffer(a.hidden), buffer(a.hidden),
            buffer(a.hidden // 32), buffer(a.vocabulary),
        )  # fmt: skip

    def arrays(self) -> list[gc.Array[Any]]:
        """All of them."""
        return [getattr(self, field.name) for field in fields(self)]

    def first(self, tokens: int) -> Activations:
        """The rows of the first tokens."""
        return Activations(*(array[:tokens] for array in self.arrays()))


class Cache:
    """Keys and values of one sequence; it grows with it.

    Attributes
    ----------
    length : int
        Tokens that it holds.
    """

    def __init__(self, context: gc.Context, architecture: Architecture, limit: int) -> None:
        self._context = context
        self._architecture = architecture
        self._limit = gc.cdiv(limit, TILE)
        self.tiles = 0
        self.length = 0
        self.keys: list[Floats] = []
        self.values: list[Floats] = []
        self.reserve(1)

    @property
    def nbytes(self) -> int:
        """Bytes on the device."""
        return sum(array.nbytes for array in (*self.keys, *self.values))

    def reserve(self, tokens: int) -> None:
        """Make room for that many tokens in all; what is there stays."""
        wanted = gc.cdiv(tokens, TILE)
        if wanted <= self.tiles:
            return
        tiles = min(max(wanted, 2 * self.tiles, _FIRST_TILES), max(self._limit, wanted))
        a = self._architecture
        self.keys = self._grown(self.keys, (tiles, a.shared_heads, a.head_size, TILE))
        self.values = self._grown(self.values, (tiles, a.shared_heads, TILE, a.head_size))
        self.tiles = tiles

    def free(self) -> None:
        """Give the memory back."""
        for array in (*self.keys, *self.values):
            array.free()
        self.keys, self.values, self.tiles = [], [], 0

    def _grown(self, old: list[Floats], shape: tuple[int, ...]) -> list[Floats]:
        # zeros: what a masked position holds is multiplied with 0, and must be a number
        new: list[Floats] = [self._context.zeros(shape, gc.f32) for _ in range(self._architecture.blocks)]
        for source, target in zip(old, new, strict=False):
            target[: source.shape[0]].copy_from(source)
        return new


class Network:
    """The weights of a model on a device, and what is computed with them.

    Parameters
    ----------
    context : gpucore.Context
    file : GGUFFile
    architecture : Architecture
    split : bool, optional
        Whether products give each segment of a row a thread; by default where the device is a GPU. The bits are the same.
    progress : callable, optional
        Is told bytes done and bytes in all.

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
        split: bool | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.context = context
        self.architecture = architecture
        self.lock = threading.RLock()
        self._file = file
        self._split = context.device.kind in ("discrete", "integrated") if split is None else split
        self.matrices: dict[str, Matrix] = {}
        self._vectors: dict[str, Floats] = {}
        self._upload(progress)
        self._table: Floats = context.array(rotations(architecture, architecture.context))
        self._buffers = Activations.make(context, architecture, CHUNK)
        self._single = Activations.make(context, architecture, 1)
        self._bound: dict[Key, gc.BoundLaunch] = {}
        self._blocks = [self._block(b) for b in range(architecture.blocks)]
        self._attention = attention(architecture.head_size)
        self._rotate = rotate(architecture.neighbours)

    def _upload(self, progress: Callable[[int, int], None] | None) -> None:
        total = sum(t.nbytes for t in self._file.tensors.values())
        done = 0

        def tell(nbytes: int) -> None:
            nonlocal done
            done += nbytes
            if progress is not None:
                progress(done, total)

        for name, tensor in self._file.tensors.items():
            if len(tensor.shape) == 1:
                self._vectors[name] = self.context.array(floats(self._file, tensor))
                tell(tensor.nbytes)
            else:
                self.matrices[name] = upload(
                    self.context, self._file, tensor, split=self._split, progress=tell
                )

    def _block(self, number: int) -> Block:
        def matrix(name: str) -> Matrix:
            return self.matrices[f"blk.{number}.{name}.weight"]

        return Block(
            self._vectors[f"blk.{number}.attn_norm.weight"], matrix("attn_q"), matrix("attn_k"), matrix("attn_v"),
            matrix("attn_output"), self._vectors[f"blk.{number}.ffn_norm.weight"], matrix("ffn_gate"), matrix("ffn_up"),
            matrix("ffn_down"),
        )  # fmt: skip

    # --- memory
    @property
    def weight_bytes(self) -> int:
        """Bytes of weights on the device, the table of rotations among them."""
        words = sum(m.words.nbytes for m in self.matrices.values())
        return words + sum(v.nbytes for v in self._vectors.values()) + self._table.nbytes

    @property
    def activation_bytes(self) -> int:
        """Bytes of buffers on the device."""
        return sum(array.nbytes for array in (*self._buffers.arrays(), *self._single.arrays()))

    def check_residency(self) -> None:
        """Compare every weight on the device with the file.

        Raises
        ------
        ResidencyError
            Names the first tensor that differs, and the row.
        """
        with self.lock:
            for name, tensor in self._file.tensors.items():
                if name in self.matrices:
                    matrix = self.matrices[name]
                    same = matrix.row_sums() == file_row_sums(self._file, tensor)
                else:
                    same = self._vectors[name].numpy().view(np.uint32) == floats(self._file, tensor).view(
                        np.uint32
                    )
                if not same.all():
                    raise ResidencyError(
                        f"{name!r} on {self.context.device.name} differs from {self._file.path} in row {int(np.argmin(same))}; "
                        "unload the model and load it again"
                    )

    def free(self) -> None:
        """Give all memory back."""
        arrays = [m.words for m in self.matrices.values()] + list(self._vectors.values()) + [self._table]
        self._bound.clear()
        for array in (*arrays, *self._buffers.arrays(), *self._single.arrays()):
            array.free()

    # --- computing
    def new_cache(self) -> Cache:
        """An empty cache."""
        return Cache(self.context, self.architecture, self.architecture.context)

    def advance(
        self, cache: Cache, tokens: npt.NDArray[np.int32], *, every: bool = False, chunk: int = CHUNK
    ) -> npt.NDArray[np.float32]:
        """Process tokens after those in a cache, and put them into it.

        Parameters
        ----------
        cache : Cache
        tokens : ndarray of i32, (n,)
            At least one.
        every : bool
            Whether logits are wanted after each token, or after the last alone.
        chunk : int
            Tokens that are processed at once; the bits do not depend on it.

        Returns
        -------
        ndarray of f32, (n or 1, vocabulary)

        Raises
        ------
        ParameterError
            A token is not in the vocabulary.
        InferenceError
            The context is full.
        """
        a = self.architecture
        if not len(tokens):
            raise ParameterError("no tokens: at least one is needed")
        if np.min(tokens) < 0 or np.max(tokens) >= a.vocabulary:
            wrong = next(int(t) for t in tokens if not 0 <= t < a.vocabulary)
            raise ParameterError(f"token {wrong} is not in the vocabulary of {a.vocabulary:,}")
        if cache.length + len(tokens) > a.context:
            raise InferenceError(
                f"{cache.length + len(tokens):,} tokens do not fit the context of {a.context:,}; "
                "shorten the prompt, or begin a new inference"
            )
        with self.lock:
            cache.reserve(cache.length + len(tokens))
            found: list[npt.NDArray[np.float32]] = []
            for first in range(0, len(tokens), chunk):
                piece = tokens[first : first + chunk]
                last = first + len(piece) == len(tokens)
                buffers = self._advance_piece(cache, piece, logits=every or last)
                if every or last:
                    logits = buffers.logits.numpy()
                    found.append(logits if every else logits[-1:])
            return found[0] if len(found) == 1 else np.concatenate(found)

    def _advance_piece(self, cache: Cache, tokens: npt.NDArray[np.int32], logits: bool) -> Activations:
        count = len(tokens)
        if count > self._buffers.x.shape[0]:
            for array in self._buffers.arrays():
                array.free()
            self._buffers = Activations.make(self.context, self.architecture, count)
        buffers = self._single if count == 1 else self._buffers.first(count)
        buffers.ids.copy_from(np.ascontiguousarray(tokens, np.int32))
        self._enqueue(buffers, cache, cache.length, logits)
        cache.length += count
        return buffers

    def _enqueue(self, b: Activations, cache: Cache, start: int, logits: bool) -> None:
        """Enqueue the whole network for the tokens in ``b``, the first of which is at ``start``."""
        a = self.architecture
        self.matrices["token_embd.weight"].take(b.ids, b.x)
        for number in range(a.blocks):
            self._attend(b, cache, start, number)
            self._feed_forward(b, number)
        if logits:
            self._norm(b, (a.blocks, "norm"), self._vectors["output_norm.weight"])
            last = self.matrices["token_embd.weight" if a.tied else "output.weight"]
            self._product(b, (a.blocks, "last"), last, b.normed, b.normed_sums, b.logits)

    def _attend(self, b: Activations, cache: Cache, start: int, number: int) -> None:
        a = self.architecture
        block = self._blocks[number]
        tokens = b.x.shape[0]
        self._norm(b, (number, "attention norm"), block.attention_norm)
        for part, matrix, out in (
            ("q", block.queries, b.queries),
            ("k", block.keys, b.keys),
            ("v", block.values, b.values),
        ):
            self._product(b, (number, part), matrix, b.normed, b.normed_sums, out)
            if a.biases:
                self._add_bias(
                    b, (number, f"{part} bias"), out, self._vectors[f"blk.{number}.attn_{part}.bias"]
                )
        keys, values = cache.keys[number], cache.values[number]
        self._rotate.over((tokens, a.heads + 2 * a.shared_heads, a.head_size))(
            b.queries, b.keys, b.values, self._table, keys, values, a.heads, start
        )
        self._attention[(tokens, a.heads), (1, TILE)](
            b.queries, keys, values, b.attended, a.heads, a.head_size**-0.5, a.context, start
        )
        self._run_sums(b, (number, "attended sums"), b.attended, b.attended_sums)
        self._product(
            b, (number, "output"), block.attention_output, b.attended, b.attended_sums, b.x, add=True
        )

    def _feed_forward(self, b: Activations, number: int) -> None:
        block = self._blocks[number]
        self._norm(b, (number, "feed-forward norm"), block.feed_forward_norm)
        self._product(b, (number, "gate"), block.gate, b.normed, b.normed_sums, b.gates)
        self._product(b, (number, "up"), block.up, b.normed, b.normed_sums, b.ups)
        self._run(b, (number, "gated"), lambda: (gate.over(b.gates.shape), (b.gates, b.ups)))
        self._run_sums(b, (number, "gated sums"), b.gates, b.gate_sums)
        self._product(b, (number, "down"), block.down, b.gates, b.gate_sums, b.x, add=True)

    # --- launches
    def _run(self, b: Activations, key: Key, work: Callable[[], Work]) -> None:
        """Enqueue work; that of one token, whose arguments never change, is checked and packed the first time only."""
        bound = self._bound.get(key) if b is self._single else None
        if bound is None:
            configured, arguments = work()
            if b is not self._single:
                configured(*arguments)
                return
            bound = self._bound[key] = configured.bind(*arguments)
        bound()

    def _norm(self, b: Activations, key: Key, weight: Floats) -> None:
        epsilon = self.architecture.epsilon
        self._run(
            b,
            key,
            lambda: (norm[b.x.shape[0], NORM_THREADS], (b.x, weight, b.normed, b.normed_sums, epsilon)),
        )

    def _product(
        self,
        b: Activations,
        key: Key,
        matrix: Matrix,
        x: Floats,
        sums: Floats,
        out: Floats,
        *,
        add: bool = False,
    ) -> None:
        self._run(b, key, lambda: matrix.product(x, sums, out, add=add))

    def _add_bias(self, b: Activations, key: Key, out: Floats, bias: Floats) -> None:
        self._run(b, key, lambda: (add_bias.over(out.shape), (out, bias)))

    def _run_sums(self, b: Activations, key: Key, x: Floats, sums: Floats) -> None:
        self._run(b, key, lambda: (run_sums.over(sums.shape), (x, sums)))
