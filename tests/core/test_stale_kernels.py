"""A kernel is compiled anew where what it captured means something else, and checked as its stream says."""

from __future__ import annotations

import enum

import pytest

import gpucore as gc


class Alike(int):
    """Prints alike whatever it is."""

    def __repr__(self) -> str:
        return "alike"

    __str__ = __repr__


class Real(float):
    def __repr__(self) -> str:
        return "real"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2

    def __repr__(self) -> str:
        return "a level"


captured: object = None


@gc.func
def twice(a, b):
    return a * b


@gc.func
def limited(a):
    return min(a, 100)


@gc.kernel
def store(x: gc.Array[gc.f32]) -> None:
    x[0] = gc.f32(captured)


@gc.kernel
def first(x: gc.Array[gc.f32]) -> None:
    x[0] = gc.f32(captured[0])


@gc.kernel
def least(x: gc.Array[gc.f32]) -> None:
    x[0] = gc.f32(min(x.shape[0], 100))


@gc.kernel
def least_of_a_function(x: gc.Array[gc.f32]) -> None:
    x[0] = gc.f32(limited(x.shape[0]))


@pytest.fixture
def bf16():
    return pytest.importorskip("ml_dtypes", reason="NumPy's bf16 is of the package ml_dtypes").bfloat16


@pytest.mark.parametrize(
    "make", [Alike, Real, Level, lambda n: (Alike(n), 0)], ids=["int", "float", "enum", "tuple"]
)
def test_constants_that_print_alike_are_told_apart(ctx, monkeypatch, make):
    kernel = first if isinstance(make(1), tuple) else store
    x = ctx.zeros(1, gc.f32)
    for number in (1, 2, 1):
        monkeypatch.setitem(globals(), "captured", make(number))
        for _ in range(2):
            kernel[1, 1](x)
            assert x.numpy()[0] == number


def test_a_captured_scalar_of_ml_dtypes_may_change(ctx, monkeypatch, bf16):
    x = ctx.zeros(1, gc.f32)
    for number in (1, 2):
        monkeypatch.setitem(globals(), "captured", bf16(number))
        store[1, 1](x)
        assert x.numpy()[0] == number


@pytest.mark.parametrize("kernel", [least, least_of_a_function], ids=["kernel", "function"])
def test_a_global_may_shadow_a_builtin_and_go_again(ctx, monkeypatch, kernel):
    x = ctx.zeros(3, gc.f32)

    def result() -> float:
        kernel[1, 1](x)
        return float(x.numpy()[0])

    assert [result(), result()] == [3, 3]
    with monkeypatch.context() as patch:
        patch.setitem(globals(), "min", twice)
        assert [result(), result()] == [300, 300]
    assert [result(), result()] == [3, 3]


@pytest.mark.parametrize("order", [(False, True, False, True), (True, False, True, False)])
def test_each_launch_without_arrays_is_checked_as_its_streams_context_says(backend, order):
    @gc.kernel
    def positive(n: gc.i32) -> None:
        assert n > 0

    backend("null")
    with gc.Context("null") as plain, gc.Context("null", check=True) as checked:
        view = plain.options(check=True)
        for streams in ({False: plain.stream(), True: view.stream()},
                        {False: plain.default_stream, True: checked.default_stream}):  # fmt: skip
            found = []
            for check in order:
                positive[1, 1, streams[check]](-1)
                try:
                    streams[check].synchronize()
                    found.append(False)
                except gc.KernelAssertionError:
                    found.append(True)
            assert tuple(found) == order


@gc.func
def scaled(v):
    return v * captured


@gc.func
def by_default(v, f=scaled):
    return f(v)


@gc.func
def by_name(v, *, f=scaled):
    return f(v)


@gc.struct
class Sized:
    size: gc.f32

    @gc.func
    def area(self) -> gc.f32:
        return self.size * captured


@gc.struct
class Holder:
    sized: Sized


FUNCTIONS = ((scaled,),)


@gc.kernel
def passes_a_default(x: gc.Array[gc.f32]) -> None:
    x[0] = by_default(gc.f32(1)) + by_name(gc.f32(1))


@gc.kernel
def picks_from_a_tuple(x: gc.Array[gc.f32]) -> None:
    for (f,) in FUNCTIONS:
        x[0] = f(gc.f32(2))


@gc.kernel
def calls_a_method(x: gc.Array[gc.f32]) -> None:
    x[0] = Sized(2.0).area()


@gc.kernel
def takes_a_function(x: gc.Array[gc.f32], f: gc.constexpr = scaled) -> None:
    x[0] = f(gc.f32(2))


@gc.kernel
def takes_structs(holders: gc.Array[Holder], x: gc.Array[gc.f32]) -> None:
    x[0] = holders[0].sized.area()


@gc.kernel
def takes_a_struct(x: gc.Array[gc.f32], holder: Holder) -> None:
    x[0] = holder.sized.area()


def with_structs(ctx, x):
    takes_structs[1, 1](ctx.full(1, Holder(Sized(2.0)), Holder), x)


@pytest.mark.parametrize(
    "launch",
    [
        lambda ctx, x: passes_a_default[1, 1](x),
        lambda ctx, x: picks_from_a_tuple[1, 1](x),
        lambda ctx, x: calls_a_method[1, 1](x),
        lambda ctx, x: takes_a_function[1, 1](x),
        lambda ctx, x: takes_a_function[1, 1](x, (scaled,)[0]),
        lambda ctx, x: takes_a_struct[1, 1](x, Holder(Sized(2.0))),
        with_structs,
    ],
    ids=["default", "tuple", "method", "constexpr default", "constexpr", "struct", "array of structs"],
)
def test_constants_of_functions_that_no_name_of_the_kernel_leads_to_may_change(ctx, monkeypatch, launch):
    x = ctx.zeros(1, gc.f32)
    for number in (1, 3, 1):
        monkeypatch.setitem(globals(), "captured", number)
        for _ in range(2):
            launch(ctx, x)
            assert x.numpy()[0] == 2 * number
