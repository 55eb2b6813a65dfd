"""Shapes and strides of arrays, and the signature that launches compare."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, Literal, ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt

from gpucore.ir.dtypes import DType, bf16
from gpucore.ir.nodes import Layout
from gpucore.ir.records import RecordType
from gpucore.runtime.host_numbers import shortened

__all__ = [
    "Check",
    "Math",
    "Signature",
    "as_extent",
    "as_shape",
    "c_strides",
    "dummy_of",
    "is_contiguous",
    "layout_of",
    "one_shape",
    "packed_strides",
    "reshaped_strides",
]


P = ParamSpec("P")
R = TypeVar("R")
_MOST = 2**63 - 1


def as_shape(shape: int | Sequence[int]) -> tuple[int, ...]:
    """A shape as a tuple of non-negative ints."""
    if type(shape) is int and 0 <= shape <= _MOST:
        return (shape,)
    if type(shape) is tuple:
        for extent in shape:
            if type(extent) is not int or not 0 <= extent <= _MOST:
                break
        else:
            return shape
    if isinstance(shape, (int, np.integer)):
        shape = (int(shape),)
    elif isinstance(shape, (str, bytes)) or not hasattr(shape, "__iter__"):
        raise TypeError(f"a shape is an int or a tuple of ints, not {shape!r}")
    result = tuple(as_extent(extent) for extent in shape)
    if any(extent < 0 for extent in result):
        raise ValueError(f"the shape {result} has a negative extent")
    if any(extent > _MOST for extent in result):
        raise ValueError(f"the shape {shortened(result)} has an extent past 2**63 - 1")
    return result


def check_empty(shape: tuple[int, ...], itemsize: int) -> None:
    """Refuse a shape without elements of which NumPy has no array, since the other axes have too many."""
    if math.prod(extent or 1 for extent in shape) * itemsize > _MOST:
        raise ValueError(f"the shape {shape} has no elements, but past 2**63 - 1 bytes on its other axes")


def one_shape(method: Callable[P, R]) -> Callable[P, R]:
    """``method(self, shape, dtype)``, which says of ``zeros(3, 4, dtype)`` what to write; its signature does not tell of that."""

    @functools.wraps(method)
    def checked(*args: P.args, **named: P.kwargs) -> R:
        if len(args) > 3 or (len(args) == 3 and "dtype" in named):
            axes = args[1:] if "dtype" in named else args[1:-1]
            raise TypeError(
                f"a shape of several axes is one tuple: write {axes!r} for {', '.join(map(repr, axes))}"
            )
        return method(*args, **named)

    return checked


def as_extent(extent: Any) -> int:
    try:
        return operator.index(extent)
    except TypeError:
        raise TypeError(f"a shape is made of ints, not {type(extent).__name__}: {extent!r}") from None


def c_strides(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """The strides in bytes of a C-contiguous array."""
    strides = []
    step = itemsize
    for extent in reversed(shape):
        strides.append(step)
        step *= max(extent, 1)
    return tuple(reversed(strides))


def is_contiguous(shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int) -> bool:
    expected = itemsize
    for extent, stride in zip(reversed(shape), reversed(strides), strict=True):
        if extent != 1 and stride != expected:
            return 0 in shape
        expected *= extent
    return True


def layout_of(shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int) -> Layout:
    """How a kernel sees an array of that geometry."""
    if is_contiguous(shape, strides, itemsize):
        return "contiguous"
    return "rows" if strides[-1] == itemsize or shape[-1] == 1 else "strided"


def packed_strides(
    shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int
) -> tuple[tuple[int, ...], int]:
    """The strides in elements, 0 of axes that are not walked along, and how many elements lie below the first one."""
    if 0 in shape:
        return (0,) * len(shape), 0
    steps = tuple(s // itemsize if n > 1 else 0 for n, s in zip(shape, strides, strict=True))
    return steps, -sum((n - 1) * min(step, 0) for n, step in zip(shape, steps, strict=True))


def reshaped_strides(dummy: npt.NDArray[Any], shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of a view of another shape; ValueError or AttributeError where it would be a copy."""
    try:
        return np.reshape(dummy, shape, copy=False).strides
    except TypeError:  # NumPy before 2.1 has no copy=, and does not yet warn of this
        dummy.shape = shape
        return dummy.strides


def dummy_of(shape: tuple[int, ...], strides: tuple[int, ...]) -> npt.NDArray[Any]:
    """An ndarray of that geometry over no memory, on which NumPy does the index arithmetic; never read it."""
    return np.lib.stride_tricks.as_strided(np.empty(1, np.uint8), shape, strides)


Math = Literal["strict", "fast"]
Check = Literal[False, True, "auto"]


class Signature:
    """What a launch looks at in an array: one object for each kind of array of a context, compared by
    identity.

    Attributes
    ----------
    check, math : {False, True, "auto"}, {"strict", "fast"}
        Options of the context.
    dtype : DType
    rank : int
    layout : {"contiguous", "rows", "strided"}
        As kernels see it: see :class:`gpucore.ir.nodes.Memory`.
    contiguous : bool
    small : bool
        Fewer than 2**31 elements from the lowest to the highest, and no extent past that.
    outside : bool
        Memory that another library owns, which may overlap other arrays.
    numpy : numpy.dtype | None
        What an ndarray's dtype is compared with by identity; None for ``bf16``, which NumPy has not, and records.
    vector : bool
        Whether NumPy sees the elements as an axis more.
    """

    __slots__ = (
        "check",
        "contiguous",
        "dtype",
        "layout",
        "math",
        "numpy",
        "outside",
        "rank",
        "small",
        "vector",
    )

    def __init__(
        self, check: Check, math: Math, dtype: DType, rank: int, layout: Layout, small: bool, outside: bool
    ) -> None:
        self.check: Check = check
        self.math: Math = math
        self.dtype = dtype
        self.rank = rank
        self.layout: Layout = layout
        self.contiguous = layout == "contiguous"
        self.small = small
        self.outside = outside
        record = isinstance(dtype, RecordType)
        self.numpy: np.dtype[Any] | None = None if dtype is bf16 or record else dtype.numpy
        self.vector = isinstance(dtype, RecordType) and dtype.record == "vec"
