"""``gpucore conformance``: the executable contract against a backend, with a report."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from time import monotonic

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

import gpucore
from gpucore.cli.app import terminal
from gpucore.testing import conformance

MOST_FAILURES = 20
PROGRESS_SECONDS = 10.0


def run_conformance(selector: str | None, report: Path | None) -> bool:
    """Run every hook case and every semantics row; True when nothing failed."""
    console = terminal()
    if report is not None and not report.parent.is_dir():
        raise click.ClickException(f"the folder {report.parent} for the report does not exist")
    with gpucore.Context(selector) as ctx:
        backend, uuid, name = ctx.backend, ctx.device.uuid, ctx.device.name
    ordinal = next(
        (d.ordinal for d in gpucore.backends()[backend].devices if (d.uuid, d.name) == (uuid, name)), 0
    )
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    click.echo(
        f"{backend}:{ordinal}: every hook case and some 200,000 rows of semantics; a few minutes, more on few cores",
        err=True,
    )
    if not console.is_terminal:
        found = conformance.run(backend, ordinal, progress=ProgressLines(PROGRESS_SECONDS))
        return _tell(console, found, report)
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("opening")

        def show(what: str, done: int, total: int) -> None:
            progress.update(task, description=what[:60], completed=done, total=total)

        found = conformance.run(backend, ordinal, progress=show)
    return _tell(console, found, report)


class ProgressLines:
    """Says on the error stream how far a run is, now and then: for logs, where no bar can be drawn.

    Parameters
    ----------
    seconds : float
        Between two lines.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._next = monotonic() + seconds

    def __call__(self, what: str, done: int, total: int) -> None:
        if monotonic() >= self._next:
            self._next = monotonic() + self._seconds
            click.echo(f"{done:,} of {total:,}: {what}", err=True)


def _tell(console: Console, found: conformance.Report, report: Path | None) -> bool:
    """Print what was found, and write the report; True when nothing failed."""
    console.print(_table(found))
    failures = found.failures()
    for line in failures[:MOST_FAILURES]:
        console.print(f"[red]failed[/] {line}", highlight=False, soft_wrap=True)
    if len(failures) > MOST_FAILURES:
        console.print(f"and {len(failures) - MOST_FAILURES} more; the report has them all")
    if found.semantics is not None:
        console.print(
            f"portable results  sha256 {found.semantics.portable_digest}", highlight=False, soft_wrap=True
        )
        for name, part in found.semantics.parts.items():
            console.print(f"part {name}  sha256 {part.portable_digest}", highlight=False, soft_wrap=True)
        if importlib.util.find_spec("ml_dtypes") is None:
            console.print(
                "refused among them: what wants bf16 arrays, for which NumPy needs ml_dtypes (pip install 'gpucore[bf16]'); "
                "the digest is of other rows than that of docs/conformance.md",
                highlight=False, markup=False,
            )  # fmt: skip
    if report is not None:
        found.write(report)
        console.print(f"report  {report}", highlight=False, soft_wrap=True)
    return found.conforms


def _table(report: conformance.Report) -> Table:
    table = Table(title=f"conformance of {report.backend}: {report.device}, {report.driver}")
    table.add_column("group")
    for name in ("passed", "refused", "failed"):
        table.add_column(name, justify="right")
    groups: dict[str, dict[str, int]] = {}
    for name, verdict in report.hooks.items():
        group = groups.setdefault(f"hooks: {name.split('.')[0]}", {"passed": 0, "refused": 0, "failed": 0})
        group[verdict.outcome] += 1
    if report.semantics is not None:
        for key, result in report.semantics.everything().items():
            group = groups.setdefault(
                f"semantics: {key.split('.')[0]}", {"passed": 0, "refused": 0, "failed": 0}
            )
            group["passed"] += result.passed
            group["refused"] += result.refused
            group["failed"] += result.failed
    for name, counts in groups.items():
        red = "[red]" if counts["failed"] else ""
        table.add_row(name, str(counts["passed"]), str(counts["refused"]), f"{red}{counts['failed']}")
    totals = [sum(c[k] for c in groups.values()) for k in ("passed", "refused", "failed")]
    table.add_section()
    table.add_row("all", *map(str, totals))
    return table
