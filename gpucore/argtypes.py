"""The types of arguments that a kernel is specialised for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from gpucore.ir.dtypes import DType

__all__ = ["ArgumentType", "ArrayType", "ConstValue", "ScalarType"]


@dataclass(frozen=True, slots=True)
class ArrayType:
    """The type of an array argument."""

    dtype: DType
    rank: int


@dataclass(frozen=True, slots=True)
class ScalarType:
    """The type of a scalar argument."""

    dtype: DType


@dataclass(frozen=True, slots=True)
class ConstValue:
    """The value of a constexpr argument."""

    value: Any


ArgumentType: TypeAlias = ArrayType | ScalarType | ConstValue
