"""The stored values of the semantics table."""

from __future__ import annotations

import pytest

from gpucore.testing.semantics.functions import cases_of
from gpucore.testing.semantics.reference import FORMATS
from gpucore_fuzz.correct_values import results


@pytest.mark.parametrize("name", ["exp", "sin", "pow", "hypot"])
@pytest.mark.parametrize("kind", FORMATS)
def test_the_stored_values_are_those_that_mpmath_gives(name: str, kind: str) -> None:
    stored = [result for _, (result,) in cases_of(f"{name}.{kind}")]
    assert stored == results(name, FORMATS[kind])
