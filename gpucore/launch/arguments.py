"""Arguments of launches: which numbers fit which dtype, vectors and structs as scalars, the types that examples stand for."""

from __future__ import annotations

import dataclasses
import functools
import math
import types
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gpucore.errors import LaunchError, NotSupportedError
from gpucore.ir import nodes
from gpucore.ir.dtypes import DType, as_dtype, bool_, f32, f64, from_numpy, i32, i64, integer_range, u64
from gpucore.ir.records import RecordType, array_name, complex_of, is_of_records, leaf_dtypes
from gpucore.ir.rounding import bf16_bits, bf16_value, f16_bits, f16_value, to_odd
from gpucore.lang.capture import GivenFunction, given
from gpucore.lang.diagnostics import article, plural
from gpucore.lang.types import ArgumentType, ArrayType, ConstValue, Parameter, ScalarType, exact, float_rule
from gpucore.runtime.array import Array
from gpucore.runtime.geometry import layout_of
from gpucore.runtime.graph_nodes import GraphBool
from gpucore.runtime.host_numbers import shortened

if TYPE_CHECKING:
    from gpucore.ir.bounds.polynomials import HostTerm

__all__ = [
    "Converter",
    "RecordConverter",
    "component_views",
    "constant",
    "converter",
    "example_type",
    "host_record",
    "pack_half",
    "reads_of",
    "same_value",
    "scalar_class",
    "with_default_float",
]


_LARGEST = {
    "f16": 65504.0,
    "bf16": float.fromhex("0x1.fep127"),
    "f32": float.fromhex("0x1.fffffep127"),
    "f64": math.inf,
}


class Converter:
    """Turns an argument into the Python number that a slot holds.

    Attributes
    ----------
    low, high : int | float | None
        A Python number of the dtype's own class between these needs no conversion.
    """

    __slots__ = ("_dtype", "_who", "high", "low")

    def __init__(self, dtype: DType, who: str) -> None:
        self._dtype = dtype
        self._who = who
        self.low: int | float | None = None
        self.high: int | float | None = None
        if dtype.is_integer:
            self.low, self.high = integer_range(dtype)
        elif dtype.is_float and dtype is not f64:
            self.high = _LARGEST[dtype.name]
            self.low = -self.high

    def __call__(self, value: Any) -> int | float | bool:
        dtype = self._dtype
        if isinstance(value, np.ndarray) and value.ndim == 0:
            value = value[()]
        if isinstance(value, np.generic) or type(value).__module__ == "ml_dtypes":
            value = float(value) if _is_half(value) else value.item()
        if dtype is bool_:
            if isinstance(value, (bool, GraphBool)):
                return bool(value)
        elif dtype.is_integer:
            if isinstance(value, int):
                return self._integer(value)
        elif isinstance(value, (float, int)):
            return self._float(value)
        if hasattr(value, "__gpucore_array__"):
            raise LaunchError(f"{self._who} is {article(dtype)}, but an array was given")
        raise LaunchError(
            f"{self._who} is {article(dtype)}, which {value!r} of type {type(value).__name__} is not{_instead(value, dtype)}"
        )

    def _integer(self, value: int) -> int:
        assert self.low is not None
        assert self.high is not None
        if not self.low <= value <= self.high:
            raise LaunchError(f"{self._who} is {article(self._dtype)}, and {shortened(value)} does not fit")
        return int(value)

    def _float(self, value: float | int) -> float:
        try:
            # what packs it rounds to the dtype: together once
            number = float(value) if self._dtype is f64 else to_odd(value)
        except OverflowError:
            number = math.inf
            fits = False
        else:
            fits = self.high is None or not math.isfinite(number) or abs(number) <= self.high
        if not fits:
            raise LaunchError(f"{self._who} is {article(self._dtype)}, and {shortened(value)} does not fit")
        return number


def _instead(value: Any, dtype: DType) -> str:
    if dtype.is_integer and isinstance(value, (float, bool)):
        return f"; write int({value!r})"
    if dtype is bool_ and isinstance(value, (int, float)):
        return f"; write bool({value!r})"
    return ""


def _is_half(value: Any) -> bool:
    return value.dtype.name in ("float16", "bfloat16")


@functools.lru_cache(maxsize=4096)
def converter(dtype: DType, who: str) -> Converter:
    """The converter of an argument; ``who`` begins its errors."""
    return Converter(dtype, who)


def scalar_class(value: Any, who: str, default: DType = f32) -> DType:
    """The dtype that an argument of a parameter without one gets; ``default`` is a Python float's."""
    if isinstance(value, (np.generic, np.ndarray)):
        found = from_numpy(value.dtype) if value.ndim == 0 else None
        if found is not None:
            return found
    elif isinstance(value, (bool, GraphBool)):
        return bool_
    elif isinstance(value, int):
        for dtype in (i32, i64, u64):
            low, high = integer_range(dtype)
            if low <= value <= high:
                return dtype
        raise LaunchError(f"{who} is {shortened(value)}, which fits no integer type")
    elif isinstance(value, float):
        return default
    elif isinstance(value, complex):
        return complex_of(default)
    what = f"{who} is an Array or a number, not {type(value).__name__}"
    if isinstance(value, (list, tuple)) or dataclasses.is_dataclass(value):
        what += (
            "; pass ctx.array(...), or annotate it: a class under gc.struct, gc.vec2[gc.f32], gc.constexpr"
        )
    raise LaunchError(what)


def with_default_float(
    parameters: Sequence[Parameter], values: Sequence[Any], types: Sequence[ArgumentType]
) -> tuple[ArgumentType, ...]:
    """The types with the default float for each Python float whose parameter has no annotation."""
    default = float_rule(parameters, types).default
    if default is f32:
        return tuple(types)
    return tuple(
        ScalarType(default)
        if parameter.kind == "any" and isinstance(value, float) and not isinstance(value, np.generic)
        else type_
        for parameter, value, type_ in zip(parameters, values, types, strict=True)
    )


def constant(value: Any, who: str) -> ConstValue:
    """A compile-time argument.

    Raises
    ------
    LaunchError
        When it cannot be looked up: a list, an ndarray.
    """
    result = ConstValue(given(value))
    try:
        hash(result)
    except TypeError:
        hint = "pass tuple([...])" if isinstance(value, list) else "pass a tuple of numbers"
        raise LaunchError(
            f"{who} is a compile-time value: a number, a bool, a string, a dtype, a function or a tuple of these, not "
            f"{type(value).__name__}; {hint}"
        ) from None
    return result


def same_value(now: Any, then: Any) -> bool:
    """Whether a constant that is another object now would compile to the same code."""
    kinds = int, float, str, tuple, GivenFunction
    return isinstance(then, kinds) and bool(exact(given(now)) == exact(then))


def pack_half(dtype: DType, lowered: str) -> Callable[[float], float | int]:
    """Round a number once to f16 or bf16, as the compiled kernel takes it: a float, or 16 bits as an integer.

    Parameters
    ----------
    lowered : str
        The dtype of the parameter after lowering: ``"u16"`` for bits, else a float that holds the half.
    """
    bits, value_of = (f16_bits, f16_value) if dtype.name == "f16" else (bf16_bits, bf16_value)
    if lowered == "u16":
        return bits
    return lambda value: value_of(bits(value))


class RecordConverter:
    """Turns an argument into the scalars of a record, in order: the Python numbers that its slots hold."""

    def __init__(self, record: RecordType, who: str) -> None:
        self._record = record
        self._who = who

    def __call__(self, value: Any) -> tuple[int | float | bool, ...]:
        found: list[int | float | bool] = []
        self._collect(self._record, value, self._who, found)
        return tuple(found)

    def _collect(self, dtype: DType, value: Any, who: str, found: list[int | float | bool]) -> None:
        if who is not self._who and hasattr(value, "graph_name"):
            raise LaunchError(
                f"{who} would not change with {value.graph_name!r} of the graph; make it a parameter of its own"
            )
        if not isinstance(dtype, RecordType):
            found.append(converter(dtype, who)(value))
            return
        for field, part in zip(dtype.fields, self._parts(dtype, value, who), strict=True):
            self._collect(field.dtype, part, f"{who}, its field {field.name!r},", found)

    def _parts(self, record: RecordType, value: Any, who: str) -> list[Any]:
        names = [field.name for field in record.fields]
        if record.record == "complex":
            if isinstance(value, (complex, float, int, np.number)) and not isinstance(value, bool):
                number = complex(value)
                return [number.real, number.imag]
            raise LaunchError(f"{who} is a {record}, which {value!r} of type {type(value).__name__} is not")
        if isinstance(value, np.void) and value.dtype.names is not None:
            value = {name: value[name] for name in value.dtype.names}
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        elif hasattr(value, "_asdict"):
            value = value._asdict()
        if isinstance(value, Mapping):
            if set(value) != set(names):
                raise LaunchError(
                    f"{who} is a {record} with the fields {', '.join(names)}, not {', '.join(map(str, value))}"
                )
            return [value[name] for name in names]
        if isinstance(value, (tuple, list)) or (isinstance(value, np.ndarray) and value.ndim == 1):
            if len(value) != len(names):
                raise LaunchError(f"{who} is a {record} of {len(names)} parts, and {len(value)} were given")
            return list(value)
        kind = "struct" if record.record == "struct" else "vector"
        raise LaunchError(
            f"{who} is a {kind} {record}, which {value!r} of type {type(value).__name__} is not; pass "
            f"{'a tuple, a mapping or a dataclass of its fields' if kind == 'struct' else 'a tuple'}"
        )


def host_record(record: RecordType, array: npt.NDArray[Any], who: str) -> int:
    """The number of axes that an ndarray has as an array of records.

    Raises
    ------
    LaunchError
        Where it holds something else.
    """
    if record.record == "vec":
        fits = (
            array.dtype == record.element.numpy and array.ndim > 0 and array.shape[-1] == len(record.fields)
        )
        if not fits:
            raise LaunchError(
                f"{who} holds {record}: an ndarray of {record.element.numpy} of shape (..., {len(record.fields)}), not of "
                f"{array.dtype} of shape {array.shape}"
            )
        return array.ndim - 1
    if array.dtype != record.numpy:
        raise LaunchError(
            f"{who} holds {record}, NumPy's dtype {record}.numpy, but the array holds {array.dtype}"
        )
    return array.ndim


def component_views(record: RecordType, array: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    """The ndarray as the kernel sees it: once for each dtype among the record's scalars, with an axis more."""
    if record.record == "vec":
        return [array]
    if array.ndim == 0:
        return [array for _ in leaf_dtypes(record)]  # refused with the array's name
    if not array.flags.c_contiguous:
        whole = np.lib.stride_tricks.as_strided(
            array, (*array.shape, 1), (*array.strides, array.itemsize), writeable=array.flags.writeable
        )
        return [whole.view(dtype.numpy) for dtype in leaf_dtypes(record)]
    octets = array.reshape(-1).view(np.uint8)
    views = []
    for dtype in leaf_dtypes(record):
        count = record.itemsize // dtype.itemsize
        views.append(octets.view(dtype.numpy).reshape(*array.shape, count))
    return views


def example_type(parameter: Parameter, value: Any, who: str | None = None) -> ArgumentType:
    """The type that an example stands for: an array, an ndarray, a number, or a type as in annotations."""
    who = who or f"the argument {parameter.name!r}"
    if parameter.kind == "constexpr":
        return constant(value, who)
    if isinstance(value, types.GenericAlias):
        dtype, *rank = value.__args__
        return ArrayType(dtype, rank[0] if rank else 1)
    if isinstance(value, DType):
        return ScalarType(value)
    if isinstance(value, Array) or (
        isinstance(value, np.ndarray) and (value.ndim or parameter.kind == "array")
    ):
        found = value.dtype if isinstance(value, Array) else from_numpy(value.dtype)
        if (
            isinstance(value, np.ndarray)
            and parameter.kind == "array"
            and isinstance(parameter.dtype, RecordType)
        ):
            axes = host_record(parameter.dtype, value, who)
            if parameter.rank not in (None, axes):
                raise LaunchError(f"{who} wants {plural(parameter.rank, 'axis')}, but the array has {axes}")
            return ArrayType(parameter.dtype, axes, layout_of_example(parameter, value))
        if isinstance(parameter.dtype, RecordType) and parameter.kind == "scalar":
            return ScalarType(parameter.dtype)  # a vector is given as an ndarray
        if found is None:
            raise NotSupportedError(
                f"{who} has NumPy's dtype {value.dtype}, which has no element type", capability="dtype"
            )
        if parameter.kind == "scalar":
            assert parameter.dtype is not None
            raise LaunchError(f"{who} is {article(parameter.dtype)}, but an array was given")
        if parameter.dtype not in (None, found):
            instead = (
                f"; write .astype(np.{parameter.dtype.numpy.name})"
                if isinstance(value, np.ndarray) and parameter.dtype.name != "bf16"
                else ""
            )
            raise LaunchError(f"{who} wants dtype {parameter.dtype}, but the array holds {found}{instead}")
        if parameter.rank not in (None, value.ndim):
            raise LaunchError(f"{who} wants {plural(parameter.rank, 'axis')}, but the array has {value.ndim}")
        return ArrayType(found, value.ndim, layout_of_example(parameter, value))
    if parameter.kind == "array":
        instead = (
            f"; write np.array(..., np.{parameter.dtype.numpy.name})"
            if isinstance(value, (list, tuple))
            and parameter.dtype is not None
            and parameter.dtype.name != "bf16"
            else ""
        )
        raise LaunchError(f"{who} is an array, not {type(value).__name__}{instead}")
    return ScalarType(parameter.dtype or scalar_class(value, who))


def layout_of_example(parameter: Parameter, value: Array[Any] | npt.NDArray[Any]) -> nodes.Layout:
    """How the kernel sees an example; views are refused later where the parameter takes none."""
    if not parameter.strided:
        return "contiguous"
    if isinstance(value, Array):
        return value._sig.layout
    return layout_of(value.shape, value.strides, value.itemsize)


def reads_of(
    terms: Sequence[HostTerm], parameters: Sequence[Parameter], args: Sequence[Any]
) -> tuple[int, ...]:
    """The extents and scalars among the arguments that conditions read."""
    by_name = {parameter.name: arg for parameter, arg in zip(parameters, args, strict=True)}
    record_of = {p.name: p.dtype for p in parameters if isinstance(p.dtype, RecordType)}
    for name, record in record_of.items():
        if isinstance(by_name[name], (Array, np.ndarray)):
            continue
        parts = RecordConverter(record, name)(by_name[name])
        by_name |= {".".join((name, *leaf.path)): x for leaf, x in zip(record.leaves, parts, strict=True)}
    found: list[int] = []
    for term in terms:
        if term.kind != "extent":
            found.append(int(by_name[term.name]))
            continue
        array = by_name[array_name(term.name)]
        shape = array.shape
        if is_of_records(term.name):
            kind = record_of.get(array_name(term.name)) or as_dtype(array.dtype)
            if isinstance(kind, RecordType) and kind.record == "vec" and isinstance(array, np.ndarray):
                shape = shape[:-1]
            shape = (*shape, kind.itemsize // as_dtype(term.name.rpartition(".")[2]).itemsize)
        found.append(int(shape[term.axis]))
    return tuple(found)
