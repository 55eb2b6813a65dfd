"""Rows of functions: of the math library, of what came later from C's ``math.h``, and of ``gc.random``.

At ordinary operands :mod:`gpucore.testing.semantics.elementary` computes them.  What remains, the special values of ISO C,
annex F.10, is data that ``gpucore_fuzz.correct_values`` writes with mpmath, which also checks the others: under xz, function by
function and format by format, how many there are in two bytes, then their bits, most significant byte first.

Exact functions are computed here with fractions.  The random numbers are the known answers of Random123, and Philox in Python's
integers; ``normal`` is not among them: it is the table's ``log``, ``cos`` and ``sqrt`` of the words that are.
"""

from __future__ import annotations

import lzma
from collections.abc import Callable, Iterable
from fractions import Fraction
from functools import cache, partial
from itertools import product
from pathlib import Path
from random import Random

from gpucore.ir.dtypes import DType, dtype, f32, f64, i32, i64, u32, u64
from gpucore.ir.ops import MATH, MATH_BINARY
from gpucore.testing.semantics import values
from gpucore.testing.semantics.elementary import elementary
from gpucore.testing.semantics.reference import FORMATS, NAN, Format, Real
from gpucore.testing.semantics.values import Case, Group, encode

PATH = Path(__file__).with_name("correct_values.xz")

LATEST = ("erf", "erfc", "lgamma", "tgamma")
LATER = ("acosh", "asinh", "atanh", "cbrt", "exp10", "expm1", "hypot", "log1p")
ROUNDED = (*sorted((*MATH, *LATER)), *LATEST)
"""The functions that round, in the order of the file: what comes later goes to the end."""

BINARY = (*MATH_BINARY, "hypot")

TOLERANCE = {"f32": 2, "f64": 2, "f16": 1, "bf16": 1}
"""Representable numbers off the correctly rounded one; f16 and bf16 are rounded from f32."""


def _numbers(form: Format, name: str) -> list[Fraction]:
    quarters = [Fraction(k, 4) for k in (1, 2, 3, 5, 6, 7, 10, 13, 22, 40)]
    if name in ("exp", "exp2", "sinh", "cosh"):
        limit = Fraction(-form.emin) * (Fraction(7, 10) if name != "exp2" else 1)
        return quarters + [limit - 1, limit, limit + 1, limit + form.fraction_bits]
    if name in ("exp10", "expm1"):
        limit = Fraction(-form.emin) * Fraction(3 if name == "exp10" else 7, 10)
        whole = [Fraction(k) for k in (1, 2, 3, 10, 20)]
        return quarters + whole + [limit - 1, limit, limit + 1, values.power(-5), values.power(-12)]
    if name in ("acosh", "log1p", "atanh"):
        near = [1 - values.power(-k) for k in (2, 5, 8, form.fraction_bits)]
        return (
            quarters
            + near
            + [1 + values.power(-k) for k in (2, 5, 8, form.fraction_bits)]
            + [Fraction(10000)]
        )
    if name in ("log", "log2", "log10", "rsqrt"):
        return quarters + [Fraction(10), Fraction(100), Fraction(1000), Fraction(4096)]
    if name in ("asin", "acos"):
        return quarters + [1 - values.power(-k) for k in (2, 5, 8, form.fraction_bits)]
    if name in ("sin", "cos", "tan"):
        turns = [Fraction(355, 113) * k / 4 for k in (1, 2, 3, 4, 6, 8, 100)]
        return (
            quarters
            + turns
            + [Fraction(10) ** k for k in (2, 3, 4, 5, 10, 22) if 10**k < values.power(-form.emin)]
        )
    if name in ("tgamma", "lgamma"):
        whole = [Fraction(k) for k in (1, 2, 3, 10, 100)]
        return quarters + whole + [Fraction(k, 8) for k in (35, 169, 281, 801, 1373, 1477)]
    return quarters + [Fraction(20), values.power(-5), values.power(-12)]


def operands(name: str, form: Format) -> list[tuple[int, ...]]:
    """The bit patterns of a function's operands, a tuple for each row: borders, the function's own ones, random ones."""
    stream = Random(f"{name}.{form.name}")
    if name in BINARY:
        short = values.float_specials(form) + [
            values.encode(form, v) for v in (Fraction(1, 2), -2, 3, Fraction(-5, 2))
        ]
        pairs = list(product(short, short))
        for _ in range(40):
            x = Fraction(stream.getrandbits(20) + 1, 1 << stream.randint(10, 22))
            y = Fraction(stream.randint(-(1 << 12), 1 << 12), 1 << stream.randint(5, 12))
            pairs.append((values.encode(form, x), values.encode(form, y)))
        return list(dict.fromkeys(pairs))
    if name in LATEST:
        special = values.float_specials(form)
    else:
        special = values.floats(form)
    bits = special + [values.encode(form, sign * v) for v in _numbers(form, name) for sign in (1, -1)]
    bits += [form.canonical(stream.getrandbits(form.width)) for _ in range(8)]
    return [(b,) for b in values.unique(bits)]


def computed(name: str, form: Format, bits: tuple[int, ...]) -> int | None:
    """The bits of the correctly rounded result, or None where it is stored."""
    value = elementary(name, *map(form.decode, bits))
    return None if value is None else form.encode(value)


@cache
def _stored() -> dict[str, list[int]]:
    table: dict[str, list[int]] = {}
    data, position = lzma.decompress(PATH.read_bytes()), 0
    for name, form in product(ROUNDED, FORMATS.values()):
        start, size = position + 2, form.width // 8
        position = start + size * int.from_bytes(data[position:start])
        table[f"{name}.{form.name}"] = [
            int.from_bytes(data[at : at + size]) for at in range(start, position, size)
        ]
    return table


@cache
def cases_of(key: str) -> list[Case]:
    """The rows of a function, such as ``"exp.f32"``."""
    name, kind = key.split(".")
    form = FORMATS[kind]
    rows = [(bits, computed(name, form, bits)) for bits in operands(name, form)]
    stored = _stored()[key]
    if len(stored) != sum(result is None for _, result in rows):
        raise ValueError(
            f"{PATH} was made for other operands; python -m gpucore_fuzz.correct_values makes it again"
        )
    rest = iter(stored)
    return [(bits, (next(rest) if result is None else result,)) for bits, result in rows]


def _rounded_groups(names: Iterable[str]) -> Iterable[Group]:
    for name, (kind, ulp) in product(names, TOLERANCE.items()):
        key, float_type = f"{name}.{kind}", dtype(kind)
        operands = (float_type,) * (2 if name in BINARY else 1)
        allowed = 0 if key == "cbrt.f32" else ulp  # correctly rounded
        yield Group(key, name, operands, (float_type,), partial(cases_of, key), ulp=allowed)


def groups() -> Iterable[Group]:
    """The groups ``exp.f32`` and so on."""
    return _rounded_groups(sorted(MATH))


def latest_groups() -> Iterable[Group]:
    """The groups of the error and gamma functions."""
    return _rounded_groups(LATEST)


Binary = Callable[[Real, Real], Real]


# --- exact functions ---------------------------------------------------------------------------------------
def _fmod(x: Real, y: Real) -> Real:
    if x.is_nan or y.is_nan or x.magnitude is None or y.is_zero:
        return NAN
    if y.magnitude is None:
        return x
    return Real(x.negative, x.magnitude % y.magnitude)


def _remainder(x: Real, y: Real) -> Real:
    if x.is_nan or y.is_nan or x.magnitude is None or y.is_zero:
        return NAN
    if y.magnitude is None:
        return x
    rest = x.magnitude - round(x.magnitude / y.magnitude) * y.magnitude  # Python rounds to even
    return Real(x.negative != (rest < 0), abs(rest))


def _copysign(x: Real, y: Real) -> Real:
    # the sign of NaN cannot be told: it counts as positive
    return x if x.is_nan else Real(y.negative and not y.is_nan, x.magnitude)


def _extreme(x: Real, y: Real, largest: bool) -> Real:
    if x.is_nan or y.is_nan:
        return y if x.is_nan else x
    pair = sorted((x, y), key=_order)
    return pair[1] if largest else pair[0]


def _order(x: Real) -> tuple[int, Fraction, bool]:
    if x.magnitude is None:
        return (-1 if x.negative else 1), Fraction(0), True
    return 0, x.value, not x.negative


def _next(form: Format, x: int, y: int) -> int:
    a, b = form.decode(x), form.decode(y)
    if a.is_nan or b.is_nan:
        return form.nan
    if _order(a)[:2] == _order(b)[:2]:
        return y
    if a.is_zero:
        return (form.sign if b.negative else 0) | 1
    up = _order(a) < _order(b)
    return x + 1 if up != a.negative else x - 1


def _scaled(form: Format, x: int, n: int) -> int:
    number = form.decode(x)
    if number.is_nan or number.magnitude is None or number.is_zero:
        return form.canonical(x)
    n = max(min(n, 5000), -5000)
    return form.encode(Real(number.negative, number.magnitude * Fraction(2) ** n))


def _parts(form: Format, x: int) -> tuple[int, int]:
    number = form.decode(x)
    if number.is_nan or number.magnitude is None or number.is_zero:
        return form.canonical(x), 0
    exponent = 0
    fraction = number.magnitude
    while fraction >= 1:
        fraction /= 2
        exponent += 1
    while fraction < Fraction(1, 2):
        fraction *= 2
        exponent -= 1
    return form.encode(Real(number.negative, fraction)), exponent


# --- math_h_groups -------------------------------------------------------------------------------------------------
def _pairs(form: Format) -> list[tuple[int, int]]:
    short = values.float_specials(form)
    short += [values.encode(form, v) for v in (Fraction(1, 2), -2, 3, Fraction(-5, 2), Fraction(7, 4), 10)]
    numbers = values.unique(short)
    return list(product(numbers, numbers))


def _binary_cases(function: Binary, form: Format) -> list[Case]:
    return [((x, y), (form.encode(function(form.decode(x), form.decode(y))),)) for x, y in _pairs(form)]


def _next_cases(form: Format) -> list[Case]:
    return [((x, y), (_next(form, x, y),)) for x, y in _pairs(form)]


def _ldexp_cases(form: Format) -> list[Case]:
    width = 1 << (form.exponent_bits - 1)
    steps = [
        0,
        1,
        -1,
        5,
        -7,
        2 * width,
        -2 * width,
        width - 1,
        -width,
        3 * width,
        -3 * width,
        2**31 - 1,
        -(2**31),
    ]
    steps += [-width - k for k in range(2, form.fraction_bits, 7)]
    odd = [
        values.encode(form, Fraction(3, 2)),
        values.encode(form, Fraction(-5, 3)),
        values.encode(form, 1) + 1,
    ]
    numbers = values.unique(values.float_specials(form) + odd)
    return [((x, n % (1 << 32)), (_scaled(form, x, n),)) for x in numbers for n in steps]


def _frexp_cases(form: Format, part: int) -> list[Case]:
    numbers = values.floats(form)
    if part == 0:
        return [((x,), (_parts(form, x)[0],)) for x in numbers]
    return [((x,), (_parts(form, x)[1] % (1 << 32),)) for x in numbers]


def _exact(form: Format, kind: DType) -> Iterable[Group]:
    binary: dict[str, Binary] = {
        "fmod": _fmod, "remainder": _remainder, "copysign": _copysign,
        "fmax": partial(_extreme, largest=True), "fmin": partial(_extreme, largest=False),
    }  # fmt: skip
    for name, function in binary.items():
        yield Group(f"{name}.{kind}", name, (kind, kind), (kind,), partial(_binary_cases, function, form))
    for part, result in (("fraction", kind), ("exponent", i32)):
        number = int(part == "exponent")
        template = f"gc.frexp({{}})[{number}]"
        cases = partial(_frexp_cases, form, number)
        yield Group(f"frexp.{part}.{kind}", "frexp", (kind,), (result,), cases, template=template)
    if kind.bits >= 32:
        yield Group(f"nextafter.{kind}", "nextafter", (kind, kind), (kind,), partial(_next_cases, form))
        yield Group(f"ldexp.{kind}", "ldexp", (kind, i32), (kind,), partial(_ldexp_cases, form))


def math_h_groups() -> Iterable[Group]:
    """The groups ``expm1.f32`` and so on."""
    yield from _rounded_groups(LATER)
    for kind in TOLERANCE:
        yield from _exact(FORMATS[kind], dtype(kind))


KNOWN_ANSWERS: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (
    ((0,) * 6, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 6, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344, 0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
)
"""Counter and key, and the words: ``philox4x32 10`` of Random123's ``tests/kat_vectors``."""

_MASK = (1 << 32) - 1


def philox(counter: tuple[int, ...], key: tuple[int, ...]) -> tuple[int, ...]:
    """Philox 4x32-10 as the paper has it."""
    left, right = counter[0], counter[2]
    ahead, behind = counter[1], counter[3]
    for turn in range(10):
        k0, k1 = (key[0] + turn * 0x9E3779B9) & _MASK, (key[1] + turn * 0xBB67AE85) & _MASK
        first, second = 0xD2511F53 * left, 0xCD9E8D57 * right
        left, ahead, right, behind = (
            (second >> 32) ^ ahead ^ k0,
            second & _MASK,
            (first >> 32) ^ behind ^ k1,
            first & _MASK,
        )
    return left, ahead, right, behind


def _words(seed: int, index: int) -> tuple[int, ...]:
    return philox((index & _MASK, index >> 32, 0, 0), (seed & _MASK, seed >> 32))


def _philox_cases(word: int) -> list[Case]:
    stream = Random(4)
    drawn = [tuple(stream.getrandbits(32) for _ in range(6)) for _ in range(60)]
    known: list[Case] = [(inputs, (words[word],)) for inputs, words in KNOWN_ANSWERS]
    return known + [(inputs, (philox(inputs[:4], inputs[4:])[word],)) for inputs in drawn]


def _seeds() -> list[tuple[int, int]]:
    stream = Random(5)
    edges = [0, 1, 2, _MASK, 1 << 32, (1 << 63) - 1, (1 << 64) - 1]
    pairs = [(a, b) for a in edges for b in edges]
    return pairs + [(stream.getrandbits(64), stream.getrandbits(64)) for _ in range(100)]


def _uniform_cases(dtype: DType) -> list[Case]:
    cases: list[Case] = []
    for seed, index in _seeds():
        a, b, _, _ = _words(seed, index)
        value = Fraction(a >> 8, 1 << 24) if dtype is f32 else Fraction((b << 32 | a) >> 11, 1 << 53)
        cases.append(((seed, index), (encode(FORMATS[dtype.name], value),)))
    return cases


def _integer_cases() -> list[Case]:
    low, high = -(1 << 63), (1 << 63) - 1
    ranges = [
        (0, 1),
        (0, 10),
        (-3, 12),
        (5, 5),
        (7, -7),
        (0, 1 << 32),
        (0, (1 << 32) + 1),
        (low, high),
        (-1, high),
    ]
    cases: list[Case] = []
    for number, (seed, index) in enumerate(_seeds()):
        least, past = ranges[number % len(ranges)]
        a, b, _, _ = _words(seed, index)
        value = least + ((b << 32 | a) * max(past - least, 0) >> 64)
        bits = tuple(n % (1 << 64) for n in (least, past))
        cases.append(((seed, index, *bits), (value % (1 << 64),)))
    return cases


def random_groups() -> Iterable[Group]:
    """The groups ``random.philox.word0`` and so on."""
    for word in range(4):
        template = f"gc.random.philox(({{}}, {{}}, {{}}, {{}}), ({{}}, {{}}))[{word}]"
        cases = partial(_philox_cases, word)
        yield Group(f"random.philox.word{word}", "philox", (u32,) * 6, (u32,), cases, template=template)
    for kind, name in ((f32, "uniform"), (f64, "uniform_f64")):
        template = f"gc.random.{name}({{}}, {{}})"
        yield Group(
            f"random.{name}", name, (u64, u64), (kind,), partial(_uniform_cases, kind), template=template
        )
    template = "gc.random.integers({}, {}, {}, {})"
    yield Group(
        "random.integers", "integers", (u64, u64, i64, i64), (i64,), _integer_cases, template=template
    )
