"""Functions as compile-time arguments, functions and lambdas within kernels: the device does what Python does."""
# ruff: noqa: E731 - lambdas with names are what is looked at

import functools
import math
import sys
import types

import numpy as np
import pytest

import gpucore as gc

STEP = 3.0
X = np.linspace(-2.0, 4.0, 16, dtype=np.float32)
f32 = np.float32


@gc.kernel
def mapped(x: gc.Array[gc.f32], out: gc.Array[gc.f32], f: gc.constexpr):
    i = gc.global_id(0)
    out[i] = f(x[i])


@gc.kernel
def summed(
    x: gc.Array[gc.f32], out: gc.Array[gc.f32], fs: gc.constexpr, last: gc.constexpr = lambda v: v + 1.0
):
    i = gc.global_id(0)
    total = 0.0
    for f in fs:
        total += f(x[i])
    out[i] = last(total)


@gc.func
def marked(v):
    return v * 0.5


def plain(v, by=2.0):
    if v > 1.0:
        return v * by
    for _ in range(2):
        v -= STEP
    return v


def scale(k):
    return lambda v: v * k


def after(f, g):
    return lambda v: f(g(v))


def by_default(f=lambda v: v - 1.0):
    return f


PAIR = (lambda v: v * 2.0, lambda v: v * 4.0)  # two on one line
NAMED = {
    "longer": lambda v: (
        v + 0.25
    ),
    "capture": lambda v: v * STEP,
}  # fmt: skip

GIVEN = {
    "lambda": (lambda v: v * 2.0, X * f32(2)),
    "plain": (plain, np.where(X > 1, X * f32(2), X - f32(6))),
    "marked": (marked, X * f32(0.5)),
    "of a factory": (scale(2.0), X * f32(2)),
    "of a factory again": (scale(8.0), X * f32(8)),
    "of functions": (after(scale(4.0), lambda v: v + 1.0), (X + f32(1)) * f32(4)),
    "in a default": (by_default(), X - f32(1)),
    "first of a line": (PAIR[0], X * f32(2)),
    "second of a line": (PAIR[1], X * f32(4)),
    "over several lines": (NAMED["longer"], X + f32(0.25)),
    "with a global": (NAMED["capture"], X * f32(3)),
    "gc.func of a lambda": (gc.func(lambda v: v * 16.0), X * f32(16)),
    "gc.func of a function": (gc.func(plain), np.where(X > 1, X * f32(2), X - f32(6))),
    "Python's": (abs, np.abs(X)),
    "of math": (math.floor, np.floor(X)),
    "of gpucore": (gc.abs, np.abs(X)),
    "a dtype": (gc.i32, np.trunc(X)),
}


@pytest.mark.parametrize("name", GIVEN)
def test_a_kernel_calls_the_function_that_it_is_given(gpucore_context, name):
    function, wanted = GIVEN[name]
    x, out = gpucore_context.array(X), gpucore_context.zeros(16, gc.f32)
    mapped.over(16)(x, out, function)
    np.testing.assert_array_equal(out.numpy(), wanted.astype(np.float32))
    host = np.zeros_like(X)
    mapped.interpret(1, 16, X, host, function)
    np.testing.assert_array_equal(host, wanted.astype(np.float32))


def test_functions_come_in_tuples_and_as_defaults(gpucore_context):
    x, out = gpucore_context.array(X), gpucore_context.zeros(16, gc.f32)
    summed.over(16)(x, out, PAIR)
    np.testing.assert_array_equal(out.numpy(), (f32(0) + X * f32(2)) + X * f32(4) + f32(1))
    summed.over(16)(x, out, PAIR, last=lambda v: -v)
    np.testing.assert_array_equal(out.numpy(), -(X * f32(2) + X * f32(4)))


def test_what_a_closure_holds_counts_as_it_is_at_the_launch(gpucore_context):
    x, out = gpucore_context.array(X), gpucore_context.zeros(16, gc.f32)
    k = -1

    def by_k(v):
        return v * k

    for k in (-1, -2, -1, 3):  # noqa: B007 - -1 and -2 have one hash
        mapped.over(16)(x, out, by_k)
        np.testing.assert_array_equal(out.numpy(), X * f32(k))


def test_a_changed_global_counts(gpucore_context, monkeypatch):
    x, out = gpucore_context.array(X), gpucore_context.zeros(16, gc.f32)
    for step in (3.0, 5.0):
        monkeypatch.setitem(globals(), "STEP", step)
        mapped.over(16)(x, out, NAMED["capture"])
        np.testing.assert_array_equal(out.numpy(), X * f32(step))


def test_a_lambda_made_anew_in_a_loop_is_compiled_once(gpucore_context):
    @gc.kernel
    def own(x: gc.Array[gc.f32], out: gc.Array[gc.f32], f: gc.constexpr, g: gc.constexpr):
        i = gc.global_id(0)
        out[i] = g(f(x[i]))

    x, out = gpucore_context.array(X), gpucore_context.zeros(16, gc.f32)
    for _ in range(20):
        own.over(16)(x, out, lambda v: v * 2.0, scale(STEP))
    assert len(own.kernel_source._specializations) == 1
    assert len(own.launchers._by_key) == 1
    own.over(16)(x, out, lambda v: v * 2.0, scale(STEP))  # the same text elsewhere is another function
    own.over(16)(x, out, lambda v: v * 2.0, scale(7.0))
    assert len(own.kernel_source._specializations) == 3


@gc.func
def twice(f: gc.constexpr, v):
    return f(f(v))


@gc.func
def applied(f, v):
    return f(v)


@gc.func
def scaled_by(k):
    return lambda v: v * k


@gc.func
def folded(f, x, start):
    total = start
    for k in range(x.shape[0]):
        total = f(total, x[k])
    return total


@gc.kernel
def within(x: gc.Array[gc.f32], out: gc.Array[gc.f32], n: gc.i32):
    i = gc.global_id(0)
    k = 2.0
    line = lambda v: v * k + STEP

    def bent(v, by=k):
        if v > 1.0:
            return v * by  # as k was where it is defined
        return line(v)

    total = 0.0
    for _ in range(n):
        k = k + 1.0
        total += line(x[i]) + bent(x[i])  # line reads k as it is now
    total += twice(line, x[i]) + applied(lambda v: applied(lambda w: w * k, v) + v, total)
    total += scaled_by(2.5)(x[i])
    for f in (lambda v: v, lambda v: v * 2.0):
        total += f(x[i])
    out[i] = total


def within_in_python(x, n):
    k = f32(2)
    line = lambda v: f32(v * k) + f32(3)
    bent = lambda v, by=k: f32(v * by) if v > 1 else line(v)
    total = f32(0)
    for _ in range(n):
        k = f32(k + f32(1))
        total = f32(total + f32(line(x) + bent(x)))
    total = f32(total + f32(line(line(x)) + f32(f32(total * k) + total)))
    total = f32(total + f32(f32(2.5) * x))
    return f32(f32(total + x) + f32(x * f32(2)))


def test_functions_and_lambdas_within_a_kernel(gpucore_context):
    wanted = np.array([within_in_python(x, 3) for x in X], np.float32)
    x, out = gpucore_context.array(X), gpucore_context.zeros(16, gc.f32)
    within.over(16)(x, out, 3)
    np.testing.assert_array_equal(out.numpy(), wanted)
    host = np.zeros_like(X)
    within.interpret(1, 16, X, host, 3)
    np.testing.assert_array_equal(host, wanted)


@gc.kernel
def writes(x: gc.Array[gc.i32], out: gc.Array[gc.i32], f: gc.constexpr):
    i = gc.global_id(0)
    tile = gc.shared(16, gc.i32)
    seen = 0

    def put(at, value):
        out[at] = value + seen

    tile[gc.thread_id(0)] = x[i]
    gc.barrier()
    for seen in range(2):
        put(i, folded(lambda total, v: f(total, v) + seen, x, tile[(gc.thread_id(0) + 1) % 16]))


def test_inner_functions_read_and_write_arrays_and_see_the_variable_of_a_loop(same):
    x = np.arange(32, dtype=np.int32) * 7 % 11
    (_, out) = same(writes, 2, 16, x, np.zeros(32, np.int32), lambda a, b: (a ^ b) * 3)
    wanted = []
    for i in range(32):
        total = int(x[i // 16 * 16 + (i % 16 + 1) % 16])
        for v in x:
            total = ((total ^ int(v)) * 3 + 1 + 2**31) % 2**32 - 2**31
        wanted.append(total + 1)
    np.testing.assert_array_equal(out, np.array(wanted, np.int64).astype(np.int32))


def result_of(context, f):
    out = context.empty(X.size, gc.f32)
    mapped.over(X.size)(context.array(X), out, f)
    return out.numpy().tolist()


def test_a_lambda_may_call_functions_of_modules_that_its_file_imports(gpucore_context):
    assert result_of(gpucore_context, lambda v: gc.floor(v)) == np.floor(X).tolist()
    assert result_of(gpucore_context, lambda v: math.fabs(v)) == np.abs(X).tolist()


def test_a_lambda_is_told_from_one_that_is_its_default(gpucore_context):
    pick = lambda v=(lambda v: v * 2.0): v
    assert result_of(gpucore_context, pick()) == (X * 2).tolist()
    by = lambda v, f=(lambda v: v * 2.0): f(v) + 1.0
    assert result_of(gpucore_context, by) == (X * 2 + 1).tolist()


def doubled(f):
    @functools.wraps(f)
    def within(v):
        return f(v) * 2.0

    return within


@doubled
def raised(v):
    return v + 1.0


def test_a_function_that_a_decorator_wraps_is_the_wrapper(gpucore_context):
    mine = raised(1.0)
    assert mine == 4.0
    assert result_of(gpucore_context, raised) == ((X + 1) * 2).tolist()


@gc.func
def small(v):
    assert v < 3.0
    return v


@pytest.mark.parametrize("f", [small, small.__wrapped__], ids=["marked", "plain"])
def test_an_assertion_of_a_function_is_looked_at_in_checked_mode(gpucore_context, f):
    assert result_of(gpucore_context, f) == X.tolist()
    with gc.Context(gpucore_context.device, check=True) as checked:
        with pytest.raises(gc.KernelAssertionError, match=r"v < 3\.0"):
            result_of(checked, f)


def through(held):
    return lambda v: v * held.k


def test_functions_that_take_turns_are_read_once(gpucore_context, monkeypatch):
    module = sys.modules["gpucore.lang.capture"]
    read, text_of = [], module.text_of
    monkeypatch.setattr(module, "text_of", lambda f, *more: read.append(f) or text_of(f, *more))
    for n in range(12):
        assert result_of(gpucore_context, scale(float(n % 2))) == (X * f32(n % 2)).tolist()
        assert result_of(gpucore_context, lambda v: v + 1.0) == (X + f32(1)).tolist()
    assert len(read) <= 3  # none where another device had them


def test_objects_in_closures_that_look_alike_are_told_apart(gpucore_context):
    one, other = types.SimpleNamespace(k=2.0), types.SimpleNamespace(k=2.0)
    for ks in ((2.0, 2.0), (3.0, 2.0), (2.0, 3.0), (3.0, 3.0), (2.0, 2.0)):
        one.k, other.k = ks
        for held in (one, other, one):
            assert result_of(gpucore_context, through(held)) == (X * f32(held.k)).tolist()


def test_a_function_whose_code_is_another_by_now_is_read_anew(gpucore_context):
    def changing(v):
        return v * 2.0

    assert result_of(gpucore_context, changing) == (X * 2).tolist()
    changing.__code__ = (lambda v: v * 3.0).__code__  # as tools do that load modules anew in place
    assert result_of(gpucore_context, changing) == (X * 3).tolist()
