"""The stored values of the semantics table."""

from __future__ import annotations

import pytest
from mpmath import mp

from gpucore.testing.semantics.functions import cases_of
from gpucore.testing.semantics.reference import FORMATS
from gpucore_fuzz.correct_values import columns


@pytest.mark.parametrize("name", ["exp", "sin", "pow", "hypot"])
@pytest.mark.parametrize("kind", FORMATS)
def test_the_stored_values_are_those_that_mpmath_gives(name: str, kind: str) -> None:
    with mp.workprec(1400):
        *operands, results = columns(name, FORMATS[kind])
    expected = [(bits, (result,)) for *bits, result in zip(*operands, results, strict=True)]
    assert [(list(bits), result) for bits, result in cases_of(f"{name}.{kind}")] == expected
