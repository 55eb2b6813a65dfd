"""Range launches: the body runs once for every point of the shape."""

import itertools

import numpy as np
import pytest

from gpucore.ir.interpreter import interpret


def kernel(rank, *, stop=""):
    marks = ", ".join("?" * rank)
    ids = "\n".join(f"  %i{a}: index = global_id {a}" for a in range(rank))
    at = ", ".join(f"%i{a}" for a in range(rank))
    return f"""
kernel @count(&y: i32[{marks}]) {{
{ids}
{stop}
  %one: i32 = const 1
  %old: i32 = atomic add &y[{at}], %one
}}
"""


@pytest.mark.parametrize("shape", [(1,), (7,), (8,), (3, 5), (4, 8), (2, 3, 5)])
def test_every_point_runs_once_along_the_axes(build, low, shape):
    module = low(build(kernel(len(shape)), ndim=len(shape)), range_launch="nd")
    block = (2,) * (len(shape) - 1) + (4,)
    grid = tuple(-(-n // b) for n, b in zip(shape, block, strict=True))
    y = np.zeros(shape, np.int32)
    interpret(module, grid, block, [y, *shape])
    assert (y == 1).all()


@pytest.mark.parametrize("shape", [(7,), (3, 5), (1, 1), (2, 3, 5), (2, 3, 2, 3), (1, 4, 1, 2)])
@pytest.mark.parametrize("small", [True, False])
def test_every_point_runs_once_in_one_line(build, low, shape, small):
    module = low(build(kernel(len(shape)), ndim=len(shape)), range_launch="linear", small=small)
    assert module.ndim == 1
    y = np.zeros(shape, np.int32)
    interpret(module, -(-y.size // 8), 8, [y, *shape])
    assert (y == 1).all()


@pytest.mark.parametrize("shape", [(2, 3, 2, 3), (1, 4, 1, 2), (3, 1, 5, 9)])
@pytest.mark.parametrize("small", [True, False])
def test_every_point_runs_once_where_leading_axes_are_folded(build, low, shape, small):
    module = low(build(kernel(4), ndim=4), range_launch="folded", small=small)
    assert module.ndim == 3
    y = np.zeros(shape, np.int32)
    folded, block = (shape[0] * shape[1], *shape[2:]), (2, 2, 4)
    interpret(module, tuple(-(-n // b) for n, b in zip(folded, block, strict=True)), block, [y, *shape])
    assert (y == 1).all()


def test_the_last_axis_of_a_folded_range_is_an_axis_of_the_launch(build, low):
    module = low(build(kernel(4), ndim=4), range_launch="folded")
    text = str(module)
    divisions = [line for line in text.splitlines() if "quot.raw" in line or "rem.raw" in line]
    assert len(divisions) == 2  # of the leading two axes alone


def test_an_empty_axis_runs_nothing(build, low):
    module = low(build(kernel(2), ndim=2), range_launch="linear")
    y = np.zeros((2, 2), np.int32)
    for shape in itertools.product((0, 2), (0, 2)):
        interpret(module, 1, 8, [y, *shape])
    assert y.sum() == 4


def test_a_return_ends_the_thread_alone(build, low):
    stop = """
  %limit: index = const 3
  %c: bool = ge %i0, %limit
  if %c {
    return
  }
"""
    module = low(build(kernel(1, stop=stop)), range_launch="nd")
    y = np.zeros(10, np.int32)
    interpret(module, 2, 8, [y, 10])
    assert y.tolist() == [1, 1, 1, 0, 0, 0, 0, 0, 0, 0]


def test_extents_are_i32_when_small_and_i64_otherwise(build, low):
    module = build(kernel(2), ndim=2)
    for small, name in ((True, "i32"), (False, "i64")):
        assert [p.dtype.name for p in low(module, range_launch="nd", small=small).scalars] == [name] * 2


def test_a_checked_range_launch_reports_the_point_and_not_the_line(build, run_checked):
    module = build("""
kernel @k(&x: i32[?]) {
  %i: index = global_id 0
  %j: index = global_id 1
  %s: index = add %i, %j
  %one: i32 = const 1
  %old: i32 = atomic add &x[%s], %one
}
""", ndim=2)  # fmt: skip
    x = np.zeros(4, np.int32)

    from gpucore.ir.passes import RECORD_WORDS, LowerOptions, decode, lower
    from gpucore.math import library

    lowered = lower(module, LowerOptions(frozenset(), library, check=True, range_launch="linear"))
    record = np.zeros(RECORD_WORDS, np.uint32)
    interpret(lowered.module, 2, 8, [x, 2, 5, record])
    error = decode(record, lowered.sites, "k")
    assert error.thread in {(0, 4), (1, 3), (1, 4)}
    assert error.index == (sum(error.thread),)
