"""Which bits of integers can be set, as far as a compiler that looks at single operations knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gpucore.ir import Op, Stmt, Value, bool_

__all__ = ["PossibleBits", "is_bit"]

_HALF: Final = 0xFFFFFFFF


def is_bit(mask: int) -> bool:
    """Whether a mask leaves the lowest bit of a word, or of a half of 64 bits, and no other of that."""
    return mask & _HALF == 1 or mask >> 32 == 1


class PossibleBits:
    """The bits that the integers of one function can have set; all of the dtype's where nothing is known.

    Parameters
    ----------
    known : Mapping[str, int]
        The integers that are literals.
    """

    def __init__(self, known: Mapping[str, int]) -> None:
        self._known = known
        self._masks: dict[str, int] = {}
        self._products: set[str] = set()

    def of(self, value: Value) -> int:
        """The bits of a value that can be set."""
        every = (1 << value.dtype.bits) - 1
        if value.name in self._known:
            return self._known[value.name] & every
        return self._masks.get(value.name, every)

    def may_be_bit(self, value: Value, mask: int) -> bool:
        """Whether a mask may leave the lowest bit of a value alone: it does of a square, where it leaves the lowest two.

        Two loads of one element are one value to a compiler, so that any product may be a square, which is 0 or 1 modulo 4.
        """
        return is_bit(mask) or (value.name in self._products and is_bit(mask & ~(2 << 32 | 2)))

    def leaves(self, value: Value, mask: int) -> None:
        """Remember the bits that a value can have."""
        self._masks[value.name] = mask

    def note(self, statement: Stmt) -> None:
        """Remember the bits of a result that an operation moves or chooses; masks and products say theirs themselves."""
        if not isinstance(statement, Op) or not statement.result.dtype.is_integer:
            return
        result, args = statement.result, statement.args
        every = (1 << result.dtype.bits) - 1
        source = args[0].dtype
        if statement.op in ("mul", "mul.raw") or (
            statement.op in ("cast", "bitcast.raw") and args[0].name in self._products
        ):
            self._products.add(result.name)
        match statement.op:
            case "cast" if source is bool_:
                mask = 1
            case "cast" if source.is_integer and not source.is_signed:
                mask = self.of(args[0])
            case "cast" if source.is_integer and source.bits >= result.dtype.bits:
                mask = self.of(args[0])
            case "bitcast.raw" if source.is_integer:
                mask = self.of(args[0])
            case "shr.raw" if args[1].name in self._known and not source.is_signed:
                mask = self.of(args[0]) >> self._known[args[1].name]
            case "select":
                mask = self.of(args[1]) | self.of(args[2])
            case "or" | "xor":
                mask = self.of(args[0]) | self.of(args[1])
            case _:
                return
        self._masks[result.name] = mask & every
