"""Amounts of memory, by purpose."""

from __future__ import annotations

from typing import Self


class Memory(int):
    """Bytes on a device: a number, the sum of its parts.

    Attributes
    ----------
    weights, kv_cache, activations : int
        Bytes.
    """

    weights: int
    kv_cache: int
    activations: int

    @classmethod
    def of(cls, weights: int, kv_cache: int, activations: int) -> Self:
        """The sum of three parts."""
        made = cls(weights + kv_cache + activations)
        made.weights, made.kv_cache, made.activations = weights, kv_cache, activations
        return made

    def by_purpose(self) -> dict[str, int]:
        """The parts by name."""
        return {"weights": self.weights, "kv_cache": self.kv_cache, "activations": self.activations}
