"""Run generators on targets, show what comes, write the report."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from gpucore_fuzz.generators import GENERATORS
from gpucore_fuzz.model import Verdict
from gpucore_fuzz.processes import Job, NotOpenedError, verdicts
from gpucore_fuzz.report import Result, table, write

__all__ = ["run_fuzz", "show_programs"]

WIDTH = 132
"""Columns where the output is no terminal that says its own."""
CACHE_BYTES = 1 << 28
"""Of code that a run keeps on disk; it looks nothing up there but what was found out of the device."""
TEXTS = 10
"""Wrong programs that are shown."""
SAID_EVERY = 30.0
"""Seconds between lines that say how far a run is, where the output is no terminal."""
WRITTEN_EVERY = 10.0
"""Seconds after which the report is written anew."""


def _console() -> Console:
    console = Console()
    return console if console.is_terminal or console.width >= WIDTH else Console(width=WIDTH)


def _chosen(generators: tuple[str, ...], target: str | None) -> list[str]:
    unknown = [g for g in generators if g not in GENERATORS]
    if unknown:
        known = "; ".join(f"{name}: {g.summary}" for name, g in GENERATORS.items())
        raise click.ClickException(f"there is no generator {unknown[0]!r}. {known}")
    if generators:
        return list(dict.fromkeys(generators))
    return [name for name in GENERATORS if target != "interpreter" or name in ("values", "tiles")]


class _Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a run as Ctrl-C does."""


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end a run, not what was found until then."""

    def end(number: int, frame: FrameType | None) -> None:
        raise _Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def run_fuzz(
    backends: tuple[str, ...],
    generators: tuple[str, ...],
    seeds: tuple[int, int],
    processes: int,
    checked: bool,
    shrink: bool,
    json_path: Path | None,
    seconds: float = math.inf,
) -> int:
    """Run, show, write; the exit status, 0 when programs ran and none was wrong or hung.

    After ``seconds`` for a generator on a target no more programs are begun, and soon after all are ended.  An interrupt ends
    the run, not what was found: it is shown and written.  The report is written while the run goes on, too.
    """
    # random kernels would fill a cache that nobody reads again; what a plugin finds out of a device is for all processes
    with tempfile.TemporaryDirectory(prefix="gpucore-fuzz-", ignore_cleanup_errors=True) as folder:
        os.environ["GPUCORE_CACHE_DIR"] = folder
        os.environ["GPUCORE_CACHE_LIMIT"] = str(CACHE_BYTES)
        run = _Run(_console(), json_path)
        status = 0
        try:
            with _ended_by_sigterm():
                for target in backends or (None,):
                    for generator in _chosen(generators, target):
                        GENERATORS[generator].check(target, checked)
                        run.generate(Job(generator, target, checked, shrink), seeds, processes, seconds)
        except _Terminated:
            status = 143
        except KeyboardInterrupt:
            status = 130
        except NotOpenedError as error:
            click.echo(f"Error: {error}", err=True)
            status = 1
        run.end()
        idle = [f"{r.generator} on {r.target or 'the default device'}" for r in run.results if not r.verdicts]
        if idle and not status:
            click.echo(f"Error: no program ran in the time given: {', '.join(idle)}", err=True)
            status = 1
        return status or int(any(r.failed for r in run.results))


class _Run:
    """The results so far, and where they are shown."""

    def __init__(self, console: Console, path: Path | None) -> None:
        self.console, self.path = console, path
        self.results: list[Result] = []
        self.written = time.monotonic()

    def generate(self, job: Job, seeds: tuple[int, int], processes: int, limit: float) -> None:
        """Run a generator on a target."""
        result = Result(job.target or "", "", job.generator, *seeds)
        self.results.append(result)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        started = said = time.monotonic()

        def opened(backend: str, device: str) -> None:
            result.target, result.device = backend, device

        try:
            with Progress(*columns, console=self.console, transient=True) as progress:
                name = f"{job.target or 'default'}, {job.generator}"
                task = progress.add_task(name, total=result.stop - result.first)
                for verdict in verdicts(job, range(*seeds), processes, limit, opened):
                    again = verdict.seed in result.verdicts
                    result.add(verdict)
                    result.seconds = time.monotonic() - started
                    progress.update(task, completed=len(result.verdicts))
                    if verdict.outcome in ("wrong", "hung"):
                        self._show(result, job, verdict, again)
                    elif not self.console.is_terminal and time.monotonic() - said > SAID_EVERY:
                        said = time.monotonic()
                        self.console.print(result.line(), highlight=False)
                    if verdict.outcome != "right" or time.monotonic() - self.written > WRITTEN_EVERY:
                        self._write()
        finally:
            result.seconds = time.monotonic() - started
            if len(result.verdicts) < result.stop - result.first:
                result.stop = max(result.verdicts, default=result.first - 1) + 1

    def _show(self, result: Result, job: Job, verdict: Verdict, again: bool) -> None:
        if len(result.failed) > TEXTS:
            return
        if again:
            self.console.print("made smaller:")
        else:
            command = f"gpucore fuzz --generator {result.generator} --backend {result.target} --seeds {verdict.seed}"
            command += " --checked" if job.checked else ""
            self.console.print(f"[red]{verdict.outcome}[/red]: {command}", highlight=False)
        self.console.print(verdict.text, highlight=False, markup=False, soft_wrap=True)

    def _write(self) -> None:
        self.written = time.monotonic()
        if self.path is not None:
            write(self.path, self.results)

    def end(self) -> None:
        """Show and write all."""
        self._write()
        self.console.print(table(self.results))
        if self.path is not None:
            self.console.print(f"report  {self.path}", highlight=False)


def show_programs(generators: tuple[str, ...], seeds: tuple[int, int]) -> None:
    """Print the programs of seeds."""
    for generator in _chosen(generators, None):
        for seed in range(*seeds):
            click.echo(f"# {generator}, seed {seed}")
            click.echo(GENERATORS[generator].text(seed))
