"""Kernels as deep as programs write them: they compile, or the error names the line and what to do."""

import importlib.util
import re

import numpy as np
import pytest

import gpucore as gc


def made(text):
    space = {"gc": gc}
    exec(text, space)
    return gc.kernel(source=text)(space["k"])


@pytest.mark.parametrize("terms", [500, 800])
def test_a_sum_of_many_terms_compiles(ctx, terms):
    k = made("def k(y: gc.Array[gc.i32], a: gc.i32):\n    y[0] = a" + " + a * 1" * terms)
    y = ctx.zeros(1, gc.i32)
    k[1, 1](y, 1)
    assert y.numpy()[0] == terms + 1
    out = np.zeros(1, np.int32)
    k.interpret(1, 1, out, 1)
    assert out[0] == terms + 1


def chain(count):
    return made(
        "def k(y: gc.Array[gc.i32], a: gc.i32):\n    if a == -1:\n        y[0] = 0\n"
        + "".join(f"    elif a == {n}:\n        y[0] = {n}\n" for n in range(count))
    )


def test_an_elif_chain_of_forty_compiles(ctx):
    y = ctx.zeros(1, gc.i32)
    chain(40)[1, 1](y, 39)
    assert y.numpy()[0] == 39


LOOKS = {
    "launch": lambda k, ctx: k[1, 1](ctx.zeros(1, gc.i32), 1),
    "range": lambda k, ctx: k.over(1)(ctx.zeros(1, gc.i32), 1),
    "ir": lambda k, ctx: k.ir(gc.Array[gc.i32], gc.i32),
    "interpret": lambda k, ctx: k.interpret(1, 1, np.zeros(1, np.int32), 1),
    "source": lambda k, ctx: k.source("null", gc.Array[gc.i32], gc.i32),
}


@pytest.mark.parametrize("count", [160, 300, 800])
@pytest.mark.parametrize("look", LOOKS)
def test_what_nests_too_deep_compiles_or_names_its_line(ctx, count, look):
    try:
        LOOKS[look](chain(count), ctx)
    except gc.KernelSyntaxError as error:
        place = int(re.search(r":(\d+):", str(error)).group(1))
        assert place > count and "nests too deep" in str(error) and "Split it" in str(error)
        assert error.__cause__ is None and error.__context__ is None
    else:
        assert count < 800


def test_parentheses_that_nest_too_deep_name_their_line(ctx):
    try:
        k = made("def k(y: gc.Array[gc.i32], a: gc.i32):\n    y[0] = " + "(a + " * 90 + "a" + ")" * 90)
        k[1, 1](ctx.zeros(1, gc.i32), 1)
    except gc.KernelSyntaxError as error:
        assert ":2:" in str(error) and "nests too deep" in str(error)


def test_device_functions_that_call_one_another_too_deep_are_refused_in_words(ctx, tmp_path):
    lines = ["import gpucore as gc", "@gc.func", "def f0(a):", "    return a + 1"]
    for n in range(1, 300):
        lines += ["@gc.func", f"def f{n}(a):", f"    return f{n - 1}(a) + 1"]
    lines += ["@gc.kernel", "def k(y: gc.Array[gc.i32]):", "    y[0] = f299(y[0])"]
    lines += ["@gc.kernel", "def shallow(y: gc.Array[gc.i32]):", "    y[0] = f19(y[0])"]
    file = tmp_path / "chain.py"
    file.write_text("\n".join(lines) + "\n")
    spec = importlib.util.spec_from_file_location("chain", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    y = ctx.zeros(1, gc.i32)
    module.shallow[1, 1](y)
    assert y.numpy()[0] == 20
    with pytest.raises(gc.KernelSyntaxError, match=r"its functions call one another \d+ deep"):
        module.k[1, 1](y)
