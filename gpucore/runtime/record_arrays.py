"""Arrays of vectors, structs and complex numbers on the host's side: what NumPy makes of them, and fills."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gpucore.ir.dtypes import u8
from gpucore.ir.records import RecordType
from gpucore.runtime.host_rounding import rounded

if TYPE_CHECKING:
    from gpucore.runtime.array import Array
    from gpucore.runtime.context import Context
    from gpucore.runtime.stream import Stream

__all__ = ["components", "fill_records", "from_host"]


def components(array: Array[Any]) -> Array[Any]:
    """An array of vectors as one of their elements, with an axis more; any other array as it is."""
    record = array.dtype
    if not isinstance(record, RecordType) or record.record != "vec":
        return array
    from gpucore.runtime.array import Array

    element, count = record.element, len(record.fields)
    strides = None if array._sig.contiguous else (*array.strides, element.itemsize)
    return Array._make(array.context, array._owner, element, (*array.shape, count), strides, array._offset)


def from_host(context: Context, data: Any, record: RecordType, stream: Stream | None) -> Array[Any]:
    """A new array of records with a copy of host data: ``(..., k)`` numbers for vectors, rows of fields for structs."""
    if record.record != "vec":
        host = np.asarray(data, dtype=record.numpy)
        return context._allocate(host.shape, record, "device", stream).copy_from(host, stream=stream)
    element = record.element
    host = rounded(data, element) if element.is_float else np.asarray(data, dtype=element.numpy)
    if host.ndim == 0 or host.shape[-1] != len(record.fields):
        raise ValueError(
            f"an array of {record} is made of numbers of shape (..., {len(record.fields)}), not {host.shape}"
        )
    return context._allocate(host.shape[:-1], record, "device", stream).copy_from(host, stream=stream)


def fill_records(array: Array[Any], value: Any, stream: Stream | None) -> None:
    """Set every element: a number is that of each scalar of a vector or struct, anything else one record."""
    from gpucore.runtime.array import Array

    record = array.dtype
    assert isinstance(record, RecordType)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if is_number and value == 0 and array._sig.contiguous and str(value) != "-0.0":
        octets = Array._make(array.context, array._owner, u8, (array.nbytes,), None, array._offset)
        octets.fill(0, stream=stream)  # padding too
        return
    if record.record == "vec" and np.ndim(value) == 0:
        components(array).fill(value, stream=stream)
        return
    one = np.zeros((1, *record.numpy.shape), record.numpy.base)
    if record.record == "complex":
        if not isinstance(value, (complex, float, int, np.number)):
            raise TypeError(f"fill() takes a number, not {type(value).__name__}: {value!r}")
        one[...] = value
    elif is_number:
        for leaf in record.leaves:
            part: Any = one
            for name in leaf.path[:-1]:
                part = part[name] if part.dtype.names else part
            _set_leaf(part, leaf.path[-1], value)
    else:
        one[...] = np.asarray(record(*value) if isinstance(value, (tuple, list)) else value)
    host: npt.NDArray[Any] = np.zeros((*array.shape, *record.numpy.shape), record.numpy.base)
    host[...] = one[0]
    array.copy_from(host, stream=stream)


def _set_leaf(part: npt.NDArray[Any], name: str, value: float) -> None:
    if part.dtype.names:
        part[name] = value
    elif part.dtype.kind == "c":
        part.real, part.imag = (value, part.imag) if name == "real" else (part.real, 0)
    else:
        part[..., "xyzw".index(name)] = value
