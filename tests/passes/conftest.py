"""Short ways to write modules by hand, lower them, and run both levels on the interpreter."""

import numpy as np
import pytest

from gpucore.ir.interpreter import interpret
from gpucore.ir.passes import RECORD_WORDS, LowerOptions, decode, lower
from gpucore.math import library

FLOAT_ROUTINES = frozenset(
    f"{op}.{d}" for op in ("div", "sqrt", "fma", "floordiv", "mod") for d in ("f32", "f64")
)


def options_of(**options):
    return LowerOptions(**{"native": frozenset(), "library": library, **options})


@pytest.fixture
def low():
    """``low(module, **options)``: the lowered module."""
    return lambda module, **options: lower(module, options_of(**options)).module


@pytest.fixture
def run_checked():
    """Run a module in checked mode; the error that the record holds, or None."""

    def run(module, grid, threads, args, **options):
        lowered = lower(module, options_of(check=True, **options))
        record = np.zeros(RECORD_WORDS, np.uint32)
        interpret(lowered.module, grid, threads, [*args, record], detect_races=False)
        return decode(record.tolist(), lowered.sites, module.kernel.name)

    return run


@pytest.fixture
def same_bits():
    """Assert that lowering keeps every bit of what a launch writes."""

    def check(module, grid, threads, args, hidden=(), **options):
        wanted = [a.copy() if isinstance(a, np.ndarray) else a for a in args]
        found = [a.copy() if isinstance(a, np.ndarray) else a for a in args]
        interpret(module, grid, threads, wanted, detect_races=False)
        lowered = lower(module, options_of(**options)).module
        interpret(lowered, grid, threads, [*found, *hidden], detect_races=False)
        for a, b in zip(wanted, found, strict=True):
            if isinstance(a, np.ndarray):
                np.testing.assert_array_equal(b.view(f"u{b.itemsize}"), a.view(f"u{a.itemsize}"))
        return lowered

    return check
