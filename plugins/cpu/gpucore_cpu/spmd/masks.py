"""Masks: which lanes take part, and the logic of such vectors of bits."""

from __future__ import annotations

from gpucore_cpu.spmd.types import ALL_ONES, VectorTypes
from gpucore_cpu.spmd.writer import Writer

__all__ = ["Masks"]


class Masks:
    """The mask that code is written under, and what is made of masks.

    Wherever code is written at least one lane is active, so scalar loads and divisions are safe.

    Attributes
    ----------
    current : str | None
        The vector of active lanes, or None where all lanes are active.
    present : str | None
        The mask of the lanes that have a thread and anything left to do; what others hold, nobody reads.
    """

    def __init__(self, writer: Writer, types: VectorTypes) -> None:
        self._writer = writer
        self._types = types
        self.current: str | None = None
        self.present: str | None = None

    def operand(self) -> str:
        """The current mask as an operand."""
        return self.current if self.current is not None else ALL_ONES

    def both(self, mask: str | None, other: str) -> str:
        """Lanes in both.  Written as a select so that garbage in lanes outside ``mask`` stays harmless."""
        if mask is None:
            return other
        kind = self._types.mask
        return self._writer.tmp(f"select {kind} {mask}, {kind} {other}, {kind} zeroinitializer")

    def without(self, mask: str | None, other: str) -> str:
        """Lanes in the first but not the second."""
        inverse = self._writer.tmp(f"xor {self._types.mask} {other}, {ALL_ONES}")
        return self.both(mask, inverse)

    def bits(self, mask: str) -> str:
        """A mask as an integer, one bit a lane."""
        return self._writer.tmp(f"bitcast {self._types.mask} {mask} to {self._types.bits}")

    def any_lane(self, mask: str) -> str:
        """Whether some lane is active."""
        return self._writer.tmp(f"icmp ne {self._types.bits} {self.bits(mask)}, 0")

    def all_lanes(self, mask: str) -> str:
        """Whether every lane is active."""
        return self._writer.tmp(f"icmp eq {self._types.bits} {self.bits(mask)}, -1")

    def where_active(self, kind: str, value: str, otherwise: str) -> str:
        """A vector with other elements in the lanes that are not active; the current mask is not None."""
        return self._writer.tmp(
            f"select {self._types.mask} {self.current}, {kind} {value}, {kind} {otherwise}"
        )
