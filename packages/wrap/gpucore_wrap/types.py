"""Types: how a specification spells them, and what they are in C and in Python."""

from __future__ import annotations

import re

from gpucore_wrap.model import Type
from gpucore_wrap.reader import Text, nearest
from gpucore_wrap.schema import SCALARS
from gpucore_wrap.source import Source

C_TYPES = {
    "bool": "bool", "i8": "int8_t", "i16": "int16_t", "i32": "int32_t", "i64": "int64_t", "u8": "uint8_t", "u16": "uint16_t",
    "u32": "uint32_t", "u64": "uint64_t", "f32": "float", "f64": "double",
}  # fmt: skip
PYTHON_TYPES = {name: "bool" if name == "bool" else "float" if name[0] == "f" else "int" for name in SCALARS}
# Codes of the modules array and struct.
ARRAY_CODES = {
    "bool": "B", "i8": "b", "i16": "h", "i32": "i", "i64": "q", "u8": "B", "u16": "H", "u32": "I", "u64": "Q", "f32": "f",
    "f64": "d",
}  # fmt: skip
SIZES = {
    "bool": 1,
    "i8": 1,
    "i16": 2,
    "i32": 4,
    "i64": 8,
    "u8": 1,
    "u16": 2,
    "u32": 4,
    "u64": 8,
    "f32": 4,
    "f64": 8,
}
# What people of other languages write.
MEANT = {
    "int": "i32", "unsigned": "u32", "uint": "u32", "long": "i64", "char": "i8", "short": "i16", "float": "f32", "double": "f64",
    "size_t": "u64", "usize": "u64", "isize": "i64", "string": "text", "str": "text", "char*": "text", "const char*": "text",
    "const char *": "text", "std::string": "text", "void*": "address", "void *": "address", "pointer": "address",
    "boolean": "bool", "byte": "u8",
    **{ctype: name for name, ctype in C_TYPES.items() if ctype.endswith("_t")},
}  # fmt: skip
ARRAY = re.compile(r"array ?\[ ?(\w+) ?\]")


class TypeNames:
    """The types that a specification can name: the built-in ones, and those that it declares."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.declared: dict[str, str] = {}

    def declare(self, name: str, kind: str) -> None:
        if name:
            self.declared.setdefault(name, kind)

    def read(self, text: Text | None) -> Type | None:
        """The type that a text names; notes a problem and gives None where there is no such type."""
        if text is None:
            return None
        name = text.value.strip()
        if name in SCALARS:
            return Type("scalar", name)
        if name == "bytes":
            return Type("bytes", "u8")
        if name in ("text", "address"):
            return Type("text") if name == "text" else Type("address")
        if name in self.declared:
            kind = self.declared[name]
            return Type("handle" if kind == "handle" else "enum" if kind == "enum" else "callback", name)
        array = ARRAY.fullmatch(name)
        if array:
            if array.group(1) in SCALARS:
                return Type("array", array.group(1))
            self.source.add(
                text.position,
                f"an array of `{array.group(1)}` is not known",
                f"use array[T] with T of {', '.join(SCALARS)}",
            )
            return None
        known = (*SCALARS, "text", "bytes", "address", "array[f32]", *self.declared)
        fix = f"write `{MEANT[name]}`" if name in MEANT else nearest(name, known)
        self.source.add(text.position, f"unknown type `{name[:60]}`", fix)
        return None
