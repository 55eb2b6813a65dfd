"""The types that examples stand for: a kernel is compiled or interpreted for them without a launch."""

from __future__ import annotations

import types
from typing import Any

import numpy as np
import numpy.typing as npt

from gpucore.errors import LaunchError, NotSupportedError
from gpucore.ir import nodes
from gpucore.ir.dtypes import DType, from_numpy
from gpucore.ir.records import RecordType
from gpucore.lang.diagnostics import plural
from gpucore.lang.types import ArgumentType, ArrayType, Parameter, ScalarType
from gpucore.launch.record_arguments import host_record
from gpucore.launch.scalar_arguments import article, constant, scalar_class
from gpucore.runtime.array import Array
from gpucore.runtime.geometry import layout_of

__all__ = ["example_type"]


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
