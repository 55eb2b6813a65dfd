"""The verifier accepts what the levels promise and rejects everything else, naming statement and rule."""
# ruff: noqa: E501 - tables, one row a line

import pickle
from dataclasses import replace

import pytest

from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import bf16, bool_, f16, f32, f64, i8, i32, i64, index, u32
from gpucore.ir.ops import BASELINE
from gpucore.ir.text import parse
from gpucore.ir.verify import VerificationError, representable, verify
from gpucore_fuzz.cases import generate

HIGH = """\
module ir=1 ndim=1 math=strict

func @half(%x: f32) -> f32 {
  %c: bool = isnan %x
  if %c {
    return %x
  }
  %k: f32 = const 0.5
  %r: f32 = mul %x, %k
  return %r
}

kernel @k(&x: f32[?], &y: i32[?, ?], %s: f32) {
  memory &tile: shared f32[8]
  memory &own: local f32[2]
  memory &table: const i32[2] = {1, 2}
  var !v: f32
  %i: index = global_id 0
  %one: index = const 1
  %j: i32 = const 3
  %c: bool = lt %i, %one
  %f: f32 = load &x[%i]
  set !v, %f
  %g: f32 = get !v
  init &own
  store &own[%i], %g
  store &tile[%i], %g
  barrier
  %h: f32 = call @half(%g)
  %z: i32 = atomic add &y[%i, %one], %j
  %w: i32 = atomic cas &y[%i, %one], %j, %z
  %sum: f32 = subgroup sum %h
  %n: index = extent &y, 1
  for %k: index = %i to %n step %one {
    if %c {
      break
    }
    continue
  }
  while {
    %d: bool = lt %i, %n
  } do %d {
    break
  }
  assert %c, "m"
  return
}
"""


def test_a_module_with_everything_passes():
    verify(parse(HIGH))


BROKEN_BY_EDIT = [
    ("%r: f32 = mul %x, %k", "%r: f32 = mul %x, %c", "`%r: f32 = mul %x, %c`: the operands of mul have one dtype, not f32, bool"),
    ("%r: f32 = mul %x, %k", "%r: f64 = mul %x, %k", "the result of mul on f32 is f32, not f64"),
    ("%r: f32 = mul %x, %k", "%r: f32 = mul %x", "mul takes 2 operands, not 1"),
    ("%r: f32 = mul %x, %k", "%r: f32 = and %x, %k", "and takes an integer or bool, not f32"),
    ("%r: f32 = mul %x, %k", "%r: f32 = select %x, %k, %k", "the condition of select is bool, not f32"),
    ("%c: bool = isnan %x", "%c: f32 = isnan %x", "the result of isnan on f32 is bool, not f32"),
    ("%j: i32 = const 3", "%j: i32 = const 2147483648", "2147483648 is not a value of i32"),
    ("%k: f32 = const 0.5", "%k: f32 = const 0.1", "0.1 is not a value of f32"),
    ("%sum: f32 = subgroup", "%f: f32 = subgroup", "%f is defined twice"),
    ("%g: f32 = get !v", "%g: i32 = get !v", "variable !v is f32, not i32"),
    ("  set !v, %f\n", "", "variable !v is not set on every path"),
    ("  set !v, %f\n", "  if %c {\n    set !v, %f\n  }\n", "variable !v is not set on every path"),
    ("set !v, %f", "set !v, %j", "variable !v is f32, not i32"),
    ("load &x[%i]", "load &x[%i, %i]", "an access to &x takes 1 indices, not 2"),
    ("load &x[%i]", "load &x[%j]", "an index is index, not i32"),
    ("%f: f32 = load", "%f: i32 = load", "an element of &x is f32, not i32"),
    ("store &own[%i]", "store &table[%i]", "&table is constant"),
    ("init &own", "init &tile", "&tile is shared, not local"),
    ("call @half(%g)", "call @missing(%g)", "@missing is no function that stands before its caller"),
    ("call @half(%g)", "call @half(%j)", "@half takes (f32), not (i32)"),
    ("%h: f32 = call", "%h: i32 = call", "@half does not give i32"),
    ("atomic add &y[%i, %one]", "atomic add &own[%i]", "atomics are for global and shared memory"),
    ("%z: i32 = atomic add &y[%i, %one], %j", "%z: i32 = atomic add &y[%i, %one], %g", "is i32, not f32"),
    ("%z: i32 = atomic add &y[%i, %one], %j", "%z: i32 = atomic add &y[%i, %one], %j bits i32", "bits belong to the low level"),
    ("%z: i32 = atomic add &y[%i, %one], %j", "%z: f32 = atomic and &x[%i], %g", "atomic and takes an integer, not f32"),
    ("subgroup sum %h", "subgroup any %h", "the operand of subgroup any is bool, not f32"),
    ("subgroup sum %h", "subgroup shuffle %h, %i", "the lane of subgroup shuffle is i32, not index"),
    ("extent &y, 1", "extent &y, 2", "axis 2 of an array of rank 2"),
    ("extent &y, 1", "extent &tile, 0", "extent is for shapes that come with the launch"),
    ("extent &y, 1", "extent &y, 1\n  allocate &tile[%i]", "&tile does not take 1 extents"),
    ("global_id 0", "global_id 1", "axis 1 of a launch with 1 axes"),
    ("%i: index = global_id 0", "%i: i32 = global_id 0", "a thread id is index"),
    ("for %k: index = %i to %n step %one", "for %k: i32 = %j to %j step %j", "a loop variable is index"),
    ("for %k: index = %i to %n step %one", "for %k: index = %i to %j step %one", "the loop variable is index, not i32"),
    ("if %c {\n      break", "if %i {\n      break", "a condition is bool, not index"),
    ("  assert %c", "  break\n  assert %c", "a break stands in a loop, and not in the header of one"),
    ("  assert %c", "  continue\n  assert %c", "a continue stands in a loop, and not in the header of one"),
    ("%d: bool = lt %i, %n\n", "%d: bool = lt %i, %n\n    break\n", "a break stands in a loop, and not in the header of one"),
    ("%d: bool = lt %i, %n\n", "%d: bool = lt %i, %n\n    return\n", "a return does not stand in the header of a loop"),
    ("} do %d {", "} do %one {", "a condition is bool, not index"),
    ("  return\n}\n", "  return %i\n}\n", "the function returns nothing, not index"),
    ("  return %r\n", "  return\n", "the function returns f32, not nothing"),
    ("  return %r\n", "", "a device function ends without a return on some path"),
    ("  %c: bool = isnan %x\n", "  %c: bool = isnan %x\n  barrier\n", "a barrier stands in the kernel only"),
    ("  %c: bool = isnan %x\n", "  %c: bool = isnan %x\n  %t: index = thread_id 0\n", "thread ids are known to the kernel only"),
    ("  %c: bool = isnan %x\n", "  %c: bool = isnan %x\n  %t: i32 = subgroup lane\n", "subgroup operations stand in the kernel only"),
    ("func @half(%x: f32) -> f32 {", "func @half(%x: f32) -> f32 {\n  memory &m: shared f32[1]", "only a kernel has shared memory"),
    ("func @half(%x: f32) -> f32 {", "func @half(%x: f32) -> f32 {\n  memory &x: local f32[1]", "&x is declared twice in the module"),
    ("func @half(%x: f32)", "func @half(&q: f32[?], %x: f32)", "device functions take scalars"),
    ("func @half(%x: f32) -> f32 {", "func @half(%x: f32) {", "a device function has a result"),
    ("&x: f32[?], &y", "&$x: f32[?], &x: f32[?], &y", "hidden parameter $x at the high level"),
    ("const i32[2] = {1, 2}", "const i32[2] = {1}", "wants 2 values, not 1"),
    ("shared f32[8]", "shared f32[0]", "has an empty axis"),
    ("ndim=1", "ndim=9", "a launch has 1 to 8 axes, not 9"),
    ("ndim=1 math=strict", "ndim=1 math=strict subgroup=0", "a subgroup width is positive"),
    ("  var !v: f32\n", "  var !v: f32\n  var !v: f32\n", "variable !v is declared twice"),
    ("barrier", "%q: i32 = quot.raw %j, %j", "quot.raw belongs to the low level"),
    ("barrier", "%q: bool = bitcast %j", "widths differ"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "rule"), BROKEN_BY_EDIT)
def test_a_broken_module_is_rejected_by_its_rule(old, new, rule):
    assert old in HIGH
    with pytest.raises(VerificationError) as caught:
        verify(parse(HIGH.replace(old, new, 1)))
    assert rule in str(caught.value)


def test_the_error_names_function_statement_and_rule():
    with pytest.raises(VerificationError) as caught:
        verify(parse(HIGH.replace("mul %x, %k", "mul %x, %c")))
    error = caught.value
    assert (error.function, error.statement) == ("half", "%r: f32 = mul %x, %c")
    assert str(error) == f"@half: `%r: f32 = mul %x, %c`: {error.rule}"
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.rule, again.statement) == (str(error), error.rule, error.statement)


def kernel(*body, params=(), variables=(), memories=()):
    return ir.Module(ir.Function("k", params, None, variables, memories, body))


def test_a_value_does_not_reach_out_of_its_block():
    c, a, b = ir.Value("c", bool_), ir.Value("a", i32), ir.Value("b", i32)
    module = kernel(ir.Const(c, True), ir.If(c, (ir.Const(a, 1),)), ir.Op(b, "neg", (a,)))
    with pytest.raises(VerificationError, match="%a is used where its definition does not reach"):
        verify(module)


def test_a_value_of_a_loop_does_not_reach_past_it():
    i, j = ir.Value("i", index), ir.Value("j", index)
    zero = ir.Value("z", index)
    module = kernel(ir.Const(zero, 0), ir.For(i, zero, zero, zero, ()), ir.Op(j, "neg", (i,)))
    with pytest.raises(VerificationError, match="%i is used where its definition does not reach"):
        verify(module)


def test_a_value_used_with_another_dtype_is_rejected():
    a, b = ir.Value("a", i32), ir.Value("b", f32)
    module = kernel(ir.Const(a, 1), ir.Op(b, "neg", (ir.Value("a", f32),)))
    with pytest.raises(VerificationError, match="%a is i32, used as f32"):
        verify(module)


def test_a_memory_that_is_not_declared_is_rejected():
    m, zero, v = ir.Memory("m", f32, "shared", 1, (4,)), ir.Value("z", index), ir.Value("v", f32)
    module = kernel(ir.Const(zero, 0), ir.Load(v, m, (zero,)))
    with pytest.raises(VerificationError, match="memory &m is not declared so"):
        verify(module)
    verify(replace(module, kernel=replace(module.kernel, memories=(m,))))


def test_recursion_is_rejected():
    x, r = ir.Value("x", f32), ir.Value("r", f32)
    f = ir.Function("f", (x,), f32, (), (), (ir.Call(r, "f", (x,)), ir.Return(r)))
    with pytest.raises(VerificationError, match="@f is no function that stands before its caller"):
        verify(ir.Module(kernel().kernel, (f,)))


def endless(*body):
    c = ir.Value("c", bool_)
    return ir.While((ir.Const(c, True),), c, body)


def test_a_variable_set_before_every_break_of_an_endless_loop_is_set_after_it():
    var, one, got = ir.Var("v", i32), ir.Value("1", i32), ir.Value("g", i32)
    loop = endless(ir.SetVar(var, one), ir.Break())
    verify(kernel(ir.Const(one, 1), loop, ir.GetVar(got, var), variables=(var,)))


def test_a_variable_set_in_a_loop_that_may_not_run_is_not_set_after_it():
    var, one, got = ir.Var("v", index), ir.Value("1", index), ir.Value("g", index)
    loop = ir.For(ir.Value("i", index), one, one, one, (ir.SetVar(var, one),))
    with pytest.raises(VerificationError, match="not set on every path"):
        verify(kernel(ir.Const(one, 1), loop, ir.GetVar(got, var), variables=(var,)))


def test_a_variable_is_set_where_the_other_branch_returned():
    var, one, got, c = ir.Var("v", i32), ir.Value("1", i32), ir.Value("g", i32), ir.Value("c", bool_)
    branch = ir.If(c, (ir.SetVar(var, one),), (ir.Return(),))
    verify(kernel(ir.Const(one, 1), ir.Const(c, True), branch, ir.GetVar(got, var), variables=(var,)))


def test_a_function_that_ends_in_an_endless_loop_with_returns_has_a_result_on_every_path():
    x = ir.Value("x", f32)
    f = ir.Function("f", (x,), f32, (), (), (endless(ir.Return(x)),))
    verify(ir.Module(kernel().kernel, (f,)))


# --- the low level ---
def low(*body, params=(), **more):
    return kernel(*body, params=params, **more)


def rejects(module, rule, native=frozenset()):
    with pytest.raises(VerificationError) as caught:
        verify(module, level="low", native=native)
    assert rule in str(caught.value)


def test_the_low_level_takes_baseline_operations_and_what_the_target_adds():
    a, b = ir.Value("a", f32), ir.Value("b", f32)
    verify(low(ir.Const(a, 1.0), ir.Op(b, "add", (a, a))), level="low")
    module = low(ir.Const(a, 1.0), ir.Op(b, "sqrt", (a,)))
    rejects(module, "sqrt.f32 is neither baseline nor native to the target")
    verify(module, level="low", native=frozenset({"sqrt.f32"}))


def test_the_low_level_has_no_index_dtype_and_one_flat_index():
    i, j, v = ir.Value("i", index), ir.Value("j", i32), ir.Value("v", f32)
    x = ir.Memory("x", f32, "global", 2)
    rejects(low(ir.Const(i, 0)), "has the dtype index")
    rejects(low(ir.Const(j, 0), ir.Load(v, x, (j, j)), params=(x,)), "takes 1 indices, not 2")
    verify(low(ir.Const(j, 0), ir.Load(v, x, (j,)), params=(x,)), level="low")
    k = ir.Value("k", i64)
    verify(low(ir.Const(k, 0), ir.Load(v, x, (k,)), params=(x,)), level="low")


def test_the_low_level_stores_no_bool_and_knows_half_types_by_their_casts():
    rejects(low(params=(ir.Memory("x", bool_, "global"),)), "bool is u8")
    for half in (f16, bf16):
        module = low(params=(ir.Memory("x", half, "global"),))
        rejects(module, "does not cast it to and from f32")
        verify(module, level="low", native=frozenset({f"cast.{half.name}.f32", f"cast.f32.{half.name}"}))


def test_asserts_and_unreachable_statements_are_gone_at_the_low_level():
    c = ir.Value("c", bool_)
    rejects(low(ir.Const(c, True), ir.Assert(c, "")), "asserts are gone")
    rejects(low(ir.Return(), ir.Const(c, True)), "never reached")


def test_hidden_parameters_come_last():
    hidden, plain = ir.Value("$extent0", i32), ir.Value("n", i32)
    verify(low(params=(plain, hidden)), level="low")
    rejects(low(params=(hidden, plain)), "parameter n follows a hidden one")


def test_bits_of_an_atomic_fit_the_element():
    x, i, v, r = ir.Memory("x", f32, "global"), ir.Value("i", i32), ir.Value("v", u32), ir.Value("r", u32)
    body = (ir.Const(i, 0), ir.Const(v, 0))
    verify(low(*body, ir.Atomic(r, "exchange", x, (i,), v, u32), params=(x,)), level="low")
    rejects(low(*body, ir.Atomic(r, "exchange", x, (i,), v, f32), params=(x,)), "f32 does not fit f32")


@pytest.mark.parametrize(
    ("dtype", "value", "fits"),
    [
        (i8, 127, True), (i8, 128, False), (i8, -128, True), (i8, 1.0, False), (u32, -1, False),
        (f16, 65504.0, True), (f16, 65505.0, False), (f16, 1e10, False), (f16, 2.0**-24, True), (f16, 2.0**-25, False),
        (bf16, 1.0, True), (bf16, 1.00390625, False), (bf16, 3.3895313892515355e38, True),
        (f32, 16777217, False), (f32, 16777216, True), (f32, float("nan"), True), (f64, 0.1, True),
        (bool_, True, True), (bool_, 2, False),
    ],
)  # fmt: skip
def test_literals_are_values_of_their_dtype(dtype, value, fits):
    assert representable(dtype, value) is fits


@pytest.mark.parametrize("seed", range(40))
def test_random_modules_pass(seed):
    verify(generate(seed, math=True, subgroup=8 if seed % 2 else None).module)


def test_every_baseline_key_is_an_operation():
    from gpucore.ir.ops import OPS

    assert all(any(key.startswith(op + ".") for op in OPS) for key in BASELINE)
