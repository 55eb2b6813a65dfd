"""Scalar arithmetic, exactly as the language defines it; no NumPy, no platform's rounding mode, no warnings.

Integers and bools are Python's, always in the range of their dtype.  A float of any width is a Python
float that the width represents exactly.  f16, bf16 and f32 results come from the f64 result of one
operation, rounded again: for + - * / and sqrt that equals a single rounding, as 53 >= 2 * 24 + 2 (S. A.
Figueroa, "When is double rounding innocuous?", SIGNUM Newsletter 30(3), 1995).  What that does not cover
goes through integers.

This module shares nothing with the passes that expand operations for devices: it is what they are tested
against.
"""

from __future__ import annotations

import math
import struct
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from gpucore.errors import GpucoreError
from gpucore.ir.dtypes import DType, bf16, f16, f32, f64

__all__ = [
    "FORMATS", "Format", "bits_to_float", "divmod_float", "encode_half", "float_to_bits", "float_to_int",
    "fma", "half_table", "int_to_float", "pow_int", "quotient", "rounder", "wrap",
]  # fmt: skip

INF = math.inf
NAN = math.nan
Round = Callable[[float], float]


@dataclass(frozen=True, slots=True)
class Format:
    """A binary floating-point format: precision in bits, smallest and largest exponents of normal numbers.

    ``nan`` holds the bits of the canonical quiet NaN.
    """

    precision: int
    emin: int
    emax: int
    nan: int


FORMATS: dict[DType, Format] = {
    f16: Format(11, -14, 15, 0x7E00),
    bf16: Format(8, -126, 127, 0x7FC0),
    f32: Format(24, -126, 127, 0x7FC00000),
    f64: Format(53, -1022, 1023, 0x7FF8000000000000),
}


class PreconditionError(GpucoreError):
    """A raw operation of the low level ran outside its precondition: a mistake of a pass."""


# --- integers ----------------------------------------------------------------------------------------
def wrap(value: int, dtype: DType) -> int:
    """The value modulo 2**bits, in the dtype's range."""
    value &= (1 << dtype.bits) - 1
    if dtype.is_signed and value >> (dtype.bits - 1):
        value -= 1 << dtype.bits
    return value


def pow_int(base: int, exponent: int, dtype: DType) -> int:
    """``base ** exponent``, wrapped; 0 for a negative exponent."""
    if exponent < 0:
        return 0
    return wrap(pow(base, exponent, 1 << dtype.bits), dtype)


def quotient(a: int, b: int, dtype: DType) -> int:
    """The truncated quotient, ``quot.raw``."""
    if b == 0 or (b == -1 and dtype.is_signed and a == -(1 << (dtype.bits - 1))):
        raise PreconditionError(f"quot.raw or rem.raw on {dtype.name}: {a} by {b}")
    q = abs(a) // abs(b)
    return -q if (a < 0) != (b < 0) else q


def remainder(a: int, b: int, dtype: DType) -> int:
    """The remainder of the truncated quotient, ``rem.raw``."""
    return a - b * quotient(a, b, dtype)


def shift_left_raw(a: int, amount: int, dtype: DType) -> int:
    """``shl.raw``."""
    _check_shift(amount, dtype)
    return wrap(a << amount, dtype)


def shift_right_raw(a: int, amount: int, dtype: DType) -> int:
    """``shr.raw``."""
    _check_shift(amount, dtype)
    return a >> amount


def _check_shift(amount: int, dtype: DType) -> None:
    if not 0 <= amount < dtype.bits:
        raise PreconditionError(f"raw shift of {dtype.name} by {amount}")


def shift_left(a: int, amount: int, dtype: DType) -> int:
    """``shl``: 0 for an amount that is negative or at least the width."""
    return wrap(a << amount, dtype) if 0 <= amount < dtype.bits else 0


def dot4(a: int, b: int, total: int, signed: tuple[bool, bool]) -> int:
    """``dot4_signed`` and its relatives, on words without sign."""
    first, second = (word.to_bytes(4, "little") for word in (a, b))
    for x, y in zip(first, second, strict=True):
        total += (x - 256 * (x >> 7 & signed[0])) * (y - 256 * (y >> 7 & signed[1]))
    return total & 0xFFFFFFFF


# --- rounding ----------------------------------------------------------------------------------------
def _round_f32(x: float) -> float:
    # an array of C floats converts as C does: to nearest even, to infinity past the range
    return array("f", (x,))[0]


def _round_half(form: Format) -> Round:
    precision, lowest = form.precision, form.emin - form.precision + 1
    limit = math.ldexp(1.0, form.emax + 1)

    def round_half(x: float) -> float:
        if x != x or x in (INF, -INF):
            return x
        if abs(x) >= limit:
            return math.copysign(INF, x)
        unit = max(math.frexp(x)[1] - precision, lowest)  # exponent of the last place
        result = math.ldexp(float(round(math.ldexp(x, -unit))), unit)
        if abs(result) >= limit:
            result = INF
        return math.copysign(result, x)

    return round_half


def _identity(x: float) -> float:
    return x


_ROUNDERS: dict[DType, Round] = {
    f16: _round_half(FORMATS[f16]), bf16: _round_half(FORMATS[bf16]), f32: _round_f32, f64: _identity,
}  # fmt: skip


def rounder(dtype: DType) -> Round:
    """The function that rounds a Python float to the dtype, to nearest even."""
    return _ROUNDERS[dtype]


def round_ratio(numerator: int, denominator: int, dtype: DType) -> float:
    """``numerator / denominator`` (positive) rounded once, to nearest even; zero is +0.0."""
    if numerator == 0:
        return 0.0
    form = FORMATS[dtype]
    magnitude = abs(numerator)
    # exponent of the leading bit, at most one too large
    exponent = magnitude.bit_length() - denominator.bit_length()
    if _less_than_power(magnitude, denominator, exponent):
        exponent -= 1
    unit = max(exponent, form.emin) - form.precision + 1
    if unit >= 0:
        denominator <<= unit
    else:
        magnitude <<= -unit
    quotient, rest = divmod(magnitude, denominator)
    if 2 * rest > denominator or (2 * rest == denominator and quotient & 1):
        quotient += 1
    if quotient.bit_length() + unit - 1 > form.emax:
        result = INF
    else:
        result = math.ldexp(float(quotient), unit)
    return -result if numerator < 0 else result


def _less_than_power(numerator: int, denominator: int, exponent: int) -> bool:
    if exponent >= 0:
        return numerator < denominator << exponent
    return numerator << -exponent < denominator


# --- floats ------------------------------------------------------------------------------------------
def divide_by_zero(a: float, b: float) -> float:
    """``a / b`` where ``b`` is a zero."""
    if a != a or a == 0:
        return NAN
    return math.copysign(INF, a) * math.copysign(1.0, b)


def divide(a: float, b: float) -> float:
    """IEEE-754 division in f64."""
    return a / b if b else divide_by_zero(a, b)


def sqrt(x: float) -> float:
    """The root in f64; NaN below zero, -0.0 for itself."""
    return math.sqrt(x) if x >= 0 else NAN


def fma(a: float, b: float, c: float, dtype: DType) -> float:
    """``a * b + c`` with one rounding to the dtype."""
    s = a * b + c
    if not (math.isfinite(a) and math.isfinite(b)):
        return s
    if not math.isfinite(c):
        return c  # the sum is not: the product of finite numbers may have overflowed to the other infinity
    if dtype is not f64:
        # the product is exact; the sum's rounding error e is too (D. E. Knuth's two-sum).  The result lies
        # between s and its neighbour on the side of e: where both round alike, so does it
        p = a * b
        t = s - p
        e = (p - (s - t)) + (c - t)
        result = _ROUNDERS[dtype](s)
        if e == 0 or result == _ROUNDERS[dtype](math.nextafter(s, math.copysign(INF, e))):
            return result
    na, da = a.as_integer_ratio()
    nb, db = b.as_integer_ratio()
    nc, dc = c.as_integer_ratio()
    numerator = na * nb * dc + nc * da * db
    if numerator == 0:
        # exact zeros add with their signs; what cancels is +0
        return s if na * nb == 0 else 0.0
    return round_ratio(numerator, da * db * dc, dtype)


def minimum(a: float, b: float) -> float:
    """The smaller; NaN if either is, -0 below +0."""
    if a < b:
        return a
    if b < a:
        return b
    if a == b:
        return a if math.copysign(1.0, a) < 0 else b
    return NAN


def maximum(a: float, b: float) -> float:
    """The larger; NaN if either is, -0 below +0."""
    if a > b:
        return a
    if b > a:
        return b
    if a == b:
        return b if math.copysign(1.0, a) < 0 else a
    return NAN


def divmod_float(a: float, b: float, round_: Round) -> tuple[float, float]:
    """Floor quotient and remainder with the divisor's sign: :data:`gpucore.ir.ops.FLOAT_DIVMOD`.

    ``round_`` rounds each step to the precision that the algorithm runs in.
    """
    if b == 0:
        return divide_by_zero(a, b), NAN
    if a != a or b != b or a in (INF, -INF):
        return NAN, NAN
    mod = math.fmod(a, b)
    div = round_(round_(a - mod) / b)
    if mod:
        if (b < 0) != (mod < 0):
            mod = round_(mod + b)
            div = round_(div - 1.0)
    else:
        mod = math.copysign(0.0, b)
    if div:
        result = floor(div)
        if div - result > 0.5:
            result = round_(result + 1.0)
    else:
        result = math.copysign(0.0, divide(a, b))
    return result, mod


def _integral(function: Callable[[float], int]) -> Round:
    def integral(x: float) -> float:
        if x != x or x in (INF, -INF):
            return x
        return math.copysign(float(function(x)), x)

    return integral


floor = _integral(math.floor)
ceil = _integral(math.ceil)
trunc = _integral(math.trunc)
round_even = _integral(round)


# --- conversions -------------------------------------------------------------------------------------
def float_to_int(x: float, low: int, high: int) -> int:
    """Truncate, saturate; 0 for NaN."""
    if x != x:
        return 0
    if x >= high:
        return high
    return low if x <= low else int(x)


def float_to_int_raw(x: float, low: int, high: int) -> int:
    """``f2i.raw``."""
    if not (math.isfinite(x) and low <= int(x) <= high):
        raise PreconditionError(f"f2i.raw: {x!r} is outside {low} to {high}")
    return int(x)


def int_to_float(value: int, dtype: DType) -> float:
    """Round an integer once, to nearest even."""
    if -(1 << 53) <= value <= 1 << 53:
        return _ROUNDERS[dtype](float(value))
    return round_ratio(value, 1, dtype)


_CODES: dict[DType, tuple[str, str]] = {
    f16: ("<e", "<H"), bf16: ("<f", "<I"), f32: ("<f", "<I"), f64: ("<d", "<Q"),
}  # fmt: skip


def float_to_bits(x: float, dtype: DType) -> int:
    """The bits of a float as an unsigned integer; any NaN gives the canonical one."""
    if x != x:
        return FORMATS[dtype].nan
    return float_to_bits_raw(x, dtype)


def float_to_bits_raw(x: float, dtype: DType) -> int:
    """The bits of a float as they are."""
    as_float, as_int = _CODES[dtype]
    bits: int = struct.unpack(as_int, struct.pack(as_float, x))[0]
    return bits >> 16 if dtype is bf16 else bits


def bits_to_float(bits: int, dtype: DType) -> float:
    """The float with these bits (an unsigned integer)."""
    as_float, as_int = _CODES[dtype]
    if dtype is bf16:
        bits <<= 16
    value: float = struct.unpack(as_float, struct.pack(as_int, bits))[0]
    return value


@cache
def half_table(dtype: DType) -> tuple[float, ...]:
    """The value of each of the 65,536 bit patterns of f16 or bf16."""
    return tuple(bits_to_float(bits, dtype) for bits in range(1 << 16))


def encode_half(x: float, dtype: DType) -> int:
    """The 16 bits that memory holds for a value of f16 or bf16."""
    return float_to_bits(x, dtype)


# --- the math functions of fast mode -----------------------------------------------------------------
def _guarded(function: Callable[..., float]) -> Callable[..., float]:
    def guarded(*args: float) -> float:
        try:
            return function(*args)
        except ValueError:
            return NAN
        except OverflowError:
            return INF

    return guarded


def _log(function: Callable[[float], float]) -> Callable[..., float]:
    guarded = _guarded(function)
    return lambda x: -INF if x == 0 else guarded(x)


def _sinh(x: float) -> float:
    try:
        return math.sinh(x)
    except OverflowError:
        return math.copysign(INF, x)


def _pow(x: float, y: float) -> float:
    try:
        return math.pow(x, y)
    except OverflowError:
        odd = y == math.floor(y) and math.fmod(y, 2.0) != 0
        return -INF if x < 0 and odd else INF
    except ValueError:
        if x == 0:  # a zero to a negative power
            odd = y == math.floor(y) and math.fmod(y, 2.0) != 0
            return math.copysign(INF, x) if odd else INF
        return NAN


FAST_MATH: dict[str, Callable[..., float]] = {
    "rsqrt": lambda x: divide(1.0, sqrt(x)),
    "exp": _guarded(math.exp),
    "exp2": _guarded(lambda x: math.exp2(x)),
    "log": _log(math.log),
    "log2": _log(math.log2),
    "log10": _log(math.log10),
    "sinh": _sinh,
    "atan2": math.atan2,
    "pow": _pow,
    **{
        name: _guarded(getattr(math, name))
        for name in ("sin", "cos", "tan", "asin", "acos", "atan", "cosh", "tanh")
    },
}
"""Operations that fast mode leaves to the device, as the platform's C library does them in f64: not exact."""
