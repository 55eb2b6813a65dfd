"""Kernels split at barriers: values, variables, local memory and control flow across them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

REDUCE = """
module ir=1 ndim=1 math=strict

kernel @reduce(&x: f32[?], &out: f32[?]) {
  memory &sh: shared f32[256]
  var !s: i32
  %i: i32 = global_id 0
  %t: i32 = thread_id 0
  %b: i32 = block_id 0
  %v: f32 = load &x[%i]
  store &sh[%t], %v
  %h: i32 = const 128
  set !s, %h
  while {
    %s: i32 = get !s
    %z: i32 = const 0
    %g: bool = gt %s, %z
  } do %g {
    barrier
    %s2: i32 = get !s
    %c: bool = lt %t, %s2
    if %c {
      %o: i32 = add %t, %s2
      %a1: f32 = load &sh[%t]
      %a2: f32 = load &sh[%o]
      %a3: f32 = add %a1, %a2
      store &sh[%t], %a3
    }
    %one: i32 = const 1
    %s3: i32 = shr.raw %s2, %one
    set !s, %s3
  }
  barrier
  %z2: i32 = const 0
  %c2: bool = eq %t, %z2
  if %c2 {
    %r: f32 = load &sh[%z2]
    store &out[%b], %r
  }
}
"""


def test_a_tree_reduction_runs_its_loop_once_a_block(same_as_interpreter: Any) -> None:
    x = np.random.default_rng(2).random(256 * 5, dtype=np.float32)
    same_as_interpreter(REDUCE, 5, 256, x, np.zeros(5, np.float32))


MATMUL = """
module ir=1 ndim=2 math=strict

kernel @matmul(&a: f32[?, ?], &b: f32[?, ?], &c: f32[?, ?]) {
  memory &ta: shared f32[64]
  memory &tb: shared f32[64]
  var !acc: f32
  %ty: i32 = thread_id 0
  %tx: i32 = thread_id 1
  %y: i32 = global_id 0
  %x: i32 = global_id 1
  %n: i32 = extent &a, 1
  %w: i32 = extent &c, 1
  %0: i32 = const 0
  %1: i32 = const 1
  %8: i32 = const 8
  %f0: f32 = const 0.0
  %slot.row: i32 = mul %ty, %8
  %slot: i32 = add %slot.row, %tx
  set !acc, %f0
  for %k: i32 = %0 to %n step %8 {
    %ka: i32 = add %k, %tx
    %ra: i32 = mul %y, %n
    %ia: i32 = add %ra, %ka
    %va: f32 = load &a[%ia]
    store &ta[%slot], %va
    %kb: i32 = add %k, %ty
    %rb: i32 = mul %kb, %w
    %ib: i32 = add %rb, %x
    %vb: f32 = load &b[%ib]
    store &tb[%slot], %vb
    barrier
    for %j: i32 = %0 to %8 step %1 {
      %pa: i32 = add %slot.row, %j
      %qb: i32 = mul %j, %8
      %pb: i32 = add %qb, %tx
      %ea: f32 = load &ta[%pa]
      %eb: f32 = load &tb[%pb]
      %p: f32 = mul %ea, %eb
      %acc: f32 = get !acc
      %acc1: f32 = add %acc, %p
      set !acc, %acc1
    }
    barrier
  }
  %rc: i32 = mul %y, %w
  %ic: i32 = add %rc, %x
  %res: f32 = get !acc
  store &c[%ic], %res
}
"""


def test_a_tiled_product_keeps_its_sums_across_barriers(same_as_interpreter: Any) -> None:
    rng = np.random.default_rng(4)
    a, b = rng.random((16, 24), dtype=np.float32), rng.random((24, 16), dtype=np.float32)
    _, _, c = same_as_interpreter(MATMUL, (2, 2), (8, 8), a, b, np.zeros((16, 16), np.float32))
    np.testing.assert_allclose(c, a @ b, rtol=1e-5)


CARRY = """
module ir=1 ndim=1 math=strict

kernel @carry(&x: i32[?], &out: i32[?], &flag: i32[?]) {
  memory &sh: shared i32[96]
  memory &mine: local i32[3]
  var !v: i32
  var !rounds: i32
  %i: i32 = global_id 0
  %t: i32 = thread_id 0
  %d: i32 = block_dim 0
  %0: i32 = const 0
  %1: i32 = const 1
  %2: i32 = const 2
  %3: i32 = const 3
  %5: i32 = const 5
  init &mine
  %v0: i32 = load &x[%i]
  %odd: i32 = and %v0, %1
  %isodd: bool = eq %odd, %1
  set !v, %v0
  store &mine[%1], %v0
  store &sh[%t], %v0
  set !rounds, %0
  barrier
  while {
    %r: i32 = get !rounds
    %f: i32 = load &flag[%0]
    %go: bool = lt %r, %f
  } do %go {
    %r1: i32 = get !rounds
    %r2: i32 = add %r1, %1
    set !rounds, %r2
    %next: i32 = add %t, %r2
    %wrapped: i32 = rem.raw %next, %d
    %other: i32 = load &sh[%wrapped]
    barrier
    if %isodd {
      %ov: i32 = get !v
      %nv: i32 = add %ov, %other
      set !v, %nv
      store &mine[%2], %other
    }
    %cv: i32 = get !v
    store &sh[%t], %cv
    %skip: bool = eq %r2, %3
    if %skip {
      barrier
      continue
    }
    %enough: bool = ge %r2, %5
    if %enough {
      break
    }
    barrier
  }
  barrier
  %m1: i32 = load &mine[%1]
  %m2: i32 = load &mine[%2]
  %m0: i32 = load &mine[%0]
  %rv: i32 = get !v
  %a: i32 = add %m1, %m2
  %b: i32 = add %a, %rv
  %c: i32 = add %b, %m0
  store &out[%i], %c
}
"""


@pytest.mark.parametrize("rounds", [0, 1, 3, 4, 9])
@pytest.mark.parametrize("block", [1, 16, 33, 96])
def test_values_variables_and_local_memory_live_across_barriers(
    same_as_interpreter: Any, rounds: int, block: int
) -> None:
    x = np.arange(block * 3, dtype=np.int32) * 7 % 23
    same_as_interpreter(CARRY, 3, block, x, np.zeros_like(x), np.array([rounds], np.int32))


EARLY = """
module ir=1 ndim=1 math=strict

kernel @early(&x: i32[?], &out: i32[?], %n: i32) {
  memory &sh: shared i32[64]
  %i: i32 = global_id 0
  %t: i32 = thread_id 0
  %b: i32 = block_id 0
  %past: bool = ge %b, %n
  if %past {
    return
  }
  %v: i32 = load &x[%i]
  store &sh[%t], %v
  barrier
  %3: i32 = const 3
  %small: bool = lt %v, %3
  if %small {
    %m: i32 = const -5
    store &out[%i], %m
    return
  }
  %0: i32 = const 0
  %first: i32 = load &sh[%0]
  %s: i32 = add %first, %v
  store &out[%i], %s
}
"""


def test_blocks_and_threads_may_return_early(same_as_interpreter: Any) -> None:
    x = np.random.default_rng(5).integers(0, 9, 64 * 4, dtype=np.int32)
    _, out = same_as_interpreter(EARLY, 4, 64, x, np.zeros_like(x), 3)
    assert (out[192:] == 0).all()
    assert (out == -5).any()


ROWS = """
module ir=1 ndim=2 math=strict

kernel @rows(&out: i32[?, ?]) {
  memory &sh: shared i32[6]
  %ty: i32 = thread_id 0
  %tx: i32 = thread_id 1
  %w: i32 = extent &out, 1
  %y: i32 = global_id 0
  %x: i32 = global_id 1
  %0: i32 = const 0
  %5: i32 = const 5
  %first: bool = eq %tx, %0
  if %first {
    %sq: i32 = mul %ty, %ty
    store &sh[%ty], %sq
  }
  barrier
  %m: i32 = sub %5, %ty
  %v: i32 = load &sh[%m]
  %r: i32 = mul %y, %w
  %i: i32 = add %r, %x
  %s: i32 = add %v, %x
  store &out[%i], %s
}
"""


def test_row_coordinates_differ_between_gangs_of_a_block(same_as_interpreter: Any) -> None:
    same_as_interpreter(ROWS, (2, 2), (6, 20), np.zeros((12, 40), np.int32))


DECIDED = """
module ir=1 ndim=1 math=strict

kernel @decided(&first: TYPE[?], &out: i32[?], &gate: u8[?]) {
  %t: TYPE = thread_id 0
  %i: i32 = thread_id 0
  %0: i32 = const 0
  %20: TYPE = const 20
  %1: i32 = const 1
  %p: TYPE = load &first[%0]
  %at: TYPE = add %p, %t
  %near: bool = lt %at, %20
  %b: u8 = load &gate[%0]
  %open: bool = cast %b
  %inside: bool = CONDITION
  barrier
  if %inside {
    store &out[%i], %1
  }
}
"""


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize(
    "condition", ["and %near, %open", "or %near, %open", "not %near", "and %open, %near"]
)
@pytest.mark.parametrize("first", [5, -20, 20])
def test_a_condition_decided_before_a_barrier_guards_what_stands_behind_it(
    same_as_interpreter: Any, dtype: Any, condition: str, first: int
) -> None:
    name = {np.int32: "i32", np.int64: "i64"}[dtype]
    source = DECIDED.replace("TYPE", name).replace("CONDITION", condition)
    for gate in (0, 1):
        _, out, _ = same_as_interpreter(
            source, 1, 40, np.array([first], dtype), np.zeros(40, np.int32), np.array([gate], np.uint8)
        )
        near = (np.arange(40) + first) < 20
        wanted = {"not": ~near, "and": near & bool(gate), "or": near | bool(gate)}[condition.split()[0]]
        assert out.tolist() == wanted.astype(int).tolist()
