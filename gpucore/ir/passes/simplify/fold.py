"""Constant folding: the number that an operation on literals gives, exactly as a device would compute it."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from gpucore.ir.dtypes import DType, bool_, f32
from gpucore.ir.nodes import Number

_FORMATS = {("float", 32): "f", ("float", 64): "d"}
_FORMATS.update({("int", b): f for b, f in zip((8, 16, 32, 64), "bhiq", strict=True)})
_FORMATS.update({("uint", b): f for b, f in zip((8, 16, 32, 64), "BHIQ", strict=True)})


def wrap(number: int, dtype: DType) -> int:
    """An integer reduced to a dtype's range, as two's complement does."""
    number &= (1 << dtype.bits) - 1
    return number - (1 << dtype.bits) if dtype.kind == "int" and number >> (dtype.bits - 1) else number


def _quotient(a: int, b: int) -> int | None:
    if b == 0:
        return None
    magnitude = abs(a) // abs(b)
    return magnitude if (a < 0) == (b < 0) else -magnitude


def _remainder(a: int, b: int) -> int | None:
    quotient = _quotient(a, b)
    return None if quotient is None else a - quotient * b


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
}

_INTEGER: dict[str, Callable[..., int | None]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "add.raw": lambda a, b: a + b,
    "mul.raw": lambda a, b: a * b,
    "neg": lambda a: -a,
    "not": lambda a: ~a,
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
    "min": min,
    "max": max,
    "abs": abs,
    "shl.raw": lambda a, b: a << b if 0 <= b < 64 else None,
    "shr.raw": lambda a, b: a >> b if 0 <= b < 64 else None,
    "quot.raw": _quotient,
    "rem.raw": _remainder,
}

_FLOAT: dict[str, Callable[..., Any]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "neg": lambda a: -a,
    "abs": lambda a: abs(a),
    "sqrt": np.sqrt,
    "floor": np.floor,
    "ceil": np.ceil,
    "trunc": np.trunc,
    "round": np.rint,
}

_BOOL: dict[str, Callable[..., bool]] = {
    "not": lambda a: not a,
    "and": lambda a, b: a and b,
    "or": lambda a, b: a or b,
    "xor": lambda a, b: a != b,
}


def fold(op: str, dtype: DType, numbers: list[Number], to: DType) -> Number | None:
    """The result of an operation on literals, or None where it is left to the device.

    A NaN is never folded: which bits it has is for the device to say.  Floating-point warnings of NumPy are
    to be off (``numpy.errstate``).
    """
    if op in _COMPARE:
        return _COMPARE[op](*numbers)
    if dtype is bool_:
        if op == "cast":
            return (1.0 if numbers[0] else 0.0) if to.is_float else int(numbers[0])
        return bool(_BOOL[op](*numbers)) if op in _BOOL else None
    if op == "cast" or op == "f2i.raw":
        return _cast(numbers[0], dtype, to)
    if op == "bitcast.raw":
        return _bitcast(numbers[0], dtype, to)
    if dtype.is_integer:
        function = _INTEGER.get(op)
        if function is None:
            return None
        whole = function(*numbers)
        return None if whole is None else wrap(int(whole), to)
    real = _FLOAT.get(op)
    if real is None or dtype.bits < 32:
        return None
    scalar = np.float32 if dtype is f32 else np.float64
    result = float(real(*[scalar(n) for n in numbers]))
    return None if math.isnan(result) else result


def _cast(number: Number, dtype: DType, to: DType) -> Number | None:
    if dtype.is_integer:
        if to.is_integer:
            return wrap(int(number), to)
        if to.is_float and to.bits >= 32:
            # NumPy's integer scalars round once; a Python int would go through f64
            return float(dtype.numpy.type(number).astype(to.numpy))
        return None
    if math.isnan(number):
        return None
    if to.is_float:
        return float(np.float64(number).astype(to.numpy)) if to.bits >= 32 and dtype.bits >= 32 else None
    if to.is_integer and math.isfinite(number):
        whole = int(number)
        return whole if wrap(whole, to) == whole else None
    return None


def _bitcast(number: Number, dtype: DType, to: DType) -> Number | None:
    source, target = _FORMATS.get((dtype.kind, dtype.bits)), _FORMATS.get((to.kind, to.bits))
    if source is None or target is None or dtype.name == "bf16" or math.isnan(number):
        return None
    (result,) = struct.unpack(f"<{target}", struct.pack(f"<{source}", number))
    return None if result != result else result
