"""Where a kernel finds its arguments: one struct, pushed as constants or, when too large, read from a buffer.

The struct holds, naturally aligned and widest first, the device address of every array, the extents that
the kernel reads, and the scalars (those below 32 bits widened to a word).  The slots of a launch become the
struct's bytes by one ``struct.pack`` whose format and slot numbers are the metadata of the compiled code.
"""

from __future__ import annotations

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
    slot : int
        The launch slot it is made from; a pointer takes the allocation there and the offset beside it.
    code : str
        The member's ``struct`` format character.
    name : str
        The parameter's name, for readers.
    key : tuple[str, int]
        The parameter's name and axis (-1 save for extents).
    """

    kind: FieldKind
    slot: int
    code: str
    offset: int
    name: str
    key: tuple[str, int]
    size: int


@dataclass(frozen=True, slots=True)
class ArgumentLayout:
    """The members in order of offset, the struct's size, and the number of slots of a launch."""

    fields: tuple[Field, ...]
    size: int
    slots: int

    def metadata(self) -> list[list[Any]]:
        """The fields as JSON types."""
        return [[f.kind, f.slot, f.code, f.offset] for f in self.fields]


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
    raw: list[tuple[FieldKind, int, str, str, tuple[str, int], int]] = []
    slot = 0
    for parameter in module.kernel.params:
        if isinstance(parameter, Memory):
            raw.append(("pointer", slot, "Q", parameter.name, (parameter.name, -1), 8))
            for axis in range(parameter.rank):
                dtype = extents.get((parameter.name, axis))
                if dtype is not None:
                    key = (parameter.name, axis)
                    code, size = _CODES[dtype.name], max(4, dtype.itemsize)
                    raw.append(("extent", slot + 2 + axis, code, f"{parameter.name}.shape{axis}", key, size))
            slot += 2 + parameter.rank
        else:
            code, size = _CODES[parameter.dtype.name], max(4, parameter.dtype.itemsize)
            raw.append(("scalar", slot, code, parameter.name, (parameter.name, -1), size))
            slot += 1
    raw.sort(key=lambda entry: -entry[5])  # stable: widest first leaves no holes
    fields: list[Field] = []
    offset = 0
    for kind, number, code, name, key, size in raw:
        fields.append(Field(kind, number, code, offset, name, key, size))
        offset += size
    return ArgumentLayout(tuple(fields), offset, slot)


def native_layout(parameters: tuple[Memory | Value, ...]) -> ArgumentLayout:
    """The layout of a native kernel: pointers and scalars in order, each aligned to its own size, nothing
    widened."""
    codes = {"bool": "B", "i8": "b", "u8": "B", "i16": "h", "u16": "H", "f16": "e", "bf16": "H"}
    fields: list[Field] = []
    offset = slot = 0
    for parameter in parameters:
        is_array = isinstance(parameter, Memory)
        size = 8 if is_array else parameter.dtype.itemsize
        code = "Q" if is_array else codes.get(parameter.dtype.name, _CODES.get(parameter.dtype.name, "q"))
        offset += -offset % size
        kind: FieldKind = "pointer" if is_array else "scalar"
        fields.append(Field(kind, slot, code, offset, parameter.name, (parameter.name, -1), size))
        offset += size
        slot += 2 + parameter.rank if isinstance(parameter, Memory) else 1
    return ArgumentLayout(tuple(fields), offset, slot)
