"""Types: the promotion lattice, weak literals, a variable as the join over its assignments."""

import itertools

import numpy as np
import pytest
from lang_helpers import compiled, run, statements, variables

import gpucore as gc
from gpucore.errors import KernelTypeError
from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import ALL, bf16, bool_, f16, f32, f64, i8, i16, i32, i64, index, u8, u16, u32, u64
from gpucore.lang import ArrayType, ScalarType
from gpucore.lang.types import Weak, join

# rows: least first, from JAX's table (jax.readthedocs.io, type promotion semantics), with int for index above i64
EXPECTED = {
    (i8, u8): i16, (i8, u16): i32, (i8, u32): i64, (i16, u8): i16, (i16, u16): i32, (i16, u32): i64,
    (i32, u8): i32, (i32, u16): i32, (i32, u32): i64, (i64, u8): i64, (i64, u16): i64, (i64, u32): i64,
    (u8, u16): u16, (u16, u32): u32, (u32, u64): u64, (i8, i64): i64, (i32, f16): f16, (u64, f16): f16,
    (i64, bf16): bf16, (f16, bf16): f32, (f16, f32): f32, (bf16, f64): f64, (f32, f64): f64, (bool_, u8): u8,
    (bool_, f16): f16, (index, i8): index, (index, i64): index, (index, u32): index, (index, f32): f32,
}  # fmt: skip


@pytest.mark.parametrize(("pair", "wanted"), EXPECTED.items(), ids=lambda p: str(p))
def test_two_types_join_as_the_lattice_says(pair, wanted):
    assert join(*pair) is wanted
    assert join(*reversed(pair)) is wanted


@pytest.mark.parametrize("signed", [i8, i16, i32, i64, index])
def test_u64_and_signed_integers_have_no_join(signed):
    assert join(u64, signed) is None


def test_joining_is_associative_where_it_is_defined():
    kinds = [*ALL, *Weak]
    for a, b, c in itertools.product(kinds, repeat=3):
        left = join(join(a, b), c) if join(a, b) is not None else None
        right = join(a, join(b, c)) if join(b, c) is not None else None
        # a weak float with an integer is f32 at once, and two 16-bit floats meet in f32
        if left is not None and right is not None and not {Weak.FLOAT, f16, bf16} & {a, b, c}:
            assert left is right or left == right, (a, b, c)


@pytest.mark.parametrize("dtype", [u8, i16, u32, i64, u64])
def test_an_integer_that_starts_as_a_literal_takes_the_type_of_what_it_meets(dtype):
    def total(x, y):
        acc = 0
        for i in range(3):
            acc += x[i]
        y[0] = acc

    assert variables(compiled(total, dtype, dtype))["acc"] is dtype


@pytest.mark.parametrize("dtype", [f16, bf16, f32, f64])
def test_a_float_that_starts_as_a_literal_takes_the_type_of_what_it_meets(dtype):
    def total(x, y):
        acc = 0.0
        for i in range(3):
            acc = acc + x[i]
        y[0] = acc

    assert variables(compiled(total, dtype, dtype))["acc"] is dtype


@pytest.mark.parametrize("default", [f32, f64])
def test_only_literals_give_i32_and_the_default_float(default):
    def kernel(x, y):
        n = 0
        t = 0.0
        for i in range(3):
            n += 1
            t += 0.5
        x[0] = n
        y[0] = t

    found = variables(compiled(kernel, i64, default))
    assert found == {"n": i32, "t": default}


def test_a_variable_that_holds_a_literal_is_not_weak_where_it_is_used():
    def kernel(x, y):
        two = 2
        y[0] = x[0] * two

    x, y = np.array([200], np.uint8), np.zeros(1, np.int32)
    run(kernel, x, y)
    assert y[0] == 400


def test_a_type_that_is_found_late_mends_what_came_before():
    def kernel(y):
        x = 4
        while x / 2 > 1:
            x = x * 0.5
        y[0] = x

    y = np.zeros(1, np.float32)
    run(kernel, y)
    assert y[0] == 2.0


def test_types_flow_around_a_loop_through_several_variables():
    def kernel(x, y):
        a = 0
        b = 0
        c = 0
        for i in range(4):
            c = b
            b = a
            a = x[i]
        y[0] = c

    assert variables(compiled(kernel, f64, f64)) == {"a": f64, "b": f64, "c": f64}


def test_a_choice_between_literals_is_weak():
    def kernel(x, y):
        y[0] = x[0] + (1 if x[0] > 3 else 2)
        y[1] = x[0] + gc.select(x[0] > 3, 1, 2)

    x, y = np.array([2**63], np.uint64), np.zeros(2, np.uint64)
    run(kernel, x, y)
    assert list(y) == [2**63 + 1, 2**63 + 1]


@pytest.mark.parametrize(
    ("dtype", "literal", "wanted"), [(f32, 2.0, f32), (i32, 2.0, f32), (f16, 2, f16), (u8, 1, u8)]
)
def test_a_literal_gives_way(dtype, literal, wanted):
    def kernel(x):
        x[1] = gc.cast(x[0] * literal, x.dtype)

    (op,) = [s for s in statements(compiled(kernel, dtype), ir.Op) if s.op == "mul"]
    assert op.result.dtype is wanted


def test_an_id_with_an_integer_is_an_index():
    def kernel(x, n):
        x[gc.global_id(0) + n] = 1

    (op,) = [s for s in statements(compiled(kernel, i32, ScalarType(i32)), ir.Op) if s.op == "add"]
    assert op.result.dtype is index


def test_stores_convert_to_the_element_type():
    def kernel(x, y, z):
        y[0] = x[0]
        z[0] = x[0]

    x, y, z = np.array([300], np.int32), np.zeros(1, np.uint8), np.zeros(1, np.float32)
    run(kernel, x, y, z)
    assert (y[0], z[0]) == (44, 300.0)


def test_constants_are_rounded_once_to_the_dtype_that_they_are_wanted_in():
    def kernel(x, y):
        x[0] = 0.1
        y[0] = 16777217

    x, y = np.zeros(1, np.float64), np.zeros(1, np.float32)
    run(kernel, x, y)
    assert x[0] == 0.1
    assert y[0] == np.float32(16777217)


def test_a_literal_takes_the_width_of_its_bitcast():
    def kernel(x):
        x[0] = gc.bitcast(0xFF800000, gc.f32)
        x[1] = gc.bitcast(0x3F800000, gc.f32)

    x = np.zeros(2, np.float32)
    run(kernel, x)
    assert list(x) == [-np.inf, 1.0]


def test_a_captured_numpy_scalar_keeps_its_dtype():
    half = np.float64(0.1)

    def kernel(x, y):
        y[0] = x[0] * half

    (op,) = [s for s in statements(compiled(kernel, f32, f64), ir.Op) if s.op == "mul"]
    assert op.result.dtype is f64


def test_the_same_source_gives_the_same_text():
    def kernel(x, n):
        t = 0
        for i in range(n):
            t += x[i]
        x[0] = t

    types = (ArrayType(u16), ScalarType(i32))
    assert str(compiled(kernel, *types)) == str(compiled(kernel, *types))


def test_u64_with_signed_variables_is_refused():
    def kernel(x):
        n = 1
        x[0] = x[0] + n

    with pytest.raises(KernelTypeError, match="no integer type for both"):
        compiled(kernel, u64)
