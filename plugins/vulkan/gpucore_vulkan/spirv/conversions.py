"""Casts, and conversions between integers and floats.

NVIDIA's compiler (580.159) joins two conversions in a row into one that skips the number between: where ``i32(u64(x))``
of an f32 reads the low half of a number of 64 bits alone, it converts to 32 bits instead, which saturates.  Conversions
between floats and integers of 64 bits are therefore computed in two halves of 32 bits there
(``SplitConversions``).  Where probing shows that a compiler joins others, or leaves out the rounding between two, the
number between passes through a word that no compiler can know (``OpaqueConversions``, ``OpaqueRounding``).
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from gpucore.ir import DType, Function, Value
from gpucore_vulkan.spirv.function_text import FunctionText
from gpucore_vulkan.spirv.widths import is_narrow, register_bits

if TYPE_CHECKING:
    from gpucore_vulkan.spirv.body import FunctionState

__all__ = ["converted", "emit_bitcast", "emit_cast", "truncated"]


def emit_cast(f: FunctionState, value: Value, result: Value) -> int:
    """Emit a cast; of a float to an integer, its result is in range."""
    source, to, x = value.dtype, result.dtype, f.values[value.name]
    if source.kind == "bool":
        return f.result("OpSelect", f.type(to), x, f.integer(1, to), f.integer(0, to))
    if source.is_integer and to.is_integer:
        if is_narrow(to):
            return (
                x if f.narrow.fits_in(value, to) else f.narrow.wrapped(to, _low_word(f, source, x, to.bits))
            )
        return _resized(f, source, to, x)
    if source.is_integer:
        number = _to_float(f, source, to, x)
        return f.hidden_bits(to, number) if f.unit.hides_ones and value.name in f.known else number
    if to.is_integer:
        return _to_integer(f, source, to, x)
    rounded = x if source is to else f.result("OpFConvert", f.type(to), x)
    # NVIDIA's compiler (580) drops a rounding whose result is widened again
    return f.hidden_bits(to, rounded) if f.unit.hides_rounding and to.bits < source.bits else rounded


def emit_bitcast(f: FunctionState, source: DType, to: DType, x: int) -> int:
    """Emit a cast of the bits as they are."""
    if is_narrow(source) and is_narrow(to):
        return x if source is to else f.narrow.wrapped(to, f.narrow.low(x, to.bits))
    if is_narrow(source):
        return f.result("OpBitcast", f.type(to), f.narrow.element(source, x))
    if is_narrow(to):
        return f.narrow.loaded(to, f.result("OpBitcast", f.asm.uint(to.bits), x))
    return x if f.type(source) == f.type(to) else f.result("OpBitcast", f.type(to), x)


def _low_word(f: FunctionState, source: DType, x: int, bits: int) -> int:
    """A word with the ``bits`` low bits of an integer."""
    return f.result("OpUConvert", f.asm.uint(32), x) if source.bits == 64 else f.narrow.low(x, bits)


def _resized(f: FunctionState, source: DType, to: DType, x: int) -> int:
    """An integer in 32 or 64 bits."""
    held = register_bits(source)
    if held == to.bits:
        return x
    value = f.result("OpSConvert" if source.is_signed else "OpUConvert", f.type(to), x)
    # llvmpipe (Mesa 22.3.6) folds comparisons of widened numbers with constants wrongly
    return f.joined(value, f.type(to), to.bits) if f.unit.hides_widening and to.bits > held else value


def _to_float(f: FunctionState, source: DType, to: DType, x: int) -> int:
    if source.bits == 64 and f.unit.splits_conversions and to.bits >= 32:
        x = f.joined(
            x, f.type(source), 64, "argument"
        )  # from fewer bits, perhaps: the compiler would know its high half
        return f.result("OpFunctionCall", f.type(to), f.unit.helper(converted(source, to)), x)
    value = f.result("OpConvertSToF" if source.is_signed else "OpConvertUToF", f.type(to), x)
    return f.hidden_bits(to, value) if f.unit.hides_conversions else value


def _to_integer(f: FunctionState, source: DType, to: DType, x: int) -> int:
    if to.bits == 64 and f.unit.splits_conversions and source.bits >= 32:
        value = f.result("OpFunctionCall", f.type(to), f.unit.helper(truncated(source, to)), x)
        return f.joined(value, f.type(to), 64)
    signed = to.is_signed or is_narrow(to)
    value = f.result("OpConvertFToS" if signed else "OpConvertFToU", f.type(to), x)
    if is_narrow(to) and f.unit.hides_narrowing:
        return f.narrow.wrapped(to, value)
    return f.joined(value, f.type(to), register_bits(to)) if f.unit.hides_conversions else value


@functools.cache
def truncated(source: DType, to: DType) -> Function:
    """The integer of 64 bits of a float that it can hold, truncated, by way of 32 bits."""
    name, kind = f"soft.truncated.{source.name}.{to.name}", source.name
    x = FunctionText()
    if not to.is_signed:
        return x.function(name, f"%x: {kind}", "u64", x.whole("%x", kind))
    below = x.op("lt", "%x", x.const(0.0, kind), dtype="bool")
    size = x.whole(x.op("select", below, x.op("neg", "%x", dtype=kind), "%x", dtype=kind), kind)
    whole = x.op("cast", size, dtype="i64")
    result = x.op("select", below, x.op("neg", whole, dtype="i64"), whole, dtype="i64")
    return x.function(name, f"%x: {kind}", "i64", result)


@functools.cache
def converted(source: DType, to: DType) -> Function:
    """The f32 or f64 nearest to an integer of 64 bits, by way of 32 bits."""
    name, parameters = f"soft.converted.{source.name}.{to.name}", f"%a: {source.name}"
    x = FunctionText()
    if to.bits == 64:
        # the high word is exact, and so is its product: the sum rounds once
        bits = x.op("cast", "%a") if source.is_signed else "%a"
        low, high = x.words(bits)
        if source.is_signed:
            high = x.op("cast", high, dtype="i32")
        upper = x.op("mul", x.op("cast", high, dtype="f64"), x.const(2.0**32, "f64"), dtype="f64")
        return x.function(
            name, parameters, "f64", x.op("add", upper, x.op("cast", low, dtype="f64"), dtype="f64")
        )
    if not source.is_signed:
        return x.function(name, parameters, "f32", _nearest(x, "%a"))
    below, size = x.magnitude("%a")
    nearest = _nearest(x, size)
    result = x.op("select", below, x.op("neg", nearest, dtype="f32"), nearest, dtype="f32")
    return x.function(name, parameters, "f32", result)


def _nearest(x: FunctionText, a: str) -> str:
    """The f32 nearest to a u64: its 32 leading bits, the last of them joined with whether more follow, decide.

    They are eight more than an f32 has, so the conversion of that word rounds as that of the number would.
    """
    low, high = x.words(a)
    large = x.op("ne", high, x.const(0, "u32"), dtype="bool")
    # below 32 where it counts
    zeros = x.op("and", x.op("clz", high, dtype="i32"), x.const(31, "i32"), dtype="i32")
    rest, top = x.words(x.op("shl.raw", a, x.op("cast", zeros)))
    more = x.op("cast", x.op("ne", rest, x.const(0, "u32"), dtype="bool"), dtype="u32")
    word = x.op("select", large, x.op("or", top, more, dtype="u32"), low, dtype="u32")
    # 2**(32 - zeros)
    exponent = x.op("sub", x.const(127 + 32, "i32"), zeros, dtype="i32")
    scale = x.op("bitcast.raw", x.op("shl.raw", exponent, x.const(23, "i32"), dtype="i32"), dtype="f32")
    by = x.op("select", large, scale, x.const(1.0, "f32"), dtype="f32")
    return x.op("mul", x.op("cast", word, dtype="f32"), by, dtype="f32")
