"""``@gc.struct``: a class whose annotations are the fields of a record."""

from __future__ import annotations

import sys
from typing import Any

from gpucore.errors import KernelTypeError
from gpucore.ir.dtypes import DType, bool_, index
from gpucore.ir.records import RecordType, struct_type
from gpucore.lang.capture import DeviceFunction

__all__ = ["struct"]


def struct(cls: type) -> RecordType:
    """Make a class the type of structs whose fields its annotations name.

    In kernels ``P(pos, mass=1.0)`` makes one, ``p.pos`` reads a field, and functions in the class marked ``@gc.func`` are its
    methods. It is a dtype: of arrays, ``ctx.empty(n, P)``, of parameters, and of fields of other structs. Its layout is NumPy's
    with ``align=True``, which is C's: ``P.numpy``.

    Raises
    ------
    KernelTypeError
        Where a field is no dtype, or there is none.

    Examples
    --------
    >>> import gpucore as gc
    >>> @gc.struct
    ... class Particle:
    ...     pos: gc.vec3[gc.f32]
    ...     mass: gc.f32
    >>> Particle.itemsize
    16
    """
    name = cls.__qualname__
    if not isinstance(cls, type) or isinstance(cls, DType):
        raise KernelTypeError(f"gc.struct decorates a class, not {cls!r}")
    scope = sys._getframe(1).f_locals
    parts: dict[str, DType] = {}
    for field, annotation in getattr(cls, "__annotations__", {}).items():
        parts[field] = _dtype(cls, field, annotation, scope)
    if not parts:
        raise KernelTypeError(f"{name} has no fields; write them as annotations: mass: gc.f32")
    methods: dict[str, Any] = {}
    for member, value in vars(cls).items():
        if isinstance(value, DeviceFunction):
            methods[member] = value
        elif member in parts:
            raise KernelTypeError(f"the field {name}.{member} has a default; a struct's fields have none")
        elif callable(value) and not member.startswith("__"):
            raise KernelTypeError(f"{name}.{member} is a Python function; put @gc.func above it")
    return struct_type(name, cls.__module__, parts, methods)


def _dtype(cls: type, field: str, annotation: Any, scope: dict[str, Any]) -> DType:
    if isinstance(annotation, str):
        try:
            annotation = eval(annotation, vars(sys.modules[cls.__module__]), scope)
        except Exception as error:  # noqa: BLE001 - whatever the annotation raises is the user's to see
            raise KernelTypeError(
                f"the annotation {annotation!r} of {cls.__qualname__}.{field} cannot be resolved: {error}"
            ) from None
    if annotation is bool:
        return bool_
    if not isinstance(annotation, DType) or annotation is index:
        shown = getattr(annotation, "__name__", annotation)
        raise KernelTypeError(
            f"the field {cls.__qualname__}.{field} is a dtype, a vector or a struct, not {shown!r}; write gc.f32, "
            "gc.vec3[gc.f32] or another struct"
        )
    return annotation
