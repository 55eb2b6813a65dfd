"""Simplifying leaves out what is not needed and nothing else."""

import numpy as np
import pytest

from gpucore.ir import Const, GetVar, If, Load, Op, SetVar, f32, i8, i32, i64, u8, u32, u64, walk
from gpucore.ir.dtypes import f64
from gpucore.ir.passes.simplify.fold import fold


def operations(module):
    return [s.op for s in walk(module.kernel.body) if isinstance(s, Op)]


def constants(module):
    return [s.value for s in walk(module.kernel.body) if isinstance(s, Const)]


def of_kind(module, kind):
    return [s for s in walk(module.kernel.body) if isinstance(s, kind)]


@pytest.mark.parametrize(
    ("op", "dtype", "numbers", "to", "result"),
    [
        ("add", i8, [127, 1], i8, -128),
        ("neg", i8, [-128], i8, -128),
        ("mul", u8, [16, 17], u8, 16),
        ("sub", u32, [0, 1], u32, 2**32 - 1),
        ("quot.raw", i32, [-7, 2], i32, -3),
        ("rem.raw", i32, [-7, 2], i32, -1),
        ("quot.raw", i32, [1, 0], i32, None),
        ("shr.raw", i32, [-8, 1], i32, -4),
        ("not", u8, [1], u8, 254),
        ("cast", i32, [-1], u64, 2**64 - 1),
        ("cast", i64, [2**62 + 2**38 + 1], f32, float(2**62 + 2**39)),
        ("cast", u64, [2**64 - 1], f64, 2.0**64),
        ("cast", f64, [1 + 2.0**-24], f32, 1.0),
        ("cast", f64, [1e300], f32, float("inf")),
        ("add", f32, [2.0**24, 1.0], f32, 2.0**24),
        ("mul", f32, [2.0**-149, 0.5], f32, 0.0),
        ("div", f32, [1.0, 3.0], f32, 0.3333333432674408),
        ("lt", f32, [float("nan"), 1.0], i32, False),
        ("bitcast.raw", u32, [0x3F800000], f32, 1.0),
        ("bitcast.raw", u32, [0x7FC00000], f32, None),
        ("f2i.raw", f32, [-1.5], i32, -1),
        ("f2i.raw", f32, [1e20], i32, None),
    ],
)
def test_literals_fold_as_a_device_would_compute(op, dtype, numbers, to, result):
    with np.errstate(all="ignore"):
        assert fold(op, dtype, numbers, to) == result


def test_a_folded_negative_zero_keeps_its_sign():
    assert str(fold("neg", f32, [0.0], f32)) == "-0.0"
    assert str(fold("add", f32, [-0.0, 0.0], f32)) == "0.0"


def test_zeros_of_both_signs_are_different_literals(build, low):
    module = build("""
kernel @k(&y: f32[?]) {
  %a: f32 = const 0.0
  %b: f32 = const -0.0
  %z: index = const 0
  %o: index = const 1
  store &y[%z], %a
  store &y[%o], %b
}
""")
    assert sorted(map(str, constants(low(module)))) == ["-0.0", "0", "0.0", "1"]


def test_a_nan_is_not_folded(build, low):
    module = build("""
kernel @k(&y: f32[?]) {
  %a: f32 = const inf
  %b: f32 = sub %a, %a
  %z: index = const 0
  store &y[%z], %b
}
""")
    assert operations(low(module)) == ["sub"]


def test_an_operation_done_twice_is_done_once(build, low):
    module = build("""
kernel @k(&y: f32[?], %a: f32, %b: f32) {
  %p: f32 = mul %a, %b
  %q: f32 = mul %b, %a
  %r: f32 = add %p, %q
  %z: index = const 0
  store &y[%z], %r
}
""")
    assert operations(low(module)) == ["mul", "add"]


def test_what_one_branch_computed_is_not_taken_in_another(build, low, same_bits):
    text = """
kernel @k(&y: f32[?], %a: f32, %c: bool) {
  var !v: f32
  set !v, %a
  if %c {
    %p: f32 = mul %a, %a
    set !v, %p
  } else {
    %q: f32 = mul %a, %a
    %r: f32 = neg %q
    set !v, %r
  }
  %s: f32 = mul %a, %a
  %t: f32 = get !v
  %u: f32 = add %s, %t
  %z: index = const 0
  store &y[%z], %u
}
"""
    assert operations(low(build(text))).count("mul") == 3
    for c in (True, False):
        same_bits(build(text), 1, 1, [np.zeros(1, np.float32), 3.0, c])


def test_loads_are_never_merged(build, low):
    module = build("""
kernel @k(&x: f32[?], &y: f32[?]) {
  %z: index = const 0
  %a: f32 = load &x[%z]
  store &y[%z], %a
  %b: f32 = load &x[%z]
  %c: f32 = add %a, %b
  store &y[%z], %c
}
""")
    assert len(of_kind(low(module), Load)) == 2


def test_a_branch_that_is_known_is_inlined(build, low):
    module = build("""
kernel @k(&y: f32[?], %a: f32) {
  %z: index = const 0
  %n: index = const 4
  %c: bool = lt %z, %n
  if %c {
    store &y[%z], %a
  } else {
    store &y[%n], %a
  }
}
""")
    assert not of_kind(low(module), If)
    assert constants(low(module)) == [0]


def test_a_condition_is_known_inside_its_own_branch(build, low):
    module = build("""
kernel @k(&y: f32[?], %a: f32, %c: bool) {
  %z: index = const 0
  if %c {
    if %c {
      store &y[%z], %a
    }
  }
}
""")
    assert len(of_kind(low(module), If)) == 1


def test_a_variable_that_is_set_once_becomes_its_value(build, low):
    module = low(
        build("""
kernel @k(&y: f32[?], %a: f32) {
  var !v: f32
  %p: f32 = mul %a, %a
  set !v, %p
  %n: index = extent &y, 0
  %z: index = const 0
  %o: index = const 1
  for %i: index = %z to %n step %o {
    %q: f32 = get !v
    store &y[%i], %q
  }
}
""")
    )
    assert not of_kind(module, GetVar)
    assert not of_kind(module, SetVar)
    assert not module.kernel.variables


def test_a_variable_that_a_loop_sets_stays(build, low):
    module = build("""
kernel @k(&y: f32[?], %a: f32) {
  var !v: f32
  var !dead: f32
  set !v, %a
  set !dead, %a
  %n: index = extent &y, 0
  %z: index = const 0
  %o: index = const 1
  for %i: index = %z to %n step %o {
    %q: f32 = get !v
    %r: f32 = mul %q, %a
    set !v, %r
    %d: f32 = get !dead
    %e: f32 = mul %d, %a
    set !dead, %e
  }
  %s: f32 = get !v
  store &y[%z], %s
}
""")
    lowered = low(module)
    assert [v.name for v in lowered.kernel.variables] == ["v"]
    assert operations(lowered) == ["mul"]


def test_unused_loads_extents_and_memories_go(build, low):
    module = low(
        build("""
kernel @k(&x: f32[?], &y: f32[?], %a: f32) {
  memory &l: local f32[4]
  memory &c: const f32[2] = {1.0, 2.0}
  init &l
  %z: index = const 0
  %u: f32 = load &x[%z]
  %v: f32 = load &l[%z]
  %n: index = extent &x, 0
  store &y[%z], %a
}
""")
    )
    assert not of_kind(module, Load)
    assert not module.kernel.memories


def test_statements_after_a_return_go(build, low):
    module = build("""
kernel @k(&y: f32[?], %a: f32) {
  %z: index = const 0
  %t: bool = const true
  if %t {
    return
  }
  store &y[%z], %a
}
""")
    assert len(low(module).kernel.body) <= 1


def test_breaks_of_a_live_loop_stay(build, same_bits):
    module = build("""
kernel @k(&y: i32[?], %n: i32) {
  var !i: i32
  %i0: i32 = const 0
  set !i, %i0
  while {
    %t: bool = const true
  } do %t {
    %i: i32 = get !i
    %c: bool = ge %i, %n
    if %c {
      break
    }
    %one: i32 = const 1
    %j: i32 = add %i, %one
    set !i, %j
  }
  %r: i32 = get !i
  %z: index = const 0
  store &y[%z], %r
}
""")
    same_bits(module, 1, 1, [np.zeros(1, np.int32), 5])


def test_an_assignment_that_is_overwritten_unread_goes(build, low):
    module = build("""
kernel @k(&y: f32[?], %a: f32, %c: bool) {
  var !v: f32
  set !v, %a
  %p: f32 = mul %a, %a
  set !v, %p
  if %c {
    %q: f32 = mul %p, %a
    set !v, %q
    %r: f32 = mul %q, %a
    set !v, %r
  }
  %s: f32 = get !v
  %z: index = const 0
  store &y[%z], %s
}
""")
    assert len(of_kind(low(module), SetVar)) == 2
