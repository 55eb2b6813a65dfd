"""The math functions stay within 2 ulp, on the interpreter and on every backend at hand."""

import pytest

from gpucore.ir.dtypes import dtype
from gpucore.ir.ops import LIBRARY, MATH
from gpucore.testing.semantics import runner
from gpucore_fuzz import ulp

EXACT = {"fmod", "remainder", "nextafter", "ldexp", "frexp_fraction", "frexp_exponent"}
"""Functions of the library that the semantics table has to the last bit."""

LIMIT = {"f32": 2.0, "f64": 2.0, "f16": 1.0, "bf16": 1.0}
KEYS = [f"{name}.{kind}" for kind in ("f32", "f64") for name in ulp.FUNCTIONS]
HALVES = [f"{name}.{kind}" for kind in ("f16", "bf16") for name in ("exp", "log", "sin", "pow", "tanh")]


def test_every_function_of_the_library_is_measured_or_exact() -> None:
    assert {*ulp.FUNCTIONS, *EXACT} == {*MATH, *LIBRARY}


def check(evaluate, key: str, samples: int) -> None:
    name, kind = key.split(".")
    found = ulp.accuracy(evaluate, name, dtype(kind), samples)
    assert found.max_ulp <= LIMIT[kind], f"{key}{found.worst}: {found.max_ulp:.3f} ulp"
    assert found.specials > 10
    assert found.specials_failed == 0


@pytest.mark.parametrize("key", KEYS + HALVES)
def test_on_the_interpreter(key: str) -> None:
    check(runner.interpreter_evaluator, key, 300)


@pytest.mark.parametrize("key", KEYS + HALVES)
def test_on_a_device(key: str, gpucore_context) -> None:
    if gpucore_context.backend == "null":
        pytest.skip("the null backend interprets, as the test above does")
    check(runner.context_evaluator(gpucore_context), key, 2_000 if key.endswith("f64") else 100_000)


@pytest.mark.parametrize(("kind", "limit"), [("f32", 1e-7), ("f64", 2e-16)])
def test_lgamma_below_zero_has_a_small_absolute_error_near_its_zeros(kind: str, limit: float) -> None:
    import numpy as np
    from mpmath import mp

    # 400 arguments about the zeros in (-3, -2) and (-4, -3), and some elsewhere
    x = np.concatenate(
        [-2.4570247382208 + np.linspace(-0.1, 0.1, 200), -3.143580888349 + np.linspace(-0.1, 0.1, 200)]
    )
    x = np.concatenate([x, -np.linspace(0.05, 7.95, 150)]).astype(dtype(kind).numpy).astype(np.float64)
    got = ulp._evaluate(runner.interpreter_evaluator, "lgamma", dtype(kind), [x])
    with mp.workprec(120):
        for argument, found in zip(x, got, strict=True):
            exact = mp.log(abs(mp.gamma(mp.mpf(float(argument)))))
            assert abs(float(mp.mpf(float(found)) - exact)) <= limit * max(1.0, abs(float(exact))), argument


def test_the_measure_sees_an_error_of_three_ulp() -> None:
    import numpy as np

    def off_by_three(work):
        x = work.arrays[0]
        with np.errstate(all="ignore"):
            good = np.exp(x.astype(np.float64)).astype(np.float32)
        return [
            x,
            np.where(np.isfinite(good) & (good > 1e-30), (good.view(np.int32) + 3).view(np.float32), good),
        ]

    found = ulp.accuracy(off_by_three, "exp", dtype("f32"), 1000)
    assert 2.5 <= found.max_ulp <= 6.5
    assert found.specials_failed > 0


def test_samples_are_the_same_each_time_and_exact_in_the_dtype() -> None:
    import numpy as np

    for kind in ("f16", "f32"):
        (first,) = ulp.samples_for("exp", dtype(kind), 100)
        (again,) = ulp.samples_for("exp", dtype(kind), 100)
        assert np.array_equal(first, again, equal_nan=True)
        assert np.array_equal(first, first.astype(dtype(kind).numpy).astype(np.float64), equal_nan=True)


@pytest.mark.parametrize("name", ulp.FUNCTIONS)
def test_the_fast_reference_agrees_with_mpmath(name: str) -> None:
    """f32 results are judged by NumPy's f64 functions; mpmath gives the same errors."""
    import numpy as np

    f32 = dtype("f32")
    arguments = [a[::7].copy() for a in ulp.samples_for(name, f32, 1000)]
    with np.errstate(all="ignore"):
        got = np.float32(ulp._REFERENCES[name](*arguments) * (1 + 2**-23)).astype(np.float64)
    by_f64 = ulp.errors_by_f64(name, got, arguments, f32)
    by_mpmath = ulp.errors_by_mpmath(name, got, arguments, f32)
    assert np.array_equal(np.isfinite(by_f64), np.isfinite(by_mpmath))
    finite = np.isfinite(by_f64)
    assert finite.sum() > 50
    assert np.abs(by_f64[finite] - by_mpmath[finite]).max() < 1e-6
