"""Functions as arguments: which lambda of a file is meant, what is refused and where, what is said of such kernels."""
# ruff: noqa: E731 - lambdas with names are what is looked at

import functools
import gc as collector
import importlib.util
import pickle
import weakref

import numpy as np
import pytest

import gpucore as gc
from gpucore.errors import KernelSyntaxError, KernelTypeError

X = np.arange(4, dtype=np.float32)


@gc.kernel
def mapped(x: gc.Array[gc.f32], out: gc.Array[gc.f32], f: gc.constexpr):
    i = gc.global_id(0)
    out[i] = f(x[i])


def given(f):
    out = np.zeros_like(X)
    mapped.interpret(1, 4, X, out, f)
    return out.tolist()


def unmarked(v):
    return v


def endless(v):
    return endless(v - 1.0)


def endless_inside():
    def down(v):
        return down(v - 1.0)

    return down


def generator(v):
    yield v


async def later(v):
    return v


class Holder:
    def method(self, v):
        return v

    def __call__(self, v):
        return v


def write(path, text):
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (lambda v: unmarked(v), "Put @gc.func above def unmarked"),
        (lambda *v: v[0], "fixed list of parameters; \\*v"),
        (lambda: 1.0, "takes 0 arguments, not 1"),
        (endless, "endless calls itself"),
        (endless_inside(), "down calls itself"),
        (generator, "generators"),
        (later, "async"),
        (Holder().method, "a method is no plain function"),
        (Holder.method, "is a method"),
        (Holder(), "cannot be called in a kernel"),
        (functools.partial(unmarked), "a partial is no plain function"),
        (None, "f cannot be called in a kernel"),
        (np.sin, "Write gc.sin"),
        (mapped, "is a kernel"),
        (eval("lambda v: v"), "cannot be read, as for functions made by exec"),
    ],
)
def test_what_cannot_be_called_is_refused(function, told):
    with pytest.raises((KernelSyntaxError, KernelTypeError), match=told):
        given(function)


def test_an_error_in_a_lambda_stands_at_its_line():
    wrong = lambda v: v.upper()
    with pytest.raises(KernelSyntaxError, match="has no attribute 'upper'") as found:
        given(wrong)
    assert found.value.filename == __file__
    assert found.value.lineno == wrong.__code__.co_firstlineno


def test_a_lambda_whose_file_changed_since_is_not_taken_for_another(tmp_path):
    path = tmp_path / "changing.py"
    module = write(path, "f = lambda v: v * 2.0\ng = lambda v: v * 4.0\n")
    path.write_text("f = lambda v: v * 3.0\ng = lambda v: v * 4.0\n", encoding="utf-8")
    with pytest.raises(KernelSyntaxError, match="the file changed after it was imported"):
        given(module.f)
    assert given(module.g) == [0.0, 4.0, 8.0, 12.0]


def test_lambdas_of_one_line_are_told_apart_by_the_smallest_difference(tmp_path):
    text = (
        "fs = [lambda v: v / 1, lambda v: v / 1.0, lambda w: w * 3.0, lambda v: (lambda v: v * 5.0)(v) + v]\n"
    )
    fs = write(tmp_path / "alike.py", text).fs
    assert [given(f)[1] for f in fs] == [1.0, 1.0, 3.0, 6.0]
    columns = [mapped.ir(X, X, f).kernel.body[-1].loc for f in fs]
    assert len({str(c) for c in columns}) == 1  # the store's, which is the kernel's
    texts = {str(mapped.ir(X, X, f)) for f in fs}
    assert len(texts) >= 3


def test_the_text_of_a_kernel_holds_that_of_its_functions():
    """It is what the cache on disk looks kernels up by."""
    texts = [str(mapped.ir(X, X, f)) for f in (lambda v: v * 2.0, lambda v: v * 3.0, lambda v: v + 2.0)]
    assert len(set(texts)) == 3


def test_what_a_lambda_captures_goes_when_its_kernel_does():
    class Constant(float):
        pass

    held = Constant(2.0)
    watcher = weakref.ref(held)

    @gc.kernel
    def own(x: gc.Array[gc.f32], f: gc.constexpr):
        x[0] = f(x[0])

    own.interpret(1, 1, X.copy(), lambda v, k=held: v * k)
    del own, held
    collector.collect()
    assert watcher() is None


def test_a_kernel_that_takes_functions_is_portable_where_the_rest_of_it_is():
    @gc.kernel
    def counts(x: gc.Array[gc.i32], f: gc.constexpr, g: gc.constexpr = lambda a, b: a + b):
        gc.atomic_add(x, 0, g(f(x[1]), 1))

    assert mapped.portable, mapped.portability_note
    assert counts.portable, counts.portability_note


def test_a_lambda_is_a_device_function_that_stays_in_its_process():
    f = gc.func(lambda v: v * 2.0)
    assert repr(f) == "<gpucore.func <lambda>>"
    assert given(f) == [0.0, 2.0, 4.0, 6.0]
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(f)
    with pytest.raises(KernelTypeError, match="runs inside kernels"):
        f(1.0)


def test_functions_within_functions_have_annotations_and_parameters_by_name():
    @gc.kernel
    def k(x: gc.Array[gc.f32], out: gc.Array[gc.f32]):
        def half(v: gc.f64, *, by: gc.f64 = 0.5) -> gc.f64:
            """Wide."""
            return v * by

        @gc.func
        def third(v):
            return half(v, by=1.0 / 3.0)

        out[0] = gc.f32(half(x[1]))
        out[1] = gc.f32(third(x[3]))
        out[2] = (lambda v, w: v - w)(w=x[1], v=x[3])

    out = np.zeros_like(X)
    k.interpret(1, 1, X, out)
    assert out.tolist() == [0.5, 1.0, 2.0, 0.0]


def test_a_name_of_an_inner_function_hides_a_variable_around_it():
    @gc.kernel
    def k(x: gc.Array[gc.f32]):
        v = 5.0

        def own(w):
            v = w * 2.0
            return v

        x[0] = own(x[1]) + v
        x[1] = (lambda v: v + 1.0)(x[2]) + v

    x = X.copy()
    k.interpret(1, 1, x)
    assert x.tolist() == [7.0, 8.0, 2.0, 3.0]


def test_an_assertion_is_told_with_the_text_of_its_lambda():
    @gc.kernel
    def k(x: gc.Array[gc.f32]):
        assert (lambda v: v < 0.0)(x[0])

    with pytest.raises(gc.KernelAssertionError, match="lambda v: v < 0.0"):
        k.interpret(1, 1, X.copy())


def test_an_error_within_a_given_function_is_at_its_own_line():
    @gc.kernel
    def k(x: gc.Array[gc.f32], f: gc.constexpr):
        x[0] = f(x[1])

    with pytest.raises(gc.KernelSyntaxError, match="'nowhere' is not known") as caught:
        k.interpret(1, 1, X.copy(), lambda v: v + nowhere)  # noqa: F821 - that is the error
    assert "lambda v: v + nowhere" in str(caught.value)


@pytest.mark.parametrize("f", [generator, later, lambda *v: v[0]], ids=["generator", "async", "list"])
def test_functions_that_no_kernel_can_call_are_named_with_their_line(f):
    with pytest.raises(KernelSyntaxError) as caught:
        given(f)
    line = f.__code__.co_firstlineno
    assert (caught.value.filename, caught.value.lineno) == (__file__, line)
    assert f"{__file__}:{line}:" in str(caught.value)


def by_position(v, /, w=1.0):
    return v * 2.0 + w


@pytest.mark.parametrize(
    ("call", "wanted"),
    [(lambda v: by(v, w=2.0), [2.0, 4.0, 6.0, 8.0]), (lambda v: by(v), [1.0, 3.0, 5.0, 7.0])],
)
def test_parameters_by_position_alone(call, wanted):
    assert given(call) == wanted
    with pytest.raises(KernelTypeError, match="has no free parameter 'v'"):
        given(lambda v: by(v=v))


by = gc.func(by_position)
