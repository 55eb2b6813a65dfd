"""``index`` becomes i32 where nothing is lost, and i64 elsewhere."""

import numpy as np
import pytest

from gpucore.ir import For, ThreadIndex, i32, i64, index, result_of, walk

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

STENCIL = """
kernel @stencil(&x: f32[?, ?], &y: f32[?, ?]) {
  %i: index = global_id 0
  %j: index = global_id 1
  %h: index = extent &x, 0
  %w: index = extent &x, 1
  %one: index = const 1
  %h1: index = sub %h, %one
  %w1: index = sub %w, %one
  %c0: bool = ge %i, %one
  %c1: bool = lt %i, %h1
  %c2: bool = ge %j, %one
  %c3: bool = lt %j, %w1
  %c4: bool = and %c0, %c1
  %c5: bool = and %c2, %c3
  %c: bool = and %c4, %c5
  if %c {
    %up: index = sub %i, %one
    %down: index = add %i, %one
    %a: f32 = load &x[%up, %j]
    %b: f32 = load &x[%down, %j]
    %s: f32 = add %a, %b
    store &y[%i, %j], %s
  }
}
"""

MATMUL = """
kernel @matmul(&a: f32[?, ?], &b: f32[?, ?], &c: f32[?, ?]) {
  var !sum: f32
  %i: index = global_id 0
  %j: index = global_id 1
  %m: index = extent &c, 0
  %n: index = extent &c, 1
  %k: index = extent &a, 1
  %c0: bool = lt %i, %m
  %c1: bool = lt %j, %n
  %inside: bool = and %c0, %c1
  if %inside {
    %zero: index = const 0
    %one: index = const 1
    %f: f32 = const 0.0
    set !sum, %f
    for %t: index = %zero to %k step %one {
      %x: f32 = load &a[%i, %t]
      %y: f32 = load &b[%t, %j]
      %p: f32 = mul %x, %y
      %old: f32 = get !sum
      %new: f32 = add %old, %p
      set !sum, %new
    }
    %r: f32 = get !sum
    store &c[%i, %j], %r
  }
}
"""

TILED = """
kernel @tiled(&a: f32[?, ?], &c: f32[?, ?]) {
  memory &tile: shared f32[4, 4]
  var !sum: f32
  %ty: index = thread_id 0
  %tx: index = thread_id 1
  %by: index = block_id 0
  %bx: index = block_id 1
  %four: index = const 4
  %ys: index = mul %by, %four
  %y: index = add %ys, %ty
  %xs: index = mul %bx, %four
  %x: index = add %xs, %tx
  %h: index = extent &a, 0
  %w: index = extent &a, 1
  %f: f32 = const 0.0
  set !sum, %f
  %zero: index = const 0
  for %k: index = %zero to %w step %four {
    %kx: index = add %k, %tx
    %cy: bool = lt %y, %h
    %cx: bool = lt %kx, %w
    %c: bool = and %cy, %cx
    if %c {
      %v: f32 = load &a[%y, %kx]
      store &tile[%ty, %tx], %v
    } else {
      store &tile[%ty, %tx], %f
    }
    barrier
    %t: f32 = load &tile[%tx, %ty]
    %old: f32 = get !sum
    %new: f32 = add %old, %t
    set !sum, %new
    barrier
  }
  %dy: bool = lt %y, %h
  %dx: bool = lt %x, %w
  %d: bool = and %dy, %dx
  if %d {
    %r: f32 = get !sum
    store &c[%y, %x], %r
  }
}
"""


def widths(module):
    return {
        r.dtype for s in walk(module.kernel.body) if (r := result_of(s)) is not None and r.dtype.is_integer
    }


@pytest.mark.parametrize(
    ("text", "ndim", "block"),
    [(SAXPY, 1, None), (STENCIL, 2, None), (MATMUL, 2, None), (TILED, 2, (4, 4))],
    ids=["saxpy", "stencil", "matmul", "tiled"],
)
def test_common_kernels_have_no_64_bit_value_when_small(build, low, text, ndim, block):
    assert i64 not in widths(low(build(text, ndim=ndim), small=True, block=block))


def test_a_large_launch_has_no_32_bit_id_extent_or_offset(build, low):
    module = low(build(MATMUL, ndim=2), small=False)
    assert widths(module) == {i64}


def test_no_index_is_left(build, low):
    for text in (STENCIL, TILED):
        for small in (True, False):
            assert index not in widths(low(build(text, ndim=2), small=small))


@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize("block", [None, (4, 4)])
def test_a_tiled_kernel_keeps_its_bits(build, same_bits, small, block):
    rng = np.random.default_rng(1)
    a = rng.standard_normal((6, 10), dtype=np.float32)
    same_bits(
        build(TILED, ndim=2), (2, 3), (4, 4), [a, np.zeros((6, 10), np.float32)], small=small, block=block
    )


def test_a_tile_without_a_known_block_is_compared_in_64_bits(build, low):
    """``block_id * 4`` may pass 2**31 if blocks are smaller than the tile."""
    assert i64 in widths(low(build(TILED, ndim=2), small=True))


ARITHMETIC = """
kernel @arithmetic(&out: i64[?], %n: i64) {{
  %i: index = global_id 0
  %m: index = cast %n
  %a: index = {op} %i, %m
  %r: i64 = cast %a
  store &out[%i], %r
}}
"""


@pytest.mark.parametrize(
    "op", ["add", "sub", "mul", "floordiv", "mod", "min", "max", "shl", "shr", "and", "or", "xor"]
)
@pytest.mark.parametrize("n", [3, -3, 0, 2**31 - 1, 2**31, -(2**31) - 1, 2**40 + 7, -(2**62), 40, 2**63 - 1])
def test_values_that_leave_32_bits_keep_all_their_bits(build, same_bits, op, n):
    same_bits(build(ARITHMETIC.format(op=op)), 1, 8, [np.zeros(8, np.int64), n], small=True)


LOOP = """
kernel @loop(&out: i64[?], %a: i64, %b: i64, %c: i64) {
  var !k: i32
  %z: index = const 0
  %start: index = cast %a
  %stop: index = cast %b
  %step: index = cast %c
  %k0: i32 = const 0
  set !k, %k0
  for %v: index = %start to %stop step %step {
    %k: i32 = get !k
    %at: index = cast %k
    %r: i64 = cast %v
    store &out[%at], %r
    %one: i32 = const 1
    %next: i32 = add %k, %one
    set !k, %next
  }
}
"""

MAX, MIN = 2**63 - 1, -(2**63)


@pytest.mark.parametrize(
    ("start", "stop", "step"),
    [
        (0, 5, 1), (5, 0, -1), (0, 5, 0), (5, 0, 1), (0, 5, -1), (0, 5, 2), (0, 6, 2), (7, -2, -3),
        (MAX - 3, MAX, 1), (MAX - 3, MAX, 2), (MIN + 3, MIN, -2), (MIN, MAX, MAX), (MAX, MIN, MIN),
        (-1, 2**31 - 1, 2**30), (2**31 - 4, 2**31 + 3, 3),
    ],
)  # fmt: skip
@pytest.mark.parametrize("small", [True, False])
def test_loops_run_as_often_at_the_ends_of_the_range(build, same_bits, start, stop, step, small):
    same_bits(build(LOOP), 1, 1, [np.zeros(8, np.int64), start, stop, step], small=small)


STEPPED = """
kernel @stepped(&out: i32[?]) {
  %n: index = extent &out, 0
  %zero: index = const 0
  %step: index = const 16
  for %v: index = %zero to %n step %step {
    %r: i32 = cast %v
    store &out[%v], %r
  }
}
"""


def test_a_loop_variable_plus_its_step_never_overflows(build, low):
    """An extent of 2**31 - 1 and a step of 16 would; counting iterations does not."""
    module = low(build(STEPPED), small=True)
    (loop,) = (s for s in walk(module.kernel.body) if isinstance(s, For))
    assert loop.variable.dtype is i32
    constants = {
        s.result.name: s.value
        for s in walk(module.kernel.body)
        if hasattr(s, "value") and hasattr(s, "result")
    }
    assert constants[loop.step.name] == 1


def test_a_stepped_loop_keeps_its_bits(build, same_bits):
    for n in (1, 15, 16, 17, 40):
        same_bits(build(STEPPED), 1, 1, [np.full(n, -1, np.int32)])


WHILE = """
kernel @grid_stride(&x: f32[?]) {
  var !i: index
  %first: index = global_id 0
  set !i, %first
  %n: index = extent &x, 0
  %g: index = grid_dim 0
  %b: index = block_dim 0
  %stride: index = mul %g, %b
  while {
    %i: index = get !i
    %c: bool = lt %i, %n
  } do %c {
    %v: f32 = load &x[%i]
    %w: f32 = add %v, %v
    store &x[%i], %w
    %next: index = add %i, %stride
    set !i, %next
  }
}
"""


@pytest.mark.parametrize("small", [True, False])
def test_a_grid_stride_loop_keeps_its_bits(build, same_bits, small):
    same_bits(build(WHILE), 2, 4, [np.arange(29, dtype=np.float32)], small=small)


def test_divisions_of_ids_need_no_sign_or_zero_test(build, low):
    module = low(
        build("""
kernel @divide(&out: i32[?]) {
  %i: index = global_id 0
  %n: index = extent &out, 0
  %one: index = const 1
  %w: index = max %n, %one
  %q: index = floordiv %i, %w
  %r: i32 = cast %q
  store &out[%i], %r
}
""")
    )
    operations = [s.op for s in walk(module.kernel.body) if hasattr(s, "op")]
    assert operations.count("quot.raw") == 1
    assert "eq" not in operations


def test_an_unused_id_is_not_computed(build, low):
    module = low(build("kernel @k(&x: f32[?]) {\n  %i: index = global_id 0\n}\n"))
    assert not any(isinstance(s, ThreadIndex) for s in walk(module.kernel.body))
