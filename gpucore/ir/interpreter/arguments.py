"""Launch arguments: arrays as flat memory views, scalars as exact Python numbers, overlaps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gpucore.errors import LaunchError
from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import DType, bf16, f16, from_numpy
from gpucore.ir.interpreter.expressions import int_range
from gpucore.ir.interpreter.numerics import int_to_float, rounder

__all__ = ["ArrayArgument", "axes", "overlap_groups", "prepare_array", "prepare_scalar"]

_FORMATS = {
    "bool": "?", "i8": "b", "i16": "h", "i32": "i", "i64": "q", "u8": "B", "u16": "H", "u32": "I", "u64": "Q",
    "f16": "H", "bf16": "H", "f32": "f", "f64": "d", "index": "q",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ArrayArgument:
    """An ndarray as the generated code sees it.

    Attributes
    ----------
    memory : Memory
    array : ndarray
        As given.
    flat : Any
        One element of the memory's dtype an index; f16 and bf16 as their 16 bits.
    size : int
    shape : tuple[int, ...]
    address : int
        Of the first byte.
    """

    memory: ir.Memory
    array: npt.NDArray[Any]
    flat: Any
    size: int
    shape: tuple[int, ...]
    address: int


def axes(value: Any, ndim: int, what: str) -> tuple[int, ...]:
    """A grid or block as a tuple of ``ndim`` integers."""
    found = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    if len(found) != ndim:
        raise LaunchError(f"the {what} {value!r} has {len(found)} axes; the kernel was built for {ndim}")
    for n in found:
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 0:
            raise LaunchError(f"the {what} {value!r} is not made of non-negative integers")
    return tuple(int(n) for n in found)


def _fits(memory: ir.Memory, array: npt.NDArray[Any], low: bool) -> bool:
    dtype = memory.dtype
    if array.dtype == np.dtype(np.uint16) and dtype in (f16, bf16):
        return dtype is bf16 or low
    found = from_numpy(array.dtype)
    if found is dtype or (dtype.name == "index" and found is not None and found.name == "i64"):
        return True
    # lowering stores bool as u8 and the half types as u16; runtimes hand over plain bytes
    return low and (array.dtype.itemsize == dtype.itemsize or array.dtype == np.dtype(np.uint8))


def prepare_array(kernel: str, memory: ir.Memory, value: Any, *, low: bool, written: bool) -> ArrayArgument:
    """Check an array argument and make it addressable.

    Raises
    ------
    LaunchError
        For what is no ndarray, of another dtype or rank, not C-contiguous, or read-only but written.
    """
    where = f"{kernel}: argument {memory.name}"
    if not isinstance(value, np.ndarray):
        raise LaunchError(f"{where} is an array; the interpreter takes ndarrays, not {type(value).__name__}")
    if not _fits(memory, value, low):
        raise LaunchError(f"{where} holds {memory.dtype.name}, the ndarray {value.dtype}")
    if not low and value.ndim != memory.rank:
        raise LaunchError(f"{where} has rank {memory.rank}, the ndarray {value.ndim}")
    if not value.flags.c_contiguous:
        raise LaunchError(f"{where} is not C-contiguous; pass np.ascontiguousarray(...) or a copy")
    if written and value.size and not value.flags.writeable:
        raise LaunchError(f"{where} is written by the kernel, but the ndarray is read-only")
    if value.nbytes % memory.dtype.itemsize:
        raise LaunchError(f"{where}: {value.nbytes} bytes are no whole number of {memory.dtype.name}")
    size = value.nbytes // memory.dtype.itemsize
    flat: Any = ()
    if size:
        octets: Any = value.reshape(-1).view(np.uint8)
        flat = memoryview(octets).cast(_FORMATS[memory.dtype.name])  # type: ignore[call-overload]
    address = value.__array_interface__["data"][0]
    return ArrayArgument(memory, value, flat, size, value.shape, address)


def prepare_scalar(kernel: str, parameter: ir.Value, value: Any) -> Any:
    """A scalar argument as an exact Python number of the parameter's dtype.

    Raises
    ------
    LaunchError
        For a value of another kind, or out of range.
    """
    dtype: DType = parameter.dtype
    where = f"{kernel}: argument {parameter.name}"
    if isinstance(value, (bool, np.bool_)):
        value = bool(value)
    elif isinstance(value, (int, np.integer)):
        value = int(value)
    elif isinstance(value, (float, np.floating)) or str(getattr(value, "dtype", "")) == "bfloat16":
        value = float(value)
    else:
        raise LaunchError(f"{where} is a scalar of dtype {dtype.name}, not {type(value).__name__}")
    if dtype.is_float:
        if isinstance(value, bool):
            raise LaunchError(f"{where} is {dtype.name}, not bool")
        return int_to_float(value, dtype) if isinstance(value, int) else rounder(dtype)(value)
    if dtype.kind == "bool":
        if not isinstance(value, bool):
            raise LaunchError(f"{where} is bool, not {type(value).__name__}")
        return value
    if not isinstance(value, int):
        raise LaunchError(f"{where} is {dtype.name}, not {type(value).__name__}")
    low, high = int_range(dtype)
    if not low <= value <= high:
        raise LaunchError(f"{where}: {value} does not fit {dtype.name} ({low} to {high})")
    return int(value)


def overlap_groups(arguments: Sequence[ArrayArgument]) -> list[list[ArrayArgument]]:
    """The arrays, together where their bytes overlap."""
    groups: list[list[ArrayArgument]] = []
    end = -math.inf
    for argument in sorted((a for a in arguments if a.size), key=lambda a: a.address):
        if groups and argument.address < end:
            groups[-1].append(argument)
        else:
            groups.append([argument])
            end = -math.inf
        end = max(end, argument.address + argument.array.nbytes)
    return groups
