"""Where a kernel finds its arguments: one struct, pushed as constants or, when too large, read from a buffer.

The struct holds, naturally aligned and widest first, the device address of every array, the extents that
the kernel reads, and the scalars (those below 32 bits widened to a word).  The arguments of a launch become the
struct's bytes by gpucore's packer; the metadata of the compiled code is what the packer is made of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from gpucore.ir import DType, Extent, Memory, Module, Value, walk

__all__ = ["SPEC_LOCAL", "ArgumentLayout", "Field", "argument_layout", "native_layout"]

SPEC_LOCAL: Final = (0, 1, 2)
"""Specialisation constants: the local size of x, y, z."""

FieldKind = Literal["pointer", "extent", "scalar"]

_CODES = {
    "bool": "I", "i8": "i", "i16": "i", "i32": "i", "u8": "I", "u16": "I", "u32": "I", "i64": "q", "u64": "Q",
    "f32": "f", "f64": "d", "f16": "e", "bf16": "B",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Field:
    """One member of the argument struct.

    Attributes
    ----------
    parameter : int
        The number of the kernel's parameter that it is made from.
    code : str
        The member's ``struct`` format character.
    dtype : str
        Of a scalar.
    name : str
        The parameter's name, for readers.
    key : tuple[str, int]
        The parameter's name and axis (-1 save for extents).
    """

    kind: FieldKind
    parameter: int
    code: str
    dtype: str
    offset: int
    name: str
    key: tuple[str, int]
    size: int


@dataclass(frozen=True, slots=True)
class ArgumentLayout:
    """The members in order of offset, the struct's size, and for each parameter the rank of an array, None for a scalar."""

    fields: tuple[Field, ...]
    size: int
    ranks: tuple[int | None, ...]

    def metadata(self) -> dict[str, Any]:
        """What the packer is made of, as JSON types."""
        parts = {"pointer": "pointer", "scalar": "value"}
        return {
            "ranks": list(self.ranks),
            "fields": [
                [f.parameter, parts.get(f.kind, f.key[1]), f.code, f.dtype, f.offset] for f in self.fields
            ],
        }


def _ranks(parameters: Sequence[Memory | Value]) -> tuple[int | None, ...]:
    return tuple(parameter.rank if isinstance(parameter, Memory) else None for parameter in parameters)


def _extent_types(module: Module) -> dict[tuple[str, int], DType]:
    """The widest type in which each extent is read."""
    found: dict[tuple[str, int], DType] = {}
    for function in (module.kernel, *module.functions):
        for statement in walk(function.body):
            if isinstance(statement, Extent):
                key = (statement.memory.name, statement.axis)
                if key not in found or statement.result.dtype.bits > found[key].bits:
                    found[key] = statement.result.dtype
    return found


def argument_layout(module: Module) -> ArgumentLayout:
    """Lay out the arguments of a low-level module."""
    extents = _extent_types(module)
    raw: list[tuple[FieldKind, int, str, str, str, tuple[str, int], int]] = []
    for number, parameter in enumerate(module.kernel.params):
        if isinstance(parameter, Memory):
            raw.append(("pointer", number, "Q", "", parameter.name, (parameter.name, -1), 8))
            for axis in range(parameter.rank):
                dtype = extents.get((parameter.name, axis))
                if dtype is not None:
                    key = (parameter.name, axis)
                    code, size = _CODES[dtype.name], max(4, dtype.itemsize)
                    raw.append(("extent", number, code, "", f"{parameter.name}.shape{axis}", key, size))
        else:
            key, scalar = (parameter.name, -1), parameter.dtype
            code, size = _CODES[scalar.name], max(4, scalar.itemsize)
            raw.append(("scalar", number, code, scalar.name, parameter.name, key, size))
    raw.sort(key=lambda entry: -entry[-1])  # stable: widest first leaves no holes
    fields: list[Field] = []
    offset = 0
    for kind, number, code, dtype_name, name, key, size in raw:
        fields.append(Field(kind, number, code, dtype_name, offset, name, key, size))
        offset += size
    return ArgumentLayout(tuple(fields), offset, _ranks(module.kernel.params))


def native_layout(parameters: tuple[Memory | Value, ...]) -> ArgumentLayout:
    """The layout of a native kernel: pointers and scalars in order, each aligned to its own size, nothing
    widened."""
    codes = {"bool": "B", "i8": "b", "i16": "h", "u16": "H", "u8": "B", "f16": "e", "bf16": "H"}
    fields: list[Field] = []
    offset = 0
    for number, parameter in enumerate(parameters):
        is_array, dtype, name = isinstance(parameter, Memory), parameter.dtype.name, parameter.name
        size = 8 if is_array else parameter.dtype.itemsize
        code = "Q" if is_array else codes.get(dtype, _CODES.get(dtype, "q"))
        offset += -offset % size
        kind: FieldKind = "pointer" if is_array else "scalar"
        fields.append(Field(kind, number, code, "" if is_array else dtype, offset, name, (name, -1), size))
        offset += size
    return ArgumentLayout(tuple(fields), offset, _ranks(parameters))
