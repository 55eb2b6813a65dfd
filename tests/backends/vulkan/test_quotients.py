"""Quotients of 64 bits that are not left to the driver's compiler."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gpucore.hookspecs import CompileOptions
from gpucore.ir import Op, f32, i64, u64
from gpucore.ir.interpreter import interpret
from gpucore.ir.text import parse
from gpucore_vulkan.device_features.driver_faults import known_faults
from gpucore_vulkan.spirv import emit
from gpucore_vulkan.spirv.disassemble import disassemble
from gpucore_vulkan.spirv.quotients import quotient

OWN = frozenset({"OwnDivision64"})
EDGES = [1, 2, 3, 7, 10, 641, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 10**18, 2**62, 2**63 - 1]


def kernel(dtype, divisor=None):
    kind = dtype.name
    by = f"const {divisor}" if divisor is not None else "load &b[%i]"
    return parse(f"""\
module ir=1 ndim=1 math=strict

kernel @k(&a: {kind}[?], &b: {kind}[?], &q: {kind}[?], &r: {kind}[?]) {{
  %i: i32 = global_id 0
  %x: {kind} = load &a[%i]
  %y: {kind} = {by}
  %whole: {kind} = quot.raw %x, %y
  %rest: {kind} = rem.raw %x, %y
  store &q[%i], %whole
  store &r[%i], %rest
}}
""")


def pairs(dtype, divisor=None):
    """Hard dividends and divisors, neighbours of multiples and random ones, a multiple of 64 in number."""
    random = np.random.default_rng(7)
    low, high = (-(2**63), 2**63 - 1) if dtype.is_signed else (0, 2**64 - 1)
    edges = [*EDGES, *(-e for e in EDGES), low] if dtype.is_signed else [*EDGES, 2**63, 2**64 - 1]
    divisors = edges if divisor is None else [divisor]
    found = [(a, b) for a in [0, *edges] for b in divisors]
    for b in divisors:
        quotients = [
            int(x) >> int(s) for x, s in zip(random.integers(0, 2**63, 24), range(0, 48, 2), strict=True)
        ]
        near = [b * q + step for q in quotients for step in (-1, 0, 1)]
        found += [(a, b) for a in near if low <= a <= high]
    found = [(a, b) for a, b in found if not (a == low and b == -1)]
    return [found[i % len(found)] for i in range(-(-len(found) // 64) * 64)]


def truncated(a, b):
    whole = abs(a) // abs(b)
    return -whole if (a < 0) != (b < 0) else whole


def checked(found, dtype):
    kind = np.int64 if dtype.is_signed else np.uint64
    a, b = (np.array(side, kind) for side in zip(*found, strict=True))
    wanted = [truncated(x, y) for x, y in found]
    rests = [x - w * y for (x, y), w in zip(found, wanted, strict=True)]
    return [a, b, np.zeros_like(a), np.zeros_like(a)], np.array(wanted, kind), np.array(rests, kind)


@pytest.mark.parametrize("dtype", [i64, u64], ids=str)
@pytest.mark.parametrize(
    "divisor", [None, 1, 2, 3, 7, 10, 641, 2**32 + 1, 10**18, 2**63 - 1, -1, -7, -(2**63)]
)
def test_the_quotient_is_right_to_the_last_bit(bench, dtype, divisor):
    if divisor is not None and divisor < 0 and not dtype.is_signed:
        divisor += 2**64
    args, wanted, rests = checked(pairs(dtype, divisor), dtype)
    target = replace(bench.target, features=bench.target.features | OWN)
    bench.run(kernel(dtype, divisor), (args[0].size // 64,), (64,), args, target)
    np.testing.assert_array_equal(args[2], wanted)
    np.testing.assert_array_equal(args[3], rests)


@pytest.mark.parametrize("off", [-8, 0, 8])
def test_an_estimate_a_few_ulp_off_makes_no_wrong_bit(off):
    function = quotient(u64)
    body = []
    for statement in function.body:
        if isinstance(statement, Op) and statement.op == "div" and statement.result.dtype is f32:
            raw = replace(statement, result=replace(statement.result, name="raw"))
            lines = parse(f"""\
module ir=1 ndim=1 math=strict

func @f(%raw: f32) -> f32 {{
  %bits: u32 = bitcast.raw %raw
  %off: u32 = const {off % 2**32}
  %moved: u32 = add %bits, %off
  %{statement.result.name}: f32 = bitcast.raw %moved
  return %raw
}}

kernel @nothing() {{
}}
""").functions[0]
            body += [raw, *lines.body[:-1]]
        else:
            body.append(statement)
    module = kernel(u64)
    call = parse(f"""\
module ir=1 ndim=1 math=strict

func @{function.name}(%a: u64, %b: u64) -> u64 {{
  return %a
}}

kernel @k(&a: u64[?], &b: u64[?], &q: u64[?], &r: u64[?]) {{
  %i: i32 = global_id 0
  %x: u64 = load &a[%i]
  %y: u64 = load &b[%i]
  %whole: u64 = call @{function.name}(%x, %y)
  store &q[%i], %whole
}}
""")
    module = replace(call, functions=(replace(function, body=tuple(body)),))
    args, wanted, _ = checked(pairs(u64), u64)
    interpret(module, (args[0].size // 64,), (64,), args)
    np.testing.assert_array_equal(args[2], wanted)


def test_no_division_of_64_bits_is_left_to_the_driver(bench):
    target = replace(bench.target, features=bench.target.features | OWN)
    loop = parse("""\
module ir=1 ndim=1 math=strict

kernel @k(&n: i64[?], &out: i64[?]) {
  var !sum: i64
  %zero: i64 = const 0
  %step: i64 = const 3
  %i: i32 = global_id 0
  set !sum, %zero
  %end: i64 = load &n[%i]
  for %k: i64 = %zero to %end step %step {
    %before: i64 = get !sum
    %after: i64 = add %before, %k
    set !sum, %after
  }
  %sum: i64 = get !sum
  store &out[%i], %sum
}
""")
    for module in (kernel(u64), kernel(i64), kernel(i64, 72), loop):
        text = disassemble(emit(target, module, CompileOptions()).words)
        assert "Div %" not in text.replace("OpFDiv", "")
        assert "OpUMod" not in text
    args = [np.arange(64, dtype=np.int64), np.zeros(64, np.int64)]
    bench.run(loop, (1,), (64,), args, target)
    np.testing.assert_array_equal(args[1], [sum(range(0, n, 3)) for n in range(64)])


def test_nvidia_is_known_by_its_driver():
    assert OWN <= known_faults("NVIDIA 580.159.04")
    assert not OWN & known_faults("NVK Mesa 24.1")
