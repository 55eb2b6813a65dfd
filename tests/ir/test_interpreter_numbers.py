"""Numbers: spot rows written by hand, and rounding against exact rational arithmetic."""
# ruff: noqa: E501 - tables, one row a line

import math
import random
import warnings
from fractions import Fraction

import numpy as np
import pytest

from gpucore.ir.dtypes import ALL, bf16, dtype, f16, f32, f64
from gpucore.ir.interpreter import numerics
from gpucore.ir.interpreter.program import HELPERS, operation

INF, NAN = math.inf, math.nan
FLOATS = ("f16", "bf16", "f32", "f64")
PRECISION = {"f16": (11, -14, 15), "bf16": (8, -126, 127), "f32": (24, -126, 127), "f64": (53, -1022, 1023)}


def evaluate(op, dtypes, result, *values):
    """One operation as the generated code computes it."""
    names = tuple("abc"[: len(values)])
    text, pending = operation(op, tuple(map(dtype, dtypes)), dtype(result), names)
    value = eval(text, dict(HELPERS), dict(zip(names, values)))
    return HELPERS["_gc_round_f32"](value) if pending and result == "f32" else value


def same(a, b):
    if isinstance(a, float) or isinstance(b, float):
        if a != a or b != b:
            return a != a and b != b
        return a == b and math.copysign(1, a) == math.copysign(1, b)
    return a == b and type(a) is type(b)


def rational(value, name):
    """A fraction rounded to a format by the definition: nearest, ties to the even significand."""
    precision, emin, emax = PRECISION[name]
    if value == 0:
        return 0.0
    sign, value = (-1, -value) if value < 0 else (1, value)
    exponent = max(emin, value.numerator.bit_length() - value.denominator.bit_length() - 1)
    while value >= Fraction(2) ** (exponent + 1):
        exponent += 1
    unit = Fraction(2) ** (exponent - precision + 1)
    steps = math.floor(value / unit)
    rest = value / unit - steps
    if rest > Fraction(1, 2) or (rest == Fraction(1, 2) and steps % 2):
        steps += 1
    if steps * unit >= Fraction(2) ** (emax + 1):
        return sign * INF
    return sign * float(steps * unit)


def numbers(name, count, seed):
    rng = random.Random(seed)
    precision, emin, emax = PRECISION[name]
    tiny = 2.0 ** (emin - precision + 1)
    special = [
        tiny,
        2.0**emin,
        2.0**emin - tiny,
        (2 - 2.0 ** (1 - precision)) * 2.0**emax,
        1.0,
        1 + 2.0 ** (1 - precision),
    ]
    found = [s * v for v in special for s in (1, -1)]
    for _ in range(count):
        significand = rng.getrandbits(precision - 1) | 1 << (precision - 1)
        exponent = rng.choice((rng.randint(emin - precision, emax), rng.randint(-4, 4)))
        unit = max(exponent - precision + 1, emin - precision + 1)
        found.append(rng.choice((1, -1)) * rational(Fraction(significand) * Fraction(2) ** unit, name))
    return [v for v in found if math.isfinite(v)]


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("op", ["add", "sub", "mul", "div"])
def test_arithmetic_is_the_exact_result_rounded_once(name, op):
    values = numbers(name, 60, 1)
    rng = random.Random(2)
    exact = {
        "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "div": lambda a, b: a / b
    }[op]  # fmt: skip
    for _ in range(400):
        a, b = rng.choice(values), rng.choice(values)
        if op == "div" and b == 0:
            continue
        wanted = exact(Fraction(a), Fraction(b))
        found = evaluate(op, (name, name), name, a, b)
        if wanted:
            expected = rational(wanted, name)
            assert abs(found) == abs(expected) and (found < 0 or math.copysign(1, found) < 0) == (
                wanted < 0
            ), (a, b)
        else:
            assert found == 0


@pytest.mark.parametrize("name", FLOATS)
def test_fma_is_the_exact_result_rounded_once(name):
    values = numbers(name, 60, 3)
    rng = random.Random(4)
    precision = PRECISION[name][0]
    for i in range(600):
        a, b, c = (rng.choice(values) for _ in range(3))
        if i % 2:  # products whose sum with c lies at, or next to, the middle between two neighbours
            a = 1 + rng.getrandbits(precision - 1) * 2.0 ** (1 - precision)
            b = 1 + 2.0 ** (1 - precision) * rng.randint(0, 3)
            c = rational(
                Fraction(rng.choice((1, -1)) * 2) ** rng.randint(-2 * precision, -precision + 2), name
            )
        wanted = Fraction(a) * Fraction(b) + Fraction(c)
        found = evaluate("fma", (name,) * 3, name, a, b, c)
        if wanted:
            expected = rational(wanted, name)
            assert abs(found) == abs(expected) and (math.copysign(1, found) < 0) == (wanted < 0), (a, b, c)


@pytest.mark.parametrize("name", FLOATS)
def test_sqrt_is_correctly_rounded(name):
    for value in numbers(name, 100, 5):
        if value > 0:
            found = evaluate("sqrt", (name,), name, value)
            # the next float below the root in 1100 binary places, a little more unless it is exact
            scaled = math.isqrt(math.floor(Fraction(value) * 4**1100))
            more = Fraction(1, 2**1200) if Fraction(scaled, 2**1100) ** 2 != Fraction(value) else 0
            assert found == rational(Fraction(scaled, 2**1100) + more, name), value


@pytest.mark.parametrize("source", FLOATS)
@pytest.mark.parametrize("to", FLOATS)
def test_casts_between_floats_round_once(source, to):
    for value in numbers(source, 200, 6):
        found = evaluate("cast", (source,), to, value)
        expected = math.copysign(abs(rational(Fraction(value), to)), value)
        assert same(float(found), expected), value


@pytest.mark.parametrize("to", FLOATS)
@pytest.mark.parametrize("source", ["i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64", "index"])
def test_casts_of_integers_round_once(source, to):
    rng = random.Random(7)
    kind = dtype(source)
    low = -(1 << (kind.bits - 1)) if kind.is_signed else 0
    high = low + (1 << kind.bits) - 1
    edge = [low, high, 0, 1, high - 1] + [rng.randint(low, high) for _ in range(100)]
    edge += [n for k in range(8, kind.bits) for n in ((1 << k) + (1 << (k - 8)), (1 << k) + 1) if n <= high]
    for value in edge:
        assert same(float(evaluate("cast", (source,), to, value)), rational(Fraction(value), to)), value


def test_a_cast_does_not_round_twice():
    # just above the middle of two bf16, but rounded to f32 first it would be the middle
    value = 1 + 2.0**-8 + 2.0**-40
    assert evaluate("cast", ("f64",), "bf16", value) == 1 + 2.0**-7
    assert evaluate("cast", ("i64",), "f32", (1 << 60) + (1 << 36) + 1) == float((1 << 60) + (1 << 37))


I32 = (-(2**31), 2**31 - 1)
ROWS = [
    # integers wrap
    ("add", "i32", (I32[1], 1), I32[0]), ("sub", "u8", (0, 1), 255), ("mul", "i64", (2**62, 2), -(2**63)),
    ("neg", "i8", (-128,), -128), ("neg", "u32", (1,), 2**32 - 1), ("abs", "i16", (-32768,), -32768),
    ("mul", "index", (2**33, 2**33), 0), ("mul", "u64", (2**63, 3), 2**63),
    # division
    ("floordiv", "i32", (-7, 2), -4), ("mod", "i32", (-7, 2), 1), ("floordiv", "i32", (7, -2), -4),
    ("mod", "i32", (7, -2), -1), ("floordiv", "i32", (5, 0), 0), ("mod", "i32", (5, 0), 0),
    ("floordiv", "i32", (I32[0], -1), I32[0]), ("mod", "i32", (I32[0], -1), 0), ("floordiv", "u8", (200, 7), 28),
    # powers
    ("pow", "i32", (3, 5), 243), ("pow", "i32", (0, 0), 1), ("pow", "i32", (2, -1), 0), ("pow", "i32", (2, 31), I32[0]),
    ("pow", "i8", (-3, 3), -27), ("pow", "u64", (3, 100), pow(3, 100, 2**64)), ("pow", "i32", (1, -1), 0),
    # bits
    ("shl", "i32", (1, 31), I32[0]), ("shl", "i32", (1, 32), 0), ("shl", "i32", (1, -1), 0), ("shl", "u8", (255, 4), 240),
    ("shr", "i32", (-8, 1), -4), ("shr", "i32", (-8, 40), -1), ("shr", "i32", (-8, -1), -1), ("shr", "i32", (8, 32), 0),
    ("shr", "u32", (2**32 - 1, 31), 1), ("shr", "u32", (2**32 - 1, 32), 0), ("not", "u8", (5,), 250),
    ("not", "i8", (5,), -6), ("xor", "i8", (-1, 5), -6), ("and", "u64", (2**64 - 1, 7), 7),
    ("popcount", "i8", (-1,), 8), ("clz", "u16", (0,), 16), ("clz", "i32", (-1,), 0), ("clz", "u64", (1,), 63),
    # floats
    ("div", "f32", (1.0, 0.0), INF), ("div", "f32", (-1.0, 0.0), -INF), ("div", "f32", (1.0, -0.0), -INF),
    ("div", "f64", (0.0, 0.0), NAN), ("mul", "f32", (3e38, 10.0), INF), ("add", "f16", (65504.0, 16.0), INF),
    ("add", "f16", (65504.0, 15.0), 65504.0), ("sub", "f64", (INF, INF), NAN), ("neg", "f32", (0.0,), -0.0),
    ("abs", "f16", (-0.0,), 0.0), ("sqrt", "f32", (-1.0,), NAN), ("sqrt", "f64", (-0.0,), -0.0),
    ("floordiv", "f32", (-7.0, 2.0), -4.0), ("mod", "f32", (-7.0, 2.0), 1.0), ("mod", "f64", (7.0, -2.0), -1.0),
    ("floordiv", "f64", (1.0, 0.0), INF), ("floordiv", "f64", (-1.0, 0.0), -INF), ("mod", "f64", (1.0, 0.0), NAN),
    ("floordiv", "f64", (0.0, 0.0), NAN), ("floordiv", "f64", (-1.0, INF), -1.0), ("mod", "f64", (-1.0, INF), INF),
    ("mod", "f64", (1.0, INF), 1.0), ("floordiv", "f64", (INF, 2.0), NAN), ("mod", "f32", (4.0, -2.0), -0.0),
    ("mod", "f32", (-4.0, 2.0), 0.0), ("floordiv", "f32", (-0.0, 2.0), -0.0),
    ("fma", "f64", (1e308, 10.0, -INF), -INF), ("fma", "f64", (1e308, 10.0, -1e308), INF),
    ("fma", "f32", (-0.0, 1.0, -0.0), -0.0), ("fma", "f32", (1.0, -1.0, 1.0), 0.0), ("fma", "f32", (0.0, INF, 1.0), NAN),
    ("fma", "f64", (2.0**-600, 2.0**-600, 0.0), 0.0), ("fma", "f64", (-(2.0**-600), 2.0**-600, 0.0), -0.0),
    ("min", "f32", (-0.0, 0.0), -0.0), ("min", "f32", (0.0, -0.0), -0.0), ("max", "f32", (-0.0, 0.0), 0.0),
    ("max", "f64", (NAN, 1.0), NAN), ("min", "f64", (1.0, NAN), NAN), ("min", "i8", (-1, 1), -1),
    ("floor", "f32", (-0.5,), -1.0), ("ceil", "f32", (-0.5,), -0.0), ("trunc", "f32", (-0.5,), -0.0),
    ("round", "f32", (2.5,), 2.0), ("round", "f64", (-0.5,), -0.0), ("round", "f16", (3.5,), 4.0),
    ("floor", "f64", (1e300,), 1e300), ("ceil", "f32", (INF,), INF), ("floor", "f32", (-0.0,), -0.0),
    # denormals stay
    ("mul", "f32", (2.0**-126, 0.5), 2.0**-127), ("add", "f32", (2.0**-149, 2.0**-149), 2.0**-148),
    ("mul", "f16", (2.0**-14, 2.0**-10), 2.0**-24), ("mul", "f64", (2.0**-1022, 0.5), 2.0**-1023),
    ("mul", "bf16", (2.0**-126, 0.5), 2.0**-127),
]  # fmt: skip


@pytest.mark.parametrize(("op", "name", "values", "expected"), ROWS)
def test_rows_written_by_hand(op, name, values, expected):
    result = "i32" if op in ("popcount", "clz") else name
    found = evaluate(op, (name,) * len(values), result, *values)
    assert same(found, expected), found


CASTS = [
    ("f32", "i32", NAN, 0), ("f32", "i32", INF, I32[1]), ("f32", "i32", -INF, I32[0]), ("f32", "i32", -1.9, -1),
    ("f32", "u8", -3.0, 0), ("f64", "u64", 1e30, 2**64 - 1), ("f64", "i64", 9.3e18, 2**63 - 1), ("f16", "i8", 200.0, 127),
    ("f32", "i32", 2147483648.0, I32[1]), ("f32", "i32", 2147483520.0, 2147483520), ("f64", "i32", 2147483647.5, I32[1]),
    ("i32", "u8", -1, 255), ("u32", "i32", 2**31, I32[0]), ("i64", "i8", 255, -1), ("u8", "i64", 255, 255),
    ("f32", "bool", NAN, True), ("f32", "bool", -0.0, False), ("i8", "bool", 0, False), ("i8", "bool", -2, True),
    ("bool", "f16", True, 1.0), ("bool", "i8", True, 1), ("bool", "u64", False, 0), ("bool", "bool", True, True),
    ("f64", "f32", 1e39, INF), ("f64", "f16", 65520.0, INF), ("f64", "f16", 65519.99, 65504.0), ("f64", "f32", -1e-60, -0.0),
    ("u64", "f16", 2**64 - 1, INF), ("index", "i32", 2**32 + 5, 5), ("i32", "index", -5, -5),
]  # fmt: skip


@pytest.mark.parametrize(("source", "to", "value", "expected"), CASTS)
def test_casts_written_by_hand(source, to, value, expected):
    assert same(evaluate("cast", (source,), to, value), expected)


BITCASTS = [
    ("f32", "u32", -NAN, 0x7FC00000), ("f64", "u64", NAN, 0x7FF8000000000000), ("f16", "u16", NAN, 0x7E00),
    ("bf16", "i16", NAN, 0x7FC0), ("f32", "i32", -0.0, I32[0]), ("u32", "f32", 0x3F800000, 1.0),
    ("i16", "f16", -32768, -0.0), ("u16", "bf16", 0x3F80, 1.0), ("i32", "u32", -1, 2**32 - 1), ("u64", "i64", 2**63, -(2**63)),
    ("f16", "bf16", 1.0, 0.0078125), ("u32", "f32", 0x7F800001, NAN), ("index", "u64", -1, 2**64 - 1),
    ("f64", "index", -0.0, -(2**63)),
]  # fmt: skip


@pytest.mark.parametrize(("source", "to", "value", "expected"), BITCASTS)
def test_bitcasts_written_by_hand(source, to, value, expected):
    assert same(evaluate("bitcast", (source,), to, value), expected)


def test_comparisons_are_ieee():
    table = {"eq": False, "ne": True, "lt": False, "le": False, "gt": False, "ge": False}
    for op, expected in table.items():
        assert evaluate(op, ("f32", "f32"), "bool", NAN, NAN) is expected
    assert evaluate("eq", ("f32", "f32"), "bool", -0.0, 0.0) is True


@pytest.mark.parametrize("name", ["f32", "f64", "f16", "bf16"])
def test_floor_division_of_floats_agrees_with_cpython_where_that_is_exact(name):
    rng = random.Random(8)
    for _ in range(300):
        a, b = rng.randint(-100, 100) / 4, rng.choice((-1, 1)) * rng.randint(1, 12) / 4
        assert same(evaluate("floordiv", (name, name), name, a, b), a // b)
        assert same(evaluate("mod", (name, name), name, a, b), a % b)


def test_f64_floor_division_is_cpythons():
    rng = random.Random(9)
    for _ in range(500):
        a, b = rng.uniform(-1, 1) * 10 ** rng.randint(-5, 18), rng.uniform(-1, 1) * 10 ** rng.randint(-5, 5)
        assert same(evaluate("floordiv", ("f64", "f64"), "f64", a, b), a // b)
        assert same(evaluate("mod", ("f64", "f64"), "f64", a, b), a % b)


def test_f32_floor_division_is_numpys():
    rng = np.random.default_rng(10)
    a = (rng.uniform(-1, 1, 500) * 10.0 ** rng.integers(-5, 9, 500)).astype(np.float32)
    b = (rng.uniform(-1, 1, 500) * 10.0 ** rng.integers(-5, 3, 500)).astype(np.float32)
    for x, y, q, m in zip(a.tolist(), b.tolist(), (a // b).tolist(), (a % b).tolist()):
        assert same(evaluate("floordiv", ("f32", "f32"), "f32", x, y), q), (x, y)
        assert same(evaluate("mod", ("f32", "f32"), "f32", x, y), m), (x, y)


@pytest.mark.parametrize("kind", [f16, bf16])
def test_every_half_pattern_survives_memory(kind):
    for bits in range(0, 1 << 16, 7):
        value = numerics.half_table(kind)[bits]
        back = numerics.encode_half(value, kind)
        assert back == (bits if value == value else numerics.FORMATS[kind].nan)


def test_the_table_of_f16_agrees_with_numpy():
    words = np.arange(1 << 16, dtype=np.uint16)
    found = np.array(numerics.half_table(f16))
    np.testing.assert_array_equal(found, words.view(np.float16).astype(np.float64))


def test_the_table_of_bf16_agrees_with_ml_dtypes():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    words = np.arange(1 << 16, dtype=np.uint16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = words.view(ml_dtypes.bfloat16).astype(np.float64)
    np.testing.assert_array_equal(np.array(numerics.half_table(bf16)), reference)


def test_raw_operations_report_a_broken_precondition():
    for op, values in (
        ("quot.raw", (1, 0)),
        ("rem.raw", (I32[0], -1)),
        ("shl.raw", (1, 32)),
        ("shr.raw", (1, -1)),
    ):
        with pytest.raises(numerics.PreconditionError):
            evaluate(op, ("i32", "i32"), "i32", *values)
    with pytest.raises(numerics.PreconditionError):
        evaluate("f2i.raw", ("f32",), "i32", 2147483648.0)
    assert evaluate("quot.raw", ("i32", "i32"), "i32", -7, 2) == -3
    assert evaluate("rem.raw", ("i32", "i32"), "i32", -7, 2) == -1


def test_round_ratio_agrees_with_division_of_integers():
    rng = random.Random(11)
    for _ in range(300):
        n, d = rng.getrandbits(rng.randint(1, 200)), rng.getrandbits(rng.randint(1, 200)) + 1
        assert numerics.round_ratio(n, d, f64) == n / d
        assert numerics.round_ratio(-n, d, f32) == (rational(Fraction(-n, d), "f32") if n else 0.0)


def test_no_warnings_come_out_of_overflow_or_nan(compute):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isinf(compute("mul", ("f32", "f32"), "f32", 3e38, 3e38))
        assert np.isinf(compute("cast", ("f64",), "f16", 1e300))
        assert np.isnan(compute("div", ("f64", "f64"), "f64", 0.0, 0.0))
        assert compute("add", ("i32", "i32"), "i32", I32[1], 1) == I32[0]


def test_every_operation_of_the_tables_has_an_expression():
    from gpucore.ir.ops import MATH, OPS
    from gpucore.ir.verify import _MEMBERS

    for op, spec in OPS.items():
        if op in MATH:
            continue
        for d in _MEMBERS[spec.types]:
            if op in ("cast", "bitcast", "bitcast.raw", "f2i.raw"):
                results = [
                    r for r in ALL if op == "cast" or ((r.bits == d.bits) if "bit" in op else r.is_integer)
                ]
                if "bit" in op:
                    results = [r for r in results if r.kind != "bool" and d.kind != "bool"]
            else:
                results = [{"same": d, "bool": dtype("bool"), "i32": dtype("i32")}[spec.result]]
            one = True if d.kind == "bool" else 1.0 if d.is_float else 1
            values = [one] * spec.arity
            kinds = [d.name] * spec.arity
            if op == "select":
                values[0], kinds[0] = True, "bool"
            for r in results:
                found = evaluate(op, tuple(kinds), r.name, *values)
                wanted = {"bool": bool, "float": float}.get(r.kind, int)
                assert type(found) is wanted, (op, d, r, found)
