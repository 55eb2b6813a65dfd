"""Data of the host as elements of arrays: numbers rounded once to nearest even, vectors, structs and complex numbers.

NumPy converts in steps in places: lists of integers go through f64, and everything becomes bf16 by way of f32.  A number just
beside the middle of two neighbours is then rounded to that middle first, and to the wrong neighbour next.  Rounding to odd on the
way to the wider of two formats makes the second rounding right (Boldo and Melquiond, "When double rounding is odd", 2005).
"""

from __future__ import annotations

import math
import numbers
import struct
import sys
import warnings
from collections.abc import Callable
from fractions import Fraction
from threading import get_ident
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gpucore._messages import frames_to_the_user
from gpucore.errors import OutOfMemoryError
from gpucore.ir.dtypes import (
    DType,
    DTypeLike,
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
from gpucore.ir.records import RecordType
from gpucore.ir.rounding import Real, bf16_bits, round_to, to_odd

if TYPE_CHECKING:
    from gpucore.runtime.array import Array
    from gpucore.runtime.context import Context
    from gpucore.runtime.device import Device
    from gpucore.runtime.stream import Stream

__all__ = [
    "components",
    "converted",
    "evenly_spaced",
    "fill_records",
    "from_host",
    "is_elsewhere",
    "is_real",
    "ndarray_of",
    "python_number",
    "report_overflow",
    "rounded",
    "scalar_bytes",
    "shape_and_dtype",
    "shortened",
]


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
        if isinstance(data, (np.ndarray, np.void)) and _is_misordered(data.dtype, record.numpy):
            raise TypeError(
                f"the data has the fields of {record} in another order; write data[{list(record.numpy.names or ())}]"
            )
        host = np.asarray(data, dtype=record.numpy)
        return context._allocate(host.shape, record, "device", stream).copy_from(host, stream=stream)
    element = record.element
    host = rounded(data, element) if element.is_float else np.asarray(data, dtype=element.numpy)
    if host.ndim == 0 or host.shape[-1] != len(record.fields):
        raise ValueError(
            f"an array of {record} is made of numbers of shape (..., {len(record.fields)}), not {host.shape}"
        )
    return context._allocate(host.shape[:-1], record, "device", stream).copy_from(host, stream=stream)


def _is_misordered(data: np.dtype[Any], record: np.dtype[Any]) -> bool:
    """Whether structs have the same fields in another order."""
    given, own = data.names or (), record.names or ()
    return (given != own and set(given) == set(own)) or any(
        map(_is_misordered, (data[name].base for name in given), (record[name].base for name in own))
    )


def fill_records(array: Array[Any], value: Any, stream: Stream | None) -> None:
    """Set every element: a number is that of each scalar of a vector or struct, anything else one record."""
    from gpucore.runtime.array import Array

    record = array.dtype
    assert isinstance(record, RecordType)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if is_number and value == 0 and array._sig.contiguous and str(value) != "-0.0":
        octets = Array._make(array.context, array._owner, u8, (array.nbytes,), None, array._offset)
        octets.fill(value, stream=stream)  # padding too
        return
    if record.record == "vec" and np.ndim(value) == 0:
        components(array).fill(value, stream=stream)
        return
    recorder = array.context._state.recorders.get(get_ident())
    if recorder is not None and array.size:
        recorder.refuse(f"a fill with {value}", "let a kernel store it")
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
    from gpucore.runtime.array import Array

    if isinstance(array, (Array, np.ndarray)):
        return array.shape, array.dtype
    raise TypeError(
        f"the model is an Array or an ndarray, not a {type(array).__name__}; write ctx.zeros(shape, dtype)"
    )
