"""Literals of exactly a value and the type that holds its dtype."""

from __future__ import annotations

import math
import struct

from gpucore.ir.clike.dialect import Dialect
from gpucore.ir.clike.expressions import UNARY, Expr
from gpucore.ir.dtypes import DType, bf16, bool_, f16, f32
from gpucore.ir.nodes import Number


def half_bits(value: float, dtype: DType) -> int:
    """The 16 bits of a value that f16 or bf16 represents exactly; NaN gives the canonical quiet NaN."""
    if math.isnan(value):
        return 0x7E00 if dtype is f16 else 0x7FC0
    if dtype is f16:
        return int.from_bytes(struct.pack("<e", value), "little")
    return int.from_bytes(struct.pack("<f", value), "little") >> 16


def bits_of(value: float, dtype: DType) -> int:
    """The bits of a value of f32 or f64; NaN gives the canonical quiet NaN."""
    if math.isnan(value):
        return 0x7FC00000 if dtype is f32 else 0x7FF8000000000000
    return int.from_bytes(struct.pack("<f" if dtype is f32 else "<d", value), "little")


def literal(dialect: Dialect, value: Number, dtype: DType) -> Expr:
    """A literal of exactly this value and the type that holds its dtype."""
    text = _text(dialect, value, dtype)
    return Expr(text, UNARY if text.startswith("-") else 0)


def _text(dialect: Dialect, value: Number, dtype: DType) -> str:
    if dtype is bool_:
        return "true" if value else "false"
    if dtype in (f16, bf16):
        return dialect.cast("u16", Expr(f"0x{half_bits(float(value), dtype):04x}u")).text
    if dtype.is_float:
        return _float(dialect, float(value), dtype)
    number = int(value)
    if dtype.bits == 64:
        suffix = dialect.wide if dtype.is_signed else f"u{dialect.wide}"
        return f"(-9223372036854775807{suffix} - 1)" if number == -(2**63) else f"{number}{suffix}"
    if not dtype.is_signed:
        return f"{number}u"
    return "(-2147483647 - 1)" if number == -(2**31) else str(number)


def _to_f32(value: float) -> float:
    try:
        rounded: float = struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)
    return rounded


def _float(dialect: Dialect, value: float, dtype: DType) -> str:
    if not math.isfinite(value):
        return dialect.float_of_bits(bits_of(value, dtype), dtype)
    if dtype is not f32:
        return repr(value)
    # The shortest decimal that reads back as this float, both directly and by way of a double; else
    # hexadecimal.
    for digits in range(1, 10):
        text = f"{value:.{digits}g}"
        if _to_f32(float(text)) == value:
            if "." not in text and "e" not in text:
                text += ".0"
            return f"{text}f"
    return f"{value.hex()}f"
