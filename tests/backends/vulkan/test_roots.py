"""Square roots on hardware that only estimates them: exact all the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gpucore.hookspecs import CompileOptions
from gpucore.ir.interpreter import interpret
from gpucore.ir.text import parse
from gpucore_vulkan.device_features import probes
from gpucore_vulkan.device_features.probe_operations import root_cases
from gpucore_vulkan.spirv import body, emit, operations, roots
from gpucore_vulkan.spirv.guarded import exact_fma

KERNEL = parse("""\
module ir=1 ndim=1 math=strict

kernel @k(&x: f32[?], &out: f32[?]) {
  %i: i32 = global_id 0
  %a: f32 = load &x[%i]
  %r: f32 = sqrt %a
  store &out[%i], %r
}
""")


def radicands():
    """Special values, all sizes, squares and their neighbours, and what comes nearest to halfway."""
    with np.errstate(invalid="ignore"):
        values = [values for _, values in root_cases()[0].values()]
    powers = (
        np.exp2(np.arange(-149, 128, dtype=np.float64)).astype(np.float32).view(np.uint32).astype(np.int64)
    )
    edges = np.concatenate([powers + step for step in (-1, 0, 1)]).astype(np.uint32).view(np.float32)
    return np.concatenate([*values, edges, -edges])


def expected(x):
    with np.errstate(invalid="ignore"):
        return np.sqrt(x)


def assert_same(found, x):
    wanted = expected(x)
    nan = np.isnan(wanted)
    np.testing.assert_array_equal(np.isnan(found), nan)
    np.testing.assert_array_equal(found.view(np.uint32)[~nan], wanted.view(np.uint32)[~nan])


@pytest.mark.parametrize("off", [-4, -1, 0, 1, 4])
def test_an_estimate_a_few_ulp_off_makes_no_wrong_bit(off):
    estimate = f"""
    %unity: f32 = const 1.0
    %y0: f32 = sqrt %a
    %y1: f32 = div %unity, %y0
    %y2: u32 = bitcast.raw %y1
    %off: u32 = const {off % 2**32}
    %y3: u32 = add %y2, %off
    %y: f32 = bitcast.raw %y3
"""
    text = roots._TEXT.replace("%y: f32 = rsqrt %a", estimate.strip())
    kernel = "kernel @k(&x: f32[?], &out: f32[?]) {\n  %i: i32 = global_id 0\n  %a: f32 = load &x[%i]\n"
    kernel += f"  %r: f32 = call @{roots.NAME}(%a)\n  store &out[%i], %r\n}}\n"
    module = parse(text.replace("kernel @nothing() {\n}\n", kernel))
    x = radicands()[::7].copy()
    out = np.zeros_like(x)
    interpret(module, len(x), 1, [x, out], detect_races=False)
    assert_same(out, x)


@pytest.fixture
def estimating(bench, monkeypatch):
    """The bench as if the device only estimated roots, and had an fma that is fused."""
    if "shaderFloat64" not in bench.device.physical.features:
        pytest.skip("the exact way needs f64")
    untouched, hardware = body.FunctionState.extended, operations.hardware_fma

    def extended(f, name, type_id, *operands, rounded=False):
        value = untouched(f, name, type_id, *operands, rounded=rounded)
        if name not in ("Sqrt", "InverseSqrt") or type_id != f.asm.float_type(32):
            return value
        word = f.asm.uint(32)
        bits = f.result("OpBitcast", word, value)
        place = f.result("OpBitwiseAnd", word, f.result("OpBitcast", word, operands[0]), f.asm.word(3))
        return f.result("OpBitcast", type_id, f.result("OpISub", word, bits, place))

    def fma(f, statement):
        if statement.result.dtype.bits != 32:
            return hardware(f, statement)
        operands = [f.values[a.name] for a in statement.args]
        return f.result("OpFunctionCall", f.asm.float_type(32), f.unit.helper(exact_fma()), *operands)

    monkeypatch.setattr(body.FunctionState, "extended", extended)
    monkeypatch.setattr(operations, "hardware_fma", fma)
    keys = {"sqrt.f32", "fma.f32"}
    bench.target = replace(
        bench.target, native=bench.target.native | keys, features=bench.target.features - {"RefinedSqrt32"}
    )
    return bench


def run(bench):
    x = np.resize(radicands(), 1 << 16)
    out = np.zeros_like(x)
    bench.run(KERNEL, (len(x) // 64,), (64,), [x, out])
    return x, out


def test_the_stand_in_for_such_a_device_is_wrong_without_refinement(estimating):
    x, found = run(estimating)
    assert (found != expected(x)).mean() > 0.3


def test_refined_roots_have_every_bit(estimating):
    estimating.target = replace(estimating.target, features=estimating.target.features | {"RefinedSqrt32"})
    x, found = run(estimating)
    assert_same(found, x)


def test_probing_finds_where_roots_are_to_be_refined(estimating):
    base = replace(estimating.target, native=estimating.target.native - {"sqrt.f32", "fma.f32"})
    found = probes.explore(estimating.device, base)
    assert "RefinedSqrt32" in found.features
    assert "sqrt.f32" in found.native


def test_fast_modules_take_the_root_of_the_device(bench):
    plain = replace(bench.target, features=bench.target.features - {"RefinedSqrt32"})
    refining = replace(plain, features=plain.features | {"RefinedSqrt32"})

    def words(target, math):
        return emit(target, replace(KERNEL, math=math), CompileOptions()).words

    assert words(refining, "fast") == words(plain, "fast")
    assert words(refining, "strict") != words(plain, "strict")
