"""Device functions: called where they compute on scalars, inlined elsewhere, with the same meaning."""

import dataclasses

import numpy as np
import pytest
from lang_helpers import compiled, run, statements

import gpucore as gc
from gpucore.errors import KernelSyntaxError, KernelTypeError
from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import f32, f64, i32, i64, u8
from gpucore.lang import ScalarType, build_function

ints = lambda *v: np.array(v, np.int32)  # noqa: E731


@gc.func
def lerp(a, b, t=0.5):
    return a + (b - a) * t


@gc.func
def first_above(x, limit):
    for i in range(x.shape[0]):
        if x[i] > limit:
            return i
    return -1


@gc.func
def first_pair(x, wanted):
    for i in range(x.shape[0]):
        for j in range(i):
            if x[i] + x[j] == wanted:
                return i, j
    return -1, -1


@gc.func
def unrolled(x, limit):
    for k in gc.static_range(4):
        if x[k] > limit:
            return k * 10
    return -1


@gc.func
def my_thread():
    return gc.thread_id(0)


@gc.func
def wide(x) -> gc.f64:
    return x


@gc.func
def sign(x):
    if x > 0:
        return 1
    elif x < 0:
        return -1
    return 0


@gc.func
def fill(x, value):
    for i in range(len(x)):
        if value < 0:
            return
        x[i] = value


@gc.func
def scratch():
    return gc.shared(4, gc.i32)


@gc.func
def power(x, n: gc.constexpr):
    result = x
    for _ in gc.static_range(n - 1):
        result = result * x
    return result


@gc.func
def apply(f: gc.constexpr, x):
    return f(x)


@gc.func
def collatz(n, most=100):
    """Long enough to be called: short functions are inlined."""
    steps = 0
    while n != 1 and steps < most:
        if n % 2 == 0:
            n = n // 2
        else:
            n = 3 * n + 1
        steps += 1
    if steps >= most:
        steps = -1
    return steps


def test_a_long_function_of_scalars_is_called_once_for_each_combination_of_types():
    def kernel(x, y):
        y[0] = collatz(x[0])
        y[1] = collatz(x[1])
        y[2] = collatz(y[0], most=7)

    module = compiled(kernel, i32, i64)
    assert len(statements(module, ir.Call)) == 3
    assert len(module.functions) == 2
    y = np.zeros(3, np.int64)
    run(kernel, ints(6, 7), y)
    assert list(y) == [8, 16, 3]


def test_arguments_have_names_and_defaults():
    def kernel(x, y):
        y[0] = lerp(x[0], x[1])
        y[1] = lerp(x[0], t=0.25, b=x[1])

    y = np.zeros(2, np.float32)
    run(kernel, np.array([0, 8], np.float32), y)
    assert list(y) == [4.0, 2.0]


@pytest.mark.parametrize(("limit", "wanted"), [(2, 3), (9, -1)])
def test_a_return_leaves_a_loop(limit, wanted):
    def kernel(x, y, n):
        y[0] = first_above(x, n)

    y = ints(0)
    run(kernel, ints(0, 1, 2, 3), y, limit)
    assert y[0] == wanted


def test_a_return_leaves_loops_within_loops_with_a_tuple():
    def kernel(x, y):
        i, j = first_pair(x, 5)
        y[0] = i * 10 + j

    y = ints(0)
    run(kernel, ints(1, 9, 4, 3), y)
    assert y[0] == 20


@pytest.mark.parametrize(("limit", "wanted"), [(1, 20), (9, -1)])
def test_a_return_leaves_an_unrolled_loop(limit, wanted):
    def kernel(x, y, n):
        y[0] = unrolled(x, n)

    y = ints(0)
    run(kernel, ints(0, 1, 2, 3), y, limit)
    assert y[0] == wanted


def test_a_return_without_a_value_ends_the_function_only():
    def kernel(x, n):
        fill(x, n)
        x[0] = 7

    x = ints(0, 0)
    run(kernel, x, 5)
    assert list(x) == [7, 5]


def test_thread_ids_and_shared_memory_work_in_functions():
    def kernel(y):
        tile = scratch()
        t = my_thread()
        tile[t] = t * 2
        gc.barrier()
        y[t] = tile[3 - t]

    y = ints(0, 0, 0, 0)
    run(kernel, y, block=(4,))
    assert list(y) == [6, 4, 2, 0]


def test_branches_that_return():
    def kernel(x, y):
        for i in range(3):
            y[i] = sign(x[i])

    y = ints(9, 9, 9)
    run(kernel, ints(-4, 0, 6), y)
    assert list(y) == [-1, 0, 1]


@pytest.mark.parametrize("inline", [False, True])
def test_the_annotation_of_the_result_is_its_type(inline):
    def kernel(x, y):
        y[0] = wide(x[0]) * x[0]

    module = compiled(kernel, f32, f64, inline_functions=inline)
    assert {s.result.dtype for s in statements(module, ir.Op) if s.op == "mul"} == {f64}


@pytest.mark.parametrize("inline", [False, True])
def test_a_literal_that_is_returned_is_an_i32(inline):
    @gc.func
    def one():
        return 1

    def kernel(x, y):
        y[0] = x[0] + one()

    module = compiled(kernel, u8, i64, inline_functions=inline)
    assert {s.result.dtype for s in statements(module, ir.Op) if s.op == "add"} == {i32}


def test_compile_time_parameters():
    def kernel(y):
        y[0] = power(y[1], 3)
        y[2] = apply(sign, y[1])

    y = ints(0, 2, 0)
    run(kernel, y)
    assert list(y) == [8, 2, 1]


def test_string_annotations_of_functions_resolve(tmp_path):
    import importlib.util

    path = tmp_path / "late.py"
    path.write_text(
        "from __future__ import annotations\nimport gpucore as gc\n\n\n"
        "@gc.func\ndef wide(x: gc.f32) -> gc.f64:\n    return x\n"
    )
    spec = importlib.util.spec_from_file_location("late_annotations", path)
    late = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(late)
    (function,) = build_function(late.wide, (f32,), "wide")
    assert function.result is f64


@gc.func
def repeated(f: gc.constexpr, x):
    """Long enough to be called."""
    for _ in range(2):
        x = f(x)
    return x


def test_functions_of_one_factory_are_told_apart_where_they_are_passed_on():
    def scaled(factor):
        @gc.func
        def scale(x):
            return x * factor

        return scale

    three, four = scaled(3), scaled(4)

    def kernel(x, y):
        y[0] = repeated(three, x[0])
        y[1] = repeated(four, x[0])
        y[2] = repeated(three, x[1])

    _, y = run(kernel, ints(1, 2), ints(0, 0, 0))
    assert y.tolist() == [9, 16, 18]
    assert len(compiled(kernel, i32, i32).functions) == 2


@dataclasses.dataclass(frozen=True)
class Rule:
    factor: int = dataclasses.field(repr=False)


@gc.func
def applied(rule: gc.constexpr, x):
    """Long enough to be called."""
    for _ in range(2):
        x = x * rule.factor
    return x


def test_constants_that_print_alike_are_told_apart_where_they_are_passed_on():
    three, four = Rule(3), Rule(4)

    def kernel(x, y):
        y[0] = applied(three, x[0])
        y[1] = applied(four, x[0])

    _, y = run(kernel, ints(1), ints(0, 0))
    assert y.tolist() == [9, 16]


def test_mutual_recursion_is_refused():
    @gc.func
    def even(n: gc.i32):
        return True if n == 0 else odd(n - 1)

    @gc.func
    def odd(n: gc.i32):
        return False if n == 0 else even(n - 1)

    def kernel(x):
        x[0] = 1 if even(x[0]) else 0

    with pytest.raises(KernelSyntaxError, match="recursion"):
        compiled(kernel, i32)


def test_a_function_on_arrays_is_no_function_of_scalars():
    with pytest.raises((KernelTypeError, KernelSyntaxError)):
        build_function(my_thread, (), "my_thread")


def test_calling_a_device_function_on_the_host_says_where_it_belongs():
    with pytest.raises(KernelTypeError, match="runs inside kernels"):
        lerp(1, 2)


@pytest.mark.parametrize(
    "call", [lambda: gc.global_id(0), gc.barrier, lambda: gc.sqrt(2.0), lambda: gc.shared(4, gc.f32)]
)
def test_calling_a_builtin_on_the_host_says_where_it_belongs(call):
    with pytest.raises(KernelTypeError, match="inside kernels only"):
        call()


@gc.func
def by_name(v, *, scale, shift=1):
    return v * scale + shift


def test_arguments_of_functions_by_name_alone():
    def kernel(y, n):
        y[0] = by_name(n, scale=3)
        y[1] = by_name(n, shift=n, scale=2)

    y = np.zeros(2, np.int32)
    run(kernel, y, 5)
    assert y.tolist() == [16, 15]

    def positional(y, n):
        y[0] = by_name(n, 3)

    with pytest.raises(
        KernelTypeError, match=r"takes 1 argument, by position, not 2(?s:.*)\(v, \*, scale, shift\)"
    ):
        compiled(positional, i32, ScalarType(i32))


def test_a_kernel_s_text_is_read_again_where_python_could_not_parse_it_meanwhile(monkeypatch):
    """CPython before 3.11.5 raises SystemError where another thread or a finalizer parses (issue 106905)."""
    from gpucore.lang import diagnostics

    plain, failures = diagnostics.ast.parse, [SystemError("AST constructor recursion depth mismatch")] * 3

    def parse(*args, **named):
        if failures:
            raise failures.pop()
        return plain(*args, **named)

    monkeypatch.setattr(diagnostics.ast, "parse", parse)
    assert diagnostics.parsed("x = 1").body
    assert not failures
