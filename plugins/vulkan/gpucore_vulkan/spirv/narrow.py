"""Integers of 8 and 16 bits, which are computed in words of 32.

A value of i8, i16, u8 or u16 is a word that holds the same number: signed ones are sign-extended, unsigned ones
zero-extended.  The narrow types of SPIR-V appear in memory alone.  An operation that can leave the dtype's range
is followed by a wrap, so that whatever consumes the value, a comparison, a quotient, a wider type, sees the number
that the language defines and no bits beyond.  NVIDIA's compiler (580.159) has no such discipline for its own narrow
arithmetic: the negative of -128 stayed 128 until it was stored, and the count of the bits of a u16 saw those of
its sign extension.

A wrap masks (unsigned), or shifts up and down (signed).  With the feature ``OpaqueNarrowing`` mask and shift are
numbers that no compiler can know, so none can take the wrap for superfluous, nor derive a range from it.

An operation whose low bits depend on the low bits of its operands alone (:data:`RING`) takes them as they were before
the wrap: a chain of such operations is wrapped once, and what is only stored is not wrapped at all.
"""

from __future__ import annotations

from typing import Final, Protocol

from gpucore.ir import DType, Op, Value
from gpucore.ir.passes import intervals
from gpucore.ir.passes.intervals import Interval
from gpucore_vulkan.spirv.assembler import Assembler
from gpucore_vulkan.spirv.function_body import FunctionBody
from gpucore_vulkan.spirv.unit import ModuleUnit
from gpucore_vulkan.spirv.widths import register_bits

__all__ = ["RING", "WRAPPING", "NarrowIntegers"]

RING: Final = frozenset({"add", "sub", "mul", "neg", "add.raw", "mul.raw"})
"""Operations whose low bits depend on nothing but the low bits of their operands."""

WRAPPING: Final = RING | {"not", "shl.raw", "abs"}
"""Operations on words whose result may lie outside the narrow dtype."""


_PLAIN: Final = {"shl.raw": "shl", "shr.raw": "shr"}


class NarrowBody(FunctionBody, Protocol):
    """The function whose narrow integers these are."""

    unit: ModuleUnit
    asm: Assembler
    known: dict[str, int]

    def joined(self, value: int, type_id: int, bits: int) -> int:
        """An integer joined with a zero that no compiler can know."""


class NarrowIntegers:
    """The narrow integers of one function.

    Parameters
    ----------
    f : NarrowBody
        The function; its ``values`` hold words in range.
    """

    def __init__(self, f: NarrowBody) -> None:
        self._f = f
        self._low: dict[int, tuple[int, int]] = {}
        self._hidden: dict[int, int] = {}
        self._intervals: dict[str, Interval] = {}

    # --- what is known -------------------------------------------------------------------------------
    def interval(self, value: Value) -> Interval:
        """The numbers that an integer value can be."""
        known = self._f.known.get(value.name)
        if known is not None:
            return (known, known)
        return self._intervals.get(value.name) or intervals.of_dtype(value.dtype)

    def fits(self, statement: Op) -> bool:
        """Whether the result of an operation is proven to lie in its dtype without a wrap; remembers what it can be."""
        if statement.args[0].dtype.is_float:
            return False
        found = _interval(statement.op, [self.interval(a) for a in statement.args])
        if found is None or not intervals.within(found, intervals.of_dtype(statement.result.dtype)):
            return False
        self._intervals[statement.result.name] = found
        return True

    def fits_in(self, value: Value, dtype: DType) -> bool:
        """Whether a value that is held in a word is one of another dtype."""
        return register_bits(value.dtype) == 32 and intervals.within(
            self.interval(value), intervals.of_dtype(dtype)
        )

    # --- values --------------------------------------------------------------------------------------
    def low(self, value: int, bits: int) -> int:
        """A word with the ``bits`` low bits of a value, whatever its others are.

        What a value was before its wrap has no more of its bits than the dtype that it was wrapped to.
        """
        word, right = self._low.get(value, (value, 0))
        return word if bits <= right else value

    def wrapped(self, dtype: DType, word: int) -> int:
        """The number of the dtype whose low bits a word has."""
        f, kind = self._f, self._f.asm.uint(32)
        if dtype.is_signed:
            amount = self._constant(32 - dtype.bits)
            up = f.result("OpShiftLeftLogical", kind, word, amount)
            value = f.result("OpShiftRightArithmetic", kind, up, amount)
        else:
            value = f.result("OpBitwiseAnd", kind, word, self._constant((1 << dtype.bits) - 1))
        self._low[value] = (word, dtype.bits)
        return value

    def _constant(self, number: int) -> int:
        f = self._f
        constant = f.asm.word(number)
        if not f.unit.hides_narrowing:
            return constant
        if number not in self._hidden:
            zero = f.unit.opaque_zero(f, 32)
            self._hidden[number] = f.in_prologue("OpBitwiseXor", f.asm.uint(32), constant, zero)
        return self._hidden[number]

    # --- memory --------------------------------------------------------------------------------------
    def loaded(self, dtype: DType, element: int) -> int:
        """The value of an element of memory."""
        f, kind = self._f, self._f.asm.uint(32)
        word = f.result("OpSConvert" if dtype.is_signed else "OpUConvert", kind, element)
        if f.unit.hides_narrowing:
            # joined first: a compiler that counts on the element's width narrows the mask to it, and NVIDIA's (580.159)
            # then counts the bits of a sign extension that it has made meanwhile
            return self.wrapped(dtype, f.joined(word, kind, 32))
        # llvmpipe (Mesa 22.3.6) folds comparisons of widened numbers with constants wrongly
        return f.joined(word, kind, 32) if f.unit.hides_widening else word

    def element(self, dtype: DType, value: int) -> int:
        """A value as an element of memory."""
        return self._f.result("OpUConvert", self._f.asm.uint(dtype.bits), self.low(value, dtype.bits))


def _interval(op: str, given: list[Interval]) -> Interval | None:
    """What an operation on such numbers comes to, before wrapping; None where nothing is known."""
    match op:
        case "cast":
            return given[0]
        case "select":
            return intervals.join(given[1], given[2])
        case "neg":
            return intervals.binary("sub", (0, 0), given[0])
        case "not":
            return (-1 - given[0][1], -1 - given[0][0])
        case "abs":
            low, high = given[0]
            return (0 if low <= 0 <= high else min(abs(low), abs(high)), max(abs(low), abs(high)))
        case "popcount" | "clz" | "bitcast.raw" | "f2i.raw":
            return None
        case _:
            return intervals.binary(_PLAIN.get(op, op), given[0], given[1])
