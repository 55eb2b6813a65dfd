"""How dtypes, literals and operations are spelled in LLVM IR."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from gpucore.ir import DType, f16, f32

__all__ = [
    "ALL_ONES",
    "ERROR_RECORD",
    "VectorTypes",
    "literal",
    "memory_type",
    "scalar_type",
    "splat_constant",
    "vector_type",
]

_SCALARS = {
    "bool": "i1",
    "i8": "i8",
    "u8": "i8",
    "i16": "i16",
    "u16": "i16",
    "i32": "i32",
    "u32": "i32",
    "i64": "i64",
    "u64": "i64",
    "index": "i64",
    "f16": "i16",  # the bits; only casts see a half
    "f32": "float",
    "f64": "double",
}


def scalar_type(dtype: DType) -> str:
    """The LLVM type of one value: ``"float"``, ``"i1"`` for bool."""
    return _SCALARS[dtype.name]


def memory_type(dtype: DType) -> str:
    """The LLVM type of one element in memory, where a bool takes a byte."""
    return "i8" if dtype.name == "bool" else _SCALARS[dtype.name]


def vector_type(scalar: str, width: int) -> str:
    """``<width x scalar>``."""
    return f"<{width} x {scalar}>"


def literal(dtype: DType, value: int | float | bool) -> str:
    """A constant of the dtype; floats as exact hexadecimal bit patterns."""
    if dtype.kind == "bool":
        return "true" if value else "false"
    if not dtype.is_float:
        return str(int(value))
    number = float(value)
    if dtype is f16:
        return str(0x7E00 if number != number else struct.unpack("<H", struct.pack("<e", number))[0])
    if number != number:
        return "0x7FF8000000000000"
    if dtype is f32:
        number = struct.unpack("f", struct.pack("f", number))[0]
    # LLVM spells float constants as the double of the same value
    return "0x" + struct.pack(">d", number).hex().upper()


ALL_ONES = "splat (i1 true)"
"""The constant mask with every lane active."""
ERROR_RECORD = "$error"
"""The name of the error record among the parameters."""


@dataclass(frozen=True, slots=True)
class VectorTypes:
    """Types and constants of vectors of ``width`` lanes."""

    width: int

    def vec(self, scalar: str) -> str:
        """The vector type of that element."""
        return vector_type(scalar, self.width)

    def of(self, dtype: DType, vector: bool) -> str:
        """The type of one value, or of one in each lane."""
        scalar = scalar_type(dtype)
        return self.vec(scalar) if vector else scalar

    def boolean(self, vector: bool) -> str:
        """The type of a condition."""
        return self.mask if vector else "i1"

    @property
    def mask(self) -> str:
        """The type of a mask."""
        return f"<{self.width} x i1>"

    @property
    def bits(self) -> str:
        """The integer type with a bit a lane."""
        return f"i{self.width}"

    def suffix(self, scalar: str, vector: bool) -> str:
        """The name mangling of an intrinsic overloaded on a type: ``v16f32``, ``i64``."""
        plain = {"float": "f32", "double": "f64", "half": "f16", "ptr": "p0"}.get(scalar, scalar)
        return f"v{self.width}{plain}" if vector else plain

    def iota(self, scalar: str) -> str:
        """The constant vector 0, 1, 2, ..."""
        return "<" + ", ".join(f"{scalar} {lane}" for lane in range(self.width)) + ">"

    def constant(self, dtype: DType, value: int | float, vector: bool) -> str:
        """A literal, in every lane of a vector."""
        text = literal(dtype, value)
        return splat_constant(scalar_type(dtype), text) if vector else text


def splat_constant(scalar: str, value: str) -> str:
    """A constant vector of equal elements."""
    return f"splat ({scalar} {value})"
