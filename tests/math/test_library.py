"""The library gives IR functions that keep its promises."""

import threading

import pytest

from gpucore import math
from gpucore.ir import Const, Op, result_of, walk
from gpucore.ir.nodes import Memory
from gpucore.ir.ops import LIBRARY, MATH


@pytest.mark.parametrize("key", math.keys())
def test_every_key_gives_callees_first_and_the_function_last(key: str) -> None:
    functions = math.library(key)
    seen = set()
    for function in functions:
        for statement in walk(function.body):
            called = getattr(statement, "function", None)
            assert called is None or called in seen, f"{called} is called before it is defined"
        seen.add(function.name)
    assert functions[-1].result is not None
    name, kind = key.split(".")
    whole = name in LIBRARY and LIBRARY[name].result == "i32"
    assert functions[-1].result.name == ("i32" if whole else kind)


@pytest.mark.parametrize("key", [k for k in math.keys() if k.endswith("f32")])
def test_f32_functions_use_f32_and_32_bit_integers_only(key: str) -> None:
    allowed = {"f32", "i32", "u32", "bool", "index"}
    for function in math.library(key):
        values = [result_of(s) for s in walk(function.body)]
        used = {v.dtype.name for v in values if v is not None}
        used |= {m.dtype.name for m in function.memories}
        used |= {p.dtype.name for p in function.params if not isinstance(p, Memory)}
        assert used <= allowed, f"{function.name} uses {sorted(used - allowed)}"


@pytest.mark.parametrize("key", math.keys())
def test_no_function_uses_another_math_operation_or_an_fma_that_is_no_residual(key: str) -> None:
    for function in math.library(key):
        operations = [s for s in walk(function.body) if isinstance(s, Op)]
        names = {s.op for s in operations}
        assert not names & {*MATH, *LIBRARY}, function.name
        # devices without one have it from products of halves, which are right for an addend near the product alone
        assert "fma" not in names or key == "cbrt.f32", function.name
        negated = {s.result for s in operations if s.op == "neg"}
        assert all(s.args[2] in negated for s in operations if s.op == "fma")


def test_index_values_only_index_tables() -> None:
    for key in math.keys():
        for function in math.library(key):
            indexed = any(m.space == "const" for m in function.memories)
            has_index = any(
                isinstance(s, Op)
                and s.result.dtype.name == "index"
                or isinstance(s, Const)
                and s.result.dtype.name == "index"
                for s in walk(function.body)
            )
            assert indexed or not has_index, function.name


def test_a_routine_is_built_once() -> None:
    assert math.library("exp.f32") is math.library("exp.f32")


def test_threads_get_the_same_routine() -> None:
    found = []
    threads = [threading.Thread(target=lambda: found.append(math.library("cosh.f64"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(f is found[0] for f in found)


@pytest.mark.parametrize("key", ["exp.i32", "bessel.f32", "exp", "exp.f16"])
def test_an_unknown_key_is_a_key_error(key: str) -> None:
    with pytest.raises(KeyError):
        math.library(key)


def test_the_version_is_a_hash_of_the_sources() -> None:
    assert len(math.VERSION) == 16
    assert int(math.VERSION, 16) >= 0
