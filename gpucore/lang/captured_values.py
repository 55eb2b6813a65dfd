"""What a kernel captures: the values of its globals and closure, as constants that are compared and hashed."""

from __future__ import annotations

import dataclasses
import enum
import types
from collections.abc import Hashable
from typing import Any

import numpy as np

from gpucore.errors import NotSupportedError

__all__ = [
    "MISSING",
    "constants_in",
    "holds_constants",
    "is_frozen_dataclass",
    "is_library",
    "member",
    "vars_of_closure",
]

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
