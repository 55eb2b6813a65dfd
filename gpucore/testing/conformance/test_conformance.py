"""Every hook of each chosen backend keeps the contract."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from gpucore.testing.conformance.runner import DeviceFixture, cases, open_fixture, run_case


@pytest.fixture(scope="module")
def fixtures() -> Iterator[dict[str, DeviceFixture]]:
    """The devices opened so far, by backend."""
    opened: dict[str, DeviceFixture] = {}
    yield opened
    for fixture in opened.values():
        fixture.close()


@pytest.mark.parametrize("name", list(cases()))
def test_keeps_the_contract(name: str, gpucore_context: Any, fixtures: dict[str, DeviceFixture]) -> None:
    backend = gpucore_context.backend
    if backend not in fixtures:
        fixtures[backend] = open_fixture(backend)
    case = cases()[name]
    verdict = run_case(fixtures[backend], case)
    if verdict.outcome == "refused":
        pytest.skip(f"refused: {verdict.reason}")
    if verdict.outcome == "failed":
        pytest.fail(f"{name} ({', '.join(case.hooks)}): {case.demand}\n{verdict.reason}", pytrace=False)
