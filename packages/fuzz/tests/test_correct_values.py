"""The results of math functions in the semantics table, computed and stored, against those of another library."""

from __future__ import annotations

import pytest

from gpucore.testing.semantics.functions import ROUNDED, cases_of
from gpucore.testing.semantics.reference import FORMATS
from gpucore_fuzz.correct_values import results


@pytest.mark.parametrize("name", ROUNDED)
@pytest.mark.parametrize("kind", FORMATS)
def test_the_rows_hold_the_values_that_mpmath_gives(name: str, kind: str) -> None:
    rows = [result for _, (result,) in cases_of(f"{name}.{kind}")]
    assert rows == results(name, FORMATS[kind])
