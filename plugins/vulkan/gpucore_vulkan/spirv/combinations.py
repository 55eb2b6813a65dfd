"""Operations that NVIDIA's compiler (580.159) combines wrongly, kept apart by words that it cannot know.

Its back end is that of ptxas, whose faults the CUDA backend finds in PTX; here nothing shows the program between, so the
operations that could take part are written apart wherever they stand:

``OpaqueComparisons64``
    A minimum or maximum of 64 bits of which one side fits 32 is computed in 32, whatever the other side has above:
    ``max(x, 100) - x`` of u64 2**63 was 100, with a float of another computation as its high half.  Compilers find minima
    and maxima by their comparison, which gets an operand that is not the one chosen.  The sign of ``x + x`` was wrong, too.
``OpaqueNegatives``
    A negative becomes a sign of the operand of what consumes it: one bit wider where that widens, shifts or adds, lost
    in a minimum or maximum of three.  Magnitudes are found by their negative, too, and taken for no less than 0.
``OpaqueEqualities``
    ``==`` and ``!=`` of a value that was bounded become the predicate of the instruction that bounds, which means
    something else there.  A small local memory lies in registers, and its elements are found with ``==`` as well: of
    ``min(32768 << n, 3)``, which is 0 where ``n > 16`` and else 3, that condition was taken for its opposite.
``OpaqueBits``
    What a mask leaves the lowest bit of is computed as a condition, and so is what computed it: ``x * (y & 1)`` was ``x`` for
    every ``y``, and the lowest bit of ``12 // x`` was set, both in a half of 64 bits.  A mask that leaves one bit of a half, as
    that of u64 2**32 + 1 does, is a number that it cannot know, and so is one that leaves two of a product: ``x * x & 3`` is
    one bit, and as an index it was 1 for 0.
``OpaqueRotations``
    ``(x >> 63) - (x << 1)`` of 64 bits becomes a rotation, which is the sum of these.
``OpaqueLiterals``
    Where ``x == 0.0``, ``x`` is taken for 0.0 though it may be -0.0: ``min(0.0, -0.0)`` was 0.0.  A quotient of two f64
    literals that is NaN is taken for a number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from gpucore.ir import DType, Op, Value
from gpucore_vulkan.spirv.bits import is_bit
from gpucore_vulkan.spirv.origins import only_picks_literals
from gpucore_vulkan.spirv.widths import register_bits

if TYPE_CHECKING:
    from gpucore_vulkan.spirv.body import FunctionState

__all__ = [
    "apart",
    "compared",
    "divided",
    "equality",
    "masked",
    "multiplied",
    "place",
    "result_apart",
    "summed",
]

ORDERS: Final = frozenset({"lt", "le", "gt", "ge"})
EQUALITIES: Final = frozenset({"eq", "ne"})


# --- operands ------------------------------------------------------------------------------------------
def apart(f: FunctionState, statement: Op, operands: Sequence[int]) -> list[int]:
    """The operands of a comparison, one of them unknown where it could be combined with what computed it."""
    given, names = list(operands), [a.name for a in statement.args]
    kind = statement.args[0].dtype
    equality = statement.op in EQUALITIES
    if kind.is_integer and not equality:
        first = 1 if names[0] in f.known else 0
        given[first] = compared(f, kind, given[first])
    elif kind.is_float and equality and f.strict and f.unit.hides_literals and given[0] != given[1]:
        zeros = [name in f.literals and name not in f.nonzero for name in names]
        if any(zeros) and not only_picks_literals(f.function, statement.result):
            other = 0 if zeros[1] else 1
            given[other] = f.hidden_bits(kind, given[other], "operand")
    return given


def equality(f: FunctionState, statement: Op, operands: Sequence[int]) -> int | None:
    """Whether two integers are, or are not, the same number, where one was bounded: by the size of what differs.

    None where the comparison may stay what it is.  An operand that went through an unknown word would not do: where both
    are the same value, ``(x ^ z) == x`` says that ``z`` is 0, and behind a branch on it every hidden value is known.
    """
    kind, names = statement.args[0].dtype, [a.name for a in statement.args]
    if statement.op not in EQUALITIES or not kind.is_integer or not f.unit.hides_equalities:
        return None
    if any(f.known.get(name) == 0 for name in names) or not any(name in f.bounded for name in names):
        return None
    word, bits = f.type(kind), register_bits(kind)
    different = f.result("OpBitwiseXor", word, *operands)
    one = f.result("OpBitwiseOr", word, f.unit.opaque_zero(f, bits, "operand"), f.asm.integer(1, bits))
    relation = "OpULessThan" if statement.op == "eq" else "OpUGreaterThanEqual"
    return f.result(relation, f.asm.bool_type(), different, one)


def compared(f: FunctionState, kind: DType, operand: int) -> int:
    """An integer as a comparison takes it that may choose between it and another."""
    if kind.bits != 64 or not f.unit.hides_comparisons:
        return operand
    return f.joined(operand, f.type(kind), 64, "operand")


def place(f: FunctionState, at: Value) -> int:
    """The index of an element of a local memory.

    It is unknown where a compiler knows it for a choice of few numbers.  NIR (seen in Mesa 22.3.6) reads an index that a
    loop or a branch gives a new value only where the element is read or written, though it found the element before
    that: ``t[j] = t[j] + t[j + 1]`` wrote to ``t[j + 1]``, as ``j`` was ``j + 1`` by then.  A word of its own, which
    nothing gives a new value, stays what it is (``OpaquePlaces``).  Tables, which are never written, are right.
    """
    index = f.values[at.name]
    if at.name in f.clamped or (f.unit.hides_places and at.name not in f.known):
        return f.joined(index, f.type(at.dtype), at.dtype.bits, "operand")
    return index


def masked(f: FunctionState, statement: Op, operands: Sequence[int]) -> list[int]:
    """The operands of a bitwise and, its mask unknown where it leaves the lowest bit of a word or of its half."""
    given, kind = list(operands), statement.result.dtype
    if not kind.is_integer or not f.unit.hides_bits:
        return given
    masks = [f.bits.of(a) for a in statement.args]
    left = masks[0] & masks[1]
    if any(f.bits.may_be_bit(a, left) for a in statement.args):
        place = next(
            (n for n, a in enumerate(statement.args) if a.name in f.known), 0 if is_bit(masks[0]) else 1
        )
        if statement.args[place].name in f.known:
            given[place] = f.hidden_constant(kind, given[place])
        else:
            given[place] = f.joined(given[place], f.type(kind), register_bits(kind), "operand")
    else:
        f.bits.leaves(statement.result, left)
    return given


def multiplied(f: FunctionState, statement: Op, operands: Sequence[int]) -> list[int]:
    """The factors of an integer product, unknown where one may be a condition to the compiler."""
    given, kind = list(operands), statement.result.dtype
    if f.unit.hides_bits:
        for place, factor in enumerate(statement.args):
            if factor.name not in f.known and is_bit(f.bits.of(factor)):
                given[place] = f.joined(given[place], f.type(kind), register_bits(kind), "operand")
    return given


def summed(f: FunctionState, statement: Op, operands: Sequence[int]) -> list[int]:
    """The terms of a sum or difference, unknown where one may be the lower part of what is taken for a rotation."""
    given, kind = list(operands), statement.result.dtype
    if kind.is_integer and kind.bits == 64:
        for place, term in enumerate(statement.args):
            if term.name in f.halves and term.name not in f.known:
                given[place] = f.joined(given[place], f.type(kind), 64, "operand")
    return given


def divided(f: FunctionState, statement: Op) -> list[int]:
    """The operands of a quotient of floats."""
    dividend, divisor = statement.args
    given = [f.opaque(dividend), f.opaque(divisor)]
    plain = given[0] == f.values[dividend.name]
    if plain and f.strict and f.unit.hides_literals and {dividend.name, divisor.name} <= f.literals:
        given[0] = f.hidden_bits(dividend.dtype, given[0], "operand")
    return given


# --- results -------------------------------------------------------------------------------------------
def result_apart(f: FunctionState, statement: Op, new: int) -> int:
    """The result of an operation, unknown where it could be combined with what consumes it."""
    kind = statement.result.dtype
    if kind.is_integer and _is_negative(f, statement):
        return f.joined(new, f.type(kind), register_bits(kind))
    return new


def _is_negative(f: FunctionState, statement: Op) -> bool:
    """Whether an operation gives the negative of an operand, in 32 or 64 bits; narrower ones are wrapped."""
    bits = statement.result.dtype.bits
    if not f.unit.hides_negatives or bits < 32:
        return False
    match statement.op:
        case "neg":
            return True
        case "sub":
            return f.known.get(statement.args[0].name) == 0
        case "mul" | "mul.raw":
            return _has(f, statement.args, -1, (1 << bits) - 1)
    return False


def _has(f: FunctionState, args: Sequence[Value], *numbers: int) -> bool:
    return any(f.known.get(a.name) in numbers for a in args)
