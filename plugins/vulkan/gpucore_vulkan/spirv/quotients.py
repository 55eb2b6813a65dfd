"""Quotients and remainders, those of 64 bits without the device's own division where that errs.

NVIDIA's compiler (580.159, seen on an H200) calls a routine for a 64-bit division and then takes expressions of two
calls' results for the same one, because both come back in the same registers: ``8 + a % 11`` became ``8 + b % 11``.
A conversion from 64 bits to f32 left the float in the high half of another number, too.  There the quotient is computed
here, without either, by two methods:

- by a constant, as the high half of a product and shifts (T. Granlund, P. Montgomery, *Division by Invariant Integers
  using Multiplication*, 1994, figure 4.1);
- by anything, from an estimate of the reciprocal in f32.  With ``R = 2**64 / b`` and ``r = R - d``, the step
  ``r + floor(r * (2**64 - b * r) / 2**64)`` leaves ``d * d / R`` and a rounding below 1.  The estimate is made too
  small on purpose, by more than conversion and division may be off; ``d`` starts below ``R / 2**18 + 1`` and two
  steps leave it below 1.5.  So ``floor(a * r / 2**64)`` is the quotient or up to 2 less, which two comparisons find.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from gpucore.ir import DType, Function
from gpucore_vulkan.spirv.function_text import FunctionText

if TYPE_CHECKING:
    from gpucore_vulkan.spirv.body import FunctionState

__all__ = ["emit_quotient", "emit_remainder", "quotient", "quotient_by"]


def _high(x: FunctionText, first: str, second: str) -> str:
    """The high half of a product of 128 bits."""
    (x0, x1), (y0, y1) = x.halves(first), x.halves(second)
    low, left, right, top = (x.op("mul", *pair) for pair in ((x0, y0), (x1, y0), (x0, y1), (x1, y1)))
    # neither sum can carry: (2**32 - 1)**2 + 2**32 - 1 < 2**64
    kept, carried = x.halves(x.op("add", left, x.halves(low)[1]))
    rest = x.halves(x.op("add", right, kept))[1]
    return x.op("add", x.op("add", top, carried), rest)


def _signed(name: str, parameters: str, divisor: int | None) -> Function:
    """The truncated quotient of i64 by way of that of u64; by a constant where one is given."""
    x = FunctionText()
    negative, size = x.magnitude("%a")
    if divisor is None:
        other, by = x.magnitude("%b")
        negative = x.op("xor", negative, other, dtype="bool")
    else:
        by = x.const(abs(divisor))
        negative = negative if divisor > 0 else x.op("not", negative, dtype="bool")
    whole = x.op("cast", x.op("quot.raw", size, by), dtype="i64")
    result = x.op("select", negative, x.op("neg", whole, dtype="i64"), whole, dtype="i64")
    return x.function(name, parameters, "i64", result)


@functools.cache
def quotient(dtype: DType) -> Function:
    """The truncated quotient of two 64-bit integers; the divisor is not 0, and not -1 under the least dividend."""
    name, parameters = f"soft.quotient.{dtype.name}", f"%a: {dtype.name}, %b: {dtype.name}"
    if dtype.is_signed:
        return _signed(name, parameters, None)
    x = FunctionText()
    # three ulp of the conversion and 2.5 of the division are less than 2**-20 of the estimate
    scale = x.const(2.0**64 * (1 - 2.0**-19), "f32")
    low, high = (x.op("cast", half, dtype="f32") for half in x.words("%b"))
    by = x.op("add", x.op("mul", high, x.const(2.0**32, "f32"), dtype="f32"), low, dtype="f32")
    r = x.whole(x.op("div", scale, by, dtype="f32"), "f32")
    zero, one = x.const(0), x.const(1)
    for _ in range(2):
        r = x.op("add", r, _high(x, r, x.op("sub", zero, x.op("mul", "%b", r))))
    whole = _high(x, "%a", r)
    rest = x.op("sub", "%a", x.op("mul", whole, "%b"))
    for _ in range(2):
        more = x.op("ge", rest, "%b", dtype="bool")
        whole = x.op("select", more, x.op("add", whole, one), whole)
        rest = x.op("select", more, x.op("sub", rest, "%b"), rest)
    return x.function(name, parameters, "u64", whole)


def quotient_by(dtype: DType, divisor: int) -> Function:
    """The truncated quotient of a 64-bit integer by a constant that is not 0."""
    name = f"soft.quotient.{dtype.name}.by.{'minus.' * (divisor < 0)}{abs(divisor)}"
    parameters = f"%a: {dtype.name}"
    if dtype.is_signed:
        return _signed(name, parameters, divisor)
    bits = (divisor - 1).bit_length()
    x = FunctionText()
    high = _high(x, "%a", x.const((2**64 * (2**bits - divisor)) // divisor + 1))
    half = x.op("shr.raw", x.op("sub", "%a", high), x.const(min(bits, 1)))
    result = x.op("shr.raw", x.op("add", high, half), x.const(max(bits - 1, 0)))
    return x.function(name, parameters, "u64", result)


def emit_quotient(f: FunctionState, dtype: DType, a: int, b: int, known: int | None) -> int:
    """Emit a truncated quotient.

    Parameters
    ----------
    a, b : int
        The ids of dividend and divisor.
    known : int | None
        The divisor, where it is a constant.
    """
    if dtype.bits != 64 or not f.unit.own_division:
        return f.result("OpSDiv" if dtype.is_signed else "OpUDiv", f.type(dtype), a, b)
    # what the compiler knows of the operands, such as that a magnitude is not negative, it must not take into the routine,
    # and nothing of the routine out of it
    a = f.joined(a, f.type(dtype), 64, "argument")
    routine = quotient(dtype) if known is None else quotient_by(dtype, known)
    operands = (a, f.joined(b, f.type(dtype), 64, "argument")) if known is None else (a,)
    result = f.result("OpFunctionCall", f.type(dtype), f.unit.helper(routine), *operands)
    return f.joined(result, f.type(dtype), 64)


def emit_remainder(f: FunctionState, dtype: DType, a: int, b: int, known: int | None) -> int:
    """Emit the remainder of the truncated quotient; for the parameters see :func:`emit_quotient`."""
    own = dtype.bits == 64 and f.unit.own_division
    if not dtype.is_signed and not own:
        return f.result("OpUMod", f.type(dtype), a, b)
    # the signed remainder of some drivers is wrong for negative operands
    whole = emit_quotient(f, dtype, a, b, known)
    return f.result("OpISub", f.type(dtype), a, f.result("OpIMul", f.type(dtype), whole, b))
