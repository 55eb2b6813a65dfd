"""Python functions written while the program runs, which tracebacks show line by line; packers of launch arguments are such."""

from __future__ import annotations

import itertools
import linecache
import struct
import textwrap
import types
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from gpucore.ir.rounding import bf16_bits

__all__ = ["STRUCT_CODES", "ArgumentPacker", "PackedField", "compile_functions", "fill_template"]


_numbers = itertools.count(1)


def fill_template(template: str, **sections: str) -> str:
    """The template with each ``{name}`` replaced; one on a line of its own takes several lines at its indentation, or none."""
    lines: list[str] = []
    for line in template.splitlines():
        bare = line.strip()
        if bare.startswith("{") and bare.endswith("}") and bare[1:-1] in sections:
            indent = line[: len(line) - len(line.lstrip())]
            lines += textwrap.indent(sections[bare[1:-1]].rstrip("\n"), indent).splitlines()
        else:
            for name, section in sections.items():
                line = line.replace(f"{{{name}}}", section)
            lines.append(line)
    return "\n".join(line for line in lines if line.strip()) + "\n"


def compile_functions(text: str, values: Mapping[str, Any], what: str) -> dict[str, Callable[..., Any]]:
    """The functions that a text defines, by name.

    Parameters
    ----------
    text : str
        It stays readable, through :mod:`linecache`, for as long as one of the functions lives.
    values : Mapping
        The global names of the text.
    what : str
        Names the text in tracebacks.
    """
    filename = f"<gpucore {next(_numbers)}: {what}>"
    space = dict(values)
    exec(compile(text, filename, "exec"), space)
    defined = {
        name: value
        for name, value in space.items()
        if name not in values and isinstance(value, types.FunctionType)
    }
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    lives = len(defined)

    def one_less() -> None:
        nonlocal lives
        lives -= 1
        if not lives:
            linecache.cache.pop(filename, None)

    for name, function in defined.items():
        if not any(name in other.__code__.co_names for other in defined.values()):
            del space[name]  # a function in its own globals would live until the garbage collector came
        weakref.finalize(function, one_less).atexit = False
    return dict(defined)


STRUCT_CODES: Mapping[str, str] = {
    "bool": "?", "i8": "b", "u8": "B", "i16": "h", "u16": "H", "i32": "i", "u32": "I", "i64": "q", "u64": "Q",
    "index": "q", "f16": "e", "bf16": "H", "f32": "f", "f64": "d",
}  # fmt: skip
"""The codes of Python's :mod:`struct` for scalars in their own width."""


@dataclass(frozen=True, slots=True)
class PackedField:
    """A part of the packed bytes.

    Attributes
    ----------
    parameter : int
        The number of the kernel's parameter that it comes from.
    part : {"pointer", "value"} or int
        An array's pointer, a scalar's value, or the extent of an array along that axis.
    code : str
        Of :mod:`struct`; padding may follow, as in ``"f4x"``.
    dtype : str
        Of a scalar: bf16 is rounded here, because ``struct`` has no code for it.
    offset : int, optional
        Where the field starts; without it after the one before, aligned as the order says.
    """

    parameter: int
    part: Literal["pointer", "value"] | int
    code: str
    dtype: str = ""
    offset: int | None = None


class ArgumentPacker:
    """Packs the arguments of a kernel's launches, through functions that are written for it once.

    Parameters
    ----------
    ranks : Sequence[int | None]
        For each parameter of the kernel, in order: the rank of an array, None for a scalar.
    fields : Sequence[PackedField]
        The packed bytes, in order.
    order : {"<", "=", "@"}
        Byte order and alignment, as in :mod:`struct`: ``"@"`` is C's.
    address : {"address", "host"}
        The attribute of an allocation that pointers are made of.
    size : int, optional
        Pad to that many bytes.

    Attributes
    ----------
    arguments : tuple[str, ...]
        The names of the launch arguments: for arrays allocation, byte offset and extents, for scalars the number.
    format : str
        Of :mod:`struct`.
    offsets : tuple[int, ...]
        Where each field starts.
    """

    def __init__(
        self,
        ranks: Sequence[int | None],
        fields: Sequence[PackedField],
        *,
        order: Literal["<", "=", "@"] = "<",
        address: Literal["address", "host"] = "address",
        size: int = 0,
    ) -> None:
        names: list[str] = []
        for number, rank in enumerate(ranks):
            if rank is None:
                names.append(f"scalar{number}")
            else:
                names += [
                    f"array{number}",
                    f"offset{number}",
                    *(f"extent{number}_{axis}" for axis in range(rank)),
                ]
        self.arguments = tuple(names)
        self._fields = tuple(fields)
        self._values = tuple(_expression(field, address) for field in fields)
        text: str = order
        offsets: list[int] = []
        for field in fields:
            if field.offset is not None:
                text += "x" * (field.offset - struct.calcsize(text))
            code = field.code.rstrip("x0123456789")
            offsets.append(struct.calcsize(text + code) - struct.calcsize(order + code))
            text += field.code
        self.format = text + "x" * max(0, size - struct.calcsize(text))
        self.offsets = tuple(offsets)
        self._struct = struct.Struct(self.format)

    @property
    def size(self) -> int:
        """Bytes of the packed arguments."""
        return self._struct.size

    def pack(self, *values: Any) -> bytes:
        """The fields' values as bytes; floats that round to infinity do, where ``struct`` refuses them."""
        try:
            return self._struct.pack(*values)
        except OverflowError:
            rounded: dict[str, Callable[[Any], np.floating[Any]]] = {"f": np.float32, "e": np.float16}
            with np.errstate(over="ignore"):
                fitted = [
                    float(rounded[field.code[0]](value)) if field.code[0] in rounded else value
                    for field, value in zip(self._fields, values, strict=True)
                ]
            return self._struct.pack(*fitted)

    def functions(
        self,
        template: str,
        values: Mapping[str, Any],
        what: str,
        *,
        prefix: str = "",
        sections: Mapping[str, str] | None = None,
    ) -> dict[str, Callable[..., Any]]:
        """The functions of a template, written for this packer's arguments.

        Parameters
        ----------
        template : str
            Python text in which ``{arguments}`` stands for the names of the launch arguments and ``{values}`` for the values to
            pack; ``pack``, ``pack_into`` and ``pack_rounded`` are :meth:`struct.Struct.pack`, ``pack_into`` and :meth:`pack`.
        values : Mapping
            Other names of the text.
        what : str
            Names the text in tracebacks.
        prefix : str
            The ``struct`` format of what the template packs before the values.
        sections : Mapping, optional
            Lines for other ``{name}`` that stand alone on a line, at their indentation; a section may hold those after it.
        """
        layout = struct.Struct(self.format[0] + prefix + self.format[1:]) if prefix else self._struct
        for name, section in (sections or {}).items():
            template = fill_template(template, **{name: section})
        text = fill_template(template, arguments=", ".join(self.arguments), values=", ".join(self._values))
        known = {
            "pack": layout.pack,
            "pack_into": layout.pack_into,
            "pack_rounded": self.pack,
            "bf16_bits": bf16_bits,
        }
        return compile_functions(text, {**known, **values}, what)


def _expression(field: PackedField, address: str) -> str:
    number = field.parameter
    if field.part == "pointer":
        return f"array{number}.{address} + offset{number} if array{number} is not None else 0"
    if field.part == "value":
        return f"bf16_bits(scalar{number})" if field.dtype == "bf16" else f"scalar{number}"
    return f"extent{number}_{field.part}"
