"""Loops on devices that end them: which kernels may run too long, and the sites of their loops."""

import math

import pytest

from gpucore.errors import KernelRuntimeError
from gpucore.ir import For, While, walk
from gpucore.ir.passes import LowerOptions, decode, lower
from gpucore.ir.passes.checks import ANY_LOOP, ERROR_ARRAY
from gpucore.ir.passes.loop_limit import iterations
from gpucore.ir.text import parse, print_module
from gpucore.math import library

KERNEL = """
kernel @k(&y: i32[?], %n: i32) {{
  {declared}
  %zero: i32 = const 0
  %one: i32 = const 1
  %three: i32 = const 3
  %ten: i32 = const 10
  {body}
}}
"""
STORE = "store &y[%i], %i"
TEN = f"for %i: i32 = %zero to %ten step %one {{\n {STORE}\n }}"


def module_of(body, declared="", functions=""):
    text = KERNEL.format(body=body, declared=declared)
    return parse("module ir=1 ndim=1 math=strict\n" + functions + text)


@pytest.mark.parametrize(
    ("body", "most"),
    [
        ("store &y[%zero], %n", 0),
        # ten times round, and the test that ends it
        (TEN, 11),
        (TEN.replace("step %one", "step %three"), 5),
        (TEN.replace("%zero to %ten", "%ten to %zero"), 1),
        (TEN.replace("step %one", "step %zero"), 1),
        (f"for %j: i32 = %zero to %three step %one {{\n {TEN}\n }}", 1 + 3 * (1 + 11)),
        (f"%c: bool = eq %n, %one\n if %c {{\n {TEN}\n }} else {{\n {TEN.replace('%i', '%k')}\n }}", 22),
        (TEN.replace("%ten", "%n"), math.inf),
        (TEN.replace("step %one", "step %n"), math.inf),
        (f"while {{\n %c: bool = eq %n, %one\n }} do %c {{\n {TEN}\n }}", math.inf),
        (f"for %j: i32 = %zero to %n step %one {{\n {TEN}\n }}", math.inf),
    ],
)
def test_how_often_loops_go_round_at_most(body, most):
    assert iterations(module_of(body)) == most


def test_loops_of_functions_and_of_cleared_memory_count():
    function = """
func @f(%n: i32) -> i32 {
  %zero: i32 = const 0
  %one: i32 = const 1
  %ten: i32 = const 10
  for %i: i32 = %zero to %ten step %one {
  }
  return %n
}
"""
    called = "%a: i32 = call @f(%n)\n %b: i32 = call @f(%a)\n store &y[%zero], %b"
    assert iterations(module_of(called, functions=function)) == 22
    cleared = "init &line\n %v: i32 = load &line[%one]\n store &y[%zero], %v"
    assert iterations(module_of(cleared, declared="memory &line: local i32[500]")) >= 500


def lowered(limit, stop="%n", check=False):
    body = f"""
  for %j: i32 = %zero to %three step %one {{
    for %i: i32 = %zero to {stop} step %one loc("file.py", 7, 0) {{
      store &y[%i], %j
    }}
  }}"""
    return lower(module_of(body), LowerOptions(frozenset(), library, loop_limit=limit, check=check))


def sites_of(module):
    return [s.site for s in walk(module.kernel.body) if isinstance(s, (For, While))]


def test_a_device_without_a_limit_has_no_sites():
    module = lowered(None).module
    assert set(sites_of(module)) == {0}
    assert [p.name for p in module.kernel.params] == ["y", "n"]


@pytest.mark.parametrize(("limit", "reports"), [(4 * 37, False), (4 * 37 - 1, True)])
def test_kernels_that_stay_below_a_quarter_of_the_limit_report_nothing(limit, reports):
    found = lowered(limit, "%ten")
    assert iterations(lowered(None, "%ten").module) == 37
    assert any(p.name == ERROR_ARRAY.name for p in found.module.kernel.params) == reports
    assert any(sites_of(found.module)) == reports
    assert bool(found.sites) == reports


@pytest.mark.parametrize("check", [False, True])
def test_every_loop_has_a_site_of_its_own_that_means_its_line(check):
    found = lowered(1000, check=check)
    numbers = sites_of(found.module)
    assert 0 not in numbers
    # a loop whose accesses are checked before it stands twice: without checks, and with them for where those fail
    assert len(set(numbers)) == len(numbers) == (3 if check else 2)
    errors = [decode([number] + 25 * [0], found.sites, "k") for number in numbers]
    assert all(type(error) is KernelRuntimeError for error in errors)
    assert [error.lineno for error in errors] == ([None, 7, 7] if check else [None, 7])
    assert "1,000 iterations" in str(errors[0])


@pytest.mark.parametrize(("stop", "check"), [("%n", False), ("%n", True), ("%ten", True)])
def test_a_loop_of_the_backend_is_the_last_site_wherever_there_is_a_record(stop, check):
    error = decode([ANY_LOOP] + 25 * [0], lowered(1000, stop, check).sites, "k")
    assert type(error) is KernelRuntimeError
    assert error.lineno is None


def test_sites_are_in_the_text_form():
    module = lowered(1000).module
    assert parse(print_module(module)) == module
    assert print_module(module).count(" site ") == 2
