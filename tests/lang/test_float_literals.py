"""The default float: f64 where all floats among the parameters are f64, else f32; nothing is widened in silence."""

import inspect
import math

import numpy as np
import pytest
from lang_helpers import compiled, statements

import gpucore as gc
from gpucore.errors import KernelTypeError
from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import f16, f32, f64, i32
from gpucore.ir.interpreter import interpret
from gpucore.lang import ArrayType, ConstValue, ScalarType, build, build_function, capture, portability
from gpucore.lang.types import FloatRule, Parameter, float_rule

TABLE = (0.1, 0.2)
NESTED = ((0.1, 0.2), (0.3, 0.4))
LARGE = 1e300


@gc.func
def half(v):
    return v / 2


@gc.func
def chosen(n: gc.i32):
    if n > 0:
        return 0.1
    if n < -5:
        return 0.3
    return 0.2


@gc.func
def scaled(n: gc.i32):
    s = 0.1
    for k in range(3):
        s += 0.1
    return n * s


@gc.func
def narrow(v: gc.f32):
    return v * 0.1


def named(x, i):
    c = 0.2
    x[0] = c * x[1]


def chosen_between(x, i):
    x[0] = (0.2 if i > 0 else 0.3) * x[1]


def selected(x, i):
    x[0] = gc.select(i > 0, 0.2, 0.3) * x[1]


def from_a_table(x, i):
    x[0] = TABLE[i % 2] * x[1]


def from_a_nested_table(x, i):
    x[0] = NESTED[i % 2][i % 2] * x[1]


def of_a_function(x, i):
    x[0] = gc.sqrt(0.04) * x[1]


def of_two_arguments(x, i):
    x[0] = gc.pow(0.1, 0.2) + x[1]


def inlined(x, i):
    x[0] = half(0.4) * x[1]


def called(x, i):
    x[0] = chosen(i) * x[1]


def called_with_a_loop(x, i):
    x[0] = scaled(i) * x[1]


def beside_an_integer(x, i):
    x[0] = i * 0.1


def quotient_of_an_integer(x, i):
    x[0] = i / 3.0


def accumulated(x, i):
    s = 0.0
    for k in range(1, 4):
        s += 1.0 / k
    x[0] = s


def assigned_twice(x, i):
    c = 0.2
    if i > 0:
        c = 0.3
    x[0] = c * x[1]


def unpacked(x, i):
    a, b = 0.1, 0.2
    x[0] = a * b * x[1]


def greatest(x, i):
    c = 0.2
    x[0] = max(c, 0.1) * x[1]


def outside_of_f32(x, i):
    c = LARGE
    x[0] = c * x[1]


def assigned_beside_an_integer(x, i):
    t = i * 0.1
    if i > 3:
        t = i * 0.2
    x[0] = t


FORMS = (
    named, chosen_between, selected, from_a_table, from_a_nested_table, of_a_function, of_two_arguments, inlined,
    called, called_with_a_loop, beside_an_integer, quotient_of_an_integer, accumulated, assigned_twice, unpacked,
    greatest, outside_of_f32, assigned_beside_an_integer,
)  # fmt: skip


def dtypes_of(module):
    functions = (module.kernel, *module.functions)
    results = {ir.result_of(s).dtype for f in functions for s in ir.walk(f.body) if ir.result_of(s)}
    return results | {m.dtype for f in functions for m in f.memories}


@pytest.mark.parametrize("form", FORMS, ids=lambda f: f.__name__)
def test_where_all_floats_are_f64_nothing_is_f32(form):
    for inline in (False, True):
        module = compiled(form, f64, ScalarType(i32), inline_functions=inline)
        assert f32 not in dtypes_of(module)


@pytest.mark.parametrize("form", [f for f in FORMS if f is not outside_of_f32], ids=lambda f: f.__name__)
def test_elsewhere_literals_stay_f32(form):
    for dtype in (f16, f32):
        assert f64 not in dtypes_of(compiled(form, dtype, ScalarType(i32)))


@pytest.mark.parametrize("form", [named, chosen_between, from_a_table, of_a_function, inlined, called])
def test_the_value_is_that_of_f64(form):
    for i in (-7, 0, 1):
        x = np.array([0.0, 1.0])
        interpret(compiled(form, f64, ScalarType(i32)), (1,), (1,), [x, i])
        wanted = {
            named: 0.2, chosen_between: 0.2 if i > 0 else 0.3, from_a_table: TABLE[i % 2], of_a_function: math.sqrt(0.04),
            inlined: 0.2, called: 0.1 if i > 0 else 0.3 if i < -5 else 0.2,
        }  # fmt: skip
        assert x[0] == wanted[form]


def test_constants_given_at_compile_time_follow_the_default():
    def kernel(x, c: gc.constexpr):
        d = c
        x[0] = d * x[1]

    assert f32 not in dtypes_of(compiled(kernel, f64, ConstValue(0.2)))


ARRAY, NUMBER, ANY, CONSTANT = (
    Parameter("x", "array"), Parameter("a", "scalar", f64), Parameter("v", "any"), Parameter("n", "constexpr"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("parameters", "arguments", "rule"),
    [
        ([], [], FloatRule(f32, False)),
        ([ARRAY], [ArrayType(f64)], FloatRule(f64, False)),
        ([ARRAY], [ArrayType(i32)], FloatRule(f32, False)),
        ([ARRAY, ARRAY], [ArrayType(f64), ArrayType(i32)], FloatRule(f64, False)),
        ([ARRAY, ARRAY], [ArrayType(f64), ArrayType(f32)], FloatRule(f32, True)),
        ([ARRAY, ARRAY], [ArrayType(f64), ArrayType(f16)], FloatRule(f32, True)),
        ([ARRAY, ARRAY], [ArrayType(f32), ArrayType(f16)], FloatRule(f32, False)),
        ([ARRAY, NUMBER], [ArrayType(i32), ScalarType(f64)], FloatRule(f64, False)),
        ([ARRAY, NUMBER], [ArrayType(f32), ScalarType(f64)], FloatRule(f32, True)),
        ([ANY], [ArrayType(f64)], FloatRule(f64, False)),
        ([ANY], [ScalarType(f64)], FloatRule(f32, False)),
        ([ARRAY, ANY], [ArrayType(f64), ScalarType(f32)], FloatRule(f64, False)),
        ([ARRAY, CONSTANT], [ArrayType(f64), ConstValue(0.5)], FloatRule(f64, False)),
    ],
)
def test_arrays_and_annotated_numbers_decide(parameters, arguments, rule):
    assert float_rule(parameters, arguments) == rule


# --- f32 and f64 together
MIXED_ERRORS = [f for f in FORMS if f not in (accumulated, quotient_of_an_integer, outside_of_f32)]


@pytest.mark.parametrize("form", MIXED_ERRORS, ids=lambda f: f.__name__)
def test_beside_f32_a_rounded_literal_is_not_widened(form):
    source = inspect.getsource(form).replace("(x, i)", "(x, i, other: gc.Array[gc.f32])")
    namespace = {**globals()}
    exec(compile(source, __file__, "exec"), namespace)
    captured = capture(namespace[form.__name__], source=source)
    for inline in (False, True):
        with pytest.raises(KernelTypeError, match=r"is an f32 in a kernel of f32 and f64") as error:
            build(captured, [ArrayType(f64), ScalarType(i32), ArrayType(f32)], inline_functions=inline)
        assert "Write gc.f64(0." in str(error.value)


def test_what_is_written_instead_is_accepted():
    def kernel(x, other):
        c = gc.f64(0.2)
        d = gc.f32(0.2)
        x[0] = c * x[1]
        x[1] = d * x[1]

    x = np.array([0.0, 1.0])
    interpret(compiled(kernel, f64, f32), (1,), (1,), [x, np.zeros(1, np.float32)])
    assert x[0] == 0.2
    assert x[1] == float(np.float32(0.2))


def test_literals_that_f32_holds_or_that_meet_f64_themselves_are_accepted():
    def kernel(x, y, i):
        c = 0.5
        s = 0.1
        for k in range(3):
            s += x[k]
        x[0] = c * x[1] + 0.1 * x[2] + s
        x[1] = 0.1
        x[2] = gc.select(i > 0, 0.1, x[1])
        y[0] = 0.1 * y[1]
        d = 0.1
        y[1] = d * y[0]
        x[3] = d * y[0]

    module = compiled(kernel, f64, f32, ScalarType(i32))
    constants = {(s.value, s.result.dtype) for s in statements(module, ir.Const)}
    assert (0.1, f64) in constants


def test_a_function_of_f32_is_one_of_f32():
    def kernel(x, other):
        x[0] = narrow(other[0])

    compiled(kernel, f64, f32)


# --- what does not change
def test_the_math_library_is_as_it_is():
    @gc.func
    def tenth(x):
        c = 0.1
        return c if x > 0.0 else 0.2

    assert build_function(tenth, (f64,), "tenth")[-1].result is f32


def test_portability_takes_examples_that_go_together():
    def kernel(x: gc.Array, a: gc.f64):
        c = 0.1
        x[gc.global_id(0)] = c * a

    assert portability(capture(kernel), None, None) == (True, "")
