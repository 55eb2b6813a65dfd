"""The kernels of the conformance suite, in the text form of the IR."""

from __future__ import annotations

from gpucore.ir import IR_VERSION

_HEAD = f"module ir={IR_VERSION} ndim={{ndim}} math=strict\n\n"


def _text(ndim: int, body: str) -> str:
    return _HEAD.format(ndim=ndim) + body


SAXPY = _text(
    1,
    """kernel @saxpy(&x: f32[?], &y: f32[?], %a: f32) {
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
""",
)
"""``y[i] = a * x[i] + y[i]`` for the ids below the extent."""

NUMBER = _text(
    1,
    """kernel @number(&out: i32[?]) {
  %i: index = global_id 0
  %v: i32 = cast %i
  store &out[%i], %v
}
""",
)
"""``out[i] = i``, unguarded."""

INCREMENT = _text(
    1,
    """kernel @increment(&out: i32[?]) {
  %i: index = global_id 0
  %v: i32 = load &out[%i]
  %one: i32 = const 1
  %w: i32 = add %v, %one
  store &out[%i], %w
}
""",
)
"""``out[i] += 1``: what two launches leave depends on their order with everything else."""

IDS_2D = _text(
    2,
    """kernel @ids_2d(&out: i32[?, ?, ?]) {
  %y: index = global_id 0
  %x: index = global_id 1
  %by: index = block_id 0
  %tx: index = thread_id 1
  %gx: index = grid_dim 1
  %dy: index = block_dim 0
  %k0: index = const 0
  %k1: index = const 1
  %k2: index = const 2
  %k3: index = const 3
  %0: i32 = cast %by
  %1: i32 = cast %tx
  %2: i32 = cast %gx
  %3: i32 = cast %dy
  store &out[%y, %x, %k0], %0
  store &out[%y, %x, %k1], %1
  store &out[%y, %x, %k2], %2
  store &out[%y, %x, %k3], %3
}
""",
)
"""Block, thread, grid and block extents of a two-axis launch, at the place of the global id."""

IDS_3D = _text(
    3,
    """kernel @ids_3d(&out: i32[?, ?, ?]) {
  %z: index = global_id 0
  %y: index = global_id 1
  %x: index = global_id 2
  %h: index = const 100
  %0: index = mul %z, %h
  %1: index = add %0, %y
  %2: index = mul %1, %h
  %3: index = add %2, %x
  %4: i32 = cast %3
  store &out[%z, %y, %x], %4
}
""",
)
"""``out[z, y, x] = 10000 z + 100 y + x``."""

SCALARS = _text(
    1,
    """kernel @scalars(&ints: i64[?], &floats: f32[?], %a: i32, %b: u8, %c: i64, %d: f32, %e: bool) {
  %k0: index = const 0
  %k1: index = const 1
  %k2: index = const 2
  %k3: index = const 3
  %0: i64 = cast %a
  %1: i64 = cast %b
  %2: i64 = cast %e
  store &ints[%k0], %0
  store &ints[%k1], %1
  store &ints[%k2], %c
  store &ints[%k3], %2
  store &floats[%k0], %d
}
""",
)
"""Every kind of scalar argument, written to memory by one thread."""

EXTENTS = _text(
    1,
    """kernel @extents(&a: f32[?, ?], &b: i32[?], &out: i64[?]) {
  %k0: index = const 0
  %k1: index = const 1
  %k2: index = const 2
  %0: index = extent &a, 0
  %1: index = extent &a, 1
  %2: index = extent &b, 0
  %3: i64 = cast %0
  %4: i64 = cast %1
  %5: i64 = cast %2
  store &out[%k0], %3
  store &out[%k1], %4
  store &out[%k2], %5
}
""",
)
"""The extents of the arrays, as the kernel sees them."""

REVERSE = _text(
    1,
    """kernel @reverse(&data: i32[?]) {
  memory &tile: shared i32[64]
  %i: index = global_id 0
  %t: index = thread_id 0
  %v: i32 = load &data[%i]
  store &tile[%t], %v
  barrier
  %last: index = const 63
  %m: index = sub %last, %t
  %w: i32 = load &tile[%m]
  store &data[%i], %w
}
""",
)
"""Each block of 64 reversed through shared memory, with a barrier between."""

COUNT = _text(
    1,
    """kernel @count(&total: i32[?], &seen: i32[?]) {
  %i: index = global_id 0
  %zero: index = const 0
  %one: i32 = const 1
  %old: i32 = atomic add &total[%zero], %one
  %place: index = cast %old
  %again: i32 = atomic add &seen[%place], %one
}
""",
)
"""Every thread draws a number; every number is drawn once."""

SUBGROUP_SUM = _text(
    1,
    """kernel @lanes(&out: i32[?]) {
  %i: index = global_id 0
  %v: i32 = cast %i
  %s: i32 = subgroup sum %v
  store &out[%i], %s
}
""",
)
"""The sum of the ids of each subgroup."""

LAST_BLOCK = _text(
    1,
    """kernel @last_block(&out: i32[?]) {
  %b: index = block_id 0
  %zero: index = const 0
  %v: i32 = cast %b
  %old: i32 = atomic max &out[%zero], %v
  %one: index = const 1
  %unit: i32 = const 1
  %count: i32 = atomic add &out[%one], %unit
}
""",
)
"""The largest block id, and the number of threads."""
