"""Numbers of the host as the bytes of one element."""

from __future__ import annotations

import math
import numbers
import struct
import sys
import warnings
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from gpucore._ipython import frames_to_the_user
from gpucore.ir.dtypes import (
    DType,
    bf16,
    bool_,
    f16,
    f32,
    f64,
    from_numpy,
    i8,
    i16,
    i32,
    i64,
    integer_range,
    u8,
    u16,
    u32,
    u64,
)
from gpucore.ir.rounding import Real, bf16_bits, round_to, to_odd

__all__ = ["is_real", "python_number", "report_overflow", "scalar_bytes", "shortened"]

_SMALL_INT = 1 << 24
"""Integers up to here are floats of every width but the halves: one rounding, which pack does."""


_INTEGERS: dict[DType, str] = {i8: "b", u8: "B", i16: "h", u16: "H", i32: "i", u32: "I", i64: "q", u64: "Q"}
_PACK_INT: dict[DType, tuple[int, int, Callable[[Any], bytes]]] = {
    dtype: (*integer_range(dtype), struct.Struct("=" + code).pack) for dtype, code in _INTEGERS.items()
}
_PACK_FLOAT: dict[DType, Callable[[Any], bytes]] = {
    f32: struct.Struct("=f").pack,
    f64: struct.Struct("=d").pack,
}
_FLOAT_CODES: dict[DType, str] = {f16: "e", f32: "f", f64: "d"}
_LARGEST_F32 = float.fromhex("0x1.fffffep127")
_LARGEST_F64 = float.fromhex("0x1.fffffffffffffp1023")


def scalar_bytes(value: Any, dtype: DType) -> bytes:
    """The bytes of ``value`` as one element; a finite number beyond a float dtype is infinite, with NumPy's warning.

    Raises
    ------
    OverflowError
        When an integer does not fit an integer dtype, or is beyond every f64.
    TypeError
        When a float is meant for an integer array.
    """
    # plain numbers that need no judgement first: NumPy takes ten times as long
    if value.__class__ is float:
        pack = _PACK_FLOAT.get(dtype)
        if pack is not None and (dtype is f64 or -_LARGEST_F32 <= value <= _LARGEST_F32):
            return pack(value)
    elif value.__class__ is int:
        pack = _PACK_FLOAT.get(dtype)
        if pack is not None:
            if -_SMALL_INT <= value <= _SMALL_INT:
                return pack(value)
        else:
            plain = _PACK_INT.get(dtype)
            if plain is not None and plain[0] <= value <= plain[1]:
                return plain[2](value)
    number = python_number(value)
    if dtype.is_float:
        if not isinstance(number, float) and abs(number) > _LARGEST_F64:
            raise OverflowError(f"{shortened(value)} does not fit {dtype}")
        near = round_to(number, dtype)
        if math.isinf(near) and number != near:
            report_overflow(value, dtype)
        if dtype is bf16:
            return struct.pack("=H", bf16_bits(to_odd(number)))
        return struct.pack("=" + _FLOAT_CODES[dtype], near)
    if dtype is bool_:
        return b"\1" if number else b"\0"
    if (isinstance(number, float) and not number.is_integer()) or number != int(number):
        raise TypeError(f"{value!r} is not an integer, and the array holds {dtype}")
    whole = int(number)
    low, high = integer_range(dtype)
    if not low <= whole <= high:
        raise OverflowError(f"{shortened(value)} does not fit {dtype}, which holds {low} to {high}")
    return whole.to_bytes(dtype.itemsize, sys.byteorder, signed=low < 0)


def is_real(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "biuf" or from_numpy(dtype) is bf16


def python_number(value: Any) -> Real:
    """The number as Python's float, int or Fraction, exactly."""
    if isinstance(value, np.ndarray):
        if value.size != 1:
            raise TypeError(f"fill() takes one number, not an ndarray of shape {value.shape}")
        value = value.reshape(())[()]
    if isinstance(value, (int, np.integer, np.bool_)):
        return int(value)
    if isinstance(value, numbers.Rational):
        return Fraction(int(value.numerator), int(value.denominator))
    number = float(value)
    if isinstance(value, np.longdouble) and math.isfinite(number):
        return Fraction(*value.as_integer_ratio())
    return number


def report_overflow(value: object, dtype: DType) -> None:
    """Say, as ``numpy.errstate(over=...)`` has it, that a finite number became infinite; a warning names the user's line."""
    if np.geterr()["over"] == "warn":
        warnings.warn(
            f"overflow encountered in cast: {shortened(value)} is infinite as {dtype}",
            RuntimeWarning,
            stacklevel=frames_to_the_user(),
        )
    else:
        np.array(_LARGEST_F64).astype(np.float32)  # NumPy is silent, raises, calls or prints


def shortened(value: object) -> str:
    """A number for a message: of long ones the beginning and the number of digits."""
    try:
        text = str(value)
    except ValueError:  # Python writes no integers of more than 4,300 digits
        return "an integer of thousands of digits"
    return text if len(text) <= 60 else f"{text[:20]}... ({len(text)} characters)"
