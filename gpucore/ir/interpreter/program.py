"""What the interpreter runs: a module as Python code, arrays as flat memory views, scalars as exact Python numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import CodeType
from typing import Any

import numpy as np
import numpy.typing as npt

from gpucore.errors import LaunchError
from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import DType, bf16, f16, from_numpy
from gpucore.ir.interpreter.expressions import int_range
from gpucore.ir.interpreter.numerics import int_to_float, rounder

__all__ = ["ArrayArgument", "Program", "Site", "axes", "overlap_groups", "prepare_array", "prepare_scalar"]


@dataclass(frozen=True, slots=True)
class Site:
    """A statement that may fail or wait: where it stands and what it touches."""

    loc: ir.Loc | None
    kind: str
    memory: ir.Memory | None = None
    message: str = ""
    dtype: DType | None = None


@dataclass(slots=True)
class Program:
    """A module as Python code.

    Attributes
    ----------
    codes : list[tuple[str, CodeType]]
        For each function, callees first: the global it is kept in, and its code.
    sites : list[Site]
    memories : dict[str, int]
        The number K of each memory.
    waits : bool
        The kernel is a generator.
    fences : bool
        The kernel has fences, which order accesses.
    written : frozenset[str]
        Global arrays that the kernel writes.
    flat : bool
        Low level: one index an access.
    sources : list[str]
        The generated text, for people.
    """

    codes: list[tuple[str, CodeType]] = field(default_factory=list)
    sites: list[Site] = field(default_factory=list)
    memories: dict[str, int] = field(default_factory=dict)
    waits: bool = False
    fences: bool = False
    written: frozenset[str] = frozenset()
    flat: bool = False
    sources: list[str] = field(default_factory=list)


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
        Of ``flat``.
    shape : tuple[int, ...]
    address : int
        Of the first byte of ``flat``.
    strides : tuple[int, ...]
        Of an array with strides: in elements; then the offset of the first element in ``flat``.
    """

    memory: ir.Memory
    array: npt.NDArray[Any]
    flat: Any
    size: int
    shape: tuple[int, ...]
    address: int
    strides: tuple[int, ...] = ()

    @property
    def nbytes(self) -> int:
        """From the first byte of ``flat`` to its end."""
        return self.size * self.memory.dtype.itemsize

    def index_of(self, element: int) -> tuple[int, ...]:
        """The index of the element at a place in ``flat``."""
        if not self.strides:
            return tuple(int(i) for i in np.unravel_index(element, self.shape))
        *strides, first = self.strides
        places = np.full(self.shape, first)
        for axis, (extent, stride) in enumerate(zip(self.shape, strides, strict=True)):
            steps = np.arange(extent) * stride
            places += steps.reshape(-1, *(1,) * (len(self.shape) - axis - 1))
        return tuple(int(i) for i in np.argwhere(places == element)[0])


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
    strided = memory.layout != "contiguous"
    rank = (memory.rank - 1) // 2 if low and strided else memory.rank
    if (strided or not low) and value.ndim != rank:
        raise LaunchError(f"{where} has rank {rank}, the ndarray {value.ndim}")
    if not strided and not value.flags.c_contiguous:
        raise LaunchError(f"{where} is not C-contiguous; pass np.ascontiguousarray(...) or a copy")
    if written and value.size and not value.flags.writeable:
        raise LaunchError(f"{where} is written by the kernel, but the ndarray is read-only")
    if strided:
        return _strided(where, memory, value)
    if value.nbytes % memory.dtype.itemsize:
        raise LaunchError(f"{where}: {value.nbytes} bytes are no whole number of {memory.dtype.name}")
    size = value.nbytes // memory.dtype.itemsize
    flat: Any = ()
    if size:
        octets: Any = value.reshape(-1).view(np.uint8)
        flat = memoryview(octets).cast(_FORMATS[memory.dtype.name])  # type: ignore[call-overload]
    address = value.__array_interface__["data"][0]
    return ArrayArgument(memory, value, flat, size, value.shape, address)


def _strided(where: str, memory: ir.Memory, value: npt.NDArray[Any]) -> ArrayArgument:
    """An ndarray with strides as the memory from its lowest element to its highest one."""
    itemsize = memory.dtype.itemsize
    if any(stride % itemsize for stride in value.strides):
        raise LaunchError(
            f"{where}: its strides {value.strides} are no whole numbers of elements; pass a copy"
        )
    lows = tuple(slice(None, None, -1 if stride < 0 else 1) for stride in value.strides)
    upward = value[lows]
    address = upward.__array_interface__["data"][0]
    below = value.__array_interface__["data"][0] - address if value.size else 0
    span = 1 + sum((n - 1) * (s // itemsize) for n, s in zip(upward.shape, upward.strides, strict=True))
    size = span if value.size else 0
    flat: Any = ()
    if size:
        kept = np.lib.stride_tricks.as_strided(upward, (size,), (itemsize,), writeable=value.flags.writeable)
        octets: Any = kept.view(np.uint8)
        flat = memoryview(octets).cast(_FORMATS[memory.dtype.name])  # type: ignore[call-overload]
    strides = tuple(stride // itemsize for stride in value.strides)
    return ArrayArgument(memory, value, flat, size, value.shape, address, (*strides, below // itemsize))


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
        end = max(end, argument.address + argument.nbytes)
    return groups
