"""Linking: mathematical operations become calls of the library."""

from gpucore.ir import Call, Function, Op, Return, Value, f32, f64, walk
from gpucore.ir.passes import link
from gpucore.ir.verify import verify

TEXT = """
kernel @k(&x: {t}[?]) {{
  %i: index = global_id 0
  %a: {t} = load &x[%i]
  %b: {t} = exp %a
  %c: {t} = exp %b
  %d: {t} = pow %b, %c
  store &x[%i], %d
}}
"""


def library(key):
    """A library of one helper and a function for each key."""
    op, kind = key.split(".")
    dtype = {"f32": f32, "f64": f64}[kind]
    x, y, r = Value("x", dtype), Value("y", dtype), Value("r", dtype)
    params = (x, y) if op == "pow" else (x,)
    helper = Function(f"helper.{kind}", (x,), dtype, (), (), (Op(r, "neg", (x,)), Return(r)))
    body = (Call(r, helper.name, (x,)), Return(r))
    return helper, Function(key, params, dtype, (), (), body)


def calls(module):
    return [s.function for s in walk(module.kernel.body) if isinstance(s, Call)]


def test_operations_become_calls_and_functions_come_once_callees_first(build):
    module = link(build(TEXT.format(t="f32")), library)
    verify(module, level="high")
    assert calls(module) == ["exp.f32", "exp.f32", "pow.f32"]
    assert [f.name for f in module.functions] == ["helper.f32", "exp.f32", "pow.f32"]


def test_halves_go_through_f32(build):
    for name in ("f16", "bf16"):
        module = link(build(TEXT.format(t=name)), library)
        verify(module, level="high")
        assert calls(module) == ["exp.f32", "exp.f32", "pow.f32"]


def test_strict_mode_links_what_the_target_has_too(build):
    module = link(build(TEXT.format(t="f32")), library, keep=frozenset({"exp.f32"}))
    assert "exp.f32" in calls(module)


def test_fast_mode_keeps_what_the_target_has(build):
    module = link(build(TEXT.format(t="f32"), math="fast"), library, keep=frozenset({"exp.f32"}))
    assert calls(module) == ["pow.f32"]
    assert [s.op for s in walk(module.kernel.body) if isinstance(s, Op)] == ["exp", "exp"]


def test_fast_halves_use_the_operation_on_f32(build):
    module = link(build(TEXT.format(t="f16"), math="fast"), library, keep=frozenset({"exp.f32", "pow.f32"}))
    assert not calls(module)
    kept = [s for s in walk(module.kernel.body) if isinstance(s, Op) and s.op in ("exp", "pow")]
    assert [s.result.dtype for s in kept] == [f32] * 3


def test_a_kernel_without_mathematics_is_left_as_it_is(build):
    module = build("kernel @k(&x: f32[?], %a: f32) {\n  %i: index = global_id 0\n  store &x[%i], %a\n}\n")
    assert link(module, library) is module


def test_integer_powers_are_no_mathematics(build):
    module = build("""
kernel @k(&x: i32[?]) {
  %i: index = global_id 0
  %a: i32 = load &x[%i]
  %d: i32 = pow %a, %a
  store &x[%i], %d
}
""")
    assert link(module, library) is module


def test_a_device_function_is_linked_too(build):
    module = build("""
func @user(%a: f32) -> f32 {
  %r: f32 = exp %a
  return %r
}

kernel @k(&x: f32[?]) {
  %i: index = global_id 0
  %a: f32 = load &x[%i]
  %d: f32 = call @user(%a)
  store &x[%i], %d
}
""")
    linked = link(module, library)
    verify(linked, level="high")
    assert [f.name for f in linked.functions] == ["helper.f32", "exp.f32", "user"]


def test_functions_of_the_library_are_known_by_their_names():
    from gpucore.ir.ops import is_routine
    from gpucore.math import library as portable

    for key in ("exp.f32", "sin.f64", "soft.div.f32", "soft.fma.f64"):
        assert all(is_routine(f.name) for f in portable(key))
    assert not any(is_routine(name) for name in ("__main__.blend.f32", "expand.f32", "softmax.f32", "user"))


def test_routines_that_share_a_helper_go_into_one_module(build):
    from gpucore.math import library as portable

    module = build("""
kernel @k(&x: f32[?]) {
  %i: index = global_id 0
  %a: f32 = load &x[%i]
  %b: f32 = sin %a
  %c: f32 = tan %b
  %d: f32 = cos %c
  store &x[%i], %d
}
""")
    verify(link(module, portable), level="high")
