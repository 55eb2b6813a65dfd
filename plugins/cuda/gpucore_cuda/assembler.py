"""What ``ptxas`` is known to assemble wrongly, found in the PTX before it happens.

NVRTC translates to PTX, which is right, and has ptxas make machine code of that.  The disassembly shows ten faults
(``tests/codegen/cuda/test_cuda_assembler.py`` holds PTX for each; releases up to 13.5 were looked at):

``abs`` (to 13.2, all devices)
    The result is taken for no less than 0, which the minimum's is; later comparisons with 0 are dropped.
``neg.s16`` (to 13.0, all devices)
    The result is taken for one that fits 16 bits when it is widened, which the minimum's does not.
lost negation (to 13.3, devices from sm_90 on)
    ``max(max(a, -b), c)``, or of ``min``, becomes one instruction for three operands, and the negation gets lost.
fused comparison (to 13.3, in part to 13.5, devices from sm_90 on)
    A minimum or maximum that is clamped at 0, or one of 16 bits, and compared with ``==``: the comparison becomes the
    predicate of the instruction, which means something else there.
widened negation (to 13.0 at least, all devices)
    The negative of a value that is shifted right or widened, and added, becomes an operand with a sign of its own, one bit
    wider than the value: that of the minimum is positive there.
sign of zero (to 13.5, all devices)
    A choice between -0.0 and 1.0 or -1.0, of f32, becomes a comparison that gives 0.0 or 1.0, or a conversion of 0 or -1:
    the zero loses its sign.  A choice between -0.0 and something positive counts as positive, and its `abs` is dropped; one
    between 0.0 and something negative counts as negative, and ``-abs`` of it is dropped.
unsigned minus one (to 13.0 at least, all devices)
    A choice between 0.0 and -1.0 that is converted to an unsigned integer becomes one between 0 and all bits; -1.0
    converts to 0.
negated shift (to 13.0 at least, devices from sm_80 on)
    The negative of ``x << 31`` becomes 0 where it is added atomically.
size of NaN (to 13.5, all devices)
    The `abs` of an f32 is taken for no less than 0, so ``abs(x) >= 0.0``, ``abs(x) > -1.0`` and ``-abs(x) < 1.0`` become
    true, though NaN is none of these; also where a choice, minimum or maximum stands between.  f64 is compared rightly.
halves of a rotation (13.0, not 13.5, all devices)
    ``(x << 1) - (x >> 63)`` of 64 bits, with any amounts whose sum is 64 and in either order, and the sum where the shift
    to the right keeps the sign, become a rotation, which is the sum without.  Only without optimisations are they not.

A program in which any of them could strike is rendered again, *guarded*: with negations, sizes, comparisons, narrow
loads and zeros written so that ptxas does not combine them.  It is looked for in the PTX, as both patterns also arise where NVVM
turns an ``if`` into them.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

_ASIDE = re.compile(r"//[^\n]*|^\s*[$%\w]+:(?!:)", re.MULTILINE)
"""Comments, and labels, which stand before an instruction of theirs."""
_STATEMENT = re.compile(r"(?:@!?%?\w+\s+)?([a-z][a-z0-9_]*(?:\.\w+)+)\s+(.+)")
_SUSPECT = re.compile(
    r"\b(?:abs\.[sf]|neg\.s16|(?:min|max)\.[su](?:16|32)|shr\.[sub]64)"
    r"|neg\.s32|\bsub\.[su]32|shl\.b32\s[^;]*, 31;|-2147483648|(?:selp|mov)\.f32\s[^;]*(?:0f80000000|0fBF800000)"
)
_ZERO, _ONES = "0f80000000", ("0f3F800000", "0fBF800000")
_EXTREMES = ("min.s32", "max.s32")
_EQUALITIES = ("setp.eq.s32", "setp.ne.s32", "setp.eq.u32", "setp.ne.u32", "setp.eq.b32", "setp.ne.b32")
_TURNED = {"gt": "lt", "ge": "le", "lt": "gt", "le": "ge"}
_PASSING = ("selp.f32", "min.f32", "max.f32", "min.NaN.f32", "max.NaN.f32")
FUSES = 90
"""The first compute capability with instructions for minima and maxima of three operands."""


@dataclass(frozen=True, slots=True)
class _Instruction:
    opcode: str
    result: str
    operands: tuple[str, ...]


def faults(ptx: str, capability: int) -> tuple[str, ...]:
    """Names of the faults that could strike a PTX module on devices of a compute capability such as 90."""
    if _SUSPECT.search(ptx) is None:
        return ()
    found: set[str] = set()
    for body in re.split(r"^\}", ptx, flags=re.MULTILINE):
        found.update(_Function(body).faults(capability))
    return tuple(sorted(found))


class _Function:
    """The instructions of one function by the register that they set."""

    def __init__(self, text: str) -> None:
        self._instructions: list[_Instruction] = []
        self._setting: dict[str, list[_Instruction]] = {}
        for statement in _ASIDE.sub("", text).replace("{", ";").replace("}", ";").split(";"):
            matched = _STATEMENT.match(statement.strip())
            if matched is None:
                continue
            operands = tuple(o.strip() for o in matched[2].split(","))
            instruction = _Instruction(matched[1], operands[0], operands[1:])
            self._instructions.append(instruction)
            self._setting.setdefault(instruction.result, []).append(instruction)
        self._has_abs = any(i.opcode == "abs.f32" for i in self._instructions)

    def faults(self, capability: int) -> Iterator[str]:
        chosen = [o for i in self._instructions if i.opcode in ("selp.f32", "mov.f32") for o in i.operands]
        beside = (*_ONES, *(o for o in chosen if self._has_abs and o != _ZERO))
        below = self._has_abs and "0f00000000" in chosen and any(map(_is_below_zero, chosen))
        if below or (_ZERO in chosen and any(other in chosen for other in beside)):
            yield "sign of zero"
        unsigned = any(re.fullmatch(r"cvt\.rzi\.(sat\.)?u\d+\.f32", i.opcode) for i in self._instructions)
        if unsigned and "0f00000000" in chosen and _ONES[1] in chosen:
            yield "unsigned minus one"
        if any(self._shifted_out(i) for i in self._instructions):
            yield "negated shift"
        if self._has_abs and any(map(self._always_true, self._instructions)):
            yield "size of NaN"
        for instruction in self._instructions:
            opcode = instruction.opcode
            if opcode.startswith("abs.s") or opcode == "neg.s16":
                yield opcode.partition(".")[0]
            if opcode in ("shr.s32", "cvt.s64.s32") and any(
                map(self._negates, self._sources(instruction.operands[0]))
            ):
                yield "widened negation"
            if self._rotates(instruction):
                yield "halves of a rotation"
            if capability < FUSES:
                continue
            if re.fullmatch(r"(min|max)\.[su]16(x2)?", opcode):
                yield "fused comparison"
            if any(self._negated(inner) for inner in self._nested(instruction)):
                yield "lost negation"
            equality = opcode in _EQUALITIES and "0" not in instruction.operands
            if equality and any(self._clamped(o) for o in instruction.operands):
                yield "fused comparison"

    def _shifted_out(self, instruction: _Instruction) -> bool:
        """Whether it negates a value of which a shift has left one bit."""
        minus = instruction.opcode == "neg.s32" or (
            instruction.opcode in ("sub.s32", "sub.u32") and self._may_be(instruction.operands[0], "0")
        )
        return minus and any(
            (s.opcode == "shl.b32" and self._may_be(s.operands[1], "31"))
            or (s.opcode.startswith("mul.lo.") and any(self._may_be(o, "-2147483648") for o in s.operands))
            for s in self._sources(instruction.operands[-1])
        )

    def _rotates(self, instruction: _Instruction) -> bool:
        """Whether it subtracts the halves of a rotation of 64 bits, or adds them where one keeps the sign."""
        if instruction.opcode not in ("add.s64", "sub.s64"):
            return False
        halves = [self._sources(o) for o in instruction.operands[:2]]
        return any(
            right.opcode == "shr.s64"
            or (instruction.opcode == "sub.s64" and right.opcode in ("shr.u64", "shr.b64"))
            for lefts, rights in (halves, halves[::-1])
            for left in lefts
            if left.opcode == "shl.b64"
            for right in rights
            if right.opcode.startswith("shr.")
            if set(self._copies(left.operands[0])) & set(self._copies(right.operands[0]))
            if self._amount(left) + self._amount(right) == 64
        )

    def _amount(self, shift: _Instruction) -> int:
        """How far an instruction shifts, 0 where nothing says so."""
        return next((int(o) for o in self._copies(shift.operands[1]) if o.isdigit()), 0)

    def _always_true(self, instruction: _Instruction) -> bool:
        """Whether it compares sizes of f32 so that all numbers pass."""
        matched = re.fullmatch(r"setp\.(gt|ge|lt|le)(?:\.(?:and|or|xor))?\.f32", instruction.opcode)
        if matched is None:
            return False
        left, right = instruction.operands[:2]
        for size, bound, relation in ((left, right, matched[1]), (right, left, _TURNED[matched[1]])):
            bounds = [_number(name) for name in self._copies(bound) if name.startswith("0f")]
            for sign in self._signs(size) if bounds else ():
                least = min(sign * b for b in bounds)
                outward = relation if sign > 0 else _TURNED[relation]
                if (outward == "gt" and least < 0) or (outward == "ge" and least <= 0):
                    return True
        return False

    def _signs(self, operand: str) -> set[int]:
        """1 where an operand may be the size of an f32, -1 where it may be the negative of one."""
        found: set[int] = set()
        seen = {(operand, 1)}
        waiting = [*seen]
        while waiting:
            name, sign = waiting.pop()
            for source in self._sources(name):
                if source.opcode == "abs.f32":
                    found.add(sign)
                passed = source.operands[: 2 if source.opcode in _PASSING else source.opcode == "neg.f32"]
                steps = {(given, -sign if source.opcode == "neg.f32" else sign) for given in passed} - seen
                seen |= steps
                waiting += steps
        return found

    def _sources(self, operand: str) -> list[_Instruction]:
        """What can have computed an operand, copies followed."""
        return [
            instruction
            for name in self._copies(operand)
            for instruction in self._setting.get(name, ())
            if not instruction.opcode.startswith("mov.")
        ]

    def _may_be(self, operand: str, constant: str) -> bool:
        """Whether an operand is a constant, or a register that one was moved to, as inline assembly has it."""
        return constant in self._copies(operand)

    def _copies(self, operand: str) -> list[str]:
        """An operand and what can have been moved to it: registers and constants."""
        found = [operand]
        for name in found:
            for instruction in self._setting.get(name, ()):
                if instruction.opcode.startswith("mov.") and instruction.operands[0] not in found:
                    found.append(instruction.operands[0])
        return found

    def _kinds(self, instruction: _Instruction) -> tuple[str, ...]:
        """Which of ``min.s32`` and ``max.s32`` an instruction is, or may be taken for."""
        if instruction.opcode in _EXTREMES:
            return (instruction.opcode,)
        if instruction.opcode.startswith("selp."):
            *chosen, predicate = instruction.operands
            for test in self._setting.get(predicate, ()):
                if re.fullmatch(r"setp\.(lt|le|gt|ge)\.s32", test.opcode) and {*chosen} == {*test.operands}:
                    return _EXTREMES
        return ()

    def _nested(self, instruction: _Instruction) -> Iterator[_Instruction]:
        """The minima inside a minimum, the maxima inside a maximum."""
        kinds = self._kinds(instruction)
        if not kinds:
            return
        for operand in instruction.operands[:2]:
            for source in self._sources(operand):
                if any(kind in kinds for kind in self._kinds(source)):
                    yield source

    def _negated(self, instruction: _Instruction) -> bool:
        """Whether an operand of it is a negative."""
        return any(self._negates(s) for operand in instruction.operands[:2] for s in self._sources(operand))

    def _negates(self, instruction: _Instruction) -> bool:
        opcode, operands = instruction.opcode, instruction.operands
        return (
            opcode == "neg.s32"
            or (opcode in ("sub.s32", "sub.u32") and self._may_be(operands[0], "0"))
            or (opcode.startswith("mul.lo.") and any(self._may_be(o, "-1") for o in operands))
        )

    def _clamped(self, operand: str) -> bool:
        """Whether an operand may be a minimum or maximum clamped at 0 from below."""
        return any(
            self._kinds(inner)
            for source in self._sources(operand)
            if "max.s32" in self._kinds(source) and any(self._may_be(o, "0") for o in source.operands[:2])
            for clamped in source.operands[:2]
            for inner in self._sources(clamped)
        )


def _is_below_zero(operand: str) -> bool:
    """Whether an operand is the literal of a negative f32 other than -0.0."""
    return operand.startswith("0f") and operand[2] in "89ABCDEF" and operand != _ZERO


def _number(literal: str) -> float:
    """The value of an f32 literal such as ``0fBF800000``."""
    return float(struct.unpack(">f", bytes.fromhex(literal[2:]))[0])
