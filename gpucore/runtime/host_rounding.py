"""Host data as an ndarray of a float dtype, each number rounded once, to nearest even.

NumPy converts in steps in places: lists of integers go through f64, and everything becomes bf16 by way of f32.  A number just
beside the middle of two neighbours is then rounded to that middle first, and to the wrong neighbour next.  Rounding to odd on the
way to the wider of two formats makes the second rounding right (Boldo and Melquiond, "When double rounding is odd", 2005).
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from gpucore._ipython import frames_to_the_user
from gpucore.ir.dtypes import DType, bf16, f16, f64
from gpucore.ir.rounding import round_to
from gpucore.runtime.scalars import python_number, report_overflow, shortened

__all__ = ["converted", "rounded"]

_EXACT = 1 << 53
"""Integers up to here are f64."""
_TAIL = (1 << 11) - 1
"""Bits of a 64-bit integer that an f64 may have to drop."""
_LARGEST = float(np.finfo(np.float64).max)


def rounded(data: npt.ArrayLike, dtype: DType) -> npt.NDArray[Any]:
    """``data`` as an ndarray of the float dtype; ``data`` itself where it is one.

    Finite numbers beyond the dtype are infinite, with NumPy's warning.

    Raises
    ------
    OverflowError
        For an integer or a fraction beyond every f64.
    """
    host = np.asarray(data)
    kind, wide = host.dtype.kind, host.dtype.itemsize
    if kind == "O" or (isinstance(data, (list, tuple)) and _mixed(host, dtype)):
        return _rounded_objects(data, dtype)
    if dtype is bf16 and kind in "iuf" and wide > 2:
        exact = _narrowed(host.reshape(-1)).astype(dtype.numpy).reshape(host.shape)
        beyond = np.isinf(exact) & np.isfinite(host)
        if beyond.any():
            report_overflow(host[beyond].flat[0], dtype)
        return exact
    if dtype is f16 and kind == "f" and wide > 8:
        host = _to_odd(host.reshape(-1), np.float64).reshape(host.shape)
    # for text, complex numbers and the like NumPy says what they become
    return converted(host if kind in "biuf" else data, dtype.numpy)


def converted(data: npt.ArrayLike, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """``numpy.asarray``, whose warnings name the line of the user."""
    if getattr(data, "dtype", None) == dtype:
        return np.asarray(data)
    heard = {what: "call" for what in ("over", "invalid") if np.geterr()[what] == "warn"}
    found: list[str] = []
    with np.errstate(**heard, call=lambda what, flag: found.append(what)):  # type: ignore[arg-type]
        result = np.asarray(data, dtype=dtype)
    for what in dict.fromkeys(found):
        warnings.warn(f"{what} encountered in cast", RuntimeWarning, stacklevel=frames_to_the_user())
    return result


def _mixed(host: npt.NDArray[Any], dtype: DType) -> bool:
    """Whether NumPy may have rounded integers to f64 because they stand beside floats, or beside negative ones."""
    return host.dtype == np.float64 and dtype is not f64 and bool((np.abs(host) >= _EXACT).any())


def _rounded_objects(data: npt.ArrayLike, dtype: DType) -> npt.NDArray[Any]:
    """Python's own numbers, one by one."""
    objects = np.asarray(data, dtype=object)
    values: list[float] = []
    beyond: object = None
    for value in objects.reshape(-1):
        try:
            number = python_number(value)
        except (TypeError, ValueError):  # None, and what else NumPy knows to convert
            return np.asarray(data, dtype=dtype.numpy)
        if not isinstance(number, float) and abs(number) > _LARGEST:
            raise OverflowError(f"{shortened(value)} does not fit {dtype}")
        values.append(round_to(number, dtype))
        if math.isinf(values[-1]) and number != values[-1]:
            beyond = value
    if beyond is not None:
        report_overflow(beyond, dtype)
    # every value is one of the dtype by now
    return np.array(values, np.float64).astype(dtype.numpy).reshape(objects.shape)


def _narrowed(numbers: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Numbers as f32, rounded to odd; along one axis."""
    if numbers.dtype.kind in "iu":
        numbers = _integers_to_odd(numbers)
    elif numbers.dtype.itemsize > 8:
        numbers = _to_odd(numbers, np.float64)
    return _to_odd(numbers, np.float32)


def _integers_to_odd(numbers: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Integers as f64: what does not fit its 53 bits leaves a trace in the last bit that stays."""
    if numbers.dtype.itemsize < 8:
        return numbers.astype(np.float64)
    large = (numbers >= _EXACT) | (numbers <= -_EXACT) if numbers.dtype.kind == "i" else numbers >= _EXACT
    kept = numbers & ~numbers.dtype.type(_TAIL)
    traced = kept | (((numbers & numbers.dtype.type(_TAIL)) != 0).astype(numbers.dtype) * (_TAIL + 1))
    return np.where(large, traced, numbers).astype(np.float64)


def _to_odd(numbers: npt.NDArray[Any], narrow: type[np.float32] | type[np.float64]) -> npt.NDArray[Any]:
    """Numbers in a narrower format: what is none of it becomes the neighbour whose last bit is 1."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        near: npt.NDArray[Any] = numbers.astype(narrow)
        back = near.astype(numbers.dtype)
        inexact = (back != numbers) & ~np.isnan(numbers)
        beyond = inexact & (np.abs(back) > np.abs(numbers))
    bits: npt.NDArray[Any] = near.view(np.uint32 if narrow is np.float32 else np.uint64)
    bits[...] = (bits - beyond) | inexact
    return near
