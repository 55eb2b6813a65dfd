"""One token through a network on a GPU: few launches, each of which does what it can without another."""

from __future__ import annotations

from typing import Any

import gpucore as gc
from gpucore_worker.activations import Activations
from gpucore_worker.architecture import Architecture
from gpucore_worker.kernels.attention import TILE, attention_of_tiles
from gpucore_worker.kernels.layers import NORM_THREADS, activate, add_norm, norm_heads, rotate
from gpucore_worker.kernels.layouts import Layout, shared_bytes
from gpucore_worker.kernels.one_token import (
    product_of_norm,
    product_of_norm_kept,
    product_of_tiles,
    product_of_values,
)
from gpucore_worker.loading import Block, Linear, Norm, Weights
from gpucore_worker.weights import Matrix

Floats = gc.Array[Any]
_FEW_ROWS = 8192
_FEW_COLUMNS = 2048
_MOST_JOINING = 640
"""Threads of a block that joins tiles, at most."""


class OneToken:
    """Enqueues the network for one token; the bits are those of the kernels for many.

    Parameters
    ----------
    context : gpucore.Context
    architecture : Architecture
    weights : Weights
    buffers : Activations
        For one token.
    quick : bool
    """

    def __init__(
        self,
        context: gc.Context,
        architecture: Architecture,
        weights: Weights,
        buffers: Activations,
        quick: bool,
    ) -> None:
        self._context = context
        self._architecture = a = architecture
        self._weights = weights
        self._buffers = buffers
        self._quick = quick
        traits = architecture.traits
        self._nothing: Floats = context.zeros(1, gc.f32)
        self._attention = attention_of_tiles(a.head_size)
        self._rotate = rotate(traits.neighbours, TILE)
        self._activate = activate(traits.gelu, not traits.layer_norms, quick)
        in_pairs = traits.neighbours or a.rope_pairs == 0 or 2 * a.rope_pairs == a.head_size
        self._keeps = in_pairs and not traits.head_norms
        self._parts: dict[int, tuple[Floats, Floats]] = {}
        self._biases: dict[str, Floats] = {}
        self._joined: list[Floats] = []
        for block in weights.blocks:
            for linear in (block.qkv, block.attention_output, block.inner, block.down):
                self._gather_biases(linear)

    def _gather_biases(self, linear: Linear) -> None:
        """Make of the biases of each matrix one array."""
        first = 0
        for matrix in linear.parts:
            own = [(at - first, bias) for at, bias in linear.biases if first <= at < first + matrix.rows]
            first += matrix.rows
            if len(own) == 1:
                self._biases[matrix.name] = own[0][1]
            elif own:
                joined: Floats = self._context.zeros(matrix.rows, gc.f32)
                for at, bias in own:
                    joined[at : at + bias.shape[0]].copy_from(bias)
                self._biases[matrix.name] = joined
                self._joined.append(joined)

    @property
    def fits(self) -> bool:
        """Whether blocks of threads are small enough for the device, and have shared memory enough."""
        a, blocks, able = self._architecture, self._weights.blocks, self._context.device.capabilities
        linears = [part for b in blocks for linear in (b.qkv, b.down) for part in linear.parts]
        layouts = [(self._layout(matrix), 0) for matrix in (*linears, self._weights.last)]
        layouts += [(self._layout(part, 2), 0) for b in blocks for part in b.inner.parts]
        layouts += [
            (self._layout(part, joins=True), a.heads) for b in blocks for part in b.attention_output.parts
        ]
        return all(
            layout.threads <= able.max_threads_per_block and shared_bytes(layout, heads) <= able.shared_memory
            for layout, heads in set(layouts)
        )

    @property
    def nbytes(self) -> int:
        """Bytes of arrays of its own."""
        parts = [array for pair in self._parts.values() for array in pair]
        return sum(array.nbytes for array in (*parts, *self._joined, self._nothing))

    def forget(self) -> None:
        """Give back what it has for caches; graphs that use it must be gone."""
        for pair in self._parts.values():
            for array in pair:
                array.free()
        self._parts.clear()

    def free(self) -> None:
        """Give all memory back."""
        self.forget()
        for array in (*self._joined, self._nothing):
            array.free()

    # --- the network
    def enqueue(self, keys: Floats, values: Floats, tables: list[Floats]) -> None:
        """Enqueue all blocks and the logits; the embedding is in ``buffers.x``.

        Parameters
        ----------
        keys, values : Array
            Of a cache.
        tables : list of Array
            Rotations, those within a window behind the others.
        """
        a, b, weights = self._architecture, self._buffers, self._weights
        if keys.shape[1] not in self._parts:
            self._parts[keys.shape[1]] = (
                self._context.empty((a.heads, keys.shape[1], a.head_size), gc.f32),
                self._context.empty((2, a.heads, keys.shape[1]), gc.f32),
            )
        for number, block in enumerate(weights.blocks):
            self._attend(block, number, keys[number], values[number], tables)
            self._feed_forward(block)
        self._norm_linear(weights.norm, Linear([weights.last], []), b.x, b.logits)

    def _attend(self, block: Block, number: int, keys: Floats, values: Floats, tables: list[Floats]) -> None:
        a, b = self._architecture, self._buffers
        local = a.is_local(number)
        table = tables[local]
        if self._keeps:
            self._norm_linear_kept(block, keys, values, table)
        else:
            self._norm_linear(block.attention_norm, block.qkv, b.x, b.qkv)
            heads = a.heads + a.shared_heads
            if block.head_norms is not None:
                norm_heads[(1, heads), (1, NORM_THREADS)](b.qkv, *block.head_norms, a.heads, a.epsilon)
            self._rotate.over((1, heads + a.shared_heads, a.head_size))(
                b.qkv, table, keys, values, b.ids, a.heads
            )
        window = a.window if local and a.window is not None else a.context
        tiles = keys.shape[0]
        parts, marks = self._parts[tiles]
        self._attention[(a.heads, 1, tiles), (1, TILE, 1)](
            b.qkv,
            keys.reshape(-1),
            values.reshape(-1),
            parts,
            marks,
            b.ids,
            a.heads,
            a.shared_heads,
            a.scale,
            window,
        )
        add = block.attention_post_norm is None
        out = b.x if add else b.added
        at = 0
        for matrix, bias in self._each(block.attention_output):
            layout = self._layout(matrix, joins=True)
            kernel = product_of_tiles(layout, add, bias is not None, a.heads)
            kernel[layout.over(matrix.rows)](
                matrix.words,
                parts.reshape(-1),
                marks,
                b.ids,
                out,
                self._or_nothing(bias),
                matrix.rows,
                at,
                window,
            )
            at += matrix.rows
        self._add_normed(block.attention_post_norm)

    def _feed_forward(self, block: Block) -> None:
        a, b = self._architecture, self._buffers
        gated = not a.traits.layer_norms
        parts = self._each(block.inner)
        if len(parts) == 1:
            ((matrix, bias),) = parts
            layout = self._layout(matrix, 2 if gated else 1)
            kernel = product_of_norm(
                layout, a.traits.layer_norms, "gate" if gated else "activate", a.traits.gelu, bias is not None
            )
            norm = block.feed_forward_norm
            kernel[layout.over(matrix.rows)](
                matrix.words,
                b.x,
                norm.weight,
                norm.bias,
                b.gated.values,
                self._or_nothing(bias),
                a.hidden,
                0,
                a.epsilon,
            )
        else:
            self._norm_linear(block.feed_forward_norm, block.inner, b.x, b.inner)
            self._activate[b.gated.sums.shape, (1, 32)](b.inner, *b.gated.arrays())
        add = block.feed_forward_post_norm is None
        at = 0
        for matrix, bias in self._each(block.down):
            layout = self._layout(matrix)
            product_of_values(layout, add, bias is not None)[layout.over(matrix.rows)](
                matrix.words, b.gated.values, b.x if add else b.added, self._or_nothing(bias), matrix.rows, at
            )
            at += matrix.rows
        self._add_normed(block.feed_forward_post_norm)

    # --- its parts
    def _norm_linear(self, norm: Norm, linear: Linear, x: Floats, out: Floats) -> None:
        a = self._architecture
        at = 0
        for matrix, bias in self._each(linear):
            layout = self._layout(matrix)
            kernel = product_of_norm(layout, a.traits.layer_norms, "store", False, bias is not None)
            kernel[layout.over(matrix.rows)](
                matrix.words,
                x,
                norm.weight,
                norm.bias,
                out,
                self._or_nothing(bias),
                matrix.rows,
                at,
                a.epsilon,
            )
            at += matrix.rows

    def _norm_linear_kept(self, block: Block, keys: Floats, values: Floats, table: Floats) -> None:
        a, b = self._architecture, self._buffers
        norm = block.attention_norm
        at = 0
        for matrix, bias in self._each(block.qkv):
            layout = self._layout(matrix)
            kernel = product_of_norm_kept(
                layout, a.traits.layer_norms, bias is not None, a.head_size, a.rope_pairs, a.traits.neighbours
            )
            kernel[layout.over(matrix.rows)](
                matrix.words, b.x, norm.weight, norm.bias, b.qkv, self._or_nothing(bias), table, keys, values, b.ids,
                matrix.rows, at, a.heads, a.epsilon,
            )  # fmt: skip
            at += matrix.rows

    def _each(self, linear: Linear) -> list[tuple[Matrix, Floats | None]]:
        """Matrices, each with what is added to its outputs."""
        return [(matrix, self._biases.get(matrix.name)) for matrix in linear.parts]

    def _add_normed(self, post_norm: Floats | None) -> None:
        if post_norm is not None:
            b = self._buffers
            add_norm[1, NORM_THREADS](b.added, post_norm, b.x, self._architecture.epsilon)

    def _layout(self, matrix: Matrix, matrices: int = 1, *, joins: bool = False) -> Layout:
        """Few rows a block spread over the device; where there are many, they share what a block computes for itself.

        Tiles are joined by a thread an element, as far as a block has them.
        """
        few = matrix.rows <= _FEW_ROWS and matrix.columns <= _FEW_COLUMNS
        slots = 8 * matrices if few else 32
        least = min(matrix.columns, _MOST_JOINING) if joins else 0
        return Layout(matrix.quantisation.name, self._quick, matrix.columns, slots, least)

    def _or_nothing(self, bias: Floats | None) -> Floats:
        return self._nothing if bias is None else bias
