"""Element types as type checkers see them: Python's own numbers.

A kernel computes with numbers of one width, and a checker cannot know more of ``x[i] * 2.0`` than that it is a float. At run time
these names are the dtypes of :mod:`gpucore.ir.dtypes`, and dtype and rank are checked at each launch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

if TYPE_CHECKING:
    from gpucore.runtime.array import Array

    T = TypeVar("T")

    bool_: TypeAlias = bool
    i8: TypeAlias = int
    i16: TypeAlias = int
    i32: TypeAlias = int
    i64: TypeAlias = int
    u8: TypeAlias = int
    u16: TypeAlias = int
    u32: TypeAlias = int
    u64: TypeAlias = int
    index: TypeAlias = int
    f16: TypeAlias = float
    bf16: TypeAlias = float
    f32: TypeAlias = float
    f64: TypeAlias = float
    constexpr: TypeAlias = Any
    Array1 = Array
    Array2 = Array
    Array3 = Array
    Array4 = Array

    def shared(shape: int | tuple[int, ...], dtype: type[T]) -> Array[T]: ...
    def local(shape: int | tuple[int, ...], dtype: type[T]) -> Array[T]: ...

else:
    from gpucore.ir.dtypes import (
        bf16,
        bool_,
        f16,
        f32,
        f64,
        i8,
        i16,
        i32,
        i64,
        index,
        u8,
        u16,
        u32,
        u64,
    )  # fmt: skip
    from gpucore.lang.builtins import constexpr, local, shared
    from gpucore.runtime.array import Array1, Array2, Array3, Array4

__all__ = [
    "Array1", "Array2", "Array3", "Array4",
    "bf16", "bool_", "constexpr", "f16", "f32", "f64", "i8", "i16", "i32", "i64", "index", "local", "shared",
    "u8", "u16", "u32", "u64",
]  # fmt: skip
