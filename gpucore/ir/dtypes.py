"""Element types.

Each dtype is a *class* whose metaclass is :class:`DType`.  It can therefore stand in an annotation that a
type checker understands (``x: gc.Array[gc.f32]``), be passed as a value (``ctx.zeros(n, gc.f32)``) and be
called as a cast inside kernels (``gc.f32(x)``).  On the host a call gives the NumPy scalar.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np

Kind = Literal["bool", "int", "uint", "float", "record"]


_KINDS: dict[Kind, str] = {
    "bool": "truth value",
    "int": "signed integer",
    "uint": "unsigned integer",
    "float": "float",
}
_DESCRIPTION = """The element type {name}: a {what} of {bits} bits, NumPy's {numpy}.

In annotations ``x: gc.Array[gc.{name}]`` and ``a: gc.{name}``; for new arrays ``ctx.zeros(n, gc.{name})``; in a kernel
``gc.{name}(value)`` is a cast, on the host a NumPy scalar. Good wherever NumPy takes a dtype.
"""
_PUBLIC = ("bits", "dtype", "is_float", "is_integer", "is_signed", "itemsize", "kind", "name", "numpy")


class DType(type):
    """The type of one array element or of one value in a kernel.

    Attributes
    ----------
    name : str
        The name in the kernel language, without the module: ``"f32"``.
    kind : {"bool", "int", "uint", "float", "record"}
        ``index`` is an ``"int"``; records are in :mod:`gpucore.ir.records`.
    bits : int
        Width in bits of a value; ``bool`` has 8 in memory.
    itemsize : int
        Bytes of one element in memory.
    """

    name: str
    kind: Kind
    bits: int
    itemsize: int
    _numpy: str

    def __new__(
        mcs, cls_name: str, bases: tuple[type, ...], namespace: dict[str, Any], **fields: Any
    ) -> DType:
        if not fields:
            raise TypeError(f"{bases[0].__name__} has no subclasses; make it a field of {cls_name}")
        return super().__new__(mcs, cls_name, bases, namespace)

    def __init__(
        cls,
        cls_name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        *,
        kind: Kind,
        bits: int,
        numpy: str,
        name: str | None = None,
    ) -> None:
        super().__init__(cls_name, bases, namespace)
        cls.name = name or cls_name
        cls.kind = kind
        cls.bits = bits
        cls.itemsize = bits // 8
        cls._numpy = numpy
        if kind != "record":
            cls.__doc__ = _DESCRIPTION.format(name=cls_name, what=_KINDS[kind], bits=bits, numpy=numpy)

    def __dir__(cls) -> list[str]:
        # what one may use of a dtype; the methods of int and float, whose subclasses dtypes are for type checkers, are none of it
        return list(super().__dir__()) if cls.kind == "record" else list(_PUBLIC)

    @property
    def numpy(cls) -> np.dtype[Any]:
        """The NumPy dtype of the same layout.

        Raises
        ------
        gpucore.NotSupportedError
            For ``bf16`` where the package ``ml_dtypes`` is not installed.
        """
        if cls._numpy != "bfloat16":
            return np.dtype(cls._numpy)
        try:
            import ml_dtypes
        except ImportError:
            from gpucore.errors import NotSupportedError

            raise NotSupportedError(
                "bf16 arrays on the host need the package ml_dtypes; install it with: pip install ml_dtypes",
                capability="ml_dtypes",
            ) from None
        found: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return found

    @property
    def dtype(cls) -> np.dtype[Any]:
        """The NumPy dtype, under the name by which NumPy asks: ``np.dtype(gc.f32)`` and ``np.zeros(3, gc.f32)`` work."""
        return cls.numpy

    def __eq__(cls, other: object) -> bool:
        """Whether ``other`` names this dtype: a dtype of gpucore or NumPy, a NumPy scalar type, or a name of either."""
        if other is cls:
            return True
        if isinstance(other, str):
            # full names alone: words such as "float", which NumPy takes for float64, name kinds as well
            return other in (cls.name, cls._numpy)
        if isinstance(other, np.dtype) or (isinstance(other, type) and issubclass(other, np.generic)):
            try:
                return as_dtype(other) is cls
            except TypeError:
                return False
        return NotImplemented

    # the hash of a class; those of names and of NumPy's dtypes are others
    __hash__ = type.__hash__

    @property
    def is_float(cls) -> bool:
        """Whether the dtype is one of f16, bf16, f32, f64."""
        return cls.kind == "float"

    @property
    def is_integer(cls) -> bool:
        """Whether the dtype is an integer, signed or not (``bool`` is not)."""
        return cls.kind in ("int", "uint")

    @property
    def is_signed(cls) -> bool:
        """Whether the dtype is a signed integer."""
        return cls.kind == "int"

    def __call__(cls, value: Any = 0) -> Any:
        """On the host: the NumPy scalar of this dtype; inside a kernel: a cast."""
        return cls.numpy.type(value)

    def __repr__(cls) -> str:
        return f"gpucore.{cls.__name__}"

    def __str__(cls) -> str:
        return cls.name

    def __reduce__(cls) -> tuple[Any, ...]:
        return (dtype, (cls.name,))


class bool_(int, metaclass=DType, kind="bool", bits=8, numpy="bool", name="bool"): ...


class i8(int, metaclass=DType, kind="int", bits=8, numpy="int8"): ...


class i16(int, metaclass=DType, kind="int", bits=16, numpy="int16"): ...


class i32(int, metaclass=DType, kind="int", bits=32, numpy="int32"): ...


class i64(int, metaclass=DType, kind="int", bits=64, numpy="int64"): ...


class u8(int, metaclass=DType, kind="uint", bits=8, numpy="uint8"): ...


class u16(int, metaclass=DType, kind="uint", bits=16, numpy="uint16"): ...


class u32(int, metaclass=DType, kind="uint", bits=32, numpy="uint32"): ...


class u64(int, metaclass=DType, kind="uint", bits=64, numpy="uint64"): ...


class f16(float, metaclass=DType, kind="float", bits=16, numpy="float16"): ...


class bf16(float, metaclass=DType, kind="float", bits=16, numpy="bfloat16"): ...


class f32(float, metaclass=DType, kind="float", bits=32, numpy="float32"): ...


class f64(float, metaclass=DType, kind="float", bits=64, numpy="float64"): ...


class index(int, metaclass=DType, kind="int", bits=64, numpy="int64"): ...


ALL: tuple[DType, ...] = (bool_, i8, i16, i32, i64, u8, u16, u32, u64, f16, bf16, f32, f64, index)
_BY_NAME: dict[str, DType] = {d.name: d for d in ALL}


def dtype(name: str) -> DType:
    """The dtype of that name (``"f32"``, ``"bool"``).

    Raises
    ------
    KeyError
        When there is none.
    """
    return _BY_NAME[name]


def from_numpy(numpy_dtype: np.dtype[Any]) -> DType | None:
    """The dtype with the layout of a NumPy dtype (native byte order), or None where there is none."""
    usual = _USUAL.get(numpy_dtype)  # a dtype's name takes NumPy ten calls to make
    if usual is not None:
        return usual
    if numpy_dtype.name == "bfloat16":
        return bf16
    if not numpy_dtype.isnative:
        return None
    if numpy_dtype.kind == "c":
        from gpucore.ir.records import complex64, complex128

        return (
            complex64 if numpy_dtype == np.complex64 else complex128 if numpy_dtype == np.complex128 else None
        )
    return _FROM_NUMPY.get(numpy_dtype.str[1:])


_FROM_NUMPY: dict[str, DType] = {
    np.dtype(d._numpy).str[1:]: d for d in ALL if d is not index and d is not bf16
}
_USUAL: dict[np.dtype[Any], DType] = {np.dtype(d._numpy): d for d in _FROM_NUMPY.values()}
DTypeLike: TypeAlias = DType | type[Any] | np.dtype[Any] | str
"""What a dtype argument takes: a dtype of gpucore or NumPy, a scalar type, or a name of either."""


def as_dtype(dtype: Any) -> DType:
    """The element type that is meant.

    Parameters
    ----------
    dtype : DType, numpy.dtype, type or str
        A name is gpucore's first: ``"i8"`` is the integer of 8 bits, which NumPy calls ``"int8"`` and ``"b"``.

    Raises
    ------
    TypeError
        For what is no element type; ``None``, which NumPy takes for ``float64``, is none.
    """
    if isinstance(dtype, DType):
        if dtype is index:
            raise TypeError("index is the type of ids and extents; arrays hold i64 or i32")
        return dtype
    if dtype is bool:
        return bool_
    if isinstance(dtype, str) and dtype in _BY_NAME:
        return as_dtype(_BY_NAME[dtype])
    if dtype is None:
        raise TypeError("None is no element type; write one of gpucore's, such as gpucore.f32")
    if dtype == "bfloat16":
        return bf16
    if type(dtype) is int:
        raise TypeError(
            f"{dtype} is no element type; write a shape of several axes as one tuple, such as (2, 3)"
        )
    try:
        found = from_numpy(np.dtype(dtype))
    except TypeError:
        found = None
    if found is None:
        raise TypeError(f"{dtype!r} is no element type; use one of gpucore's, such as gpucore.f32")
    return found


def integer_range(dtype: DType) -> tuple[int, int]:
    """The least and the largest value of an integer dtype."""
    if dtype.kind == "uint":
        return 0, 2**dtype.bits - 1
    return -(2 ** (dtype.bits - 1)), 2 ** (dtype.bits - 1) - 1
