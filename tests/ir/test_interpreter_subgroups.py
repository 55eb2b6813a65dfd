"""Subgroup operations at any width, missing lanes included."""

import math

import numpy as np
import pytest

from gpucore.errors import LaunchError
from gpucore.ir.dtypes import bf16, f16, f32, i32, u8
from gpucore.ir.interpreter import interpret
from gpucore.ir.interpreter.machine import combine

WIDTHS = (1, 2, 3, 4, 8, 32, 64, 100)


def by_subgroup(values, width):
    return [values[i : i + width] for i in range(0, len(values), width)]


def run(build, op, name, values, width, *, result=None, second=None, block=None):
    result = result or name
    load = "" if second is None else "%l: i32 = load &lanes[%i]"
    module = build(
        f"""
        kernel @k(&x: {name}[?], &lanes: i32[?], &y: {result}[?]) {{
          %i: index = global_id 0
          %v: {name} = load &x[%i]
          {load}
          %r: {result} = subgroup {op} %v{"" if second is None else ", %l"}
          store &y[%i], %r
        }}
        """
    )
    x = np.array(values, module.arrays[0].dtype.numpy)
    lanes = np.array([0] * len(values) if second is None else second, np.int32)
    y = np.zeros(len(values), module.arrays[2].dtype.numpy)
    interpret(module, 1, block or len(values), (x, lanes, y), subgroup_size=width)
    return y.tolist()


@pytest.mark.parametrize("width", WIDTHS)
def test_integer_reductions_are_those_of_the_lanes_that_exist(build, width):
    values = [(7 * i * i - 40 * i) % 101 - 50 for i in range(20)]
    groups = by_subgroup(values, width)
    assert run(build, "sum", "i32", values, width) == [sum(g) for g in groups for _ in g]
    assert run(build, "min", "i32", values, width) == [min(g) for g in groups for _ in g]
    assert run(build, "max", "i32", values, width) == [max(g) for g in groups for _ in g]
    inclusive = [sum(g[: i + 1]) for g in groups for i in range(len(g))]
    exclusive = [sum(g[:i]) for g in groups for i in range(len(g))]
    assert run(build, "inclusive_sum", "i32", values, width) == inclusive
    assert run(build, "exclusive_sum", "i32", values, width) == exclusive


@pytest.mark.parametrize("width", [w for w in WIDTHS if w <= 64])
def test_votes(build, width):
    values = [i % 3 == 0 for i in range(20)]
    groups = by_subgroup(values, width)
    assert run(build, "any", "bool", values, width) == [any(g) for g in groups for _ in g]
    assert run(build, "all", "bool", values, width) == [all(g) for g in groups for _ in g]
    masks = [sum(1 << i for i, v in enumerate(g) if v) for g in groups for _ in g]
    assert run(build, "ballot", "bool", values, width, result="u64") == masks


def test_a_ballot_of_more_than_64_lanes_is_refused(build):
    with pytest.raises(LaunchError, match="64 bits"):
        run(build, "ballot", "bool", [True] * 4, 100, result="u64")


@pytest.mark.parametrize("width", WIDTHS)
def test_shuffles_give_the_own_value_for_lanes_that_do_not_exist(build, width):
    values = [10 * i for i in range(20)]
    lanes = [(5 * i) % 11 - 2 for i in range(20)]
    groups, wanted = by_subgroup(values, width), by_subgroup(lanes, width)
    shuffled = [g[to] if 0 <= to < len(g) else own for g, w in zip(groups, wanted) for own, to in zip(g, w)]
    assert run(build, "shuffle", "i32", values, width, second=lanes) == shuffled
    swapped = [
        g[i ^ mask] if 0 <= i ^ mask < len(g) else g[i]
        for g, w in zip(groups, wanted)
        for i, mask in enumerate(w)
    ]
    assert run(build, "shuffle_xor", "i32", values, width, second=lanes) == swapped
    broadcast = [g[2] if 2 < len(g) else own for g in groups for own in g]
    assert run(build, "broadcast", "i32", values, width, second=[2] * 20) == broadcast


def test_lane_and_size(build):
    module = build(
        """
        kernel @k(&y: i32[?, ?]) {
          %i: index = global_id 0
          %j: index = global_id 1
          %l: i32 = subgroup lane
          %n: i32 = subgroup size
          %k: i32 = const 100
          %0: i32 = mul %n, %k
          %1: i32 = add %0, %l
          store &y[%i, %j], %1
        }
        """,
        ndim=2,
    )
    y = np.zeros((3, 5), np.int32)
    interpret(module, (1, 1), (3, 5), (y,), subgroup_size=4)
    assert y.reshape(-1).tolist() == [400 + i % 4 for i in range(15)]  # the last axis is the fastest


def test_the_width_that_a_kernel_asks_for_goes_first(build):
    text = "kernel @k(&y: i32[?]) {\n %i: index = const 0\n %n: i32 = subgroup size\n store &y[%i], %n\n}"
    y = np.zeros(1, np.int32)
    interpret(build(text, extra=" subgroup=8"), 1, 1, (y,), subgroup_size=32)
    assert y[0] == 8


def butterfly(values, width):
    """By the definition, with every slot up to the power of two and -0.0 in those that are missing."""
    slots = [np.float32(v) for v in values]
    slots += [np.float32(-0.0)] * ((1 << (width - 1).bit_length()) - len(slots))
    mask = 1
    while mask < width:
        slots = [slots[i] + slots[i ^ mask] for i in range(len(slots))]
        mask *= 2
    return [float(v) for v in slots[: len(values)]]


@pytest.mark.parametrize("count", [1, 2, 5, 7, 31, 32])
def test_the_float_sum_is_the_butterfly_of_the_definition(count):
    rng = np.random.default_rng(count)
    values = (rng.uniform(-1, 1, count) * 10.0 ** rng.integers(-6, 7, count)).astype(np.float32).tolist()
    expected = butterfly(values, 32)
    assert combine("sum", f32, 32, values, [0] * count) == expected
    assert len(set(expected)) == 1, "all lanes get the same bits"


@pytest.mark.parametrize("count", [3, 5, 20])
def test_the_butterfly_may_read_the_lowest_lane_of_the_partners_group(count):
    # what the definition promises renderers that cannot read missing lanes
    rng = np.random.default_rng(count)
    values = rng.uniform(-1, 1, count).astype(np.float32)
    found = list(values)
    for mask in (1, 2, 4, 8, 16):
        partners = [(lane ^ mask) & ~(mask - 1) for lane in range(count)]
        found = [v + found[p] if p < count else v for v, p in zip(found, partners)]
    assert [float(v) for v in found] == combine("sum", f32, 32, [float(v) for v in values], [0] * count)


def test_missing_lanes_do_not_turn_minus_zero_into_zero():
    result = combine("sum", f32, 32, [-0.0, -0.0, -0.0], [0] * 3)
    assert [math.copysign(1, v) for v in result] == [-1.0] * 3
    assert math.copysign(1, combine("exclusive_sum", f32, 4, [-0.0, -0.0], [0] * 2)[0]) == 1


def test_the_float_scan_adds_in_the_order_of_hillis_and_steele():
    values = np.array([1e8, 1, -1e8, 1, 3, 1e-3, 7, -2], np.float32)
    found = list(values)
    for distance in (1, 2, 4):
        found = [found[i - distance] + v if i >= distance else v for i, v in enumerate(found)]
    assert combine("inclusive_sum", f32, 8, values.tolist(), [0] * 8) == [float(v) for v in found]


def test_half_sums_round_at_each_step():
    # 2048 + 1 is 2048, 1 + 1 is 2, 2048 + 2 is 2050
    assert combine("sum", f16, 4, [2048.0, 1.0, 1.0, 1.0], [0] * 4) == [2050.0] * 4
    assert combine("sum", bf16, 2, [256.0, 1.0], [0] * 2) == [256.0] * 2


def test_nan_wins_and_integers_wrap():
    assert all(math.isnan(v) for v in combine("min", f32, 4, [1.0, math.nan, 0.0], [0] * 3))
    assert combine("max", f32, 4, [-0.0, 0.0], [0] * 2) == [0.0] * 2
    assert combine("sum", u8, 4, [200, 100], [0] * 2) == [44, 44]
    assert combine("sum", i32, 2, [2**31 - 1, 1], [0] * 2) == [-(2**31)] * 2


def test_subgroups_and_barriers_mix(build):
    module = build(
        """
        kernel @reduce(&x: i32[?], &y: i32[?]) {
          memory &parts: shared i32[4]
          %t: index = thread_id 0
          %v: i32 = load &x[%t]
          %s: i32 = subgroup sum %v
          %lane: i32 = subgroup lane
          %zero: i32 = const 0
          %first: bool = eq %lane, %zero
          if %first {
            %four: index = const 4
            %g: index = floordiv %t, %four
            store &parts[%g], %s
          }
          barrier
          %k: index = const 4
          %m: index = mod %t, %k
          %p: i32 = load &parts[%m]
          %total: i32 = subgroup sum %p
          store &y[%t], %total
        }
        """
    )
    x, y = np.arange(16, dtype=np.int32), np.zeros(16, np.int32)
    interpret(module, 1, 16, (x, y), subgroup_size=4)
    assert y.tolist() == [120] * 16
