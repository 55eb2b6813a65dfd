"""Guarded fma: hardware that takes denormals for zeros gives exact results all the same."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from gpucore.hookspecs import CompileOptions
from gpucore.ir import (
    Const,
    For,
    Function,
    GetVar,
    InitLocal,
    Load,
    Memory,
    Module,
    Op,
    SetVar,
    Store,
    ThreadIndex,
    Value,
    Var,
    f32,
    i32,
)
from gpucore.ir.interpreter import interpret
from gpucore_vulkan.spirv.guarded import exact_fma

X, Y, Z, OUT = (Memory(name, f32, "global") for name in ("x", "y", "z", "out"))
I = Value("i", i32)  # noqa: E741


def float_value(name):
    return Value(name, f32)


def flushing_fma(f, statement):
    """What hardware does that is fused and takes denormals for zeros."""
    word, real, truth = f.asm.uint(32), f.type(f32), f.asm.bool_type()

    def flushed(x):
        raw = f.result("OpBitcast", word, x)
        magnitude = f.result("OpBitwiseAnd", word, raw, f.asm.word(0x7FFFFFFF))
        sign = f.result("OpBitwiseAnd", word, raw, f.asm.word(0x80000000))
        small = f.result("OpULessThan", truth, magnitude, f.asm.word(0x00800000))
        return f.result("OpBitcast", real, f.result("OpSelect", word, small, sign, raw))

    operands = [flushed(f.values[a.name]) for a in statement.args]
    return flushed(f.result("OpFunctionCall", real, f.unit.helper(exact_fma()), *operands))


@pytest.fixture
def flushing(bench, monkeypatch):
    """The bench as if the device had such an fma; counts how often it is emitted."""
    from gpucore_vulkan.spirv import operations

    if "shaderFloat64" not in bench.device.physical.features:
        pytest.skip("the exact way needs f64")
    emitted, untouched = [], operations.hardware_fma

    def hardware(f, statement):
        emitted.append(statement)
        return flushing_fma(f, statement) if statement.result.dtype is f32 else untouched(f, statement)

    monkeypatch.setattr(operations, "hardware_fma", hardware)
    bench.target = replace(
        bench.target, native=bench.target.native | {"fma.f32"},
        features=bench.target.features | {"GuardedFma32"},
    )  # fmt: skip
    bench.emitted = emitted
    return bench


def exact(a, b, c):
    """By rationals, rounded once."""
    with np.errstate(all="ignore"):
        special = a * b + c
    if not (np.isfinite(a) and np.isfinite(b) and np.isfinite(c)):
        return c if np.isfinite(a) and np.isfinite(b) else special
    total = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
    if not total:
        product_negative = np.signbit(a) != np.signbit(b)
        both = product_negative == np.signbit(c) and (a == 0 or b == 0)
        return np.float32(-0.0 if both and product_negative else 0.0)
    exponent = max(abs(total.numerator).bit_length() - total.denominator.bit_length() - 25, -149)
    while abs(total) >= Fraction(2) ** (exponent + 24):
        exponent += 1
    rounded = round(total / Fraction(2) ** exponent)  # to even
    if abs(rounded) * Fraction(2) ** exponent >= Fraction(2) ** 128:
        return np.float32(np.inf if total > 0 else -np.inf)
    return np.float32(np.copysign(abs(rounded) * 2.0**exponent, 1 if total > 0 else -1))


def triples():
    """Edges against each other, cancellations, halfway cases, and numbers about the guard's thresholds."""
    random = np.random.default_rng(5)
    edges = np.array(
        [0, 2**-149, 3 * 2.0**-149, 2**-126 - 2**-149, 2**-126, 2**-125, 2**-103, 2**-104, 2**-63, 2**-80,
         2**-23, 1 / 3, 1, 1 + 2**-23, 1 + 2**-12, 3.0, 2**46, 2**100, 2**127, np.inf, np.nan],
        dtype=np.float64,
    ).astype(np.float32)  # fmt: skip
    edges = np.concatenate([edges, -edges])
    grid = np.stack(np.meshgrid(edges, edges, edges), -1).reshape(-1, 3)
    grid = grid[random.permutation(len(grid))[:9000]]
    bits = random.integers(0, 1 << 32, (3000, 3), dtype=np.uint64).astype(np.uint32).view(np.float32)
    near = (random.standard_normal((4000, 3)) * np.exp2(random.integers(-75, 5, (4000, 3)))).astype(
        np.float32
    )
    with np.errstate(all="ignore"):
        near[:3000, 2] = -(near[:3000, 0] * near[:3000, 1])
    # (1 + e)**2 without its first two terms leaves the last place of the product
    e = 2.0**-23
    deep = [(1 + e, (1 + e) * 2.0**n, -(1 + 2 * e) * 2.0**n) for n in range(-100, -70)]
    deep += [(-a, b, -c) for a, b, c in deep]
    return np.concatenate([grid, bits, near, np.array(deep, np.float32)])


def run_elementwise(bench, a, b, c):
    loaded = [float_value(n) for n in "abc"]
    result = float_value("r")
    body = (
        ThreadIndex(I, "global_id", 0),
        *(Load(v, m, (I,)) for v, m in zip(loaded, (X, Y, Z), strict=True)),
        Op(result, "fma", tuple(loaded)),
        Store(OUT, (I,), result),
    )
    out = np.zeros_like(a)
    bench.run(Module(Function("k", (X, Y, Z, OUT), None, (), (), body)), (len(a),), (1,), [a, b, c, out])
    return out


def assert_same_bits(found, expected):
    assert np.array_equal(np.isnan(found), np.isnan(expected))
    keep = ~np.isnan(expected)
    np.testing.assert_array_equal(found[keep].view(np.uint32), expected[keep].view(np.uint32))


def test_every_triple_is_rounded_once(flushing):
    a, b, c = (np.ascontiguousarray(column) for column in triples().T)
    expected = np.array([exact(*t) for t in zip(a, b, c, strict=True)], np.float32)
    assert_same_bits(run_elementwise(flushing, a, b, c), expected)
    assert flushing.emitted


def test_ordinary_numbers_take_the_fast_way(flushing, monkeypatch):
    from gpucore_vulkan.spirv import operations

    # a hardware that is wrong on purpose shows who computed
    monkeypatch.setattr(operations, "hardware_fma", lambda f, s: f.asm.floating(42.0, 32))
    ordinary = np.array([1.5, -3.25, 0.0, 1e-9, 1e30, np.inf], np.float32)
    a, b, c = (g.ravel().copy() for g in np.meshgrid(ordinary, ordinary, ordinary))
    assert (run_elementwise(flushing, a, b, c) == 42).all()
    tiny = np.full(3, 1e-40, np.float32)
    one = np.ones(3, np.float32)
    assert (run_elementwise(flushing, one, one, tiny) != 42).all()
    assert (run_elementwise(flushing, tiny, one, one) != 42).all()


def product_module(steps):
    """Sums in a local array, read by constant and by computed places, over a loop: as matrix products are
    written."""
    sums = Memory("sums", f32, "local", 1, (4,))
    count = Var("count", f32)
    k, zero, n, one = Value("k", i32), Value("zero", i32), Value("n", i32), Value("one", i32)
    body = [ThreadIndex(I, "global_id", 0), InitLocal(sums), Const(zero, 0), Const(n, steps), Const(one, 1)]
    start = float_value("start")
    body += [Load(start, Z, (I,)), SetVar(count, start)]
    inner, number = [], 0

    def value(kind=f32):
        nonlocal number
        number += 1
        return Value(f"t{number}", kind)

    four, base = Value("four", i32), Value("base", i32)
    inner += [Const(four, 4), Op(base, "mul", (k, four))]
    for unrolled in range(3):
        for place in range(4):
            at, index, a, b, old, new = value(i32), value(i32), value(), value(), value(), value()
            inner += [
                Const(at, place), Op(index, "add", (base, at)), Load(a, X, (index,)), Load(b, Y, (at,)),
                Load(old, sums, (at,)), Op(new, "fma", (a, b, old)), Store(sums, (at,), new),
            ]  # fmt: skip
        # a value of the group as a factor, arithmetic on one, and a variable that is written twice
        last, half, square, now, after = value(), value(), value(), value(), value()
        inner += [
            Op(half, "mul", (new, new)), GetVar(now, count), Op(last, "fma", (half, a, now)),
            SetVar(count, last), GetVar(after, count), Op(square, "fma", (b, b, after)), SetVar(count, square),
        ]  # fmt: skip
        if unrolled == 1:
            mask, slot, read, moved = Value("mask", i32), value(i32), value(), value()
            inner += [
                Const(mask, 3), Op(slot, "and", (k, mask)), Load(read, sums, (slot,)),
                Op(moved, "fma", (read, b, a)), Store(sums, (slot,), moved),
            ]  # fmt: skip
    body.append(For(k, zero, n, one, tuple(inner)))
    for place in range(4):
        at, index, got = Value(f"o{place}", i32), Value(f"p{place}", i32), float_value(f"g{place}")
        shifted = Value(f"s{place}", i32)
        body += [
            Const(at, place), Load(got, sums, (at,)), Op(shifted, "mul", (I, four_of(body))),
            Op(index, "add", (shifted, at)), Store(OUT, (index,), got),
        ]  # fmt: skip
    total = float_value("total")
    body += [GetVar(total, count), Store(Z, (I,), total)]
    return Module(Function("k", (X, Y, Z, OUT), None, (count,), (sums,), tuple(body)))


def four_of(body):
    """A constant four of the outer block."""
    four = next((s.result for s in body if isinstance(s, Const) and s.value == 4), None)
    if four is None:
        four = Value("outer_four", i32)
        body.append(Const(four, 4))
    return four


@pytest.mark.parametrize("scale", [1.0, 1e-12, 1e-19, 1e-30, 0.0])
def test_sums_in_registers_keep_every_bit(flushing, scale):
    steps, random = 6, np.random.default_rng(8)
    x = (random.standard_normal(4 * steps) * scale).astype(np.float32)
    y = (random.standard_normal(4) * min(1, scale * 8)).astype(np.float32)
    x[3], x[9] = 1.0, 0.0
    z = np.linspace(-1, 1, 5).astype(np.float32) * np.float32(scale * scale)
    module = product_module(steps)
    expected = [x.copy(), y.copy(), z.copy(), np.zeros(20, np.float32)]
    interpret(module, (5,), (1,), expected, subgroup_size=8)
    found = [x.copy(), y.copy(), z.copy(), np.zeros(20, np.float32)]
    flushing.run(module, (5,), (1,), found)
    for got, wanted in zip(found, expected, strict=True):
        assert_same_bits(got, wanted)


def test_fast_modules_ask_nothing(flushing):
    from gpucore_vulkan.spirv import emit

    def size(math):
        return len(emit(flushing.target, replace(product_module(2), math=math), CompileOptions()).words)

    assert size("fast") < size("strict")


def test_probing_finds_that_only_denormals_are_wrong(flushing):
    from gpucore_vulkan.device_features import probes

    base = replace(flushing.target, features=flushing.target.features - {"GuardedFma32"})
    found = probes.explore(flushing.device, base)
    assert "GuardedFma32" in found.features
    assert "fma.f32" in found.native


MIXED = """\
module ir=1 ndim=1 math=strict

kernel @k(&x: f32[?], &y: f32[?], &z: f32[?], &out: f32[?]) {
  %i: i32 = global_id 0
  %one: i32 = const 1
  %two: i32 = const 2
  %three: i32 = const 3
  %row: i32 = shl.raw %i, %two
  %at1: i32 = or %row, %one
  %at2: i32 = or %row, %two
  %at3: i32 = or %row, %three
  %a: f32 = load &x[%row]
  %b: f32 = load &y[%row]
  %c: f32 = load &z[%row]
  %p: f32 = fma %a, %b, %c
  %d: f32 = load &y[%at1]
  %e: f32 = load &z[%at1]
  %scaled: f32 = mul %p, %d
  %q: f32 = fma %a, %scaled, %e
  %f: f32 = load &x[%at2]
  %r: f32 = fma %f, %b, %q
  %g: f32 = load &y[%at3]
  %s: f32 = fma %r, %g, %p
  %t: f32 = fma %f, %d, %s
  store &out[%row], %p
  store &out[%at1], %q
  store &out[%at2], %r
  store &out[%at3], %t
}
"""


def test_groups_that_reuse_operands_of_others_keep_every_bit(flushing):
    from gpucore.ir.text import parse

    random, count = np.random.default_rng(11), 1 << 16
    # a first group of ample operands, of zeros among them, of small ones, then another
    sizes = random.choice(
        [0.0, 1.0, 2.0**-39, 2.0**-40, 2.0**-41, 2.0**-47, 2.0**-60, 2.0**-88, 2.0**-126], (3, count)
    )
    x, y, z = (random.standard_normal((3, count)) * sizes).astype(np.float32)
    # an ample first factor, then a small second one: the last place of their product is denormal
    odd, rows = 1 + 2.0**-23, slice(0, 400, 4)
    x[rows], y[rows], z[rows] = 2.0**-40 * odd, 1.0, 1.0
    y[1:400:4], z[1:400:4] = 2.0**-60 * odd, -(2.0**-100) * (1 + 2.0**-22)
    module = parse(MIXED)
    expected, found = ([x.copy(), y.copy(), z.copy(), np.zeros(count, np.float32)] for _ in range(2))
    interpret(module, (count // 256,), (64,), expected)
    flushing.run(module, (count // 256,), (64,), found)
    assert_same_bits(found[3], expected[3])
