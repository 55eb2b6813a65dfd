"""Scalar arguments of launches: which Python numbers fit which dtype."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gpucore.errors import LaunchError
from gpucore.ir.dtypes import DType, bool_, f32, f64, from_numpy, i32, i64, integer_range, u64
from gpucore.ir.records import complex_of
from gpucore.ir.rounding import bf16_bits, bf16_value, f16_bits, f16_value, to_odd
from gpucore.lang.types import ArgumentType, ConstValue, Parameter, ScalarType, float_rule
from gpucore.runtime.scalars import shortened

__all__ = ["Converter", "constant", "converter", "pack_half", "scalar_class", "with_default_float"]

_LARGEST = {
    "f16": 65504.0,
    "bf16": float.fromhex("0x1.fep127"),
    "f32": float.fromhex("0x1.fffffep127"),
    "f64": math.inf,
}


class Converter:
    """Turns an argument into the Python number that a slot holds.

    Attributes
    ----------
    low, high : int | float | None
        A Python number of the dtype's own class between these needs no conversion.
    """

    __slots__ = ("_dtype", "_who", "high", "low")

    def __init__(self, dtype: DType, who: str) -> None:
        self._dtype = dtype
        self._who = who
        self.low: int | float | None = None
        self.high: int | float | None = None
        if dtype.is_integer:
            self.low, self.high = integer_range(dtype)
        elif dtype.is_float and dtype is not f64:
            self.high = _LARGEST[dtype.name]
            self.low = -self.high

    def __call__(self, value: Any) -> int | float | bool:
        dtype = self._dtype
        if isinstance(value, np.ndarray) and value.ndim == 0:
            value = value[()]
        if isinstance(value, np.generic) or type(value).__module__ == "ml_dtypes":
            value = float(value) if _is_half(value) else value.item()
        if dtype is bool_:
            if isinstance(value, bool):
                return value
        elif dtype.is_integer:
            if isinstance(value, int):
                return self._integer(value)
        elif isinstance(value, (float, int)):
            return self._float(value)
        if hasattr(value, "__gpucore_array__"):
            raise LaunchError(f"{self._who} is {article(dtype)}, but an array was given")
        raise LaunchError(
            f"{self._who} is {article(dtype)}, which {value!r} of type {type(value).__name__} is not{_instead(value, dtype)}"
        )

    def _integer(self, value: int) -> int:
        assert self.low is not None
        assert self.high is not None
        if not self.low <= value <= self.high:
            raise LaunchError(f"{self._who} is {article(self._dtype)}, and {shortened(value)} does not fit")
        return int(value)

    def _float(self, value: float | int) -> float:
        try:
            # what packs it rounds to the dtype: together once
            number = float(value) if self._dtype is f64 else to_odd(value)
        except OverflowError:
            number = math.inf
            fits = False
        else:
            fits = self.high is None or not math.isfinite(number) or abs(number) <= self.high
        if not fits:
            raise LaunchError(f"{self._who} is {article(self._dtype)}, and {shortened(value)} does not fit")
        return number


def article(dtype: DType) -> str:
    """``an f32``, ``a bool``."""
    return f"{'an' if dtype.name[0] in 'fi' else 'a'} {dtype}"


def _instead(value: Any, dtype: DType) -> str:
    if dtype.is_integer and isinstance(value, (float, bool)):
        return f"; write int({value!r})"
    if dtype is bool_ and isinstance(value, (int, float)):
        return f"; write bool({value!r})"
    return ""


def _is_half(value: Any) -> bool:
    return value.dtype.name in ("float16", "bfloat16")


@functools.lru_cache(maxsize=4096)
def converter(dtype: DType, who: str) -> Converter:
    """The converter of an argument; ``who`` begins its errors."""
    return Converter(dtype, who)


def scalar_class(value: Any, who: str, default: DType = f32) -> DType:
    """The dtype that an argument of a parameter without one gets; ``default`` is a Python float's.

    Raises
    ------
    LaunchError
    """
    if isinstance(value, (np.generic, np.ndarray)):
        found = from_numpy(value.dtype) if value.ndim == 0 else None
        if found is not None:
            return found
    elif isinstance(value, bool):
        return bool_
    elif isinstance(value, int):
        for dtype in (i32, i64, u64):
            low, high = integer_range(dtype)
            if low <= value <= high:
                return dtype
        raise LaunchError(f"{who} is {shortened(value)}, which fits no integer type")
    elif isinstance(value, float):
        return default
    elif isinstance(value, complex):
        return complex_of(default)
    raise LaunchError(
        f"{who} is an Array or a number, not {type(value).__name__}; of numbers in a list make an Array with "
        "ctx.array([...])"
        if isinstance(value, (list, tuple))
        else f"{who} is an Array or a number, not {type(value).__name__}"
    )


def with_default_float(
    parameters: Sequence[Parameter], values: Sequence[Any], types: Sequence[ArgumentType]
) -> tuple[ArgumentType, ...]:
    """The types with the default float for each Python float whose parameter has no annotation."""
    default = float_rule(parameters, types).default
    if default is f32:
        return tuple(types)
    return tuple(
        ScalarType(default)
        if parameter.kind == "any" and isinstance(value, float) and not isinstance(value, np.generic)
        else type_
        for parameter, value, type_ in zip(parameters, values, types, strict=True)
    )


def constant(value: Any, who: str) -> ConstValue:
    """A compile-time argument.

    Raises
    ------
    LaunchError
        When it cannot be looked up: a list, an ndarray.
    """
    result = ConstValue(value)
    try:
        hash(result)
    except TypeError:
        hint = "pass tuple([...])" if isinstance(value, list) else "pass a tuple of numbers"
        raise LaunchError(
            f"{who} is a compile-time value: a number, a bool, a string, a dtype or a tuple of these, not "
            f"{type(value).__name__}; {hint}"
        ) from None
    return result


def pack_half(dtype: DType, lowered: str) -> Callable[[float], float | int]:
    """Round a number once to f16 or bf16, as the compiled kernel takes it: a float, or 16 bits as an integer.

    Parameters
    ----------
    lowered : str
        The dtype of the parameter after lowering: ``"u16"`` for bits, else a float that holds the half.
    """
    bits, value_of = (f16_bits, f16_value) if dtype.name == "f16" else (bf16_bits, bf16_value)
    if lowered == "u16":
        return bits
    return lambda value: value_of(bits(value))
