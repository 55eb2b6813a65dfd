"""Data of the host on the way into arrays: which ndarray it makes, and of which element type."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gpucore.errors import OutOfMemoryError
from gpucore.ir.dtypes import DType, DTypeLike, from_numpy
from gpucore.runtime.array import Array
from gpucore.runtime.device import Device
from gpucore.runtime.host_numbers import converted, rounded, shortened

__all__ = ["evenly_spaced", "is_elsewhere", "ndarray_of", "shape_and_dtype"]


def ndarray_of(data: npt.ArrayLike, dtype: DType | None) -> tuple[npt.NDArray[Any], DType]:
    """An ndarray of native byte order with the numbers of ``data``, and their element type.

    Raises
    ------
    TypeError
        For what holds no numbers, or numbers that no array can hold.
    """
    if dtype is None:
        host = np.asarray(data)
    else:
        host = rounded(data, dtype) if dtype.is_float else converted(data, dtype.numpy)
    element = from_numpy(host.dtype)
    if element is None and not host.dtype.isnative:
        host = host.astype(host.dtype.newbyteorder("="))
        element = from_numpy(host.dtype)
    if element is None:
        if host.dtype.names is not None:
            raise TypeError(
                "these are structs; say of which type: ctx.array(data, P) with a class P under gc.struct"
            )
        if host.dtype.kind in "OUSV":
            raise TypeError(
                f"an Array holds numbers, and NumPy makes {host.dtype} of this {type(data).__name__}; give "
                "numbers of one kind, all rows of one length"
            )
        raise TypeError(f"NumPy's {host.dtype} has no element type here; pass dtype= or convert it first")
    return host, element


def evenly_spaced(start: float, stop: float | None, step: float, dtype: DType | None) -> npt.NDArray[Any]:
    """What ``numpy.arange`` makes of its arguments, before it is converted to ``dtype``.

    Raises
    ------
    TypeError, ValueError
        For arguments that are no numbers; for a step of 0, and what is not finite.
    OutOfMemoryError
        For more elements than the host can hold.
    """
    if not all(isinstance(part, (int, float, np.number)) for part in (start, step)) or not (
        stop is None or isinstance(stop, (int, float, np.number))
    ):
        raise TypeError(f"arange() takes numbers, not {start!r}, {stop!r}, {step!r}")
    low, high = (0, start) if stop is None else (start, stop)
    if step == 0:
        raise ValueError("arange() with a step of 0 never reaches its stop")
    for part in (low, high, step):
        if part != part or abs(part) == float("inf"):
            raise ValueError(f"arange() takes finite numbers, not {part!r}")
    count = (high - low) // step
    # NumPy computes f16 and bf16 ranges in their own few bits
    kind = None if dtype is None or dtype.is_float else dtype.numpy
    try:
        return np.arange(low, high, step, dtype=kind)
    except (MemoryError, OverflowError, ValueError) as error:
        raise OutOfMemoryError(
            f"arange() of {shortened(count)} elements is made on the host, which cannot hold it ({error}); make "
            "ctx.empty(...) and number its elements in a kernel"
        ) from None


def is_elsewhere(data: object, device: Device) -> bool:
    """Whether another library holds the data in memory that NumPy cannot read."""
    if hasattr(data, "__dlpack_device__"):
        return bool(data.__dlpack_device__()[0] != 1)
    name = device.capabilities.array_interface
    return name is not None and hasattr(data, name)


def shape_and_dtype(array: object) -> tuple[tuple[int, ...], DTypeLike]:
    """Shape and dtype of what ``*_like`` was given: an Array or an ndarray."""
    if isinstance(array, (Array, np.ndarray)):
        return array.shape, array.dtype
    raise TypeError(
        f"the model is an Array or an ndarray, not a {type(array).__name__}; write ctx.zeros(shape, dtype)"
    )
