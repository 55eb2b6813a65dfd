"""Every hook of each chosen backend keeps the contract."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from gpucore.testing.conformance.model import cases
from gpucore.testing.conformance.rig import Rig
from gpucore.testing.conformance.runner import open_rig, run_case


@pytest.fixture(scope="module")
def rigs() -> Iterator[dict[str, Rig]]:
    """The devices opened so far, by backend."""
    opened: dict[str, Rig] = {}
    yield opened
    for rig in opened.values():
        rig.close()


@pytest.mark.parametrize("name", list(cases()))
def test_keeps_the_contract(name: str, gpucore_context: Any, rigs: dict[str, Rig]) -> None:
    backend = gpucore_context.backend
    if backend not in rigs:
        rigs[backend] = open_rig(backend)
    case = cases()[name]
    verdict = run_case(rigs[backend], case)
    if verdict.outcome == "refused":
        pytest.skip(f"refused: {verdict.reason}")
    if verdict.outcome == "failed":
        pytest.fail(f"{name} ({', '.join(case.hooks)}): {case.demand}\n{verdict.reason}", pytrace=False)
