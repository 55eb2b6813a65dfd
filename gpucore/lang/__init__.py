"""The kernel language: a typed subset of Python, compiled from the function's syntax tree to IR."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gpucore.lang.capture import Captured, DeviceFunction, capture, func
from gpucore.lang.types import ArgumentType, ArrayType, ConstValue, Parameter, ScalarType

if TYPE_CHECKING:
    from gpucore.lang.frontend import Traits, build, build_function, not_too_deep, portability, traits

__all__ = [
    "ArgumentType", "ArrayType", "Captured", "ConstValue", "DeviceFunction", "Parameter", "ScalarType", "Traits",
    "build", "build_function", "capture", "func", "not_too_deep", "portability", "traits",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    # compiling is not needed to decorate a kernel
    if name in ("Traits", "build", "build_function", "not_too_deep", "portability", "traits"):
        return getattr(importlib.import_module("gpucore.lang.frontend"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
