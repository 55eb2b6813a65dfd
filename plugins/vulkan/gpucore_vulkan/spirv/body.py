"""The body of one function while it is emitted: its instructions, its values, and what is known of them."""

from __future__ import annotations

import math
from typing import Final

from gpucore.ir import Atomic, AtomicCas, DType, Function, Load, Op, Stmt, ThreadIndex, Value, result_of
from gpucore.ir.ops import is_routine
from gpucore_vulkan.spirv.bits import PossibleBits
from gpucore_vulkan.spirv.grammar import GLSL, STORAGE
from gpucore_vulkan.spirv.narrow import NarrowIntegers
from gpucore_vulkan.spirv.origins import is_bounded, is_clamped, is_half, is_literal, is_shift
from gpucore_vulkan.spirv.unit import ModuleUnit, Role
from gpucore_vulkan.spirv.widths import register_bits

__all__ = ["FunctionState"]

ONES: Final = {32: (0x3F800000, 0xBF800000), 64: (0x3FF0000000000000, 0xBFF0000000000000)}
"""The bits of 1.0 and -1.0.

NIR (seen in Mesa 22.3.6) takes a choice between the bits of 1.0 or -1.0 and those of a zero for a converted truth
value, or the negative of one, whatever the sign of the zero.  It finds the constants by their bits, so integers are
concerned as well; choices are made by branches, too, and constants go a long way until they meet.  Hence none is
known, and neither is -0.0: NVIDIA's compiler takes a choice between it and a positive number for positive.
"""


class FunctionState:
    """The instructions and values of one function.

    Attributes
    ----------
    values : dict[str, int]
        The ids of the values defined so far.
    known : dict[str, int]
        The integers that are literals.
    bounded : set[str]
        The integers that may be minima or maxima, where the target wants their comparisons apart.
    halves : set[str]
    clamped : set[str]
        The integers that may be a shifted literal between bounds, where the target wants their comparisons apart.
    literals : set[str]
        The numbers that a compiler may come to know, where the target wants operations on such apart.
    nonzero : set[str]
        The floats that are literals other than zeros.
    bits : PossibleBits
        The bits that its integers can have, where the target wants masks hidden.
    narrow : NarrowIntegers
    words : list[int]
        Instructions of the body.
    prologue : list[int]
        Instructions of the first block, between its variables and the body: what dominates everything.
    variables : list[int]
        The function's variables, which stand first.
    locals : dict[str, int]
        The variables of local memories.
    """

    def __init__(self, unit: ModuleUnit, function: Function) -> None:
        self.unit = unit
        self.asm = unit.asm
        self.function = function
        # routines of the library are written for strict arithmetic, whatever the module's
        self.strict = unit.strict or is_routine(function.name)
        self.values: dict[str, int] = {}
        self.known: dict[str, int] = {}
        self.bounded: set[str] = set()
        self.clamped: set[str] = set()
        self.halves: set[str] = set()
        self.literals: set[str] = set()
        self.nonzero: set[str] = set()
        self.bits = PossibleBits(self.known)
        self.narrow = NarrowIntegers(self)
        self.words: list[int] = []
        self.prologue: list[int] = []
        self.variables: list[int] = []
        self.locals: dict[str, int] = {}
        self._shifts: set[str] = set()
        self._unknown: set[str] = set()
        self._hidden_constants: dict[int, int] = {}
        if function is unit.module.kernel:
            self._unknown.update(p.name for p in function.params)

    # --- instructions --------------------------------------------------------------------------------
    def type(self, dtype: DType) -> int:
        """The type of values of a dtype."""
        return self.unit.type(dtype)

    def integer(self, value: int, dtype: DType) -> int:
        """An integer constant of a dtype, as values of it are held."""
        return self.asm.integer(value, register_bits(dtype))

    def result(self, op: str, type_id: int, *operands: int) -> int:
        """Emit an instruction with a result."""
        return self.asm.result(self.words, op, type_id, *operands)

    def put(self, op: str, *operands: int) -> None:
        """Emit an instruction without a result."""
        self.asm.put(self.words, op, *operands)

    def label(self, name: int) -> None:
        """Begin a block."""
        self.put("OpLabel", name)

    def rounded(self, op: str, type_id: int, *operands: int) -> int:
        """A float operation that may not be contracted or reordered in strict modules."""
        new = self.result(op, type_id, *operands)
        if self.strict:
            self.asm.decorate(new, "NoContraction")
        return new

    def opaque(self, value: Value) -> int:
        """A float operand that the driver cannot know.

        Some drivers fold ``x * 0``, ``0 / x`` or ``x + 0`` whatever ``x`` is (llvmpipe, seen in Mesa 22.3.6),
        also with zeros that they find themselves, in unrolled loops for one.  Where probing has shown that,
        operands that do not come from memory or arguments have a zero joined to their bits that no compiler
        knows to be one.
        """
        operand = self.values[value.name]
        return operand if value.name in self._unknown else self.hidden(value.dtype, operand)

    def hidden(self, dtype: DType, operand: int) -> int:
        """A float with a zero joined to its bits, where the target wants constants hidden."""
        if not self.strict or not self.unit.hides_constants:
            return operand
        return self.hidden_bits(dtype, operand, "operand")

    def hidden_bits(self, dtype: DType, operand: int, role: Role = "result") -> int:
        """A float whose bits went through an integer that no compiler can know."""
        word = self.asm.uint(dtype.bits)
        raw = self.joined(self.result("OpBitcast", word, operand), word, dtype.bits, role)
        return self.result("OpBitcast", self.type(dtype), raw)

    def joined(self, value: int, type_id: int, bits: int, role: Role = "result") -> int:
        """An integer joined with a zero that no compiler can know.

        By an exclusive or, and by another zero for each role of the value:

        - that ``x | z`` is 0 on one side of a branch says that ``z`` is, and with it every hidden value there is known;
        - ``x + z`` becomes part of a sum that NVIDIA's compiler (580.159) combines, ``(z - x)`` with what bounds it;
        - ``x ^ z ^ z`` is ``x``: what was hidden as a result is hidden by other zeros as an operand and as an argument.
        """
        return self.result("OpBitwiseXor", type_id, value, self.unit.opaque_zero(self, bits, role))

    def extended(self, name: str, type_id: int, *operands: int, rounded: bool = False) -> int:
        """An instruction of GLSL.std.450."""
        new = self.result("OpExtInst", type_id, self.asm.glsl(), GLSL[name], *operands)
        if rounded and self.strict:
            self.asm.decorate(new, "NoContraction")
        return new

    def in_prologue(self, op: str, type_id: int, *operands: int) -> int:
        """An instruction of the first block."""
        return self.asm.result(self.prologue, op, type_id, *operands)

    def variable(self, type_id: int, *initial: int) -> int:
        """A variable of this function; all stand first in its first block."""
        pointer = self.asm.pointer("Function", type_id)
        return self.asm.result(self.variables, "OpVariable", pointer, STORAGE["Function"], *initial)

    # --- what compilers know -------------------------------------------------------------------------
    def note(self, statement: Stmt) -> None:
        """Remember a result that no compiler can know, and one that may be a minimum or maximum."""
        result = result_of(statement)
        if self.unit.hides_bits:
            self.bits.note(statement)
        if result is not None and self.unit.hides_equalities and is_bounded(statement, self.bounded):
            self.bounded.add(result.name)
        if (
            result is not None
            and self.unit.hides_equalities
            and is_shift(statement, self.known, self._shifts)
        ):
            self._shifts.add(result.name)
            if is_clamped(statement, self._shifts, self.clamped):
                self.clamped.add(result.name)
        if result is not None and self.unit.hides_rotations and is_half(statement, self.known, self.halves):
            self.halves.add(result.name)
        if result is not None and self.unit.hides_literals and is_literal(statement, self.literals):
            self.literals.add(result.name)
        if result is not None and self.unit.hides_constants and self._hard_to_know(statement):
            self._unknown.add(result.name)

    def note_alike(self, result: Value, source: Value) -> None:
        """Remember that a result is the value of another, known as little."""
        if source.name in self._unknown:
            self._unknown.add(result.name)

    def _hard_to_know(self, statement: Stmt) -> bool:
        """Whether a value comes from memory, or from operands that were hidden."""
        match statement:
            case Load(memory=memory):
                return memory.space in ("global", "shared")
            case Atomic() | AtomicCas() | ThreadIndex():
                return True
            case Op(op="add" | "sub" | "mul" | "div" | "fma", result=result) if result.dtype.is_float:
                return True
            case Op(
                op="cast" | "bitcast.raw" | "neg" | "sqrt" | "floor" | "ceil" | "trunc" | "round" | "abs"
            ):
                return all(a.name in self._unknown for a in statement.args)
            case Op(op="select", args=(_, first, second)):
                return first.name in self._unknown and second.name in self._unknown
            case _:
                return False

    def constant(self, result: Value, value: int | float | bool) -> int:
        """The id of a literal."""
        dtype = result.dtype
        if dtype.kind == "bool":
            return self.asm.truth(bool(value))
        if dtype.is_float:
            constant = self.asm.floating(float(value), dtype.bits)
            if value != 0:
                self.nonzero.add(result.name)
            hide = abs(value) == 1.0 or (value == 0 and math.copysign(1.0, value) < 0)
        else:
            self.known[result.name] = int(value)
            constant = self.integer(int(value), dtype)
            hide = int(value) & (1 << dtype.bits) - 1 in ONES.get(dtype.bits, ())
        if not hide or not self.unit.hides_ones:
            return constant
        if dtype.is_float:
            self._unknown.add(result.name)
        return self.hidden_constant(dtype, constant)

    def hidden_constant(self, dtype: DType, constant: int) -> int:
        """A literal that no compiler can know, made once in the first block."""
        if constant in self._hidden_constants.values():
            return constant  # hidden again it would be known
        if constant not in self._hidden_constants:
            bits = dtype.bits if dtype.is_float else register_bits(dtype)
            word = self.asm.uint(bits)
            raw = self.in_prologue("OpBitcast", word, constant) if dtype.is_float else constant
            zero = self.unit.opaque_zero(self, bits)
            hidden = self.in_prologue("OpBitwiseXor", word, raw, zero)
            if dtype.is_float:
                hidden = self.in_prologue("OpBitcast", self.type(dtype), hidden)
            self._hidden_constants[constant] = hidden
        return self._hidden_constants[constant]
