"""The core's own commands; each imports its work when it runs."""

from __future__ import annotations

import importlib.util
import runpy
import sys
import traceback
import warnings
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from gpucore.testing.conformance import Report

MOST_FAILURES = 20
PROGRESS_SECONDS = 10.0


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def info(as_json: bool) -> None:
    """Show versions, backends, devices, and the choice.

    What would be chosen and why, and where each setting comes from.
    """
    from gpucore.cli.report import show_info

    show_info(as_json)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def doctor(as_json: bool) -> None:
    """Find out what is missing, and the fix.

    For each plugin: what was tried and found, and what to install or set.
    """
    from gpucore.cli.report import show_doctor

    healthy = show_doctor(as_json)
    if not healthy:
        raise click.exceptions.Exit(1)


@click.command()
@click.argument("image", required=False, type=click.Path(path_type=Path))
@click.option("--backend", "-b", help="A selector: cpu, cuda:1, vulkan:NVIDIA, or a list such as cuda,cpu.")
@click.option(
    "--output", "-o", type=click.Path(path_type=Path, dir_okay=False), default="gpucore-demo.png", show_default=True,
    help="Where to write the picture.",
)  # fmt: skip
def demo(image: Path | None, backend: str | None, output: Path) -> None:
    """Run kernels on a photograph and a terrain.

    IMAGE is the photograph, or one that matplotlib ships; a picture shows before and after.
    """
    from gpucore.cli.app import terminal, where_to_find
    from gpucore.errors import RaceWarning

    try:
        from gpucore.cli.demo.run import run
    except ModuleNotFoundError as error:
        if error.name != "gpucore.cli.demo":
            raise
        raise click.ClickException(where_to_find("demo")) from None

    with warnings.catch_warnings():
        # its blocks are one thread deep along axis 0, which a kernel's source does not say
        warnings.simplefilter("ignore", RaceWarning)
        passed = run(image, backend, output, terminal())
    if not passed:
        raise click.ClickException(
            "a kernel's result differs from NumPy by more than its tolerance (see the table)"
        )


@click.group()
def cache() -> None:
    """Look at or empty the cache of compiled kernels."""


@cache.command("stats")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def cache_stats(as_json: bool) -> None:
    """Entries, bytes, and where they are."""
    from gpucore.cli.report import show_cache

    show_cache(as_json)


@cache.command("clear")
def cache_clear() -> None:
    """Remove every entry."""
    import gpucore

    before = gpucore.cache.stats()
    gpucore.cache.clear()
    click.echo(f"removed {before['entries']} entries, {before['bytes']} bytes")


@cache.command("explain")
@click.argument("kernel")
@click.argument("arguments", nargs=-1)
def cache_explain(kernel: str, arguments: tuple[str, ...]) -> None:
    """Say why the next launch of KERNEL (module:name) with ARGUMENTS (f32[1000], i32=3) hits or misses."""
    from gpucore.cli.report import explain_cache

    explain_cache(kernel, arguments)


@click.command()
@click.option("--backend", "-b", help="A selector, as in GPUCORE_BACKEND.")
@click.option(
    "--report", type=click.Path(path_type=Path, dir_okay=False), help="Write the report here as JSON."
)
def conformance(backend: str | None, report: Path | None) -> None:
    """Check a backend against the contract.

    Every semantics row and every hook case; it takes minutes, and says how far it is.
    """
    if not run_conformance(backend, report):
        raise click.exceptions.Exit(1)


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option(
    "--output", "-o", type=click.Path(path_type=Path, dir_okay=False), default="gpucore-profile.json", show_default=True,
    help="Where to write the trace, which https://ui.perfetto.dev opens.",
)  # fmt: skip
@click.option(
    "--picture", "-p", type=click.Path(path_type=Path, dir_okay=False), help="Draw the timeline here."
)
@click.option("--allocations", is_flag=True, help="Note allocations, too.")
@click.argument("script", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def profile(
    output: Path, picture: Path | None, allocations: bool, script: Path, arguments: tuple[str, ...]
) -> None:
    """Run SCRIPT and show what took how long.

    ARGUMENTS are its own; kernels, copies and waits are timed.
    """
    profile_script(script, arguments, output, picture, allocations)


def profile_script(
    script: Path, arguments: tuple[str, ...], output: Path, picture: Path | None, allocations: bool
) -> None:
    """Run a script as ``python SCRIPT ARGUMENTS`` does, then print the table and write the trace.

    Where the script raises or leaves with a status, the profile of what it did until then is shown first, then the traceback
    from the script's own line on.
    """
    import gpucore

    before = sys.argv, sys.path
    failed: Exception | None = None
    sys.argv = [str(script), *arguments]
    sys.path = [str(script.resolve().parent), *sys.path]
    try:
        with gpucore.profile(allocations=allocations) as prof:
            try:
                runpy.run_path(str(script), run_name="__main__")
            except Exception as error:  # noqa: BLE001 - whatever the script raises is shown below
                failed = error
    finally:
        sys.argv, sys.path = before
        click.echo(prof.table())
        prof.save(output)
        click.echo(f"wrote {output}: open it at https://ui.perfetto.dev")
        if picture is not None and prof.events:
            prof.plot(picture)
            click.echo(f"wrote {picture}")
    if failed is not None:
        frames = failed.__traceback__
        while frames is not None and frames.tb_frame.f_code.co_filename != str(script):
            frames = frames.tb_next
        traceback.print_exception(failed.with_traceback(frames or failed.__traceback__))
        raise SystemExit(1)


# --- gpucore conformance


def run_conformance(selector: str | None, report: Path | None) -> bool:
    """Run every hook case and every semantics row; True when nothing failed."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    import gpucore
    from gpucore.cli.app import terminal
    from gpucore.testing import conformance

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


def _tell(console: Console, found: Report, report: Path | None) -> bool:
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


def _table(report: Report) -> Table:
    from rich.table import Table

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
