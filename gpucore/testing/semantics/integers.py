"""The meaning of the integer and bool operations, in Python integers."""

from __future__ import annotations

from dataclasses import dataclass

from gpucore.ir.dtypes import DType


@dataclass(frozen=True, slots=True)
class Integer:
    """A two's complement integer type; ``index`` is one of 64 bits."""

    width: int
    signed: bool

    @property
    def low(self) -> int:
        return -(1 << (self.width - 1)) if self.signed else 0

    @property
    def high(self) -> int:
        return (1 << (self.width - self.signed)) - 1

    def bits(self, value: int) -> int:
        """The bits of ``value`` wrapped to the type."""
        return value & ((1 << self.width) - 1)

    def value(self, bits: int) -> int:
        return bits - (1 << self.width) if self.signed and bits >> (self.width - 1) else bits


def integer(dtype: DType) -> Integer:
    """The integer type of a dtype."""
    return Integer(dtype.bits, dtype.is_signed)


def apply(op: str, kind: Integer, *operands: int) -> int:
    """The bits of the result; comparisons give 0 or 1, ``popcount`` and ``clz`` an i32."""
    if op in ("popcount", "clz"):
        (bits,) = operands
        return bits.bit_count() if op == "popcount" else kind.width - bits.bit_length()
    return _wrapped(op, kind, *(kind.value(bits) for bits in operands))


def _wrapped(op: str, kind: Integer, *args: int) -> int:
    a, b = args[0], args[-1]
    match op:
        case "neg":
            result = -a
        case "abs":
            result = abs(a)
        case "not":
            result = ~a
        case "add":
            result = a + b
        case "sub":
            result = a - b
        case "mul":
            result = a * b
        case "floordiv":
            result = a // b if b else 0
        case "mod":
            result = a % b if b else 0
        case "pow":
            result = pow(a, b, 1 << kind.width) if b >= 0 else 0
        case "min":
            result = min(a, b)
        case "max":
            result = max(a, b)
        case "and":
            result = a & b
        case "or":
            result = a | b
        case "xor":
            result = a ^ b
        case "shl":
            result = a << b if 0 <= b < kind.width else 0
        case "shr":
            result = a >> b if 0 <= b < kind.width else (-1 if a < 0 else 0)
        case _:
            return compare(op, a, b)
    return kind.bits(result)


def compare(op: str, a: int, b: int) -> int:
    """0 or 1."""
    return int({"eq": a == b, "ne": a != b, "lt": a < b, "le": a <= b, "gt": a > b, "ge": a >= b}[op])


def apply_bool(op: str, *operands: int) -> int:
    """Operations on bool: logical ones, and comparisons with False before True."""
    a, b = operands[0], operands[-1]
    match op:
        case "not":
            return 1 - a
        case "and":
            return a & b
        case "or":
            return a | b
        case "xor":
            return a ^ b
    return compare(op, a, b)
