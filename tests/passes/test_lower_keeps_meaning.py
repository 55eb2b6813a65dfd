"""Random kernels mean the same before and after lowering, bit for bit."""

import numpy as np
import pytest

from gpucore.ir import Op, dtype, walk
from gpucore.ir.interpreter import interpret
from gpucore.ir.passes import RECORD_WORDS, LowerOptions, link, lower
from gpucore.math import library
from gpucore_fuzz.cases import check, differential, generate, generate_block

HALVES = frozenset({"cast.f16.f32", "cast.f32.f16", "cast.bf16.f32", "cast.f32.bf16"})
CAPABLE = HALVES | {
    f"{op}.{d}" for d in ("f32", "f64") for op in ("div", "sqrt", "fma", "floor", "abs", "floordiv", "mod")
}

VARIANTS = {
    "baseline": {},
    "without f64 routines": {"double": False},
    "small": {"native": CAPABLE},
    "large": {"native": CAPABLE, "small": False},
    "checked": {"native": CAPABLE, "check": True},
    "checked, large": {"native": CAPABLE, "check": True, "small": False},
}


def executor(with_block=False, **variant):
    def run(module, grid, block, args):
        options = {"native": frozenset(), "atomics": frozenset({"cas.u64"}), "library": library, **variant}
        if with_block:
            options["block"] = block
        lowered = lower(module, LowerOptions(**options))
        extra = [np.zeros(RECORD_WORDS, np.uint32)] if variant.get("check") else []
        interpret(lowered.module, grid, block, [*args, *extra], detect_races=False)

    return run


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("start", range(0, 30, 10))
def test_random_kernels_keep_their_bits(name, start):
    run = executor(**VARIANTS[name], with_block=start == 10)
    for seed in range(start, start + 10):
        mismatch = differential(seed, run)
        assert mismatch is None, str(mismatch)


@pytest.mark.parametrize("seed", range(10))
def test_random_kernels_with_subgroups_keep_their_bits(seed):
    mismatch = differential(1000 + seed, executor(native=CAPABLE), subgroup=8)
    assert mismatch is None, str(mismatch)


@pytest.mark.parametrize("seed", range(8))
def test_random_kernels_with_mathematics_are_linked_and_keep_their_bits(seed):
    from gpucore_fuzz.cases import Case

    case = generate(2000 + seed, dtypes=(dtype("f32"), dtype("i32")), math=True)
    linked = Case(link(case.module, library), case.grid, case.block, case.args, case.seed)
    mismatch = check(linked, executor(native=CAPABLE))
    assert mismatch is None, str(mismatch)


def test_lowering_is_deterministic():
    case = generate(5)
    options = LowerOptions(CAPABLE, library)
    assert str(lower(case.module, options).module) == str(lower(case.module, options).module)


def test_sums_that_make_an_offset_do_not_wrap_and_those_of_the_program_do(build, low):
    module = low(
        build("""
kernel @k(&x: f32[?, ?], &y: i32[?], %a: i32) {
  %z: index = const 0
  %s: i32 = add %a, %a
  %i: index = cast %s
  %j: index = cast %a
  %v: f32 = load &x[%i, %j]
  store &x[%j, %j], %v
  store &y[%z], %s
}
""")
    )
    ops = [s.op for s in walk(module.kernel.body) if isinstance(s, Op)]
    assert ops.count("add") == 1
    assert ops.count("add.raw") == 2
    assert ops.count("mul.raw") == 2


@pytest.mark.parametrize("start", range(0, 16, 4))
def test_kernels_of_threads_that_work_together_keep_their_bits(start):
    run = executor(native=CAPABLE, small=start < 8, check=start % 8 == 4, with_block=start < 4)
    for seed in range(start, start + 4):
        case = generate_block(seed, subgroup=8 if seed % 4 == 0 else None)
        mismatch = check(case, run) if case.block else None
        assert mismatch is None, str(mismatch)
