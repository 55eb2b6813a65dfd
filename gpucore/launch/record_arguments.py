"""Arguments that are vectors, structs or complex numbers: as scalars, and arrays of them as arrays of scalars."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from gpucore.errors import LaunchError
from gpucore.ir.dtypes import DType
from gpucore.ir.records import RecordType, leaf_dtypes
from gpucore.launch.scalar_arguments import converter

__all__ = ["RecordConverter", "component_views", "host_record"]


class RecordConverter:
    """Turns an argument into the scalars of a record, in order: the Python numbers that its slots hold."""

    def __init__(self, record: RecordType, who: str) -> None:
        self._record = record
        self._who = who

    def __call__(self, value: Any) -> tuple[int | float | bool, ...]:
        found: list[int | float | bool] = []
        self._collect(self._record, value, self._who, found)
        return tuple(found)

    def _collect(self, dtype: DType, value: Any, who: str, found: list[int | float | bool]) -> None:
        if not isinstance(dtype, RecordType):
            found.append(converter(dtype, who)(value))
            return
        for field, part in zip(dtype.fields, self._parts(dtype, value, who), strict=True):
            self._collect(field.dtype, part, f"{who}, its field {field.name!r},", found)

    def _parts(self, record: RecordType, value: Any, who: str) -> list[Any]:
        names = [field.name for field in record.fields]
        if record.record == "complex":
            if isinstance(value, (complex, float, int, np.number)) and not isinstance(value, bool):
                number = complex(value)
                return [number.real, number.imag]
            raise LaunchError(f"{who} is a {record}, which {value!r} of type {type(value).__name__} is not")
        if isinstance(value, np.void) and value.dtype.names is not None:
            value = {name: value[name] for name in value.dtype.names}
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        elif hasattr(value, "_asdict"):
            value = value._asdict()
        if isinstance(value, Mapping):
            if set(value) != set(names):
                raise LaunchError(
                    f"{who} is a {record} with the fields {', '.join(names)}, not {', '.join(map(str, value))}"
                )
            return [value[name] for name in names]
        if isinstance(value, (tuple, list)) or (isinstance(value, np.ndarray) and value.ndim == 1):
            if len(value) != len(names):
                raise LaunchError(f"{who} is a {record} of {len(names)} parts, and {len(value)} were given")
            return list(value)
        kind = "struct" if record.record == "struct" else "vector"
        raise LaunchError(
            f"{who} is a {kind} {record}, which {value!r} of type {type(value).__name__} is not; pass "
            f"{'a tuple, a mapping or a dataclass of its fields' if kind == 'struct' else 'a tuple'}"
        )


def host_record(record: RecordType, array: npt.NDArray[Any], who: str) -> int:
    """The number of axes that an ndarray has as an array of records.

    Raises
    ------
    LaunchError
        Where it holds something else.
    """
    if record.record == "vec":
        fits = (
            array.dtype == record.element.numpy and array.ndim > 0 and array.shape[-1] == len(record.fields)
        )
        if not fits:
            raise LaunchError(
                f"{who} holds {record}: an ndarray of {record.element.numpy} of shape (..., {len(record.fields)}), not of "
                f"{array.dtype} of shape {array.shape}"
            )
        return array.ndim - 1
    if array.dtype != record.numpy:
        raise LaunchError(
            f"{who} holds {record}, NumPy's dtype {record}.numpy, but the array holds {array.dtype}"
        )
    return array.ndim


def component_views(record: RecordType, array: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    """The ndarray as the kernel sees it: once for each dtype among the record's scalars, with an axis more."""
    if record.record == "vec":
        return [array]
    if array.ndim == 0:
        return [array for _ in leaf_dtypes(record)]  # refused with the array's name
    if not array.flags.c_contiguous:
        whole = np.lib.stride_tricks.as_strided(
            array, (*array.shape, 1), (*array.strides, array.itemsize), writeable=array.flags.writeable
        )
        return [whole.view(dtype.numpy) for dtype in leaf_dtypes(record)]
    octets = array.reshape(-1).view(np.uint8)
    views = []
    for dtype in leaf_dtypes(record):
        count = record.itemsize // dtype.itemsize
        views.append(octets.view(dtype.numpy).reshape(*array.shape, count))
    return views
