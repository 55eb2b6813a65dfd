"""The network of a model on a device: from tokens to logits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

import gpucore as gc
from gpucore_worker.activations import Activations
from gpucore_worker.architecture import Architecture, rotations
from gpucore_worker.cache import Cache
from gpucore_worker.errors import ContextError, InferenceError, ParameterError
from gpucore_worker.gguf_file import GGUFFile
from gpucore_worker.kernels.attention import TILE, attention
from gpucore_worker.kernels.layers import (
    NORM_THREADS,
    activate,
    add_bias,
    add_norm,
    norm,
    norm_heads,
    rotate,
)
from gpucore_worker.loading import Block, Linear, Norm, Weights
from gpucore_worker.one_token import OneToken
from gpucore_worker.weights import Operand

Floats = gc.Array[Any]
Mode = Literal["exact", "quick"]
CHUNK = 32
"""Tokens of a prompt that are processed at once, unless something else is asked for."""
_FIRST_POSITIONS = 512
"""Positions whose rotations are computed at first."""


class Network:
    """The weights of a model on a device, and what is computed with them.

    Parameters
    ----------
    context : gpucore.Context
    file : GGUFFile
    architecture : Architecture
    mode : {"exact", "quick"}
        Whether activations are multiplied as f32, or as 8-bit integers, 32 of them with one scale.
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
        mode: Mode = "exact",
        split: bool | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        # what indexes depend on, tokens and lengths, is checked here, once for all kernels
        self.context = context.options(check=False)
        self.architecture = architecture
        self.mode: Mode = mode
        self.lock = threading.RLock()
        self._freed = False
        if split is None:
            split = context.device.kind in ("discrete", "integrated")
        self.weights = Weights(self.context, file, architecture, split=split, progress=progress)
        self._quick = mode == "quick"
        self._tables: list[Floats] = []
        self._table_length = 0
        self._buffers = Activations.make(self.context, architecture, CHUNK, self._quick)
        self._single = Activations.make(self.context, architecture, 1, self._quick)
        self._graphs: dict[int, gc.Graph] = {}
        self._graph_keys: dict[int, Floats] = {}
        traits = architecture.traits
        self._attention = attention(architecture.head_size, split)
        # where blocks of threads run side by side in numbers, one token has kernels of its own
        one = OneToken(self.context, architecture, self.weights, self._single, self._quick) if split else None
        self._one = one if one is not None and one.fits else None
        self._landing: npt.NDArray[np.float32] | None = None
        if self._one is not None and "pinned_memory" in context.device.capabilities:
            # a graph brings logits here by itself: a copy to other memory of the host would be sent, and waited for, apart
            self._landing = context.pinned(self._single.logits.shape, gc.f32)
        self._rotate = rotate(traits.neighbours, TILE)
        self._norm = norm(traits.layer_norms, self._quick, split)
        self._activate = activate(traits.gelu, not traits.layer_norms, self._quick)
        self._reserve_rotations(1)
        self._factor = float(np.sqrt(np.float32(architecture.width))) if traits.scaled else 1.0

    # --- memory
    @property
    def weight_bytes(self) -> int:
        """Bytes of weights on the device, the tables of rotations among them."""
        return self.weights.nbytes + sum(table.nbytes for table in self._tables)

    @property
    def activation_bytes(self) -> int:
        """Bytes of buffers on the device."""
        return self._buffers.nbytes + self._single.nbytes + (0 if self._one is None else self._one.nbytes)

    def check_residency(self) -> None:
        """Compare every weight on the device with the file.

        Raises
        ------
        ResidencyError
            Names the first tensor that differs, and the row.
        InferenceError
            The model was unloaded.
        """
        with self.lock:
            self._check_there()
            self.weights.check()

    def free(self) -> None:
        """Give all memory back."""
        self._freed = True
        self._forget_graphs()
        self.weights.free()
        self._buffers.free()
        self._single.free()
        if self._one is not None:
            self._one.free()
        for table in self._tables:
            table.free()
        self._tables = []

    def _check_there(self) -> None:
        """Refuse work whose turn came when the memory had been given back."""
        if self._freed:
            raise InferenceError("the model was unloaded; load it again")

    # --- computing
    def new_cache(self) -> Cache:
        """An empty cache."""
        return Cache(self.context, self.architecture)

    def advance(
        self,
        cache: Cache,
        tokens: npt.NDArray[np.int32],
        *,
        every: bool = False,
        chunk: int = CHUNK,
        more: bool = False,
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
        more : bool
            Whether further tokens are to follow, so that logits after the last are not wanted.

        Returns
        -------
        ndarray of f32, (n or 1, vocabulary); (0, 0) where ``more``

        Raises
        ------
        ParameterError
            A token is not in the vocabulary.
        InferenceError
            The context is full, or the model was unloaded.
        """
        a = self.architecture
        if not len(tokens):
            raise ParameterError("no tokens: at least one is needed")
        if np.min(tokens) < 0 or np.max(tokens) >= a.vocabulary:
            wrong = next(int(t) for t in tokens if not 0 <= t < a.vocabulary)
            raise ParameterError(f"token {wrong} is not in the vocabulary of {a.vocabulary:,}")
        if cache.length + len(tokens) > a.context:
            raise ContextError(
                f"{cache.length + len(tokens):,} tokens do not fit the context of {a.context:,}; "
                "shorten the prompt, or begin a new inference"
            )
        with self.lock:
            self._check_there()
            cache.reserve(cache.length + len(tokens))
            self._reserve_rotations(cache.length + len(tokens))
            found: list[npt.NDArray[np.float32]] = []
            for first in range(0, len(tokens), chunk):
                piece = np.ascontiguousarray(tokens[first : first + chunk], np.int32)
                last = first + len(piece) == len(tokens) and not more
                if len(piece) == 1:
                    logits = self._advance_one(cache, piece)
                else:
                    logits = self._advance_some(cache, piece, every=every, last=last)
                if every or last:
                    found.append(logits)
            if not found:
                return np.empty((0, 0), np.float32)
            return found[0] if len(found) == 1 else np.concatenate(found)

    def _advance_one(self, cache: Cache, token: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
        """One token, by a graph that was recorded when the first cache of this size came."""
        b = self._single
        graph = self._graphs.get(cache.tiles)
        if graph is None:
            with self.context.graph() as graph:
                keys = graph.input("keys", cache.keys)
                values = graph.input("values", cache.values)
                self._embed(b)
                if self._one is not None:
                    self._one.enqueue(keys, values, self._tables)
                    if self._landing is not None:
                        b.logits.copy_to(self._landing)
                else:
                    self._enqueue(b, keys, values)
                    self._logits(b, b.x, b.logits)
            self._graphs[cache.tiles] = graph
            self._graph_keys[cache.tiles] = cache.keys
        if self._graph_keys.get(cache.tiles) is not cache.keys:
            # unknown meanwhile: an interrupt behind the update must not leave the graph with the name of the one before
            self._graph_keys.pop(cache.tiles, None)
            graph.update(keys=cache.keys, values=cache.values)
            self._graph_keys[cache.tiles] = cache.keys
        self._give_tokens(b, cache, token)
        graph.launch()
        cache.length += 1
        if self._landing is None:
            return b.logits.numpy()
        graph.stream.synchronize()
        return self._landing.copy()

    def _advance_some(
        self, cache: Cache, tokens: npt.NDArray[np.int32], *, every: bool, last: bool
    ) -> npt.NDArray[np.float32]:
        count = len(tokens)
        if count > self._buffers.tokens:
            # the old ones stay until the new ones are there: where memory runs out, later calls that need less go on
            larger = Activations.make(self.context, self.architecture, count, self._quick)
            self._buffers.free()
            self._buffers = larger
        b = self._buffers.first(count)
        self._give_tokens(b, cache, tokens)
        self._embed(b)
        self._enqueue(b, cache.keys, cache.values)
        cache.length += count
        if every:
            logits: Floats = self.context.empty((count, self.architecture.vocabulary), gc.f32)
            self._logits(b, b.x, logits)
            wanted: npt.NDArray[np.float32] = logits.numpy()
            logits.free()
            return wanted
        if last:
            self._logits(b.first(1), b.x[count - 1 :], b.logits)
            return b.logits.numpy()
        return np.empty((0, 0), np.float32)

    @staticmethod
    def _give_tokens(b: Activations, cache: Cache, tokens: npt.NDArray[np.int32]) -> None:
        b.ids.copy_from(np.concatenate([np.array([cache.length], np.int32), tokens]))

    def _reserve_rotations(self, positions: int) -> None:
        a = self.architecture
        if positions <= self._table_length:
            return
        length = min(max(positions, 2 * self._table_length, _FIRST_POSITIONS), a.context)
        kinds = (False, True) if a.window is not None else (False,)
        # before the old ones are given back: where memory runs out, shorter texts go on
        tables = [self.context.array(rotations(a, length, local=local)) for local in kinds]
        # graphs hold the old ones
        self._forget_graphs()
        for table in self._tables:
            table.free()
        self._tables = tables
        self._table_length = length

    def _forget_graphs(self) -> None:
        for graph in self._graphs.values():
            graph.close()
        self._graphs.clear()
        self._graph_keys.clear()
        if self._one is not None:
            self._one.forget()

    # --- the network
    def _embed(self, b: Activations) -> None:
        _run(self.weights.embedding.take(b.ids, b.x, self._factor))
        if self.weights.positions is not None:
            _run(self.weights.positions.add_positions(b.ids, b.x))

    def _enqueue(self, b: Activations, keys: Floats, values: Floats) -> None:
        """Enqueue all blocks for the tokens in ``b``."""
        for number, block in enumerate(self.weights.blocks):
            self._attend(b, block, number, keys[number], values[number])
            self._feed_forward(b, block)

    def _logits(self, b: Activations, x: Floats, out: Floats) -> None:
        self._normalise(x, self.weights.norm, b.normed)
        _run(self.weights.last.product(b.normed, out))

    def _attend(self, b: Activations, block: Block, number: int, keys: Floats, values: Floats) -> None:
        a = self.architecture
        local = a.is_local(number)
        tokens, heads = b.tokens, a.heads + a.shared_heads
        self._normalise(b.x, block.attention_norm, b.normed)
        self._linear(block.qkv, b.normed, b.qkv)
        if block.head_norms is not None:
            norm_heads[(tokens, heads), (1, NORM_THREADS)](b.qkv, *block.head_norms, a.heads, a.epsilon)
        self._rotate.over((tokens, heads + a.shared_heads, a.head_size))(
            b.qkv, self._tables[local], keys, values, b.ids, a.heads
        )
        window = a.window if local and a.window is not None else a.context
        self._attention[(tokens, a.heads), (1, TILE)](
            b.qkv, keys, values, b.attended.values, b.ids, a.heads, a.scale, window
        )
        b.attended.finish()
        self._add(b, block.attention_output, b.attended, block.attention_post_norm)

    def _feed_forward(self, b: Activations, block: Block) -> None:
        self._normalise(b.x, block.feed_forward_norm, b.normed)
        self._linear(block.inner, b.normed, b.inner)
        self._activate[b.gated.sums.shape, (1, 32)](b.inner, *b.gated.arrays())
        self._add(b, block.down, b.gated, block.feed_forward_post_norm)

    # --- its parts
    def _normalise(self, x: Floats, weights: Norm, out: Operand) -> None:
        self._norm[x.shape[0], NORM_THREADS](
            x, weights.weight, weights.bias, *out.arrays(), self.architecture.epsilon
        )

    def _linear(self, linear: Linear, x: Operand, out: Floats, *, add: bool = False) -> None:
        at = 0
        for matrix in linear.parts:
            _run(matrix.product(x, out, at, add=add))
            at += matrix.rows
        for first, bias in linear.biases:
            add_bias.over((out.shape[0], bias.shape[0]))(out, bias, first)

    def _add(self, b: Activations, linear: Linear, x: Operand, post_norm: Floats | None) -> None:
        """Multiply and add to what goes from block to block, normalised before where the architecture has it so."""
        if post_norm is None:
            self._linear(linear, x, b.x, add=True)
            return
        self._linear(linear, x, b.added)
        add_norm[b.tokens, NORM_THREADS](b.added, post_norm, b.x, self.architecture.epsilon)


def _run(work: tuple[gc.ConfiguredKernel, tuple[Any, ...]]) -> None:
    configured, arguments = work
    configured(*arguments)
