"""How dtypes, literals and operations are spelled in LLVM IR."""

from __future__ import annotations

import struct

from gpucore.ir import DType, bf16, f16, f32, f64

__all__ = ["fits", "literal", "memory_type", "scalar_type", "suffix", "vector_type"]

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
    "f16": "half",
    "bf16": "bfloat",
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


def suffix(scalar: str, width: int | None) -> str:
    """The name mangling of an intrinsic overloaded on a type: ``v16f32``, ``i64``."""
    plain = {"float": "f32", "double": "f64", "half": "f16", "bfloat": "bf16", "ptr": "p0"}.get(
        scalar, scalar
    )
    return plain if width is None else f"v{width}{plain}"


def literal(dtype: DType, value: int | float | bool) -> str:
    """A constant of the dtype; floats as exact hexadecimal bit patterns."""
    if dtype.kind == "bool":
        return "true" if value else "false"
    if not dtype.is_float:
        return str(int(value))
    number = float(value)
    if number != number:
        return {"f16": "0xH7E00", "bf16": "0xR7FC0"}.get(dtype.name, "0x7FF8000000000000")
    if dtype is f16:
        return "0xH" + struct.pack(">e", number).hex().upper()
    if dtype is bf16:
        return "0xR" + struct.pack(">f", number)[:2].hex().upper()
    if dtype is f32:
        number = struct.unpack("f", struct.pack("f", number))[0]
    assert dtype in (f32, f64)
    # LLVM spells float constants as the double of the same value
    return "0x" + struct.pack(">d", number).hex().upper()


def fits(nbytes: int) -> int:
    """The largest power of two up to 64 that divides ``nbytes``: a safe alignment."""
    return min(64, nbytes & -nbytes) if nbytes else 64
