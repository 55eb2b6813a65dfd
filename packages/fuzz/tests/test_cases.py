"""The fuzzer: deterministic, valid, free of races, sensitive to mistakes, and able to shrink them."""
# ruff: noqa: E501 - tables, one row a line

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from gpucore.errors import NotSupportedError
from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import ALL, f32, i32, index
from gpucore.ir.interpreter import interpret
from gpucore.ir.ops import MATH, OPS, SUBGROUP_OPS
from gpucore.ir.verify import verify
from gpucore_fuzz.cases import cases, check, differential, expected, generate, generate_block, shrink
from gpucore_fuzz.values import copies


@pytest.mark.parametrize("seed", range(80))
def test_cases_are_valid_and_free_of_races_and_errors(seed):
    case = generate(seed, subgroup=(None, 4, 32)[seed % 3])
    verify(case.module)
    checked, fast = expected(case, detect_races=True), expected(case)
    for a, b in zip(checked, fast):
        if isinstance(a, np.ndarray):
            assert a.tobytes() == b.tobytes()


def test_a_seed_always_gives_the_same_case():
    for seed in range(10):
        a, b = generate(seed), generate(seed)
        assert a.module == b.module and (a.grid, a.block) == (b.grid, b.block)
        for x, y in zip(a.args, b.args):
            assert x.tobytes() == y.tobytes() if isinstance(x, np.ndarray) else repr(x) == repr(y)


def test_a_known_seed_keeps_its_kernel():
    # seeds in bug reports stay good; a change of the generator changes these and says so here
    import zlib

    assert zlib.crc32(str(generate(12345).module).encode()) == 4086051146


def test_a_few_hundred_seeds_cover_every_statement_operation_and_dtype():
    nodes, ops, dtypes, subgroups = Counter(), Counter(), Counter(), Counter()
    for seed in range(250):
        module = generate(seed, math=True, subgroup=8).module
        for function in (*module.functions, module.kernel):
            for s in ir.walk(function.body):
                nodes[type(s).__name__] += 1
                result = ir.result_of(s)
                if result is not None:
                    dtypes[result.dtype] += 1
                if isinstance(s, ir.Op):
                    ops[s.op] += 1
                if isinstance(s, ir.Subgroup):
                    subgroups[s.op] += 1
    # results are compared, not texts; programs of `tiles` have products, those of `values` shared arrays of the launch's size
    assert set(nodes) == {t.__name__ for t in ir.Stmt.__args__} - {"Print", "TileProduct", "Allocate"}
    assert set(ops) == {op for op, spec in OPS.items() if spec.level != "low"}
    assert set(dtypes) == set(ALL)
    assert set(subgroups) == set(SUBGROUP_OPS)


def test_options_keep_dtypes_and_math_out():
    for seed in range(30):
        module = generate(seed, dtypes=(f32, i32), atomics=()).module
        for function in (*module.functions, module.kernel):
            for s in ir.walk(function.body):
                assert not isinstance(s, (ir.Atomic, ir.AtomicCas, ir.Subgroup))
                result = ir.result_of(s)
                assert result is None or result.dtype.name in ("f32", "i32", "bool", "index")
                assert not (isinstance(s, ir.Op) and s.op in MATH)


def run_exactly(module, grid, block, args):
    interpret(module, grid, block, args, detect_races=False)


def without_nan_rule(module, grid, block, args):
    """An executor with a bug: its min ignores the order of zeros and NaN."""

    def change(block_):
        return tuple(
            replace(s, op="max") if isinstance(s, ir.Op) and s.op == "min" and s.result.dtype is f32
            else replace(s, then=change(s.then), orelse=change(s.orelse)) if isinstance(s, ir.If)
            else replace(s, body=change(s.body)) if isinstance(s, (ir.For, ir.While))
            else s
            for s in block_
        )  # fmt: skip

    kernel = replace(module.kernel, body=change(module.kernel.body))
    interpret(replace(module, kernel=kernel), grid, block, args, detect_races=False)


def test_an_exact_executor_has_no_mismatch():
    assert all(differential(seed, run_exactly) is None for seed in range(20))


def test_a_wrong_executor_is_caught_and_the_case_shrinks():
    found = next(
        m for m in (differential(s, without_nan_rule, dtypes=(f32, i32), size=12) for s in range(300)) if m
    )
    assert found.array.startswith(("out", "hits"))
    assert f"seed {found.case.seed}" in str(found) and "kernel @fuzzed" in str(found)
    small = shrink(found.case, lambda c: check(c, without_nan_rule) is not None)
    count = sum(1 for _ in ir.walk(small.module.kernel.body))
    assert count < sum(1 for _ in ir.walk(found.case.module.kernel.body)) and count <= 15
    assert "min" in str(small.module)
    assert check(small, without_nan_rule) is not None and check(small, run_exactly) is None


def test_an_executors_exception_is_a_mismatch_and_a_missing_capability_is_not():
    def crashes(*_):
        raise ZeroDivisionError("inside")

    def refuses(*_):
        raise NotSupportedError("no f64", capability="f64")

    found = differential(3, crashes)
    assert isinstance(found.found, ZeroDivisionError) and "inside" in str(found)
    assert differential(3, refuses) is None


def test_the_inputs_reach_special_values():
    seen = np.concatenate(
        [
            a.reshape(-1)
            for s in range(60)
            for a in generate(s).args
            if getattr(a, "dtype", None) == np.float32
        ]
    )
    assert np.isnan(seen).any() and np.isinf(seen).any() and (np.signbit(seen) & (seen == 0)).any()
    assert ((np.abs(seen) > 0) & (np.abs(seen) < 2.0**-126)).any()
    assert index not in {p.dtype for s in range(30) for p in generate(s).module.arrays}


def test_the_hypothesis_strategy_draws_cases():
    from hypothesis import HealthCheck, given, settings

    @settings(max_examples=10, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(cases(subgroup=4))
    def holds(case):
        assert check(case, run_exactly) is None

    holds()


@pytest.mark.parametrize("start", range(0, 24, 8))
def test_block_kernels_are_valid_and_free_of_races_and_the_same_for_a_seed(start):
    for seed in range(start, start + 8):
        case, again = (generate_block(seed, subgroup=8 if seed % 4 == 0 else None) for _ in range(2))
        verify(case.module)
        assert case.module == again.module
        assert (case.block == ()) == (seed % 8 == 7)
        expected(case, detect_races=True)


def test_block_kernels_have_barriers_everywhere_and_arrays_under_two_names():
    inside, overlaps = Counter(), 0
    for seed in range(40, 64):
        case = generate_block(seed)
        for s in ir.walk(case.module.kernel.body):
            for block in ir.blocks_of(s):
                if any(isinstance(inner, ir.Barrier) for inner in block):
                    inside[type(s).__name__] += 1
        overlaps += any(p.name.startswith("same") for p in case.module.kernel.params)
    assert set(inside) == {"If", "For", "While"}
    assert overlaps > 2


def test_overlapping_arguments_are_copied_as_they_overlap():
    whole = np.arange(6, dtype=np.int32)
    copy, part, number = copies([whole, whole[2:], 5])
    part[0] = 99
    assert copy[2] == 99 and whole[2] == 2 and number == 5
