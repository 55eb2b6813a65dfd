"""Numbers of the host and float dtypes: rounded once, to nearest even; as the 16 bits of f16 and bf16; which a literal may be."""

from __future__ import annotations

import math
import struct
from fractions import Fraction
from typing import TypeAlias

from gpucore.ir.dtypes import DType, bf16, f16, f64
from gpucore.ir.nodes import Number

__all__ = ["Real", "bf16_bits", "bf16_value", "f16_bits", "f16_value", "representable", "round_to", "to_odd"]


Real: TypeAlias = float | Fraction
"""Floats, ints and fractions."""
_LARGEST = float.fromhex("0x1.fffffffffffffp1023")
_EXACT = 1 << 53
_FLOAT = struct.Struct("=f")
_HALF = struct.Struct("=e")


def to_odd(value: Real) -> float:
    """The number as an f64, which may be rounded once more, to a narrower dtype, as if it were exact.

    Where it is no f64, the one of its two neighbours whose last bit is 1 (Boldo and Melquiond, "When double rounding is odd",
    2005).

    >>> to_odd(2**60 + 1) == 2**60 + 256
    True
    """
    if isinstance(value, float):
        return float(value)
    if isinstance(value, int):
        if -_EXACT <= value <= _EXACT:
            return float(value)
        top, bottom = int(value), 1
    else:
        top, bottom = int(value.numerator), int(value.denominator)
    try:
        near = top / bottom  # Python rounds the quotient once
    except OverflowError:
        return _LARGEST if top > 0 else -_LARGEST
    over, under = near.as_integer_ratio()
    if over * bottom == top * under or int.from_bytes(struct.pack("<d", near), "little") & 1:
        return near
    return math.nextafter(near, math.inf if over * bottom < top * under else -math.inf)


def round_to(value: Real, dtype: DType) -> float:
    """The number in a float dtype, to nearest even; past the largest one infinity."""
    if dtype is f64:
        if isinstance(value, float):
            return float(value)
        try:
            return int(value.numerator) / int(value.denominator)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    if dtype is bf16:
        return bf16_value(bf16_bits(to_odd(value)))
    number = to_odd(value)
    layout = _HALF if dtype is f16 else _FLOAT
    try:
        return float(layout.unpack(layout.pack(number))[0])
    except OverflowError:
        return math.copysign(math.inf, number)


def f16_bits(value: float) -> int:
    """The bits of ``value`` as f16.

    Raises
    ------
    OverflowError
        Where a finite value rounds to infinity.
    """
    return int(struct.unpack("<H", struct.pack("<e", value))[0])


def f16_value(bits: int) -> float:
    """The number that the bits of an f16 stand for."""
    return float(struct.unpack("<e", struct.pack("<H", bits))[0])


def bf16_bits(value: float) -> int:
    """The bits of ``value`` as bf16; every NaN is the quiet one.

    >>> hex(bf16_bits(1.0)), hex(bf16_bits(1 + 2**-8 + 2**-40))
    ('0x3f80', '0x3f81')
    """
    if math.isnan(value):
        return 0x7FC0
    try:
        octets = struct.pack("<f", value)
    except OverflowError:
        return 0xFF80 if value < 0 else 0x7F80
    (nearest,), (bits,) = struct.unpack("<f", octets), struct.unpack("<I", octets)
    # rounded to odd on the way through f32, so that rounding twice is as good as once
    if nearest != value:
        if abs(nearest) > abs(value):
            bits -= 1
        bits |= 1
    return int((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16) & 0xFFFF


def bf16_value(bits: int) -> float:
    """The number that the bits of a bf16 stand for."""
    return float(struct.unpack("<f", struct.pack("<I", bits << 16))[0])


def representable(dtype: DType, value: Number) -> bool:
    """Whether a literal of a dtype may have this value."""
    if dtype.kind == "bool":
        return value in (0, 1)
    if dtype.is_integer:
        low = -(1 << (dtype.bits - 1)) if dtype.is_signed else 0
        return isinstance(value, int) and low <= value < low + (1 << dtype.bits)
    number = float(value)
    if isinstance(value, int) and int(number) != value:
        return False
    if dtype.bits == 64 or number != number or number in (float("inf"), float("-inf")):
        return True
    code = "<e" if dtype is f16 else "<f"
    try:
        packed = struct.pack(code, number)
    except OverflowError:
        return False
    exact = struct.unpack(code, packed)[0] == number
    return exact and (dtype is not bf16 or packed[:2] == b"\0\0")
