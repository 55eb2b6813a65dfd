"""Numbers of the host rounded once, to nearest even, to a float dtype."""

from __future__ import annotations

import math
import struct
from fractions import Fraction
from typing import TypeAlias

from gpucore.ir.dtypes import DType, bf16, f16, f64
from gpucore.ir.halves import bf16_bits, bf16_value

__all__ = ["Real", "round_to", "to_odd"]

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
