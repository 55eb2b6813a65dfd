"""Counts the rows of the table, backend by backend, and says so at the end of the run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pytest

from gpucore.testing.semantics.runner import GroupResult, Report, batches, context_evaluator, evaluate
from gpucore.testing.semantics.table import groups, parts
from gpucore.testing.semantics.values import Group

if TYPE_CHECKING:
    from gpucore.runtime.context import Context


class Results:
    """The verdicts so far; groups that share a kernel are run together when the first is asked for."""

    def __init__(self) -> None:
        self.verdicts: dict[str, dict[str, GroupResult]] = {}
        self.devices: dict[str, str] = {}
        self._batches: Mapping[str, list[Group]] | None = None

    def of(self, context: Context, key: str) -> GroupResult:
        """The verdict on a group."""
        if self._batches is None:
            tables = [groups(), *parts().values()]
            self._batches = {
                g.key: batch for table in tables for batch in batches(table.values()) for g in batch
            }
        done = self.verdicts.setdefault(context.backend, {})
        self.devices[context.backend] = context.device.name
        if key not in done:
            for result in evaluate(self._batches[key], context_evaluator(context)):
                done[result.key] = result
        return done[key]


_KEY = pytest.StashKey[Results]()


@pytest.fixture(scope="session")
def semantics_results(request: pytest.FixtureRequest) -> Results:
    """The verdicts of this session."""
    return request.config.stash.setdefault(_KEY, Results())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    results = config.stash.get(_KEY, None)
    if results is None:
        return
    for backend, verdicts in results.verdicts.items():
        first = {key: verdict for key, verdict in verdicts.items() if key in groups()}
        report = Report(backend, results.devices[backend], first)
        terminalreporter.write_line(
            f"semantics on {backend} ({report.device}): {report.passed:,} rows passed, "
            f"{report.refused:,} refused, {report.failed:,} failed in {len(first)} groups; digest {report.digest[:16]}"
        )
        for name, part in parts().items():
            later = Report(backend, report.device, {k: v for k, v in verdicts.items() if k in part})
            terminalreporter.write_line(
                f"  part {name}: {later.passed:,} rows passed, {later.refused:,} refused, {later.failed:,} failed; "
                f"digest {later.digest[:16]}"
            )
