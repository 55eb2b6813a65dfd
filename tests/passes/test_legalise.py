"""Every operation on every dtype, where it matters: the expansion gives the bits of the definition."""

import itertools
import math

import numpy as np
import pytest

from gpucore.errors import NotSupportedError
from gpucore.ir import Atomic, AtomicCas, Call, Op, dtype, interpreter, walk
from gpucore.ir.dtypes import ALL, index
from gpucore.ir.ops import BASELINE, MATH, OPS, op_key

DTYPES = tuple(d for d in ALL if d is not index)
INTEGERS = tuple(d for d in DTYPES if d.is_integer)
CONVERSIONS = ("cast", "bitcast")


def values_of(d):
    """Numbers at the borders of a dtype, as an array of its host dtype."""
    if d.kind == "bool":
        return np.array([False, True])
    if d.is_integer:
        low = -(1 << (d.bits - 1)) if d.is_signed else 0
        high = low + (1 << d.bits) - 1
        near = [
            low,
            low + 1,
            high,
            high - 1,
            0,
            1,
            2,
            3,
            7,
            d.bits - 1,
            d.bits,
            d.bits + 1,
            high // 2,
            high // 3,
        ]
        negative = [-1, -2, -3, -7, -d.bits] if d.is_signed else []
        return np.array(sorted({v for v in (*near, *negative) if low <= v <= high}), d.numpy)
    special = [
        0.0, -0.0, 1.0, -1.0, 1.5, 2.5, -2.5, 0.5, -0.5, 3.0, 0.1, -7.25, 100.7, 255.5, 65519.0, 65520.0, 1e30,
        -1e30, 2.0**31, -(2.0**31), 2.0**63, 2.0**64, 4294967295.0, 2.0**-24, 2.0**-25, 3 * 2.0**-25, 1e-40,
        math.inf, -math.inf, math.nan, 8388607.5, 2.0**52 + 0.5,
    ]  # fmt: skip
    with np.errstate(over="ignore"):
        numbers = np.array(special).astype(d.numpy)
    limits = np.finfo(d.numpy) if d.name in ("f32", "f64", "f16") else None
    if limits is not None:
        more = [limits.max, limits.min, limits.smallest_normal, limits.smallest_subnormal]
        numbers = np.concatenate([numbers, np.array(more, d.numpy)])
    return numbers


def all_tuples(columns, limit):
    """The Cartesian product of columns of values, thinned to a limit, as one array a column."""
    rows = list(itertools.product(*(range(len(c)) for c in columns)))
    rows = rows[:: max(1, len(rows) // limit)]
    return [c[[r[k] for r in rows]] for k, c in enumerate(columns)]


def kernel(build, op, operands, result):
    loads = "\n".join(f"  %v{i}: {d} = load &in{i}[%i]" for i, d in enumerate(operands))
    params = ", ".join(f"&in{i}: {d}[?]" for i, d in enumerate(operands))
    args = ", ".join(f"%v{i}" for i in range(len(operands)))
    return build(f"""
kernel @k({params}, &out: {result}[?]) {{
  %i: index = global_id 0
{loads}
  %r: {result} = {op} {args}
  store &out[%i], %r
}}
""")


def canonical(array):
    """The bits of an array with one NaN."""
    if array.dtype.kind == "b":
        return array.view(np.uint8)
    bits = array.view(f"u{array.dtype.itemsize}").copy()
    if array.dtype.kind == "f" or array.dtype.name == "bfloat16":
        bits[np.isnan(array)] = 0x7FC0
    return bits


def assert_same(build, low, op, operands, result, limit=300, **options):
    module = kernel(build, op, operands, result)
    columns = all_tuples([values_of(d) for d in operands], limit)
    count = len(columns[0])
    wanted, found = np.zeros(count, result.numpy), np.zeros(count, result.numpy)
    interpreter.interpret(module, count, 1, [*columns, wanted])
    interpreter.interpret(low(module, **options), count, 1, [*columns, found])
    differ = np.flatnonzero(canonical(wanted) != canonical(found))
    assert not len(differ), [(c[differ[0]] for c in columns), wanted[differ[0]], found[differ[0]]]


def cases():
    for op, spec in OPS.items():
        if op in MATH - {"pow"} or op in CONVERSIONS or spec.level == "low" or op == "select":
            continue
        for d in DTYPES:
            members = {
                "bool": d.kind == "bool", "int": d.is_integer, "signed": d.is_signed, "float": d.is_float,
                "number": d.kind != "bool", "bits": not d.is_float, "any": True, "word": d.name == "u32",
            }  # fmt: skip
            if not members[spec.types] or (op == "pow" and d.is_float):
                continue
            result = {"same": d, "bool": dtype("bool"), "i32": dtype("i32")}[spec.result]
            yield pytest.param(op, (d,) * spec.arity, result, id=f"{op}.{d}")


@pytest.mark.parametrize(("op", "operands", "result"), list(cases()))
def test_an_operation_keeps_its_bits_on_a_device_that_has_the_baseline_alone(
    build, low, op, operands, result
):
    assert_same(build, low, op, operands, result)


@pytest.mark.parametrize("source", DTYPES, ids=str)
@pytest.mark.parametrize("target", DTYPES, ids=str)
def test_a_cast_keeps_its_bits(build, low, source, target):
    assert_same(build, low, "cast", (source,), target)


@pytest.mark.parametrize(
    ("source", "target"),
    [(a, b) for a in DTYPES for b in DTYPES if a.bits == b.bits and "bool" not in (a.name, b.name)],
    ids=str,
)
def test_a_bitcast_gives_one_nan_and_all_other_bits(build, low, source, target):
    module = kernel(build, "bitcast", (source,), target)
    values = values_of(source)
    wanted, found = np.zeros(len(values), target.numpy), np.zeros(len(values), target.numpy)
    interpreter.interpret(module, len(values), 1, [values, wanted])
    interpreter.interpret(low(module), len(values), 1, [values, found])
    unsigned = f"u{target.itemsize}"
    if target.is_float:
        wanted, found = canonical(wanted), canonical(found)
    np.testing.assert_array_equal(found.view(unsigned), wanted.view(unsigned))


HALVES = frozenset({"cast.f16.f32", "cast.f32.f16", "cast.bf16.f32", "cast.f32.bf16"})


@pytest.mark.parametrize("name", ["f16", "bf16"])
@pytest.mark.parametrize("op", ["add", "mul", "div", "min", "neg", "floor", "fma", "lt"])
def test_halves_that_the_target_converts_keep_their_bits(build, low, name, op):
    d = dtype(name)
    result = dtype("bool") if op == "lt" else d
    assert_same(build, low, op, (d,) * OPS[op].arity, result, native=HALVES | {"div.f32", "floor.f32"})


@pytest.mark.parametrize("name", ["f16", "bf16"])
@pytest.mark.parametrize("native", [frozenset(), HALVES], ids=["emulated", "converted"])
def test_half_dtypes_occur_in_memory_and_its_conversions_only(build, low, name, native):
    d = dtype(name)
    module = low(kernel(build, "add", (d, d), d), native=native)
    touched = {
        v.dtype for s in walk(module.kernel.body) if isinstance(s, Op) and s.op != "cast" for v in s.args
    }
    assert d not in touched
    assert {m.dtype.name for m in module.arrays} == {name if native else "u16"}


def test_scalar_parameters_of_halves_are_numbers_in_f32(build, low, same_bits):
    module = build("""
kernel @k(&y: f16[?], %a: f16) {
  %z: index = const 0
  %b: f16 = add %a, %a
  store &y[%z], %b
}
""")
    assert [p.dtype.name for p in low(module).scalars] == ["f32"]
    same_bits(module, 1, 1, [np.zeros(1, np.float16), 0.25])


@pytest.mark.parametrize("d", INTEGERS, ids=str)
@pytest.mark.parametrize("op", ["floordiv", "mod"])
@pytest.mark.parametrize("divisor", [0, 1, 2, 3, 8, -1, -2, -3])
def test_constant_divisors_keep_the_bits_and_never_divide_by_zero(build, low, d, op, divisor):
    if divisor < 0 and not d.is_signed:
        pytest.skip("negative")
    module = build(f"""
kernel @k(&x: {d}[?], &y: {d}[?]) {{
  %i: index = global_id 0
  %a: {d} = load &x[%i]
  %b: {d} = const {divisor}
  %r: {d} = {op} %a, %b
  store &y[%i], %r
}}
""")
    values = values_of(d)
    wanted, found = np.zeros_like(values), np.zeros_like(values)
    interpreter.interpret(module, len(values), 1, [values, wanted])
    interpreter.interpret(low(module), len(values), 1, [values, found])
    np.testing.assert_array_equal(found, wanted)
    if divisor in (0, 1, -1, 2, 8):
        assert not any(
            isinstance(s, Op) and s.op in ("quot.raw", "rem.raw") for s in walk(low(module).kernel.body)
        )


@pytest.mark.parametrize("d", INTEGERS, ids=str)
@pytest.mark.parametrize("op", ["shl", "shr"])
@pytest.mark.parametrize("amount", [0, 1, 7, 8, 31, 32, 63, 64, 100, -1])
def test_constant_shifts_keep_the_bits(build, same_bits, d, op, amount):
    if amount < 0 and not d.is_signed:
        pytest.skip("negative")
    module = build(f"""
kernel @k(&y: {d}[?]) {{
  %i: index = global_id 0
  %a: {d} = load &y[%i]
  %b: {d} = const {amount}
  %r: {d} = {op} %a, %b
  store &y[%i], %r
}}
""")
    values = values_of(d)
    same_bits(module, len(values), 1, [values])


def test_a_native_operation_stays(build, low):
    f32 = dtype("f32")
    module = low(kernel(build, "fma", (f32,) * 3, f32), native=frozenset({"fma.f32"}))
    assert [s.op for s in walk(module.kernel.body) if isinstance(s, Op)] == ["fma"]
    assert not module.functions


def test_what_is_fast_only_stays_in_fast_mode_alone(build, low):
    text = """
kernel @k(&y: f32[?], %a: f32) {
  %z: index = const 0
  %r: f32 = div %a, %a
  store &y[%z], %r
}
"""
    fast = frozenset({"div.f32"})
    assert not low(build(text, math="fast"), fast_native=fast).functions
    strict = low(build(text), fast_native=fast)
    assert [s.function for s in walk(strict.kernel.body) if isinstance(s, Call)] == [
        strict.functions[-1].name
    ]


@pytest.mark.parametrize(
    ("one", "math", "left"),
    [("1.0", "fast", ["rsqrt"]), ("2.0", "fast", ["sqrt", "div"]), ("1.0", "strict", ["sqrt", "div"])],
)
def test_one_over_a_root_is_a_reciprocal_root_where_the_mode_and_the_device_have_it(
    build, low, one, math, left
):
    text = f"""
kernel @k(&y: f32[?], %a: f32) {{
  %z: index = const 0
  %one: f32 = const {one}
  %s: f32 = sqrt %a
  %r: f32 = div %one, %s
  store &y[%z], %r
}}
"""
    module = low(
        build(text, math=math),
        native=frozenset({"sqrt.f32", "div.f32"}),
        fast_native=frozenset({"rsqrt.f32"}),
    )
    assert [s.op for s in walk(module.kernel.body) if isinstance(s, Op)] == left


def test_a_device_without_f64_gets_a_fused_multiply_add_without_f64(build, low):
    f32 = dtype("f32")
    module = low(kernel(build, "fma", (f32,) * 3, f32), double=False)
    for function in module.functions:
        for s in walk(function.body):
            assert getattr(getattr(s, "result", None), "dtype", None) is not dtype("f64")


@pytest.mark.parametrize("native", [frozenset(), frozenset({"fma.f32"})], ids=["without", "with"])
def test_residuals_of_the_library_are_cheap_on_a_device_without_fused_multiply_add(build, low, native):
    f32 = dtype("f32")
    root = {f.name for f in low(kernel(build, "cbrt", (f32,), f32), native=native).functions}
    users = {f.name for f in low(kernel(build, "fma", (f32,) * 3, f32), native=native).functions}
    assert ("soft.fma.f32.residual" in root) == (not native)
    assert "soft.fma.f32" not in root
    assert "soft.fma.f32.residual" not in users
    assert ("soft.fma.f32" in users) == (not native)


def test_only_the_baseline_and_native_operations_are_left(build, low):
    for case in cases():
        op, operands, result = case.values
        module = low(kernel(build, op, operands, result))
        for function in (module.kernel, *module.functions):
            for s in walk(function.body):
                if isinstance(s, Op):
                    assert op_key(s.op, tuple(a.dtype for a in s.args), s.result.dtype) in BASELINE


# --- atomics
def atomic(build, op, d):
    return build(f"""
kernel @k(&x: {d}[?], &old: {d}[?], &v: {d}[?]) {{
  %i: index = global_id 0
  %z: index = const 0
  %a: {d} = load &v[%i]
  %r: {d} = atomic {op} &x[%z], %a
  store &old[%i], %r
}}
""")


def atomics_of(module):
    return [s for s in walk(module.kernel.body) if isinstance(s, (Atomic, AtomicCas))]


@pytest.mark.parametrize("name", ["f32", "f64", "i64", "u64", "i32"])
@pytest.mark.parametrize("op", ["add", "sub", "min", "max", "exchange"])
def test_atomics_built_from_compare_and_swap_keep_their_bits(build, same_bits, name, op):
    d = dtype(name)
    values = (
        np.array([1, -2, 3, 2], d.numpy) if not d.name.startswith("u") else np.array([1, 7, 3, 2], d.numpy)
    )
    if d.is_float:
        values = np.array([-0.0, 0.0, np.nan, 1.5], d.numpy)
    module = atomic(build, op, d)
    start = np.array([2], d.numpy)
    low = same_bits(
        module, 1, len(values), [start, np.zeros_like(values), values], atomics=frozenset({"cas.u64"})
    )
    if d.bits == 64:
        assert all(
            isinstance(s, AtomicCas) and s.bits is not None or d is dtype("u64") for s in atomics_of(low)
        )


@pytest.mark.parametrize("op", ["and", "or", "xor"])
def test_bitwise_atomics_go_through_the_other_sign(build, same_bits, op):
    d = dtype("i64")
    values = np.array([6, -2, 1 << 40], d.numpy)
    module = atomic(build, op, d)
    low = same_bits(module, 1, 3, [np.array([-1], d.numpy), np.zeros_like(values), values],
                    atomics=frozenset({f"{op}.u64"}))  # fmt: skip
    (found,) = atomics_of(low)
    assert found.bits is dtype("u64")


def test_a_subtraction_adds_the_negative_where_only_addition_is_native(build, same_bits):
    d = dtype("f32")
    module = atomic(build, "sub", d)
    args = [np.ones(1, np.float32), np.zeros(2, np.float32), np.array([3, 4], np.float32)]
    low = same_bits(module, 1, 2, args, atomics=frozenset({"add.f32"}))
    (found,) = atomics_of(low)
    assert (found.op, found.bits) == ("add", None)


@pytest.mark.parametrize(
    ("name", "op"), [("f64", "add"), ("i64", "min"), ("u8", "add"), ("i16", "or"), ("f16", "add")]
)
def test_an_atomic_that_cannot_be_built_is_refused_by_name(build, low, name, op):
    with pytest.raises(NotSupportedError) as caught:
        low(atomic(build, op, dtype(name)))
    assert caught.value.capability == f"{op}.{name}"


# --- bool in memory, subgroups
def test_bool_is_a_byte_in_memory_and_stays_bool_elsewhere(build, same_bits):
    module = build("""
kernel @k(&x: bool[?], &y: bool[?], %c: bool) {
  memory &t: const bool[2] = {true, false}
  memory &l: local bool[2]
  %i: index = global_id 0
  init &l
  %a: bool = load &x[%i]
  store &l[%i], %a
  %b: bool = load &l[%i]
  %d: bool = load &t[%i]
  %e: bool = xor %b, %d
  %f: bool = and %e, %c
  store &y[%i], %f
}
""")
    low = same_bits(module, 1, 2, [np.array([True, True]), np.array([True, False]), True])
    assert {m.dtype.name for m in (*low.arrays, *low.kernel.memories)} == {"u8"}


@pytest.mark.parametrize("name", ["i8", "u16", "f16", "bf16", "bool", "i64", "f32"])
@pytest.mark.parametrize("op", ["sum", "min", "inclusive_sum", "exclusive_sum", "shuffle_xor", "broadcast"])
def test_subgroup_operations_keep_their_bits_on_narrow_dtypes(build, same_bits, name, op):
    d = dtype(name)
    if name == "bool" and op not in ("shuffle_xor", "broadcast"):
        pytest.skip("numbers only")
    extra = ", %one" if op in ("shuffle_xor", "broadcast") else ""
    module = build(f"""
kernel @k(&x: {d}[?], &y: {d}[?]) {{
  %i: index = global_id 0
  %one: i32 = const 1
  %a: {d} = load &x[%i]
  %r: {d} = subgroup {op} %a{extra}
  store &y[%i], %r
}}
""", extra=" subgroup=8")  # fmt: skip
    x = np.array([1.5, 2048, 1, -3, 0.1, 60000, 7, 99, 5, 0.3, 11], np.float64).astype(d.numpy)
    same_bits(module, 1, 11, [x, np.zeros_like(x)])
