"""Gangs of lanes: ragged ends, masks, divergent control flow, and loops over affine ids."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpucore as gc

SAXPY = """
module ir=1 ndim=1 math=strict noalias

kernel @saxpy(&x: f32[?], &y: f32[?], %a: f32) {
  %i: i32 = global_id 0
  %n: i32 = extent &y, 0
  %c: bool = lt %i, %n
  if %c {
    %0: f32 = load &x[%i]
    %1: f32 = mul %a, %0
    %2: f32 = load &y[%i]
    %3: f32 = add %1, %2
    store &y[%i], %3
  }
}
"""


@pytest.mark.parametrize("n", [1, 7, 15, 16, 17, 255, 256, 257, 4099])
def test_a_guarded_kernel_touches_its_elements_and_no_other(cpu: Any, n: int) -> None:
    x = np.linspace(-1, 1, n, dtype=np.float32)
    padded = np.full(n + 64, 7, dtype=np.float32)
    y = padded[:n]
    cpu.run(SAXPY, -(-n // 64), 64, x, y, 2.5)
    np.testing.assert_array_equal(y, np.float32(2.5) * x + np.float32(7))
    np.testing.assert_array_equal(padded[n:], 7)


def test_full_gangs_use_plain_vector_loads(cpu: Any) -> None:
    text = cpu.render(SAXPY)
    assert "x float>, ptr" in text
    assert "masked.gather" not in text


DIVERGENT = """
module ir=1 ndim=1 math=strict

kernel @walk(&x: i32[?], &out: i32[?], &sums: i32[?]) {
  var !n: i32
  var !v: i32
  var !s: i32
  %i: i32 = global_id 0
  %size: i32 = extent &x, 0
  %c: bool = ge %i, %size
  if %c {
    return
  }
  %0: i32 = const 0
  %1: i32 = const 1
  %2: i32 = const 2
  %3: i32 = const 3
  %7: i32 = const 7
  %limit: i32 = const 60
  %start: i32 = load &x[%i]
  set !v, %start
  set !n, %0
  set !s, %0
  while {
    %v: i32 = get !v
    %more: bool = gt %v, %1
  } do %more {
    %n: i32 = get !n
    %n1: i32 = add %n, %1
    set !n, %n1
    %stop: bool = ge %n1, %limit
    if %stop {
      break
    }
    %bit: i32 = and %v, %1
    %even: bool = eq %bit, %0
    if %even {
      %half: i32 = quot.raw %v, %2
      set !v, %half
      continue
    }
    %t: i32 = mul %v, %3
    %t1: i32 = add %t, %1
    set !v, %t1
    %s: i32 = get !s
    %s1: i32 = add %s, %v
    set !s, %s1
    %big: i32 = const 100000
    %out.of: bool = gt %t1, %big
    if %out.of {
      %m1: i32 = const -1
      store &out[%i], %m1
      return
    }
  }
  %rn: i32 = get !n
  store &out[%i], %rn
  for %k: i32 = %0 to %rn step %7 {
    %odd: i32 = and %k, %1
    %is: bool = eq %odd, %0
    if %is {
      continue
    }
    %rs: i32 = get !s
    %rs1: i32 = add %rs, %k
    set !s, %rs1
  }
  %fs: i32 = get !s
  store &sums[%i], %fs
}
"""


def test_lanes_leave_loops_by_break_continue_and_return_each_in_its_time(same_as_interpreter: Any) -> None:
    x = np.arange(150, dtype=np.int32)
    same_as_interpreter(DIVERGENT, 3, 64, x, np.zeros_like(x), np.zeros_like(x))


STEPS = """
module ir=1 ndim=1 math=strict

kernel @steps(&start: i32[?], &stop: i32[?], &step: i32[?], &count: i32[?], &last: i32[?]) {
  var !n: i32
  var !l: i32
  %i: i32 = global_id 0
  %0: i32 = const 0
  %1: i32 = const 1
  %a: i32 = load &start[%i]
  %b: i32 = load &stop[%i]
  %s: i32 = load &step[%i]
  set !n, %0
  set !l, %0
  for %k: i32 = %a to %b step %s {
    %n: i32 = get !n
    %n1: i32 = add %n, %1
    set !n, %n1
    set !l, %k
  }
  %rn: i32 = get !n
  store &count[%i], %rn
  %rl: i32 = get !l
  store &last[%i], %rl
}
"""


def test_ranges_with_any_step_end_without_overflow(cpu: Any) -> None:
    top, low = 2**31 - 1, -(2**31)
    cases = [
        (0, 10, 3), (10, 0, -3), (0, 10, 0), (5, 5, 1), (7, 3, 2), (top - 5, top, 2), (top - 1, top, 100),
        (low + 5, low, -2), (low, top, 2**30), (top, low, -(2**30)), (0, -1, 1), (0, 1, low), (1, 0, low),
    ]  # fmt: skip
    start, stop, step = (np.array(column, dtype=np.int32) for column in zip(*cases, strict=True))
    count, last = np.zeros_like(start), np.zeros_like(start)
    cpu.run(STEPS, len(cases), 1, start, stop, step, count, last)
    wanted = [range(a, b, s) if s else range(0) for a, b, s in cases]
    assert count.tolist() == [len(r) for r in wanted]
    assert last.tolist() == [r[-1] if len(r) else 0 for r in wanted]
    count[:] = 0
    cpu.run(STEPS, 1, len(cases), start, stop, step, count, last)
    assert count.tolist() == [len(r) for r in wanted]


STRIDE = """
module ir=1 ndim=1 math=strict

kernel @stride(&x: f32[?], &y: f32[?]) {
  %g: i32 = global_id 0
  %n: i32 = extent &x, 0
  %blocks: i32 = grid_dim 0
  %threads: i32 = block_dim 0
  %step: i32 = mul %blocks, %threads
  for %i: i32 = %g to %n step %step {
    %v: f32 = load &x[%i]
    %w: f32 = add %v, %v
    store &y[%i], %w
  }
}
"""


def test_a_grid_stride_loop_stays_contiguous(cpu: Any, same_as_interpreter: Any) -> None:
    x = np.arange(1003, dtype=np.float32)
    same_as_interpreter(STRIDE, 3, 37, x, np.zeros_like(x))
    text = cpu.render(STRIDE)
    assert "masked.gather" not in text
    assert "masked.load" in text


DIVISION = """
module ir=1 ndim=1 math=strict

kernel @division(&a: {d}[?], &b: {d}[?], &q: {d}[?], &r: {d}[?]) {{
  %i: i32 = global_id 0
  %x: {d} = load &a[%i]
  %y: {d} = load &b[%i]
  %0: {d} = const 0
  %ok: bool = ne %y, %0
  if %ok {{
    %quot: {d} = quot.raw %x, %y
    store &q[%i], %quot
    %rem: {d} = rem.raw %x, %y
    store &r[%i], %rem
  }}
}}
"""


@pytest.mark.parametrize("d", ["i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64"])
def test_division_truncates_and_idle_lanes_cannot_trap(cpu: Any, d: str) -> None:
    dtype = np.dtype({"i": "int", "u": "uint"}[d[0]] + d[1:])
    info = np.iinfo(dtype)
    edges = [0, 1, 2, 3, 7, info.max, info.max - 1, info.min, info.min + 1]
    random = np.random.default_rng(3).integers(info.min, info.max, 200, dtype=dtype, endpoint=True)
    a = np.concatenate([np.repeat(np.array(edges, dtype), len(edges)), random, random[::-1]])
    b = np.concatenate(
        [np.tile(np.array(edges, dtype), len(edges)), random[::-1], random % np.array(5, dtype)]
    )
    if info.min < 0:
        keep = ~((a == info.min) & (b == -1))
        a, b = a[keep], b[keep]
    q, r = np.full_like(a, 77), np.full_like(a, 77)
    cpu.run(DIVISION.format(d=d), 1, len(a), a, b, q, r)
    for x, y, found, rest in zip(a.tolist(), b.tolist(), q.tolist(), r.tolist(), strict=True):
        if y == 0:
            assert (found, rest) == (77, 77)
        else:
            quotient = abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)
            assert (found, rest) == (quotient, x - quotient * y)


IDS = """
module ir=1 ndim={ndim} math=strict

kernel @ids(&out: i32[?]) {{
  memory &spread: local i32[4]
  init &spread
{ids}
  store &out[%at], %code
}}
"""


@pytest.mark.parametrize("subgroups", [False, True])
@pytest.mark.parametrize(
    ("grid", "block"),
    [((3,), (37,)), ((2, 3), (5, 7)), ((2, 1), (3, 40)), ((2, 2, 3), (2, 3, 5)), ((1, 2, 1), (4, 1, 33))],
)
def test_every_thread_has_its_coordinates(
    same_as_interpreter: Any, grid: tuple[int, ...], block: tuple[int, ...], subgroups: bool
) -> None:
    ndim = len(grid)
    lines = ["  %ten: i32 = const 10", "  %s0: i32 = const 0", "  %p0: i32 = const 0"]
    if subgroups:
        lines += ["  %lane: i32 = subgroup lane", "  %s00: i32 = add %s0, %lane"]
    sofar, place = ("%s00" if subgroups else "%s0"), "%p0"
    for axis in range(ndim):
        for kind in ("thread_id", "block_id", "global_id", "block_dim", "grid_dim"):
            name = f"%{kind}{axis}"
            lines.append(f"  {name}: i32 = {kind} {axis}")
            lines.append(f"  {name}m: i32 = mul {sofar}, %ten")
            lines.append(f"  {name}s: i32 = add {name}m, {name}")
            sofar = f"{name}s"
        lines.append(f"  %e{axis}: i32 = mul %grid_dim{axis}, %block_dim{axis}")
        lines.append(f"  %m{axis}: i32 = mul {place}, %e{axis}")
        lines.append(f"  %p{axis + 1}: i32 = add %m{axis}, %global_id{axis}")
        place = f"%p{axis + 1}"
    lines += [f"  %at: i32 = add {place}, %s0", f"  %code: i32 = add {sofar}, %s0"]
    out = np.zeros(int(np.prod(grid) * np.prod(block)), dtype=np.int32)
    same_as_interpreter(IDS.format(ndim=ndim, ids="\n".join(lines)), grid, block, out)


RETURNS = """
module ir=1 ndim=1 math=strict

func @classify(%x: i32) -> i32 {
  memory &seen: local i32[4]
  %0: i32 = const 0
  %3: i32 = const 3
  %9: i32 = const 9
  init &seen
  store &seen[%3], %x
  %low: bool = lt %x, %3
  if %low {
    return %0
  }
  for %k: i32 = %0 to %x step %3 {
    %far: bool = gt %k, %9
    if %far {
      return %k
    }
  }
  %y: i32 = load &seen[%3]
  return %y
}

kernel @returns(&x: i32[?], &out: i32[?], &same: i32[?], %s: i32) {
  %i: i32 = global_id 0
  %v: i32 = load &x[%i]
  %c: i32 = call @classify(%v)
  store &out[%i], %c
  %u: i32 = call @classify(%s)
  store &same[%i], %u
}
"""


@pytest.mark.parametrize("uniform", [1, 5, 40])
def test_lanes_return_from_a_function_each_with_its_own_value(same_as_interpreter: Any, uniform: int) -> None:
    x = np.arange(50, dtype=np.int32)
    _, out, same = same_as_interpreter(RETURNS, 1, 50, x, np.zeros_like(x), np.zeros_like(x), uniform)
    assert out.tolist() == [0 if v < 3 else 12 if v > 12 else v for v in x.tolist()]
    assert (same == (0 if uniform < 3 else 12 if uniform > 12 else uniform)).all()


SKIPPED = """
module ir=1 ndim=1 math=strict

kernel @skipped(&out: i32[?], %n: i32) {
  memory &mine: local i32[5]
  %i: i32 = global_id 0
  %0: i32 = const 0
  %1: i32 = const 1
  for %k: i32 = %0 to %n step %1 {
    init &mine
    store &mine[%k], %i
  }
  %v: i32 = load &mine[%1]
  store &out[%i], %v
}
"""


@pytest.mark.parametrize("n", [0, 1, 2])
def test_local_memory_is_zero_on_a_path_around_its_declaration(cpu: Any, n: int) -> None:
    out = np.full(40, -1, np.int32)
    cpu.run(SKIPPED, 1, 40, out, n)
    assert out.tolist() == (list(range(40)) if n == 2 else [0] * 40)


@gc.kernel
def sum_of_block(x: gc.Array[gc.f32]) -> None:
    x[gc.global_id(0)] = gc.block_sum(x[gc.global_id(0)])


@gc.kernel
def scan_of_block(x: gc.Array[gc.f32]) -> None:
    x[gc.global_id(0)] = gc.block_inclusive_sum(x[gc.global_id(0)])


def test_sums_of_blocks_are_shuffles_and_scans_go_through_shared_memory() -> None:
    x, halves = np.zeros(64, np.float32), "shufflevector <32 x float>"
    assert halves in sum_of_block.source("cpu", x)
    assert halves not in scan_of_block.source("cpu", x)
