"""Numbers as the 16 bits of f16 and bf16, rounded once, to even."""

from __future__ import annotations

import math
import struct

__all__ = ["bf16_bits", "bf16_value", "f16_bits", "f16_value"]


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
