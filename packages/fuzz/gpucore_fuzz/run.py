"""Run generators on targets, show what comes, write the report."""

from __future__ import annotations

import math
import os
import tempfile
import time
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import gpucore as gc
from gpucore_fuzz.generators import GENERATORS
from gpucore_fuzz.processes import Job, verdicts
from gpucore_fuzz.report import Result, table, write

__all__ = ["run_fuzz", "show_programs"]

WIDTH = 132
"""Columns where the output is no terminal that says its own."""
CACHE_BYTES = 1 << 28
"""Of code that a run keeps on disk; it looks nothing up there but what was found out of the device."""
TEXTS = 10
"""Wrong programs that are shown."""


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
    return [name for name in GENERATORS if target != "interpreter" or name == "values"]


def _device(target: str | None) -> tuple[str, str]:
    """The name of the backend that a selector means, and of its device."""
    if target == "interpreter":
        return "interpreter", ""
    with gc.Context(target) as context:
        return context.backend, context.device.name


def run_fuzz(
    backends: tuple[str, ...],
    generators: tuple[str, ...],
    seeds: tuple[int, int],
    processes: int,
    checked: bool,
    shrink: bool,
    json_path: Path | None,
    seconds: float = math.inf,
) -> bool:
    """Run, show, write; True when no program was wrong.

    After ``seconds`` for a generator on a target no more programs are begun.  An interrupt ends the run, not what was found:
    it is shown and written.
    """
    # random kernels would fill a cache that nobody reads again; what a plugin finds out of a device is for all processes
    with tempfile.TemporaryDirectory(prefix="gpucore-fuzz-", ignore_cleanup_errors=True) as folder:
        os.environ["GPUCORE_CACHE_DIR"] = folder
        os.environ["GPUCORE_CACHE_LIMIT"] = str(CACHE_BYTES)
        return _run_all(backends, generators, seeds, processes, checked, shrink, json_path, seconds)


def _run_all(
    backends: tuple[str, ...],
    generators: tuple[str, ...],
    seeds: tuple[int, int],
    processes: int,
    checked: bool,
    shrink: bool,
    json_path: Path | None,
    seconds: float = math.inf,
) -> bool:
    console = _console()
    results: list[Result] = []
    interrupted = False
    for target in backends or (None,):
        for generator in _chosen(generators, target):
            result = Result(*_device(target), generator, *seeds)
            results.append(result)
            interrupted = not _run(
                result, Job(generator, target, checked, shrink), processes, seconds, console
            )
            if interrupted:
                break
        if interrupted:
            break
    console.print(table(results))
    if json_path is not None:
        write(json_path, results)
        console.print(f"report  {json_path}", highlight=False)
    if interrupted:
        raise click.exceptions.Exit(130)
    return not any(r.wrong for r in results)


def _run(result: Result, job: Job, processes: int, limit: float, console: Console) -> bool:
    """Fill a result; False where the user ended it."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    started = time.monotonic()
    try:
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task(f"{result.target}, {result.generator}", total=result.stop - result.first)
            for verdict in verdicts(job, range(result.first, result.stop), processes, limit):
                result.add(verdict)
                progress.advance(task)
                if verdict.outcome == "wrong" and len(result.wrong) <= TEXTS:
                    again = f"gpucore fuzz --generator {result.generator} --backend {result.target} --seeds {verdict.seed}"
                    console.print(
                        f"[red]wrong[/red]: {again}{' --checked' if job.checked else ''}", highlight=False
                    )
                    console.print(verdict.text, highlight=False, markup=False, soft_wrap=True)
    except KeyboardInterrupt:
        return False
    except RuntimeError as error:
        raise click.ClickException(str(error)) from error
    finally:
        result.seconds = time.monotonic() - started
        if result.verdicts and time.monotonic() - started > limit:
            result.stop = max(result.verdicts) + 1
    return True


def show_programs(generators: tuple[str, ...], seeds: tuple[int, int]) -> None:
    """Print the programs of seeds."""
    for generator in _chosen(generators, None):
        for seed in range(*seeds):
            click.echo(f"# {generator}, seed {seed}")
            click.echo(GENERATORS[generator].text(seed))
