"""``gpucore fuzz``."""

from __future__ import annotations

import math
import multiprocessing
import os
import re
import sys
from pathlib import Path

import click


class Seeds(click.ParamType[tuple[int, int]]):
    """``A:B``, the seeds from A up to B; ``N``, that seed alone."""

    name = "A:B"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"(\d+)(?::(\d+))?", str(value))
        if match is None:
            self.fail(f"{value!r} is not a range of seeds; write 0:1000, or one seed", param, ctx)
        first = int(match[1])
        stop = first + 1 if match[2] is None else int(match[2])
        if stop <= first:
            self.fail(f"{value!r} holds no seed", param, ctx)
        return first, stop


@click.command()
@click.option(
    "--backend",
    "-b",
    "backends",
    multiple=True,
    help="A selector, as in GPUCORE_BACKEND, or 'interpreter'; may be repeated.",
)
@click.option(
    "--generator", "-g", "generators", multiple=True, metavar="NAME",
    help="ir, blocks, values or tiles; may be repeated (default: all that can judge the backend).",
)  # fmt: skip
@click.option(
    "--seeds", type=Seeds(), default="0:200", show_default=True, help="Which programs, or one seed."
)
@click.option("--processes", "-p", type=click.IntRange(1), default=1, show_default=True)
@click.option(
    "--seconds", type=click.FloatRange(0.0), default=math.inf, show_default="no end",
    help="After so long begin no more programs, and a minute later at most all are ended; the report says which seeds were run.",
)  # fmt: skip
@click.option("--checked", is_flag=True, help="Every launch in checked mode.")
@click.option("--shrink/--no-shrink", default=True, help="Make failing programs small before they are shown.")
@click.option("--show", is_flag=True, help="Print the programs instead of running them.")
@click.option(
    "--json", "json_path", type=click.Path(path_type=Path, dir_okay=False), help="Write the report here."
)
def fuzz(
    backends: tuple[str, ...],
    generators: tuple[str, ...],
    seeds: tuple[int, int],
    processes: int,
    seconds: float,
    checked: bool,
    shrink: bool,
    show: bool,
    json_path: Path | None,
) -> None:
    """Run random programs and compare every bit.

    They run on a backend and are compared with a reference.

    A seed always makes the same program.  Exit status 1 where a program is wrong or hung, or none ran.
    """
    from gpucore_fuzz.run import run_fuzz, show_programs

    if show:
        show_programs(generators, seeds)
        return
    status = run_fuzz(backends, generators, seeds, processes, checked, shrink, json_path, seconds)
    if multiprocessing.active_children():  # the system cannot end them, and Python would wait for them
        sys.stdout.flush()
        os._exit(status)
    if status:
        raise click.exceptions.Exit(status)
