"""Annotations of array parameters: how many axes, and whether views of any strides are taken."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from gpucore.runtime.array import Array

__all__ = [
    "Array1",
    "Array2",
    "Array3",
    "Array4",
    "Strided",
    "Strided1",
    "Strided2",
    "Strided3",
    "Strided4",
]

T = TypeVar("T")


class _Ranked:
    """``Array2[dtype]``, which is ``Array[dtype, 2]``: the spelling that type checkers understand."""

    __slots__ = ("_kind", "_rank")

    def __init__(self, kind: type[Any], rank: int) -> None:
        self._kind = kind
        self._rank = rank

    def __getitem__(self, dtype: Any) -> types.GenericAlias:
        return types.GenericAlias(self._kind, (dtype, self._rank))

    def __repr__(self) -> str:
        return f"gpucore.{self._kind.__name__}{self._rank}"


class Strided(Generic[T]):
    """The annotation of a parameter that takes views of any strides, ``gc.Strided[gc.f32, 2]``; of arrays that are contiguous
    the kernel is the one that ``gc.Array[gc.f32, 2]`` gives.
    """

    __gpucore_array__ = True
    __gpucore_strided__ = True

    def __init__(self) -> None:
        raise TypeError(
            "Strided annotates parameters of kernels; arrays and views are made by a context and by slicing"
        )

    if not TYPE_CHECKING:

        def __class_getitem__(cls, parameters: Any) -> types.GenericAlias:
            """``Strided[dtype]`` or ``Strided[dtype, rank]`` in the annotations of kernels."""
            return types.GenericAlias(cls, parameters)


Array1, Array2, Array3, Array4 = (_Ranked(Array, rank) for rank in (1, 2, 3, 4))
Strided1, Strided2, Strided3, Strided4 = (_Ranked(Strided, rank) for rank in (1, 2, 3, 4))
