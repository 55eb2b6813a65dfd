"""Launches on the host's data: by the interpreter, or on any device with the copies that it takes."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gpucore._suggestions import did_you_mean
from gpucore.errors import LaunchError
from gpucore.ir.records import RecordType
from gpucore.lang.types import REQUIRED, ArgumentType, ArrayType, Parameter, ScalarType
from gpucore.launch.arguments import RecordConverter, converter, example_type, with_default_float
from gpucore.runtime.array import Array

if TYPE_CHECKING:
    from gpucore.launch.configured import ConfiguredKernel
    from gpucore.runtime.context import Context

__all__ = ["interpret_configured", "run_on_ndarrays"]


def interpret_configured(
    configured: ConfiguredKernel[Any], args: tuple[Any, ...], *, subgroup_size: int, detect_races: bool
) -> frozenset[str]:
    """Interpret a launch on ndarrays and Arrays, in place; the names of the arrays that the kernel writes.

    Arrays are copied to the host, and those that the kernel writes are copied back.

    Raises
    ------
    LaunchError
        Where an argument does not fit, or the kernel is native code.
    """
    kernel = configured.kernel
    # an Array that is given twice is one memory for the kernel too
    hosts: dict[int, npt.NDArray[Any]] = {id(arg): arg.numpy() for arg in args if isinstance(arg, Array)}
    grid, block = configured.grid, configured.block
    if configured.shape is not None:
        # a range launch promises nothing about blocks: each thread is one of its own
        grid, block = configured.shape, (1,) * len(configured.shape)
    written = kernel._language().interpret(
        kernel,
        grid,
        block,
        tuple(hosts.get(id(arg), arg) for arg in args),
        subgroup_size=subgroup_size,
        detect_races=detect_races,
        shape=configured.shape,
    )
    for parameter, arg in zip(kernel.parameters, args, strict=True):
        if isinstance(arg, Array) and parameter.name in written:
            arg.copy_from(hosts[id(arg)])
    return written


def run_on_ndarrays(
    configured: ConfiguredKernel[Any], on: str, arguments: Mapping[str, Any]
) -> dict[str, npt.NDArray[Any]]:
    """Copy the arguments to a device, launch there, and copy back what the kernel wrote.

    Raises
    ------
    LaunchError
        Where an argument is missing, unknown or does not fit.
    """
    kernel = configured.kernel
    args = tuple(
        arg.numpy() if isinstance(arg, Array) else arg for arg in _in_order(configured, on, arguments)
    )
    examples = [
        _checked(parameter, arg, who=f"{kernel.__name__}: the argument {parameter.name!r}")
        for parameter, arg in zip(kernel.parameters, args, strict=True)
    ]
    if on == "interpret":
        copies = tuple(np.array(arg) if isinstance(arg, np.ndarray) else arg for arg in args)
        written = interpret_configured(configured, copies, subgroup_size=32, detect_races=True)
        return _results(kernel.parameters, copies, written)
    from gpucore.runtime.context import Context

    types = with_default_float(kernel.parameters, args, examples)
    with Context(on) as context:
        on_device = tuple(
            _on_device(context, arg, type_) if isinstance(type_, ArrayType) else arg
            for arg, type_ in zip(args, types, strict=True)
        )
        kernel._on_stream(configured, context.default_stream)(*on_device)
        specialization = kernel.kernel_source.specialize(
            types, configured.kind.ndim, kernel.math or context.math, context.device._target
        )
        return _results(kernel.parameters, on_device, specialization.written)


def _checked(parameter: Parameter, value: Any, who: str) -> ArgumentType:
    """The type of an argument; scalars are held against the annotation, as a launch holds them."""
    found = example_type(parameter, value, who)
    if isinstance(found, ScalarType) and isinstance(parameter.dtype, RecordType):
        RecordConverter(parameter.dtype, who)(value)
    elif isinstance(found, ScalarType) and parameter.dtype is not None:
        converter(parameter.dtype, who)(value)
    return found


def _on_device(context: Context, array: npt.NDArray[Any], type_: ArrayType) -> Array[Any]:
    return context.array(array, type_.dtype) if isinstance(type_.dtype, RecordType) else context.array(array)


def _results(
    parameters: Sequence[Parameter], values: Sequence[Any], written: frozenset[str]
) -> dict[str, npt.NDArray[Any]]:
    return {
        parameter.name: value.numpy() if isinstance(value, Array) else value
        for parameter, value in zip(parameters, values, strict=True)
        if parameter.name in written
    }


def _in_order(configured: ConfiguredKernel[Any], on: str, arguments: Mapping[str, Any]) -> tuple[Any, ...]:
    """The arguments and defaults in the order of the parameters, or an error that names each one that is wrong."""
    kernel = configured.kernel
    if not isinstance(on, str):
        raise LaunchError(f"{kernel.__name__}.run: on is 'interpret' or a backend selector, not {on!r}")
    if on != "interpret" and difflib.get_close_matches(on, ["interpret"], cutoff=0.8):
        raise LaunchError(f"{kernel.__name__}.run: on={on!r} is no device; did you mean 'interpret'?")
    names = [parameter.name for parameter in kernel.parameters]
    missing = [p.name for p in kernel.parameters if p.name not in arguments and p.default is REQUIRED]
    for name in arguments:
        if name not in names:
            raise LaunchError(
                f"{kernel.__name__} has no parameter {name!r}{did_you_mean(name, missing or names)}; "
                f"it takes {', '.join(names)}"
            )
    if missing:
        example = ", ".join(f"{name}=..." for name in names)
        raise LaunchError(
            f"{kernel.__name__}: missing arguments: {', '.join(missing)}; write .run(on={on!r}, {example})"
        )
    return kernel.arrange((), dict(arguments))
