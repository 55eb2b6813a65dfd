"""Types of the language: what a kernel is specialised for, how types join; captured constants."""

from __future__ import annotations

import ast
import dataclasses
import enum
import types
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args, get_origin

import numpy as np

from gpucore.errors import NotSupportedError
from gpucore.ir.dtypes import (
    DType,
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
)
from gpucore.ir.nodes import MOST_AXES, Layout
from gpucore.ir.records import RecordType, leaf_dtypes

if TYPE_CHECKING:
    from gpucore.lang.diagnostics import Source


__all__ = [
    "MISSING",
    "REQUIRED",
    "ArgumentType",
    "ArrayType",
    "ConstValue",
    "FloatRule",
    "Parameter",
    "ScalarType",
    "Type",
    "Weak",
    "constants_in",
    "float_rule",
    "holds_constants",
    "is_frozen_dataclass",
    "is_library",
    "join",
    "member",
    "parameter_of",
    "strong",
    "vars_of_closure",
]


@dataclass(frozen=True, slots=True)
class ArrayType:
    """An array argument."""

    dtype: DType
    rank: int = 1
    layout: Layout = "contiguous"


@dataclass(frozen=True, slots=True)
class ScalarType:
    """A scalar argument."""

    dtype: DType


def exact(value: Any) -> Any:
    """What two compile-time values share that compile to the same code: 1, 1.0 and True do not, nor 0.0 and -0.0."""
    kind = type(value)
    if isinstance(value, tuple):
        return kind, *map(exact, value)
    return (kind, float(value).hex()) if isinstance(value, float) else (kind, value)


@dataclass(frozen=True, slots=True, eq=False)
class ConstValue:
    """A constexpr argument; equal to another one of the same class and value."""

    value: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ConstValue) and exact(self.value) == exact(other.value)

    def __hash__(self) -> int:
        return hash(exact(self.value))


ArgumentType: TypeAlias = ArrayType | ScalarType | ConstValue


class Required(enum.Enum):
    """The default of a parameter without one."""

    REQUIRED = "required"


REQUIRED = Required.REQUIRED


@dataclass(frozen=True, slots=True)
class Parameter:
    """A kernel's parameter as its annotation says; None where the call decides.

    Attributes
    ----------
    default : object
        What a call without an argument passes; ``REQUIRED`` where it may not be left out.
    keyword_only : bool
        Whether its argument is given by name.
    strided : bool
        Whether it takes views of any strides.
    """

    name: str
    kind: Literal["array", "scalar", "constexpr", "any"]
    dtype: DType | None = None
    rank: int | None = None
    default: Any = REQUIRED
    keyword_only: bool = False
    strided: bool = False

    def __str__(self) -> str:
        """As an annotation is written, for example ``x: Array2[f32]``."""
        element = "" if self.dtype is None else f"[{self.dtype}]"
        kind = {
            "array": f"{'Strided' if self.strided else 'Array'}{self.rank or ''}{element}",
            "scalar": str(self.dtype or ""),
            "constexpr": "constexpr",
            "any": "",
        }[self.kind]
        text = f"{self.name}: {kind}" if kind else self.name
        if self.default is REQUIRED:
            return text
        return f"{text} = {self.default!r}" if kind else f"{text}={self.default!r}"


@dataclass(frozen=True, slots=True)
class FloatRule:
    """What the float literals of a specialisation become where they meet no float.

    Attributes
    ----------
    default : DType
        f64 where the floats among the arrays and the annotated parameters are one at least and all f64, else f32.
    mixed : bool
        Whether some of them are f64 and some are not: then a literal that f32 rounds may not be widened to f64.
    """

    default: DType = f32
    mixed: bool = False


def float_rule(parameters: Sequence[Parameter], arguments: Sequence[ArgumentType]) -> FloatRule:
    """The rule for a kernel's parameters and the types of their arguments.

    Arguments of parameters without annotation count where they are arrays: a number there takes the default instead.
    """
    floats = {
        dtype
        for parameter, argument in zip(parameters, arguments, strict=True)
        if not isinstance(argument, ConstValue)
        and (isinstance(argument, ArrayType) or parameter.kind == "scalar")
        for dtype in _scalars(argument.dtype)
        if dtype.is_float
    }
    return FloatRule(f64 if floats == {f64} else f32, f64 in floats and len(floats) > 1)


def _scalars(dtype: DType) -> tuple[DType, ...]:
    """The dtype itself, or those of a record's scalars."""
    return leaf_dtypes(dtype) if isinstance(dtype, RecordType) else (dtype,)


class Weak(enum.Enum):
    """The type of a Python literal, which takes the type of what it meets.

    No string: a dtype equals the names that NumPy has for it, ``"int"`` among them.
    """

    INT = "int"
    FLOAT = "float"

    def __str__(self) -> str:
        return self.value


Type: TypeAlias = "DType | Weak"

_SIGNED = (i8, i16, i32, i64)
_UNSIGNED = (u8, u16, u32, u64)
_FLOATS = (f16, bf16, f32, f64)


def join(a: Type, b: Type, default: DType = f32) -> Type | None:
    """The least type above both on the promotion lattice of JAX, or None where there is none (u64 with signed).

    ``default`` is what a float literal is beside an integer.
    """
    if a is b:
        return a
    if isinstance(a, Weak) or isinstance(b, Weak):
        return _join_weak(a, b, default)
    if a is bool_:
        return b
    if b is bool_:
        return a
    if a.is_float and b.is_float:
        return f64 if f64 in (a, b) else f32
    if a.is_float or b.is_float:
        return a if a.is_float else b
    return _join_integers(a, b)


def _join_weak(a: Type, b: Type, default: DType) -> Type | None:
    if isinstance(a, Weak) and isinstance(b, Weak):
        return Weak.FLOAT
    weak, strong = (a, b) if isinstance(a, Weak) else (b, a)
    assert isinstance(strong, DType)
    if strong is bool_:
        return weak
    if weak is Weak.INT or strong.is_float:
        return strong
    return default


def _join_integers(a: DType, b: DType) -> DType | None:
    if index in (a, b):
        return None if u64 in (a, b) else index
    if a.kind == b.kind:
        return a if a.bits > b.bits else b
    signed, unsigned = (a, b) if a.is_signed else (b, a)
    if unsigned is u64:
        return None
    needed = max(signed.bits, unsigned.bits * 2)
    return next(d for d in _SIGNED if d.bits == needed)


def strong(t: Type, default: DType = f32) -> DType:
    """The dtype of a value that met nothing: weak integers are i32, weak floats the default."""
    if not isinstance(t, Weak):
        return t
    return i32 if t is Weak.INT else default


def parameter_of(node: ast.arg, annotation: Any, source: Source) -> Parameter:
    """The parameter that an annotation says."""
    from gpucore.lang.builtins import constexpr

    name = node.arg
    if annotation is constexpr or get_origin(annotation) is constexpr:
        return Parameter(name, "constexpr")
    if isinstance(annotation, DType):
        return Parameter(name, "scalar", annotation)
    if annotation is bool:
        return Parameter(name, "scalar", bool_)
    origin = get_origin(annotation)
    if getattr(annotation, "__gpucore_array__", False) and origin is None:
        return Parameter(name, "array", strided=getattr(annotation, "__gpucore_strided__", False))
    if getattr(origin, "__gpucore_array__", False):
        dtype, rank = _array_arguments(node, source, get_args(annotation))
        return Parameter(name, "array", dtype, rank, strided=getattr(origin, "__gpucore_strided__", False))
    if annotation in (int, float):
        dtypes = "gc.i32 or gc.i64" if annotation is int else "gc.f32 or gc.f64"
        source.type_error(node, f"{annotation.__name__} says too little: a kernel's scalar has a width",
                         f"Write {name}: {dtypes}.")  # fmt: skip
    source.type_error(
        node,
        f"{getattr(annotation, '__name__', annotation)!r} is no type of the kernel language",
        "Write gc.Array[gc.f32], gc.Array[gc.f32, 2], a dtype such as gc.f32, or gc.constexpr.",
    )


def _array_arguments(node: ast.arg, source: Source, arguments: tuple[Any, ...]) -> tuple[DType | None, int]:
    dtype, rank = arguments[0], arguments[1] if len(arguments) > 1 else 1
    if get_args(rank):
        (rank,) = get_args(rank)
    if dtype is bool:
        dtype = bool_
    if not isinstance(dtype, DType):
        source.type_error(
            node, f"an array's first parameter is a dtype, not {dtype!r}", "Write gc.Array[gc.f32]."
        )
    if not isinstance(rank, int) or not 1 <= rank <= MOST_AXES or len(arguments) > 2:
        source.type_error(node, f"an array has 1 to {MOST_AXES} axes", "Write gc.Array[gc.f32, 2].")
    return dtype, rank


MISSING = object()
"""Stands for a name that has no value, or none yet."""


def holds_constants(value: Any) -> bool:
    """Whether the attributes of a captured object are constants in a kernel."""
    plain = isinstance(value, (types.ModuleType, types.SimpleNamespace, type, enum.Enum))
    return plain or is_frozen_dataclass(value) or isinstance(getattr(value, "_fields", None), tuple)


def is_frozen_dataclass(value: Any) -> bool:
    """Whether an object is of a dataclass that is frozen."""
    parameters = getattr(type(value), "__dataclass_params__", None)
    return parameters is not None and bool(parameters.frozen)


def constants_in(value: Any) -> Any:
    """A hashable image of a constant: equal where it compiles to the same code."""
    if is_frozen_dataclass(value):
        fields = (getattr(value, f.name, MISSING) for f in dataclasses.fields(value))
        return type(value), *map(constants_in, fields)
    if isinstance(value, enum.Enum):
        return type(value), value.name, constants_in(value.value)
    if isinstance(value, tuple):
        return type(value), *map(constants_in, value)
    # by the bits: classes of one's own, and ml_dtypes' scalars, may print alike what differs
    if isinstance(value, np.generic):
        return type(value), value.tobytes()
    if isinstance(value, np.ndarray):
        return type(value), value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, int):
        return type(value), int.__int__(value)
    if isinstance(value, float):
        return type(value), float.hex(value)
    if isinstance(value, str):
        return type(value), str.__str__(value)
    return type(value), value if isinstance(value, Hashable) and callable(value) else repr(value)


def is_library(holder: Any) -> bool:
    """Whether it is a module of a library whose names mean the same in every kernel."""
    if not isinstance(holder, types.ModuleType):
        return False
    return holder.__name__.partition(".")[0] in ("gpucore", "math", "numpy", "builtins")


def member(value: Any, name: str) -> Any:
    """An attribute of a captured object; MISSING where there is none, or none yet."""
    try:
        return getattr(value, name, MISSING)
    except NotSupportedError:
        return MISSING


def vars_of_closure(function: types.FunctionType) -> dict[str, Any]:
    """The closure's cells that hold something."""
    result = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            result[name] = cell.cell_contents
        except ValueError:
            continue
    return result
