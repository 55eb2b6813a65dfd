"""Several elements a thread: the same result, whatever the range, and only for kernels that gain by it."""

import numpy as np
import pytest

from gpucore.ir.interpreter import interpret
from gpucore.ir.nodes import If, Load, Store, walk
from gpucore.ir.passes.range_launches import can_coarsen

AXPY = """
kernel @axpy(&x: f32[?], &y: f32[?], %a: f32) {
  %i: index = global_id 0
  %p: f32 = load &x[%i]
  %q: f32 = load &y[%i]
  %m: f32 = mul %a, %p
  %s: f32 = add %m, %q
  store &y[%i], %s
}
"""


def count(rank, stop=""):
    marks = ", ".join("?" * rank)
    ids = "\n".join(f"  %i{a}: index = global_id {a}" for a in range(rank))
    at = ", ".join(f"%i{a}" for a in range(rank))
    return f"""
kernel @count(&y: i32[{marks}]) {{
{ids}
{stop}
  %one: i32 = const 1
  %old: i32 = load &y[{at}]
  %new: i32 = add %old, %one
  store &y[{at}], %new
}}
"""


@pytest.mark.parametrize(
    "shape", [(1,), (7,), (16,), (17,), (100,), (3, 5), (16, 8), (17, 9), (2, 3, 5), (33, 2, 4)]
)
@pytest.mark.parametrize("items", [2, 4])
@pytest.mark.parametrize("small", [True, False])
def test_every_point_runs_once(build, low, shape, items, small):
    rank = len(shape)
    block = (2,) * (rank - 1) + (4,)
    module = low(build(count(rank), ndim=rank), range_launch="nd", items=items, block=block, small=small)
    spans = (block[0] * items, *block[1:])
    grid = tuple(-(-n // span) for n, span in zip(shape, spans, strict=True))
    y = np.zeros(shape, np.int32)
    interpret(module, grid, block, [y, *shape])
    assert (y == 1).all()


def test_loads_of_all_elements_come_before_the_first_store(build, low):
    module = low(build(AXPY), range_launch="nd", items=4, block=(8,))
    (guard,) = [s for s in module.kernel.body if isinstance(s, If)]
    order = [type(s) for s in guard.then if isinstance(s, (Load, Store))]
    assert order == [Load] * 8 + [Store] * 4


def test_a_guard_of_the_users_stays_a_guard(build, low):
    stop = """
  %limit: index = const 13
  %c: bool = ge %i0, %limit
  if %c {
    return
  }
"""
    source = build(count(1, stop))
    assert can_coarsen(source)
    y = np.zeros(40, np.int32)
    interpret(low(source, range_launch="nd", items=4, block=(4,)), 3, 4, [y, 40])
    assert y.tolist() == [1] * 13 + [0] * 27


def test_variables_of_the_elements_are_apart(build, low):
    module = build("""
kernel @k(&x: i32[?], &y: i32[?]) {
  var !v: i32
  %i: index = global_id 0
  %p: i32 = load &x[%i]
  set !v, %p
  %zero: i32 = const 0
  %c: bool = lt %p, %zero
  if %c {
    set !v, %zero
  }
  %r: i32 = get !v
  store &y[%i], %r
}
""")
    assert can_coarsen(module)
    x = np.arange(-20, 21, dtype=np.int32)
    y = np.full(41, -9, np.int32)
    interpret(low(module, range_launch="nd", items=4, block=(4,)), 3, 4, [x, y, 41])
    np.testing.assert_array_equal(y, np.maximum(x, 0))


LOOP = """
  %n: index = const 3
  %z: index = const 0
  %u: index = const 1
  for %k: index = %z to %n step %u {
    %t: i32 = load &y[%k]
  }
"""
ELSE = """
  %limit: index = const 3
  %c: bool = lt %i0, %limit
  if %c {
    %t: i32 = load &y[%i0]
  } else {
    %w: i32 = load &y[%i0]
  }
"""


@pytest.mark.parametrize("body", [LOOP, ELSE], ids=["a loop", "two branches"])
def test_kernels_that_are_not_straight_stay_as_they_are(build, body):
    assert not can_coarsen(build(count(1, body)))


def test_kernels_that_compute_long_stay_as_they_are(build):
    lines = "\n".join(f"  %a{k + 1}: f32 = mul %a{k}, %a{k}" for k in range(80))
    module = build(f"""
kernel @k(&x: f32[?]) {{
  %i: index = global_id 0
  %a0: f32 = load &x[%i]
{lines}
  store &x[%i], %a80
}}
""")
    assert not can_coarsen(module)


def test_ids_of_small_launches_need_no_64_bits(build, low):
    module = low(build(AXPY), range_launch="nd", items=4, block=(256,))
    wide = {v.dtype.name for s in walk(module.kernel.body) if (v := getattr(s, "result", None)) is not None}
    assert "i64" not in wide
