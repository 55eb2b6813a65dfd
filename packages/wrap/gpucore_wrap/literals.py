"""Literals: from the text of a specification to Python source, and text to C++ source."""

from __future__ import annotations

import re
from collections.abc import Mapping

from gpucore_wrap.model import Enum, Type
from gpucore_wrap.reader import Text, nearest
from gpucore_wrap.source import Source

INTEGER = re.compile(r"[+-]?(0x[0-9a-fA-F]+|0b[01]+|\d{1,20})")
FLOAT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,4})?")
RANGES = {f"{sign}{bits}": (-(2 ** (bits - 1)) if sign == "i" else 0, 2 ** (bits - (sign == "i")) - 1)
          for sign in "iu" for bits in (8, 16, 32, 64)}  # fmt: skip
SPECIAL = {".inf": "inf", "inf": "inf", "-.inf": "-inf", "-inf": "-inf", ".nan": "nan", "nan": "nan"}


def quote(text: str) -> str:
    """A Python string literal in double quotes."""
    quoted = repr(text)
    if quoted.startswith('"'):
        return quoted
    inside = quoted[1:-1].replace("\\'", "'")
    return quoted if '"' in inside else f'"{inside}"'


def literal(
    source: Source, text: Text, type_: Type, enums: Mapping[str, Enum], optional: bool = False
) -> str | None:
    """Python source of a literal of a type; notes a problem and gives None where it is none."""
    value = text.value
    if optional and not text.quoted and value in ("null", "~", "None", ""):
        return "None"
    if type_.kind == "text":
        return quote(value)
    if type_.kind == "enum":
        members = dict(enums[type_.name].members) if type_.name in enums else {}
        if value in members:
            return f"{type_.name}.{value}"
        source.add(text.position, f"`{value[:60]}` is no member of {type_.name}", nearest(value, members))
        return None
    if type_.name == "bool" and value in ("true", "false"):
        return value.capitalize()
    if type_.name in RANGES and INTEGER.fullmatch(value):
        low, high = RANGES[type_.name]
        if low <= int(value, 0 if re.match(r"[+-]?0[xb]", value) else 10) <= high:
            return value.lstrip("+").lower() if re.match(r"[+-]?0[xb]", value) else str(int(value))
        source.add(text.position, f"{value} does not fit {type_.name}", f"use {low} to {high}")
        return None
    if type_.name in ("f32", "f64"):
        if value in SPECIAL:
            return f'float("{SPECIAL[value]}")'
        if FLOAT.fullmatch(value):
            return repr(float(value))
    if type_.kind == "address" and INTEGER.fullmatch(value):
        return str(int(value, 0 if value.startswith("0x") else 10))
    source.add(text.position, f"{value[:60]!r} is no {type_}", f"write a literal of {type_}, or leave it out")
    return None
