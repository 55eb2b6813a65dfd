"""Element types as type checkers see them: Python's own numbers.

A kernel computes with numbers of one width, and a checker cannot know more of ``x[i] * 2.0`` than that it is a float. At run time
these names are the dtypes of :mod:`gpucore.ir.dtypes`, and dtype and rank are checked at each launch.
"""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

if TYPE_CHECKING:
    from typing import Self, dataclass_transform

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
    complex64: TypeAlias = complex
    complex128: TypeAlias = complex
    constexpr: TypeAlias = Any
    Array1 = Array
    Array2 = Array
    Array3 = Array
    Array4 = Array
    Strided = Array
    Strided1 = Array
    Strided2 = Array
    Strided3 = Array
    Strided4 = Array

    class _Vector(Generic[T]):
        """A vector: operators work element by element, and with numbers."""

        x: T
        y: T

        def __getitem__(self, index: int) -> T: ...
        def __setitem__(self, index: int, value: T) -> None: ...
        def __add__(self, other: Self | float) -> Self: ...
        def __radd__(self, other: float) -> Self: ...
        def __sub__(self, other: Self | float) -> Self: ...
        def __rsub__(self, other: float) -> Self: ...
        def __mul__(self, other: Self | float) -> Self: ...
        def __rmul__(self, other: float) -> Self: ...
        def __truediv__(self, other: Self | float) -> Self: ...
        def __rtruediv__(self, other: float) -> Self: ...
        def __floordiv__(self, other: Self | float) -> Self: ...
        def __rfloordiv__(self, other: float) -> Self: ...
        def __mod__(self, other: Self | float) -> Self: ...
        def __rmod__(self, other: float) -> Self: ...
        def __pow__(self, other: Self | float) -> Self: ...
        def __neg__(self) -> Self: ...

    class vec2(_Vector[T]):
        def __init__(self, x: Any, y: Any = ...) -> None: ...

    class vec3(_Vector[T]):
        z: T

        def __init__(self, x: Any, y: Any = ..., z: Any = ...) -> None: ...

    class vec4(_Vector[T]):
        z: T
        w: T

        def __init__(self, x: Any, y: Any = ..., z: Any = ..., w: Any = ...) -> None: ...

    @dataclass_transform()
    def struct(cls: type[T]) -> type[T]: ...

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
    from gpucore.ir.records import complex64, complex128, vec2, vec3, vec4
    from gpucore.lang.builtins import constexpr, local, shared
    from gpucore.lang.record_values import struct
    from gpucore.runtime.array import Array

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

    class Strided:
        """The annotation of a parameter that takes views of any strides, ``gc.Strided[gc.f32, 2]``; of arrays that are contiguous
        the kernel is the one that ``gc.Array[gc.f32, 2]`` gives.
        """

        __gpucore_array__ = True
        __gpucore_strided__ = True

        def __init__(self) -> None:
            raise TypeError(
                "Strided annotates parameters of kernels; arrays and views are made by a context and by slicing"
            )

        def __class_getitem__(cls, parameters: Any) -> types.GenericAlias:
            """``Strided[dtype]`` or ``Strided[dtype, rank]`` in the annotations of kernels."""
            return types.GenericAlias(cls, parameters)

    Array1, Array2, Array3, Array4 = (_Ranked(Array, rank) for rank in (1, 2, 3, 4))
    Strided1, Strided2, Strided3, Strided4 = (_Ranked(Strided, rank) for rank in (1, 2, 3, 4))

__all__ = [
    "Array1", "Array2", "Array3", "Array4", "Strided", "Strided1", "Strided2", "Strided3", "Strided4",
    "bf16", "bool_", "complex64", "complex128", "constexpr", "f16", "f32", "f64", "i8", "i16", "i32", "i64", "index",
    "local", "shared", "struct", "u8", "u16", "u32", "u64", "vec2", "vec3", "vec4",
]  # fmt: skip
