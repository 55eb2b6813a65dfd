"""Counts of wrongly rounded results, held against mpmath alone."""

import numpy as np
import pytest

import gpucore as gc
from gpucore.testing.semantics.reference import FORMATS
from gpucore_fuzz.correct_values import correct
from gpucore_fuzz.rounding import count

STRIDE = 0x40_0003
FUNCTIONS = ("rsqrt", "sin", "lgamma")


@gc.kernel
def evaluate(x: gc.Array[gc.f32], y: gc.Array[gc.f32], which: gc.constexpr):
    i = gc.global_id(0)
    if which == 0:
        y[i] = gc.rsqrt(x[i])
    elif which == 1:
        y[i] = gc.sin(x[i])
    else:
        y[i] = gc.lgamma(x[i])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_count_is_that_of_mpmath(name):
    form = FORMATS["f32"]
    bits = np.arange(5, 2**32, STRIDE, dtype=np.int64).astype(np.uint32)
    with gc.Context("cpu") as context:
        found = count(context, name, stride=STRIDE, first=5)
        x, y = context.array(bits.view(np.float32)), context.empty(bits.size, gc.f32)
        evaluate.over(bits.size)(x, y, FUNCTIONS.index(name))
        got = y.numpy().view(np.uint32).tolist()
    wrong = sum(
        form.encode(correct(name, form.decode(b))) != form.canonical(g)
        for b, g in zip(bits.tolist(), got, strict=True)
    )
    assert found.arguments == bits.size
    assert found.unjudged == 0
    assert found.wrong == wrong
    assert found.wrong > 0


def test_cube_roots_are_correctly_rounded():
    with gc.Context("cpu") as context:
        assert count(context, "cbrt", stride=0x1_0001, first=5).wrong == 0
