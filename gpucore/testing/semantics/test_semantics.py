"""Every operation on every dtype gives the bits of the table, on each backend chosen."""

from __future__ import annotations

from typing import Any

import pytest

from gpucore.testing.semantics.table import groups, parts

LATER = [key for part in parts().values() for key in part]


@pytest.mark.parametrize("key", [*groups(), *LATER])
def test_gives_the_bits_of_the_table(key: str, gpucore_context: Any, semantics_results: Any) -> None:
    result = semantics_results.of(gpucore_context, key)
    if result.refused:
        pytest.skip(f"refused: {result.reason}")
    shown = "\n".join(f"  {f.row}: expected {f.expected}, got {f.got}" for f in result.failures)
    problem = result.reason or f"{result.failed} of {result.failed + result.passed} rows:\n{shown}"
    if result.failed:
        pytest.fail(f"{key}: {problem}", pytrace=False)
