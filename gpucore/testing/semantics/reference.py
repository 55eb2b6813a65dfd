"""What operations on numbers mean, in Python integers; floats and conversions by exact rational arithmetic.

Nothing here uses a machine's floating point.  A number is decoded from its bits to a sign and a fraction,
the operation is done exactly, and the result is rounded once, to nearest, ties to even (IEEE 754-2019,
4.3.1); f16 and bf16 are computed in f32 and rounded a second time, save fma and conversions, as the
language defines them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import isqrt

from gpucore.ir.dtypes import DType, bool_


@dataclass(frozen=True, slots=True)
class Integer:
    """A two's complement integer type; ``index`` is one of 64 bits."""

    width: int
    signed: bool

    @property
    def low(self) -> int:
        return -(1 << (self.width - 1)) if self.signed else 0

    @property
    def high(self) -> int:
        return (1 << (self.width - self.signed)) - 1

    def bits(self, value: int) -> int:
        """The bits of ``value`` wrapped to the type."""
        return value & ((1 << self.width) - 1)

    def value(self, bits: int) -> int:
        return bits - (1 << self.width) if self.signed and bits >> (self.width - 1) else bits


def integer(dtype: DType) -> Integer:
    """The integer type of a dtype."""
    return Integer(dtype.bits, dtype.is_signed)


def apply(op: str, kind: Integer, *operands: int) -> int:
    """The bits of the result; comparisons give 0 or 1, ``popcount`` and ``clz`` an i32."""
    if op in ("popcount", "clz"):
        (bits,) = operands
        return bits.bit_count() if op == "popcount" else kind.width - bits.bit_length()
    return _wrapped(op, kind, *(kind.value(bits) for bits in operands))


def _wrapped(op: str, kind: Integer, *args: int) -> int:
    a, b = args[0], args[-1]
    match op:
        case "neg":
            result = -a
        case "abs":
            result = abs(a)
        case "not":
            result = ~a
        case "add":
            result = a + b
        case "sub":
            result = a - b
        case "mul":
            result = a * b
        case "floordiv":
            result = a // b if b else 0
        case "mod":
            result = a % b if b else 0
        case "pow":
            result = pow(a, b, 1 << kind.width) if b >= 0 else 0
        case "min":
            result = min(a, b)
        case "max":
            result = max(a, b)
        case "and":
            result = a & b
        case "or":
            result = a | b
        case "xor":
            result = a ^ b
        case "shl":
            result = a << b if 0 <= b < kind.width else 0
        case "shr":
            result = a >> b if 0 <= b < kind.width else (-1 if a < 0 else 0)
        case _:
            return compare(op, a, b)
    return kind.bits(result)


def compare(op: str, a: int, b: int) -> int:
    """0 or 1."""
    return int({"eq": a == b, "ne": a != b, "lt": a < b, "le": a <= b, "gt": a > b, "ge": a >= b}[op])


def apply_bool(op: str, *operands: int) -> int:
    """Operations on bool: logical ones, and comparisons with False before True."""
    a, b = operands[0], operands[-1]
    match op:
        case "not":
            return 1 - a
        case "and":
            return a & b
        case "or":
            return a | b
        case "xor":
            return a ^ b
    return compare(op, a, b)


@dataclass(frozen=True, slots=True)
class Real:
    """A decoded float: ``magnitude`` is None for an infinity; of NaN neither counts."""

    negative: bool
    magnitude: Fraction | None
    is_nan: bool = False

    @property
    def is_inf(self) -> bool:
        return self.magnitude is None and not self.is_nan

    @property
    def is_zero(self) -> bool:
        return self.magnitude == 0

    @property
    def value(self) -> Fraction:
        """The signed value of a finite number."""
        if self.magnitude is None:
            raise ValueError("an infinity or NaN has no value")
        return -self.magnitude if self.negative else self.magnitude

    def __neg__(self) -> Real:
        return Real(not self.negative, self.magnitude, self.is_nan)


NAN = Real(False, None, is_nan=True)


def _inf(negative: bool) -> Real:
    return Real(negative, None)


def _zero(negative: bool) -> Real:
    return Real(negative, Fraction(0))


def _exact(value: Fraction, negative_if_zero: bool = False) -> Real:
    return Real(value < 0 or (value == 0 and negative_if_zero), abs(value))


@dataclass(frozen=True, slots=True)
class Format:
    """An IEEE 754 binary interchange format (bf16 has the shape of one)."""

    name: str
    exponent_bits: int
    fraction_bits: int

    @property
    def width(self) -> int:
        return 1 + self.exponent_bits + self.fraction_bits

    @property
    def precision(self) -> int:
        return self.fraction_bits + 1

    @property
    def emin(self) -> int:
        return 2 - (1 << (self.exponent_bits - 1))

    @property
    def inf(self) -> int:
        return ((1 << self.exponent_bits) - 1) << self.fraction_bits

    @property
    def nan(self) -> int:
        """The canonical quiet NaN."""
        return self.inf | (1 << (self.fraction_bits - 1))

    @property
    def sign(self) -> int:
        return 1 << (self.width - 1)

    def decode(self, bits: int) -> Real:
        negative = bool(bits & self.sign)
        body = bits & (self.sign - 1)
        if body > self.inf:
            return NAN
        if body == self.inf:
            return _inf(negative)
        field, fraction = body >> self.fraction_bits, body & ((1 << self.fraction_bits) - 1)
        significand = fraction | (1 << self.fraction_bits if field else 0)
        exponent = max(field, 1) - 1 + self.emin - self.fraction_bits
        scale = Fraction(1 << exponent) if exponent >= 0 else Fraction(1, 1 << -exponent)
        return Real(negative, significand * scale)

    def encode(self, number: Real) -> int:
        """Round to nearest, ties to even; NaN becomes the canonical one."""
        if number.is_nan:
            return self.nan
        sign = self.sign if number.negative else 0
        if number.magnitude is None:
            return sign | self.inf
        if number.magnitude == 0:
            return sign
        numerator, denominator = number.magnitude.numerator, number.magnitude.denominator
        exponent = numerator.bit_length() - denominator.bit_length()
        shifted = (
            (numerator, denominator << exponent) if exponent >= 0 else (numerator << -exponent, denominator)
        )
        if shifted[0] < shifted[1]:
            exponent -= 1
        exponent = max(exponent, self.emin)
        quantum = exponent - self.fraction_bits
        if quantum >= 0:
            denominator <<= quantum
        else:
            numerator <<= -quantum
        units, rest = divmod(numerator, denominator)
        if 2 * rest > denominator or (2 * rest == denominator and units & 1):
            units += 1
        # A carry out of the significand runs into the exponent field, as it should
        return sign | min(((exponent - self.emin) << self.fraction_bits) + units, self.inf)

    def canonical(self, bits: int) -> int:
        """The bits with any NaN replaced by the canonical one."""
        return self.nan if (bits & (self.sign - 1)) > self.inf else bits


F16 = Format("f16", 5, 10)
BF16 = Format("bf16", 8, 7)
F32 = Format("f32", 8, 23)
F64 = Format("f64", 11, 52)
FORMATS: dict[str, Format] = {f.name: f for f in (F16, BF16, F32, F64)}


# --- exact operations on decoded numbers ---------------------------------------------------------------
def _add(a: Real, b: Real) -> Real:
    if a.is_nan or b.is_nan:
        return NAN
    if a.is_inf or b.is_inf:
        if a.is_inf and b.is_inf and a.negative != b.negative:
            return NAN
        return a if a.is_inf else b
    return _exact(a.value + b.value, a.negative and b.negative)


def _mul(a: Real, b: Real) -> Real:
    if a.is_nan or b.is_nan:
        return NAN
    negative = a.negative != b.negative
    if a.is_inf or b.is_inf:
        return NAN if a.is_zero or b.is_zero else _inf(negative)
    return _exact(a.value * b.value, negative)


def _div(a: Real, b: Real) -> Real:
    if a.is_nan or b.is_nan:
        return NAN
    negative = a.negative != b.negative
    if a.is_inf:
        return NAN if b.is_inf else _inf(negative)
    if b.is_inf:
        return _zero(negative)
    if b.is_zero:
        return NAN if a.is_zero else _inf(negative)
    return _exact(a.value / b.value, negative)


def _fma(a: Real, b: Real, c: Real) -> Real:
    return _add(_mul(a, b), c)


def _fmod(a: Real, b: Real) -> Real:
    """``fmod`` of C: exact, with the sign of ``a``."""
    if a.is_nan or b.is_nan or a.is_inf or b.is_zero:
        return NAN
    if b.is_inf:
        return a
    if a.magnitude is None or b.magnitude is None:
        raise AssertionError("finite by now")
    return Real(a.negative, a.magnitude - b.magnitude * (a.magnitude // b.magnitude))


def _sqrt(a: Real, bits: int = 80) -> Real:
    """A number that rounds, to any format of less than ``bits`` bits, as the root does."""
    if a.is_nan or a.is_zero:
        return a
    if a.negative:
        return NAN
    if a.magnitude is None:
        return a
    numerator, denominator = a.magnitude.numerator, a.magnitude.denominator
    shift = max(0, bits - (numerator.bit_length() - denominator.bit_length()) // 2 + 2)
    scaled, rest = divmod(numerator << (2 * shift), denominator)
    root = isqrt(scaled)
    sticky = 0 if rest == 0 and root * root == scaled else 1
    return Real(False, Fraction(2 * root + sticky, 1 << (shift + 1)))


def _round_integral(a: Real, rule: Callable[[Fraction], int]) -> Real:
    if a.is_nan or a.is_inf:
        return a
    return Real(a.negative, Fraction(abs(rule(a.value))))


def _floor(a: Real) -> Real:
    return _round_integral(a, lambda v: v.numerator // v.denominator)


def _ceil(a: Real) -> Real:
    return _round_integral(a, lambda v: -(-v.numerator // v.denominator))


def _trunc(a: Real) -> Real:
    return _round_integral(a, int)


def _nearest(a: Real) -> Real:
    return _round_integral(a, round)  # Python's round on a Fraction: ties to even, exactly


def _compare(a: Real, b: Real) -> int | None:
    """-1, 0 or 1; None when unordered.  Zeros are equal."""
    if a.is_nan or b.is_nan:
        return None
    if a.is_inf or b.is_inf:
        left = (-1 if a.negative else 1) if a.is_inf else 0
        right = (-1 if b.negative else 1) if b.is_inf else 0
        return (left > right) - (left < right)
    return (a.value > b.value) - (a.value < b.value)


def _extremum(a: Real, b: Real, largest: bool) -> Real:
    order = _compare(a, b)
    if order is None:
        return NAN
    if order == 0 and a.negative != b.negative:  # zeros: -0 < +0
        order = -1 if a.negative else 1
    return a if (order > 0) == largest else b


# --- operations on bits ----------------------------------------------------------------------------------
class Arithmetic:
    """The float operations of one dtype, from bits to bits."""

    def __init__(self, name: str) -> None:
        self.format = FORMATS[name]
        self.working = F32 if name in ("f16", "bf16") else self.format

    def _rounded(self, exact: Real) -> Real:
        return self.working.decode(self.working.encode(exact))

    def apply(self, op: str, *operands: int) -> int:
        """The bits of the result; comparisons and tests give 0 or 1."""
        args = [self.format.decode(bits) for bits in operands]
        if op in _COMPARISONS:
            return int(_COMPARISONS[op](_compare(args[0], args[1])))
        if op in _TESTS:
            return int(_TESTS[op](args[0]))
        if op == "fma":
            return self.format.encode(_fma(*args))
        if op in ("floordiv", "mod"):
            return self.format.encode(self._divmod(args[0], args[1])[op == "mod"])
        return self.format.encode(self._rounded(_OPERATIONS[op](*args)))

    def _divmod(self, a: Real, b: Real) -> tuple[Real, Real]:
        """``FLOAT_DIVMOD`` of :mod:`gpucore.ir.ops`, each step rounded to the working format."""
        if b.is_zero:
            return self._rounded(_div(a, b)), NAN
        mod = _fmod(a, b)
        div = self._rounded(_div(self._rounded(_add(a, -mod)), b))
        if not mod.is_zero:
            if _less(b) != _less(mod):
                mod = self._rounded(_add(mod, b))
                div = self._rounded(_add(div, Real(True, Fraction(1))))
        else:
            mod = _zero(b.negative)
        if div.is_zero:
            quotient = self._rounded(_div(a, b))
            return _zero(quotient.negative), mod
        quotient = _floor(div)
        excess = _add(div, -quotient)
        if not excess.is_nan and _compare(excess, Real(False, Fraction(1, 2))) == 1:
            quotient = self._rounded(_add(quotient, Real(False, Fraction(1))))
        return quotient, mod


def _less(a: Real) -> bool:
    """``a < 0``."""
    return a.negative and not a.is_nan and not a.is_zero


_OPERATIONS: dict[str, Callable[..., Real]] = {
    "neg": lambda a: -a,
    "abs": lambda a: Real(False, a.magnitude, a.is_nan),
    "add": _add,
    "sub": lambda a, b: _add(a, -b),
    "mul": _mul,
    "div": _div,
    "sqrt": _sqrt,
    "floor": _floor,
    "ceil": _ceil,
    "trunc": _trunc,
    "round": _nearest,
    "min": lambda a, b: _extremum(a, b, largest=False),
    "max": lambda a, b: _extremum(a, b, largest=True),
}
_COMPARISONS: dict[str, Callable[[int | None], bool]] = {
    "eq": lambda order: order == 0,
    "ne": lambda order: order != 0,
    "lt": lambda order: order == -1,
    "le": lambda order: order in (-1, 0),
    "gt": lambda order: order == 1,
    "ge": lambda order: order in (0, 1),
}
_TESTS: dict[str, Callable[[Real], bool]] = {"isnan": lambda a: a.is_nan, "isinf": lambda a: a.is_inf}


# --- conversions -----------------------------------------------------------------------------------------
def float_to_float(source: str, target: str, bits: int) -> int:
    """One rounding, to nearest even."""
    return FORMATS[target].encode(FORMATS[source].decode(bits))


def int_to_float(value: int, target: str) -> int:
    """One rounding, to nearest even."""
    return FORMATS[target].encode(_exact(Fraction(value)))


def float_to_int(source: str, bits: int, low: int, high: int) -> int:
    """Truncate, saturate to ``[low, high]``; NaN gives 0.  The result is a Python integer."""
    number = FORMATS[source].decode(bits)
    if number.is_nan:
        return 0
    if number.is_inf:
        return low if number.negative else high
    return min(max(int(number.value), low), high)


def cast_bits(source: DType, target: DType, bits: int) -> int:
    """The bits of a scalar in another dtype: integers wrap, floats round once, floats to integers truncate and saturate."""
    if target is bool_:
        if source.is_float:
            return int(not FORMATS[source.name].decode(bits).is_zero)
        return int(bits != 0)
    if source.is_float:
        if target.is_float:
            return float_to_float(source.name, target.name, bits)
        kind = integer(target)
        return kind.bits(float_to_int(source.name, bits, kind.low, kind.high))
    value = bits if source is bool_ else integer(source).value(bits)
    return int_to_float(value, target.name) if target.is_float else integer(target).bits(value)
