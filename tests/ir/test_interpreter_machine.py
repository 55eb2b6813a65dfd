"""Threads, blocks, barriers and memory on the interpreter, and everything that it reports."""
# ruff: noqa: E501 - tables, one row a line

import pickle
import threading

import numpy as np
import pytest

from gpucore.errors import (
    BarrierDivergenceError,
    DataRaceError,
    KernelAssertionError,
    KernelBoundsError,
    KernelRuntimeError,
    LaunchError,
    NotSupportedError,
)
from gpucore.ir.dtypes import bf16
from gpucore.ir.interpreter import interpret

SAXPY = """
kernel @saxpy(&x: f32[?], &y: f32[?], %a: f32) {
  %i: index = global_id 0
  %n: index = extent &y, 0
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
TRANSPOSE = """
kernel @transpose(&x: f32[?, ?], &y: f32[?, ?]) {
  memory &tile: shared f32[4, 5]
  %i: index = global_id 0
  %j: index = global_id 1
  %ti: index = thread_id 0
  %tj: index = thread_id 1
  %v: f32 = load &x[%i, %j] loc("user.py", 11, 0)
  store &tile[%ti, %tj], %v loc("user.py", 12, 0)
  barrier loc("user.py", 13, 0)
  %w: f32 = load &tile[%tj, %ti] loc("user.py", 14, 0)
  %bi: index = block_id 0
  %bj: index = block_id 1
  %ni: index = block_dim 0
  %nj: index = block_dim 1
  %a: index = mul %bj, %nj
  %b: index = mul %bi, %ni
  %p: index = add %a, %ti
  %q: index = add %b, %tj
  store &y[%p, %q], %w loc("user.py", 15, 0)
}
"""


@pytest.mark.parametrize("races", [True, False])
def test_saxpy_is_numpys_bit_for_bit(build, races):
    rng = np.random.default_rng(1)
    x, y = rng.random(100, np.float32), rng.random(100, np.float32)
    expected = np.float32(2.5) * x + y
    interpret(build(SAXPY), 7, 16, (x, y, 2.5), detect_races=races)
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("races", [True, False])
def test_a_tile_is_exchanged_across_a_barrier(build, races):
    x, y = np.random.default_rng(1).random((8, 12), np.float32), np.zeros((12, 8), np.float32)
    interpret(build(TRANSPOSE, ndim=2), (2, 3), (4, 4), (x, y), detect_races=races)
    np.testing.assert_array_equal(y, x.T)


def test_ids_are_in_array_order(build):
    module = build(
        """
        kernel @ids(&out: i64[?, ?]) {
          %i: index = global_id 0
          %j: index = global_id 1
          %g: index = grid_dim 1
          %b: index = block_id 0
          %t: index = thread_id 1
          %k: index = const 10
          %0: index = mul %b, %k
          %1: index = add %0, %t
          %2: index = mul %1, %k
          %3: index = add %2, %g
          %4: i64 = cast %3
          store &out[%i, %j], %4
        }
        """,
        ndim=2,
    )
    out = np.zeros((4, 6), np.int64)
    interpret(module, (2, 3), (2, 2), (out,))
    i, j = np.indices(out.shape)
    np.testing.assert_array_equal(out, (i // 2 * 10 + j % 2) * 10 + 3)


def test_barriers_suspend_threads_inside_loops_and_branches(build):
    # a running sum across a block by pointer jumping: every step needs the one before in all threads
    module = build(
        """
        kernel @scan(&x: i32[?]) {
          memory &buffer: shared i32[8]
          var !d: index
          %t: index = thread_id 0
          %v: i32 = load &x[%t]
          store &buffer[%t], %v
          %one: index = const 1
          set !d, %one
          while {
            %d: index = get !d
            %n: index = block_dim 0
            %more: bool = lt %d, %n
          } do %more {
            barrier
            %here: bool = ge %t, %d
            %k: index = sub %t, %d
            %j: index = select %here, %k, %t
            %other: i32 = load &buffer[%j]
            barrier
            if %here {
              %own: i32 = load &buffer[%t]
              %sum: i32 = add %own, %other
              store &buffer[%t], %sum
            }
            %dd: index = add %d, %d
            set !d, %dd
          }
          %r: i32 = load &buffer[%t]
          store &x[%t], %r
        }
        """
    )
    x = np.array([3, 1, 4, 1, 5, 9, 2, 6], np.int32)
    expected = np.cumsum(x)
    interpret(module, 1, 8, (x,))
    np.testing.assert_array_equal(x, expected)


def test_statements_before_a_barrier_run_once(build):
    module = build(
        """
        kernel @count(&hits: u32[?]) {
          %t: index = thread_id 0
          %first: index = const 0
          %second: index = const 1
          %one: u32 = const 1
          %0: u32 = atomic add &hits[%first], %one
          barrier
          %1: u32 = atomic add &hits[%second], %one
        }
        """
    )
    hits = np.zeros(2, np.uint32)
    interpret(module, 3, 5, (hits,))
    assert hits.tolist() == [15, 15]


def test_shared_memory_is_fresh_for_each_block(build):
    module = build(
        """
        kernel @k(&out: i32[?]) {
          memory &cell: shared i32[1]
          %zero: index = const 0
          %one: i32 = const 1
          store &cell[%zero], %one
          %b: index = block_id 0
          %v: i32 = load &cell[%zero]
          store &out[%b], %v
        }
        """
    )
    out = np.zeros(3, np.int32)
    interpret(module, 3, 1, (out,))
    assert out.tolist() == [1, 1, 1]
    with pytest.raises(
        KernelRuntimeError, match=r"shared memory cell\[0\] is read .* no thread of its block wrote it"
    ):
        bad = str(module).split("\n", 1)[1].replace("  store &cell[%zero], %one\n", "")
        interpret(build(bad), 3, 1, (out,))


def test_local_memory_starts_zero_and_is_renewed_where_it_is_made(build):
    module = build(
        """
        kernel @k(&out: i32[?]) {
          memory &own: local i32[2]
          %zero: index = const 0
          %one: index = const 1
          %three: index = const 3
          %k: i32 = const 1
          for %i: index = %zero to %three step %one {
            init &own
            %a: i32 = load &own[%one]
            %b: i32 = add %a, %k
            store &own[%one], %b
            store &out[%i], %b
          }
        }
        """
    )
    out = np.zeros(3, np.int32)
    interpret(module, 1, 1, (out,))
    assert out.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("start", "stop", "step", "expected"),
    [(0, 5, 2, [0, 2, 4]), (3, -1, -2, [3, 1]), (0, 5, 0, []), (2, 2, 1, []), (5, 0, 1, [])],
)
def test_loops_run_as_range_does_and_a_step_of_zero_never(build, start, stop, step, expected):
    module = build(
        """
        kernel @k(&out: i64[?], %start: index, %stop: index, %step: index) {
          var !n: index
          %zero: index = const 0
          %one: index = const 1
          set !n, %zero
          for %i: index = %start to %stop step %step {
            %n: index = get !n
            %v: i64 = cast %i
            store &out[%n], %v
            %m: index = add %n, %one
            set !n, %m
          }
          %last: index = get !n
          %w: i64 = cast %last
          %end: index = const 9
          store &out[%end], %w
        }
        """
    )
    out = np.zeros(10, np.int64)
    interpret(module, 1, 1, (out, start, stop, step))
    assert out[: out[9]].tolist() == expected


def test_break_continue_and_return_leave_what_they_should(build):
    module = build(
        """
        func @first_multiple(%n: i32, %of: i32) -> i32 {
          var !i: i32
          set !i, %n
          while {
            %t: bool = const true
          } do %t {
            %i: i32 = get !i
            %r: i32 = mod %i, %of
            %z: i32 = const 0
            %hit: bool = eq %r, %z
            if %hit {
              return %i
            }
            %one: i32 = const 1
            %next: i32 = add %i, %one
            set !i, %next
          }
        }

        kernel @k(&out: i32[?]) {
          %t: index = thread_id 0
          %n: i32 = cast %t
          %seven: i32 = const 7
          %v: i32 = call @first_multiple(%n, %seven)
          %four: index = const 4
          %late: bool = ge %t, %four
          if %late {
            return
          }
          store &out[%t], %v
        }
        """
    )
    out = np.full(6, -1, np.int32)
    interpret(module, 1, 6, (out,))
    assert out.tolist() == [0, 7, 7, 7, -1, -1]


# --- atomics -----------------------------------------------------------------------------------------
HISTOGRAM = """
kernel @histogram(&x: i32[?], &h: u32[?]) {
  %i: index = global_id 0
  %v: i32 = load &x[%i]
  %k: index = cast %v
  %one: u32 = const 1
  %old: u32 = atomic add &h[%k], %one loc("user.py", 30, 2)
}
"""


def test_atomics_add_up(build):
    x, h = np.random.default_rng(1).integers(0, 8, 128, np.int32), np.zeros(8, np.uint32)
    interpret(build(HISTOGRAM), 4, 32, (x, h))
    np.testing.assert_array_equal(h, np.bincount(x, minlength=8))


ATOMICS = [
    ("i32", "add", 5, 3, 8), ("i32", "add", 2**31 - 1, 1, -(2**31)), ("u32", "sub", 1, 2, 2**32 - 1), ("i32", "min", -1, 3, -1),
    ("u32", "max", 7, 2**31, 2**31), ("u32", "and", 12, 10, 8), ("i64", "or", 12, 3, 15), ("i32", "xor", -1, 5, -6),
    ("f32", "add", 1.0, 2.0**-24, 1.0), ("f32", "min", 0.0, -0.0, -0.0), ("f64", "max", 1.0, float("nan"), float("nan")),
    ("f16", "add", 2048.0, 1.0, 2048.0), ("f32", "exchange", 1.0, 2.0, 2.0), ("i8", "add", 127, 1, -128),
]  # fmt: skip


@pytest.mark.parametrize(("name", "op", "before", "value", "after"), ATOMICS)
@pytest.mark.parametrize("space", ["global", "shared"])
def test_atomics_return_the_old_value_and_store_the_new(build, name, op, before, value, after, space):
    cell = "&x" if space == "global" else "&s"
    module = build(
        f"""
        kernel @k(&x: {name}[?], &old: {name}[?], %v: {name}) {{
          memory &s: shared {name}[1]
          %i: index = const 0
          %0: {name} = load &x[%i]
          store &s[%i], %0
          %1: {name} = atomic {op} {cell}[%i], %v
          store &old[%i], %1
          %2: {name} = load {cell}[%i]
          store &x[%i], %2
        }}
        """
    )
    kind = module.arrays[0].dtype.numpy
    x, old = np.array([before], kind), np.zeros(1, kind)
    interpret(module, 1, 1, (x, old, value))
    np.testing.assert_array_equal(old, np.array([before], kind))
    np.testing.assert_array_equal(x, np.array([after], kind))
    if after == 0:
        assert np.signbit(x[0]) == np.signbit(after)


@pytest.mark.parametrize(("before", "expected", "stored"), [(5, 5, 9), (5, 6, 5)])
def test_compare_and_swap_stores_only_on_a_match(build, before, expected, stored):
    module = build(
        """
        kernel @k(&x: i32[?], &old: i32[?], %e: i32, %d: i32) {
          %i: index = const 0
          %1: i32 = atomic cas &x[%i], %e, %d
          store &old[%i], %1
        }
        """
    )
    x, old = np.array([before], np.int32), np.zeros(1, np.int32)
    interpret(module, 1, 1, (x, old, expected, 9))
    assert (x[0], old[0]) == (stored, before)


def test_compare_and_swap_of_floats_compares_bits(build):
    module = build(
        """
        kernel @k(&x: f32[?], %e: f32, %d: f32) {
          %i: index = global_id 0
          %1: f32 = atomic cas &x[%i], %e, %d
        }
        """
    )
    x = np.array([0.0, -0.0], np.float32)
    interpret(module, 1, 2, (x, -0.0, 7.0))
    assert x.tolist() == [0.0, 7.0]


def test_atomics_through_the_bits_of_an_element(build):
    module = build(
        """
        kernel @k(&x: f32[?], &old: u32[?]) {
          %i: i32 = const 0
          %e: u32 = const 1065353216
          %d: u32 = const 1073741824
          %0: u32 = atomic cas &x[%i], %e, %d bits u32
          store &old[%i], %0
          %j: i32 = const 1
          %one: u32 = const 1
          %1: u32 = atomic add &x[%j], %one bits u32
        }
        """,
        level="low",
    )
    x, old = np.array([1.0, 1.0], np.float32), np.zeros(1, np.uint32)
    interpret(module, 1, 1, (x, old))
    assert x.tolist() == [2.0, 1.0000001192092896] and old[0] == 0x3F800000


# --- bounds and asserts ------------------------------------------------------------------------------
@pytest.mark.parametrize("races", [True, False])
def test_an_index_out_of_bounds_is_reported_with_everything(build, races):
    module = build(SAXPY.replace("%0: f32 = load &x[%i]", '%0: f32 = load &x[%i] loc("user.py", 7, 4)'))
    x, y = np.zeros(5, np.float32), np.zeros(9, np.float32)
    with pytest.raises(KernelBoundsError) as caught:
        interpret(module, 3, 4, (x, y, 1.0), detect_races=races)
    e = caught.value
    assert (e.kernel, e.filename, e.lineno) == ("saxpy", "user.py", 7)
    assert (e.array, e.index, e.shape, e.thread) == ("x", (5,), (5,), (5,))
    assert "user.py:7" in str(e) and "(5,)" in str(e)
    assert isinstance(e, IndexError)
    again = pickle.loads(pickle.dumps(e))
    assert (again.index, again.thread, str(again)) == (e.index, e.thread, str(e))


def test_each_axis_is_checked_and_negative_indices_never_wrap(build):
    text = """
    kernel @k(&x: f32[?, ?], %i: index, %j: index) {
      %0: f32 = load &x[%i, %j]
    }
    """
    x = np.zeros((3, 4), np.float32)
    interpret(build(text), 1, 1, (x, 2, 3))
    for index in ((0, 4), (3, 0), (-1, 0), (0, -1), (1, 100)):
        with pytest.raises(KernelBoundsError) as caught:
            interpret(build(text), 1, 1, (x, *index))
        assert caught.value.index == index and caught.value.shape == (3, 4)


@pytest.mark.parametrize(
    "memory", ["shared f32[2, 3]", "local f32[2, 3]", "const f32[2, 3] = {1.0, 2.0, 3.0, 4.0, 5.0, 6.0}"]
)
def test_memory_inside_the_kernel_has_bounds_too(build, memory):
    module = build(
        f"kernel @k(%i: index) {{\n memory &m: {memory}\n %z: index = const 0\n %0: f32 = load &m[%z, %i]\n}}"
    )
    with pytest.raises(KernelBoundsError) as caught:
        interpret(module, 1, 1, (3,))
    assert (caught.value.array, caught.value.shape) == ("m", (2, 3))


def test_a_failed_assert_says_where_and_what(build):
    module = build(
        """
        kernel @k(&x: i32[?]) {
          %i: index = global_id 0
          %v: i32 = load &x[%i]
          %zero: i32 = const 0
          %c: bool = ge %v, %zero
          assert %c, "negative input" loc("user.py", 5, 2)
        }
        """
    )
    interpret(module, 1, 3, (np.array([1, 2, 0], np.int32),))
    with pytest.raises(KernelAssertionError, match="negative input") as caught:
        interpret(module, 1, 3, (np.array([1, -2, 0], np.int32),))
    assert (caught.value.lineno, caught.value.thread) == (5, (1,))
    assert isinstance(caught.value, AssertionError)


# --- data races --------------------------------------------------------------------------------------
def race(module, grid, block, args, **more):
    with pytest.raises(DataRaceError) as caught:
        interpret(module, grid, block, args, **more)
    return caught.value


def without_barrier(text):
    return "\n".join(line for line in text.split("\n") if "barrier" not in line)


def test_a_missing_barrier_is_a_race_with_both_lines(build):
    x, y = np.zeros((8, 12), np.float32), np.zeros((12, 8), np.float32)
    e = race(build(without_barrier(TRANSPOSE), ndim=2), (2, 3), (4, 4), (x, y))
    assert (e.kernel, e.filename, e.array) == ("transpose", "user.py", "tile")
    assert {e.lineno, e.other_lineno} == {12, 14}
    assert e.thread != e.other_thread and len(e.index) == 2 and e.shape == (4, 5)
    assert "user.py:12" in str(e) and "user.py:14" in str(e)
    again = pickle.loads(pickle.dumps(e))
    assert (again.other_lineno, again.other_thread) == (e.other_lineno, e.other_thread)
    interpret(build(without_barrier(TRANSPOSE), ndim=2), (2, 3), (4, 4), (x, y), detect_races=False)


def test_plain_increments_of_one_element_race(build):
    text = HISTOGRAM.replace("%old: u32 = atomic add &h[%k], %one", "store &h[%k], %one")
    x, h = np.zeros(8, np.int32), np.zeros(8, np.uint32)
    e = race(build(text), 1, 8, (x, h))
    assert (e.array, e.index, e.lineno, e.other_lineno) == ("h", (0,), 30, 30)


def test_threads_of_different_blocks_race_as_well(build):
    text = """
    kernel @k(&x: i32[?]) {
      %b: index = block_id 0
      %zero: index = const 0
      %v: i32 = cast %b
      store &x[%zero], %v
    }
    """
    assert race(build(text), 2, 1, (np.zeros(1, np.int32),)).thread == (1,)
    interpret(build(text), 1, 1, (np.zeros(1, np.int32),))


SITUATIONS = [
    # what thread 0 does, what thread 1 does, whether it is a race
    ("load", "load", False), ("load", "store", True), ("store", "load", True), ("store", "store", True),
    ("atomic", "atomic", False), ("atomic", "load", True), ("load", "atomic", True), ("atomic", "store", True),
    ("store", "atomic", True),
]  # fmt: skip
ACTIONS = {
    "load": "%{n}: i32 = load &{m}[%zero]",
    "store": "store &{m}[%zero], %one",
    "atomic": "%{n}: i32 = atomic add &{m}[%zero], %one",
}


def situation(first, second, memory, between=""):
    return f"""
    kernel @k(&x: i32[?]) {{
      memory &s: shared i32[1]
      %t: index = global_id 0
      %zero: index = const 0
      %one: i32 = const 1
      %l: index = thread_id 0
      %first: bool = eq %t, %zero
      %leader: bool = eq %l, %zero
      if %leader {{
        store &s[%zero], %one
      }}
      barrier
      if %first {{
        {ACTIONS[first].format(n="a", m=memory)}
      }}
      {between}
      %last: bool = ne %t, %zero
      if %last {{
        {ACTIONS[second].format(n="b", m=memory)}
      }}
    }}
    """


@pytest.mark.parametrize(("first", "second", "racy"), SITUATIONS)
@pytest.mark.parametrize("memory", ["x", "s"])
def test_what_races_within_a_block(build, first, second, racy, memory):
    module = build(situation(first, second, memory))
    args = (np.zeros(1, np.int32),)
    if racy:
        race(module, 1, 2, args)
    else:
        interpret(module, 1, 2, args)
    interpret(build(situation(first, second, memory, "barrier")), 1, 2, args)


@pytest.mark.parametrize(("first", "second", "racy"), SITUATIONS)
def test_what_races_between_blocks(build, first, second, racy):
    module = build(situation(first, second, "x", "barrier"))
    if racy:
        race(module, 2, 1, (np.zeros(1, np.int32),))
    else:
        interpret(module, 2, 1, (np.zeros(1, np.int32),))


def test_one_reader_among_many_is_remembered(build):
    # threads 0..3 read, thread 3 then writes: it races with the other readers, not with itself
    text = """
    kernel @k(&x: i32[?]) {
      %t: index = thread_id 0
      %zero: index = const 0
      %v: i32 = load &x[%zero]
      %three: index = const 3
      %c: bool = eq %t, %three
      if %c {
        store &x[%zero], %v
      }
    }
    """
    race(build(text), 1, 4, (np.zeros(1, np.int32),))


def test_a_thread_never_races_with_itself(build):
    text = """
    kernel @k(&x: i32[?]) {
      %i: index = global_id 0
      %v: i32 = load &x[%i]
      store &x[%i], %v
      %w: i32 = load &x[%i]
      %o: i32 = atomic add &x[%i], %w
      store &x[%i], %o
    }
    """
    interpret(build(text), 3, 4, (np.zeros(12, np.int32),))


COPY = """
kernel @copy(&x: {a}[?], &y: {b}[?]) {{
  %i: index = global_id 0
  %one: index = const 1
  %j: index = add %i, %one
  %v: {a} = load &x[%j]
  %w: {b} = cast %v
  store &y[%i], %w
}}
"""


def test_arrays_that_overlap_race_through_each_other(build):
    module = build(COPY.format(a="i32", b="i32"))
    buffer = np.zeros(9, np.int32)
    assert "overlaps" in str(race(module, 1, 8, (buffer, buffer[:8])))
    interpret(module, 1, 8, (np.zeros(9, np.int32), np.zeros(8, np.int32)))
    interpret(module, 1, 8, (buffer, buffer[1:]))  # each thread reads what it writes itself


def test_arrays_of_different_width_that_overlap_race_too(build):
    module = build(COPY.format(a="i32", b="i16"))
    buffer = np.zeros(9, np.int32)
    race(module, 1, 8, (buffer, buffer.view(np.int16)[:8]))


# --- divergence --------------------------------------------------------------------------------------
def diverges(module, grid, block, args=(), **more):
    with pytest.raises(BarrierDivergenceError) as caught:
        interpret(module, grid, block, args, **more)
    return caught.value


def test_a_barrier_that_some_threads_do_not_reach_is_reported(build):
    module = build(
        """
        kernel @k() {
          %t: index = thread_id 0
          %two: index = const 2
          %c: bool = lt %t, %two
          if %c {
            barrier loc("user.py", 4, 4)
          }
        }
        """
    )
    e = diverges(module, 1, 4)
    assert (e.kernel, e.filename, e.lineno, e.thread) == ("k", "user.py", 4, (2,))
    assert "has finished" in str(e)
    interpret(module, 1, 2, ())


def test_threads_at_two_different_barriers_are_reported_with_both_lines(build):
    module = build(
        """
        kernel @k() {
          %t: index = thread_id 0
          %two: index = const 2
          %c: bool = lt %t, %two
          if %c {
            barrier loc("user.py", 4, 4)
          } else {
            barrier loc("user.py", 6, 4)
          }
        }
        """
    )
    text = str(diverges(module, 1, 4))
    assert "user.py:4" in text and "user.py:6" in text


def test_an_early_return_before_a_barrier_is_reported(build):
    module = build(
        """
        kernel @k(&x: i32[?]) {
          %i: index = global_id 0
          %n: index = extent &x, 0
          %out: bool = ge %i, %n
          if %out {
            return
          }
          barrier
        }
        """
    )
    interpret(module, 2, 4, (np.zeros(8, np.int32),))
    assert diverges(module, 2, 4, (np.zeros(7, np.int32),)).thread == (7,)


def test_a_subgroup_operation_that_some_lanes_miss_is_reported(build):
    module = build(
        """
        kernel @k() {
          %t: index = thread_id 0
          %two: index = const 2
          %c: bool = lt %t, %two
          if %c {
            %a: bool = subgroup any %c loc("user.py", 4, 4)
          }
        }
        """
    )
    assert "subgroup_any" in str(diverges(module, 1, 4, subgroup_size=4))
    interpret(module, 1, 4, (), subgroup_size=2)  # whole subgroups may go different ways


# --- arguments ---------------------------------------------------------------------------------------
def refused(module, args, message, grid=1, block=1):
    with pytest.raises(LaunchError, match=message):
        interpret(module, grid, block, args)


def test_arguments_that_do_not_fit_are_refused_by_name(build):
    module = build(SAXPY)
    x = np.zeros(4, np.float32)
    refused(module, (x, x), "saxpy takes 3 arguments, not 2")
    refused(module, (x, x.tolist(), 1.0), "argument y is an array; the interpreter takes ndarrays, not list")
    refused(module, (x, x.astype(np.float64), 1.0), "argument y holds f32, the ndarray float64")
    refused(module, (x, x.reshape(2, 2), 1.0), "argument y has rank 1, the ndarray 2")
    refused(module, (x, np.zeros(8, np.float32)[::2], 1.0), "not C-contiguous")
    refused(module, (x, x, "1"), "argument a is a scalar of dtype f32, not str")
    refused(module, (x, x, True), "argument a is f32, not bool")
    refused(module, (x, x, 1.0), "the grid .* has 2 axes; the kernel was built for 1", grid=(1, 1))
    refused(module, (x, x, 1.0), "the block .* non-negative integers", block=1.5)
    with pytest.raises(LaunchError, match="at least one lane"):
        interpret(module, 1, 1, (x, x, 1.0), subgroup_size=0)


def test_scalars_out_of_range_are_refused(build):
    module = build("kernel @k(%a: i8, %b: bool) {\n}")
    interpret(module, 1, 1, (np.int64(-128), np.bool_(True)))
    refused(module, (128, True), "argument a: 128 does not fit i8")
    refused(module, (1.0, True), "argument a is i8, not float")
    refused(module, (1, 1), "argument b is bool, not int")


def test_a_read_only_array_is_refused_only_where_it_is_written(build):
    frozen = np.zeros(4, np.float32)
    frozen.flags.writeable = False
    interpret(build(SAXPY), 1, 4, (frozen, np.zeros(4, np.float32), 1.0))
    refused(build(SAXPY), (np.zeros(4, np.float32), frozen, 1.0), "argument y is written .* read-only")


def test_empty_arrays_and_empty_launches_do_nothing(build):
    empty = np.zeros(0, np.float32)
    interpret(build(SAXPY), 3, 4, (empty, empty, 1.0))
    y = np.ones(4, np.float32)
    interpret(build(SAXPY), 0, 4, (y, y, 1.0))
    interpret(build(SAXPY), 4, 0, (y, y, 1.0))
    assert y.tolist() == [1.0] * 4


def test_scalars_are_rounded_to_their_dtype_once(build):
    module = build("kernel @k(&o: f32[?], %a: f32) {\n %i: index = const 0\n store &o[%i], %a\n}")
    out = np.zeros(1, np.float32)
    for value in (0.1, 2**53 + 1, (1 << 60) + (1 << 36) + 1, np.float64(1e300)):
        interpret(module, 1, 1, (out, value))
        with np.errstate(over="ignore"):
            assert out[0] == np.float32(value) or value == (1 << 60) + (1 << 36) + 1
    interpret(module, 1, 1, (out, (1 << 60) + (1 << 36) + 1))
    assert out[0] == float((1 << 60) + (1 << 37))


HALF = """
kernel @k(&x: bf16[?], &y: bf16[?]) {
  %i: index = global_id 0
  %v: bf16 = load &x[%i]
  %w: bf16 = add %v, %v
  store &y[%i], %w
}
"""


def test_bf16_arrays_may_be_ml_dtypes_or_their_words(build):
    pytest.importorskip("ml_dtypes")
    words = np.array([0x3F80, 0x0001, 0x7F7F, 0xFF80, 0x7FC0], np.uint16)
    expected = np.array([0x4000, 0x0002, 0x7F80, 0xFF80, 0x7FC0], np.uint16)
    for view in (np.dtype(np.uint16), bf16.numpy):
        x, y = words.view(view).copy(), np.zeros(5, np.uint16).view(view)
        interpret(build(HALF), 1, 5, (x, y))
        np.testing.assert_array_equal(y.view(np.uint16), expected)


@pytest.mark.parametrize(
    "name", ["bool", "i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64", "f16", "f32", "f64"]
)
def test_arrays_of_every_dtype_are_read_and_written(build, name):
    module = build(
        f"kernel @k(&x: {name}[?], &y: {name}[?]) {{\n"
        f" %i: index = global_id 0\n %v: {name} = load &x[%i]\n store &y[%i], %v\n}}"
    )
    kind = module.arrays[0].dtype.numpy
    x = np.array([0, 1, 0, 1, 1] if name == "bool" else [0, 1, 2, 100, 127], kind)
    y = np.zeros(5, kind)
    interpret(module, 1, 5, (x, y))
    np.testing.assert_array_equal(x, y)


def test_low_level_modules_run_on_flat_memory(build):
    module = build(
        """
        kernel @k(&x: f32[?, ?], &h: u16[?], %n: i32, %$extent0: i32, &$error: u32[?]) {
          %i: i32 = global_id 0
          %e: i32 = extent &x, 1
          %0: i32 = mul %i, %e
          %v: f32 = load &x[%0]
          %k: u16 = load &h[%i]
          %f: f32 = cast %k
          %s: f32 = add %v, %f
          store &x[%0], %s
          %z: i32 = const 0
          %u: u32 = const 7
          store &$error[%z], %u
        }
        """,
        level="low",
    )
    x, h, error = np.zeros((2, 3), np.float32), np.array([1.0, 2.0], np.float16), np.zeros(1, np.uint32)
    interpret(module, 1, 2, (x, h, 5, 2, error), detect_races=False)
    assert x[:, 0].tolist() == [0x3C00, 0x4000] and error[0] == 7


def test_math_operations_want_to_be_linked_in_strict_mode(build):
    text = "kernel @k(&x: f32[?]) {\n %i: index = const 0\n %v: f32 = load &x[%i]\n %w: f32 = exp %v\n store &x[%i], %w\n}"
    x = np.array([1.0], np.float32)
    with pytest.raises(NotSupportedError, match="link"):
        interpret(build(text), 1, 1, (x,))
    interpret(build(text, math="fast"), 1, 1, (x,))
    assert x[0] == np.float32(np.e)


def test_two_threads_interpret_one_module_at_once(build):
    module = build(SAXPY)
    failures = []

    def work(seed):
        rng = np.random.default_rng(seed)
        x, y = rng.random(300, np.float32), rng.random(300, np.float32)
        expected = np.float32(1.5) * x + y
        interpret(module, 3, 128, (x, y, 1.5))
        if not np.array_equal(y, expected):
            failures.append(seed)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures


def test_code_is_generated_once_per_module(build, monkeypatch):
    from gpucore.ir import interpreter

    made = []
    monkeypatch.setattr(
        interpreter,
        "compile_module",
        lambda *a, _real=interpreter.compile_module: made.append(1) or _real(*a),
    )
    module = build(SAXPY)
    x = np.zeros(4, np.float32)
    for _ in range(3):
        interpret(module, 1, 4, (x, x, 1.0))
    assert len(made) == 1
