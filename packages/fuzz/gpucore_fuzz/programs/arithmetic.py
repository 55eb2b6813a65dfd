"""What an operation on scalars gives, in Python's integers and floats and NumPy's f32.

Integers are Python's, floats Python's with a value that the dtype has, bools Python's.  Written from ``docs/numerics.md``.
"""

from __future__ import annotations

import math
import operator
import struct
from collections.abc import Callable
from fractions import Fraction
from typing import TypeAlias

import numpy as np

__all__ = [
    "BITS",
    "FLOATS",
    "INTS",
    "SIGNED",
    "Scalar",
    "apply",
    "bits_of",
    "cast",
    "from_bits",
    "join",
    "limits",
    "rounded",
]

Scalar: TypeAlias = int | float | bool

SIGNED = ("i8", "i16", "i32", "i64")
UNSIGNED = ("u8", "u16", "u32", "u64")
INTS = SIGNED + UNSIGNED
FLOATS = ("f16", "bf16", "f32", "f64")
BITS = {
    "bool": 8, "i8": 8, "i16": 16, "i32": 32, "i64": 64, "u8": 8, "u16": 16, "u32": 32, "u64": 64, "f16": 16, "bf16": 16,
    "f32": 32, "f64": 64, "index": 64,
}  # fmt: skip
_PRECISION = {"f16": (11, -14, 15), "bf16": (8, -126, 127), "f32": (24, -126, 127), "f64": (53, -1022, 1023)}
"""Bits of the significand, least and greatest exponent of normal numbers."""
_WORKING = {"f16": "f32", "bf16": "f32", "f32": "f32", "f64": "f64"}
"""What an operation on a dtype is computed in."""


def limits(t: str) -> tuple[int, int]:
    """The least and the greatest integer of a dtype."""
    if t in UNSIGNED:
        return 0, (1 << BITS[t]) - 1
    return -(1 << (BITS[t] - 1)), (1 << (BITS[t] - 1)) - 1


def wrapped(value: int, t: str) -> int:
    """An integer modulo two to the width."""
    value &= (1 << BITS[t]) - 1
    return value - (1 << BITS[t]) if t not in UNSIGNED and value >> (BITS[t] - 1) else value


def rounded(value: float, t: str) -> float:
    """A float of 53 bits to nearest even in another format, once."""
    if t == "f64":
        return value
    if t == "f32":
        return float(np.float32(value))
    if t == "f16":
        return float(np.float16(value))
    if value == 0 or math.isinf(value) or math.isnan(value):
        return value
    significand, exponent = math.frexp(value)
    unit = max(exponent - 8, -133)
    result = math.ldexp(round(math.ldexp(significand, exponent - unit)), unit)
    return math.copysign(math.inf if abs(result) >= 2.0**128 else result, value)


def _round_exact(value: Fraction, t: str) -> float:
    """A fraction, not zero, to nearest even, once."""
    precision, low, high = _PRECISION[t]
    magnitude = abs(value)
    exponent = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    if Fraction(2) ** exponent > magnitude:
        exponent -= 1
    unit = Fraction(2) ** (max(exponent, low) - precision + 1)
    count = round(magnitude / unit)  # Python rounds fractions half to even
    if count * unit >= Fraction(2) ** (high + 1):
        return math.inf if value > 0 else -math.inf
    result = float(count * unit)
    return result if value > 0 else -result


def cast(value: Scalar, source: str, target: str) -> Scalar:
    """Convert a scalar as stores and casts do."""
    if target == "bool":
        return value != 0
    if source in FLOATS:
        if target in FLOATS:
            return rounded(float(value), target)
        if math.isnan(value):
            return 0
        low, high = limits(target)
        if math.isinf(value):
            return high if value > 0 else low
        return min(max(int(value), low), high)
    if target in FLOATS:
        exact = int(value)
        if abs(exact) < 1 << 53:
            return rounded(float(exact), target)
        return _round_exact(Fraction(exact), target) if exact else 0.0
    return wrapped(int(value), target)


def bits_of(value: Scalar, t: str) -> int:
    """The bits of a scalar; a NaN's are the canonical ones."""
    if t not in FLOATS:
        return int(value) & ((1 << BITS[t]) - 1)
    if math.isnan(value):
        return {"f16": 0x7E00, "bf16": 0x7FC0, "f32": 0x7FC00000, "f64": 0x7FF8000000000000}[t]
    if t == "bf16":
        return int(struct.unpack("<I", struct.pack("<f", value))[0]) >> 16
    code, word = {"f16": ("<e", "<H"), "f32": ("<f", "<I"), "f64": ("<d", "<Q")}[t]
    return int(struct.unpack(word, struct.pack(code, value))[0])


def from_bits(bits: int, t: str) -> Scalar:
    """The scalar of some bits; every NaN is the same one."""
    if t == "bool":
        return bits != 0
    if t not in FLOATS:
        return wrapped(bits, t)
    if t == "bf16":
        value = struct.unpack("<f", struct.pack("<I", bits << 16))[0]
    else:
        code, word = {"f16": ("<e", "<H"), "f32": ("<f", "<I"), "f64": ("<d", "<Q")}[t]
        value = struct.unpack(code, struct.pack(word, bits))[0]
    return math.nan if math.isnan(value) else float(value)


def join(a: str, b: str) -> str | None:
    """The dtype that mixed operands have, on JAX's lattice; None where there is none."""
    if a == b:
        return a
    if "bool" in (a, b):
        return None
    if a in FLOATS and b in FLOATS:
        return "f32" if {a, b} == {"f16", "bf16"} else max(a, b, key=lambda t: (BITS[t], t != "bf16"))
    if a in FLOATS or b in FLOATS:
        return a if a in FLOATS else b
    if "index" in (a, b):
        return None if "u64" in (a, b) else "index"
    if (a in SIGNED) == (b in SIGNED):
        return max(a, b, key=BITS.__getitem__)
    signed, unsigned = (a, b) if a in SIGNED else (b, a)
    if unsigned == "u64":
        return None
    return f"i{max(BITS[signed], 2 * BITS[unsigned])}"


# --- integers ------------------------------------------------------------------------------------------
def _int_shift(a: int, n: int, t: str, left: bool) -> int:
    if left:
        return a << n if 0 <= n < BITS[t] else 0
    if not 0 <= n < BITS[t]:
        return -1 if a < 0 else 0
    return a >> n


def _int_power(a: int, n: int, t: str) -> int:
    return 0 if n < 0 else pow(a, n, 1 << BITS[t])


_INTEGER: dict[str, Callable[[int, int, str], int]] = {
    "+": lambda a, b, t: a + b,
    "-": lambda a, b, t: a - b,
    "*": lambda a, b, t: a * b,
    "//": lambda a, b, t: a // b if b else 0,
    "%": lambda a, b, t: a % b if b else 0,
    "**": _int_power,
    "&": lambda a, b, t: a & b,
    "|": lambda a, b, t: a | b,
    "^": lambda a, b, t: a ^ b,
    "<<": lambda a, b, t: _int_shift(a, b, t, True),
    ">>": lambda a, b, t: _int_shift(a, b, t, False),
    "min": lambda a, b, t: min(a, b),
    "max": lambda a, b, t: max(a, b),
}


# --- floats --------------------------------------------------------------------------------------------
def _divide(a: float, b: float) -> float:
    if b:
        return a / b
    if a == 0 or math.isnan(a) or math.isnan(b):
        return math.nan
    return math.copysign(math.inf, math.copysign(1, a) * math.copysign(1, b))


def _extremum(a: float, b: float, largest: bool) -> float:
    if math.isnan(a) or math.isnan(b):
        return math.nan
    if a == b == 0:
        signs = (math.copysign(1, a), math.copysign(1, b))
        return math.copysign(0.0, max(signs) if largest else min(signs))
    return max(a, b) if largest else min(a, b)


def _floor_division(a: float, b: float, t: str) -> float:
    if b == 0:
        return _divide(a, b)
    if t == "f64":
        return a // b  # CPython's divmod itself
    return float(np.floor_divide(np.float32(a), np.float32(b)))


def _remainder(a: float, b: float, t: str) -> float:
    if b == 0 or math.isinf(a):
        return math.nan
    if t == "f64":
        return a % b
    return float(np.remainder(np.float32(a), np.float32(b)))


_FLOAT: dict[str, Callable[[float, float, str], float]] = {
    "+": lambda a, b, t: a + b,
    "-": lambda a, b, t: a - b,
    "*": lambda a, b, t: a * b,
    "/": lambda a, b, t: _divide(a, b),
    "//": _floor_division,
    "%": _remainder,
    "min": lambda a, b, t: _extremum(a, b, False),
    "max": lambda a, b, t: _extremum(a, b, True),
}


def _integral(rule: Callable[[float], int]) -> Callable[[float], float]:
    def apply(a: float) -> float:
        if math.isinf(a) or math.isnan(a):
            return a
        return math.copysign(float(abs(rule(a))), a)

    return apply


_FLOAT_UNARY: dict[str, Callable[[float], float]] = {
    "neg": operator.neg,
    "abs": math.fabs,
    "floor": _integral(math.floor),
    "ceil": _integral(math.ceil),
    "trunc": _integral(math.trunc),
    "round": _integral(round),
    "sqrt": lambda a: a if a == 0 or math.isnan(a) else math.nan if a < 0 else math.sqrt(a),
}


def _fma(t: str, a: float, b: float, c: float) -> float:
    if not all(map(math.isfinite, (a, b, c))):
        # an infinite product or addend decides; a product that overflows only here is finite and does not
        product = (
            a * b
            if not (math.isfinite(a) and math.isfinite(b))
            else math.copysign(1.0, a) * math.copysign(1.0, b)
        )
        return product + c
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    if exact:
        return _round_exact(exact, t)
    return 0.0 if a and b and c else a * b + c


_COMPARISONS: dict[str, Callable[[Scalar, Scalar], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip


def apply(op: str, t: str, *args: Scalar) -> Scalar:
    """The result of an operation on operands of one dtype.

    Parameters
    ----------
    op : str
        Python's sign of a binary operation or the name of a builtin.
    t : str
        The operands' dtype.
    """
    if op in _COMPARISONS:
        return _COMPARISONS[op](args[0], args[1])
    if t in FLOATS:
        return _apply_float(op, t, *map(float, args))
    if t == "bool":
        a, b = (bool(args[0]), bool(args[-1]))
        return not a if op == "not" else {"&": a and b, "|": a or b, "^": a != b}[op]
    return _apply_integer(op, t, *map(int, args))


def _apply_integer(op: str, t: str, *args: int) -> int:
    found = _INTEGER.get(op)
    if found is not None:
        return wrapped(found(args[0], args[1], t), t)
    a = args[0]
    if op == "clamp":
        return min(max(a, args[1]), args[2])
    if op == "dot4":
        signs = "b" if t == "i32" else "B"
        first, second = (
            struct.unpack(f"<4{signs}", struct.pack("<I", word & 0xFFFFFFFF)) for word in args[:2]
        )
        return wrapped(sum(x * y for x, y in zip(first, second, strict=True)) + args[2], t)
    if op == "popcount":
        return (a & ((1 << BITS[t]) - 1)).bit_count()
    if op == "clz":
        return BITS[t] - (a & ((1 << BITS[t]) - 1)).bit_length()
    return wrapped({"neg": -a, "abs": abs(a), "~": ~a}[op], t)


def _apply_float(op: str, t: str, *args: float) -> Scalar:
    working = _WORKING[t]
    if op == "fma":
        return _fma(t, *args)
    if op == "isnan":
        return math.isnan(args[0])
    if op == "isinf":
        return math.isinf(args[0])
    if op == "clamp":
        return _extremum(_extremum(args[0], args[1], True), args[2], False)
    unary = _FLOAT_UNARY.get(op)
    exact = unary(args[0]) if unary is not None else _FLOAT[op](args[0], args[1], working)
    return rounded(rounded(exact, working), t)
