"""The text form reads back as the same module, and says what is wrong where."""
# ruff: noqa: E501 - tables, one row a line

import math

import pytest

from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import bool_, f32, f64, i32, index, u8, u32
from gpucore.ir.text import ParseError, parse, print_module
from gpucore_fuzz.cases import generate

EVERY_NODE = """\
module ir=1 ndim=2 math=fast subgroup=16 noalias

func @exp.f32(%x: f32) -> f32 {
  memory &"the table": const f32[2, 3] = {1.5, -0.0, inf, -inf, nan, 1e-45}
  return %x
}

kernel @k(&x: f32[?, ?], &y: u32[?], %a: f32, %b: bool, &$error: u32[?]) {
  memory &tile: shared f32[16, 17]
  memory &own: local i32[4]
  memory &flags: const bool[2] = {true, false}
  var !acc: f32
  var !"a b": u32
  %0: f32 = const -0.0
  %1: bool = const true
  %2: u32 = const 4294967295
  set !acc, %0
  set !"a b", %2
  %i: index = global_id 0
  %t: index = thread_id 1
  %n: index = extent &x, 1
  %3: f32 = load &x[%i, %t]
  %4: f32 = fma %3, %a, %0
  %5: f32 = call @exp.f32(%4)
  %6: f32 = get !acc
  init &own
  store &tile[%i, %t], %5
  barrier
  fence
  %7: u32 = atomic add &y[%i], %2
  %8: u32 = atomic exchange &y[%i], %2 bits u32
  %9: u32 = atomic cas &y[%i], %2, %7 bits u32
  %10: i32 = subgroup lane
  %11: f32 = subgroup shuffle %5, %10
  %12: u32 = bitcast.raw %11
  assert %1, "a \\"quoted\\" message,\\nwith \\u00e9"
  print "{} of {:5d}\\n" %3, %7
  print "nothing"
  if %b {
    for %j: index = %i to %n step %t {
      if %1 {
        continue
      } else {
        break
      }
    }
  }
  while {
    %13: bool = lt %i, %n
  } do %13 {
    return
  }
}
"""


def test_text_with_every_node_reads_back_and_prints_the_same():
    module = parse(EVERY_NODE)
    assert print_module(module) == EVERY_NODE
    assert parse(print_module(module)) == module


def test_the_string_of_a_module_is_its_text():
    module = parse(EVERY_NODE)
    assert str(module) == EVERY_NODE


def test_nan_constants_compare_equal_after_the_round_trip():
    value = ir.Value("0", f64)
    module = ir.Module(ir.Function("k", (), None, (), (), (ir.Const(value, float("inf") - float("inf")),)))
    assert parse(str(module)) == module


@pytest.mark.parametrize(
    "number", [0.1, 5e-324, 1.7976931348623157e308, -0.0, math.inf, 2.0**-149, 1e22, 123456789.0]
)
def test_floats_survive_exactly(number):
    module = ir.Module(ir.Function("k", (), None, (), (), (ir.Const(ir.Value("0", f64), number),)))
    back = parse(str(module)).kernel.body[0].value
    assert back == number and math.copysign(1, back) == math.copysign(1, number)


def test_signed_zeros_give_different_texts():
    def text(number):
        return str(ir.Module(ir.Function("k", (), None, (), (), (ir.Const(ir.Value("0", f32), number),))))

    assert text(0.0) != text(-0.0)


def test_locations_are_printed_on_demand_and_read_back():
    loc = ir.Loc('a "file".py', 12, 4)
    body = (
        ir.Const(ir.Value("c", bool_), True, loc),
        ir.If(ir.Value("c", bool_), (ir.Barrier(loc),), (), loc),
    )
    module = ir.Module(ir.Function("k", (), None, (), (), body))
    text = print_module(module, locations=True)
    assert text.count('loc("a \\"file\\".py", 12, 4)') == 3
    back = parse(text)
    assert back == module
    assert back.kernel.body[0].loc == loc and back.kernel.body[1].then[0].loc == loc
    assert "loc(" not in print_module(module)


def test_modules_that_differ_in_locations_only_have_one_text():
    def module(line):
        body = (ir.Const(ir.Value("c", i32), 1, ir.Loc("f.py", line)),)
        return ir.Module(ir.Function("k", (), None, (), (), body))

    assert str(module(1)) == str(module(2))


@pytest.mark.parametrize("seed", range(60))
def test_random_modules_survive_the_round_trip(seed):
    module = generate(seed, math=seed % 2 == 0, subgroup=(None, 8)[seed % 2]).module
    assert parse(print_module(module)) == module
    assert parse(print_module(module, locations=True)) == module


def test_a_shared_memory_of_the_launchs_shape_reads_back():
    text = "module ir=1 ndim=1 math=strict\n\nkernel @k(%n: index) {\n  memory &sized: shared u8[?, ?]\n  allocate &sized[%n, %n]\n}\n"
    module = parse(text)
    assert module.kernel.memories == (ir.Memory("sized", u8, "shared", 2),)
    assert print_module(module) == text


@pytest.mark.parametrize(
    ("old", "new", "line", "expected"),
    [
        ("fma %3", "fam %3", 23, "an operation"),
        ("%a, %0\n  %5", "%zz, %0\n  %5", 23, "a value defined above"),
        ("load &x[%i, %t]", "load &z[%i, %t]", 22, "a memory declared at the head of the function"),
        ("load &x[%i, %t]", "load &x[%i, %t", 22, "']'"),
        ("set !acc", "set !other", 17, "a variable declared at the head of the function"),
        ("%0: f32 = const", "%0: f33 = const", 14, "a dtype"),
        ("const 4294967295", "const 1.5", 16, "an integer"),
        ("const true", "const 1", 15, "true or false"),
        ("atomic add", "atomic nand", 30, "an atomic operation"),
        ("barrier", "barier", 28, "a statement or '}'"),
        ("barrier", "barrier 1", 28, "the end of the line"),
        ("subgroup lane", "subgroup line", 33, "a subgroup operation"),
        ("module ir=1", "module ir=99", 1, "IR version 1"),
        ("math=fast", "math=loose", 1, "strict or fast"),
        ("kernel @k", "kernel k", 8, "a function (@name)"),
        ("    return\n  }\n}\n", "    return\n  }\n", 52, "a statement or '}'"),
        ("%10: i32", "%10: i32 ;", 33, "a token"),
    ],
)
def test_errors_name_the_line_and_what_was_expected(old, new, line, expected):
    assert old in EVERY_NODE
    with pytest.raises(ParseError) as caught:
        parse(EVERY_NODE.replace(old, new, 1))
    assert caught.value.line == line
    assert caught.value.expected == expected
    assert f"line {line}: expected {expected}" in str(caught.value)


def test_empty_text_is_an_error_not_a_crash():
    with pytest.raises(ParseError, match="line 1: expected 'module', found the end of the text"):
        parse("")


def test_names_of_the_front_end_and_of_passes_need_no_quotes():
    body = (ir.Const(ir.Value("$n.1", index), 1), ir.Const(ir.Value("odd name", u32), 1))
    text = str(ir.Module(ir.Function("k", (), None, (), (), body)))
    assert "%$n.1: index" in text and '%"odd name": u32' in text


TILES = """\
module ir=1 ndim=1 math=strict

kernel @k() {
  memory &total: local f32[4]
  memory &left: local f16[8]
  memory &right: local f16[4]
  tile f16 &total, &left, &right, 16, 8, 16
}
"""


def test_products_of_tiles_read_back():
    module = parse(TILES)
    (product,) = module.kernel.body
    assert (product.shape, product.total, product.right) == ((16, 8, 16), *module.kernel.memories[::2])
    assert print_module(module) == TILES
