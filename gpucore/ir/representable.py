"""Which numbers a literal of a dtype may be."""

from __future__ import annotations

import struct

from gpucore.ir.dtypes import DType, bf16, f16
from gpucore.ir.nodes import Number

__all__ = ["representable"]


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
