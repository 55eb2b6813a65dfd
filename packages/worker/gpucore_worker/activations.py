"""Buffers of what is computed between tokens and logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gpucore as gc
from gpucore_worker.architecture import Architecture
from gpucore_worker.weights import Operand

Floats = gc.Array[Any]


@dataclass(frozen=True, slots=True)
class Activations:
    """Buffers for some tokens at once, a row for each.

    Attributes
    ----------
    ids : Array of i32
        The position of the first token, and the tokens.
    x : Array of f32
        What goes from block to block.
    normed : Operand
        ``x``, normalised.
    qkv : Array of f32
        Queries, keys and values side by side.
    attended : Operand
    added : Array of f32
        What is normalised before it is added to ``x``; where nothing is, a dummy.
    inner : Array of f32
        Within a feed-forward network: gates, and what they are multiplied with behind them.
    gated : Operand
    logits : Array of f32, (1, vocabulary)
        After one token: after each of many they would be the larger part of all buffers.
    """

    ids: gc.Array[Any]
    x: Floats
    normed: Operand
    qkv: Floats
    attended: Operand
    added: Floats
    inner: Floats
    gated: Operand
    logits: Floats

    @classmethod
    def make(cls, context: gc.Context, a: Architecture, tokens: int, quick: bool) -> Activations:
        """New buffers."""
        queries = a.heads * a.head_size

        def buffer(width: int) -> Floats:
            found: Floats = context.empty((tokens, width), gc.f32)
            return found

        def operand(columns: int) -> Operand:
            return Operand.make(context, tokens, columns, quick)

        return cls(
            context.zeros(1 + tokens, gc.i32),
            buffer(a.width),
            operand(a.width),
            buffer(queries + 2 * a.shared_heads * a.head_size),
            operand(queries),
            buffer(a.width if a.traits.post_norms else 1),
            buffer(a.hidden if a.traits.layer_norms else 2 * a.hidden),
            operand(a.hidden),
            context.empty((1, a.vocabulary), gc.f32),
        )

    def arrays(self) -> list[gc.Array[Any]]:
        """All of them."""
        operands = (self.normed, self.attended, self.gated)
        alone = [self.ids, self.x, self.qkv, self.added, self.inner, self.logits]
        return alone + [array for operand in operands for array in operand.arrays()]

    @property
    def nbytes(self) -> int:
        """Bytes on the device."""
        return sum(array.nbytes for array in self.arrays())

    @property
    def tokens(self) -> int:
        """How many there is room for."""
        return int(self.x.shape[0])

    def first(self, tokens: int) -> Activations:
        """The rows of the first tokens."""
        return Activations(
            self.ids[: 1 + tokens],
            self.x[:tokens],
            self.normed.first(tokens),
            self.qkv[:tokens],
            self.attended.first(tokens),
            self.added[:tokens],
            self.inner[:tokens],
            self.gated.first(tokens),
            self.logits,
        )

    def free(self) -> None:
        """Give the memory back."""
        for array in self.arrays():
            array.free()
