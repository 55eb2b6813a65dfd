"""``gpucore profile``: a script under the profiler."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import click

import gpucore

__all__ = ["profile_script"]


def profile_script(
    script: Path, arguments: tuple[str, ...], output: Path, picture: Path | None, allocations: bool
) -> None:
    """Run a script as ``python SCRIPT ARGUMENTS`` does, then print the table and write the trace.

    Where the script raises or leaves with a status, the profile of what it did until then is shown first.
    """
    before = sys.argv, sys.path
    sys.argv = [str(script), *arguments]
    sys.path = [str(script.resolve().parent), *sys.path]
    try:
        with gpucore.profile(allocations=allocations) as prof:
            runpy.run_path(str(script), run_name="__main__")
    finally:
        sys.argv, sys.path = before
        click.echo(prof.table())
        prof.save(output)
        click.echo(f"wrote {output}: open it at https://ui.perfetto.dev")
        if picture is not None and prof.events:
            prof.plot(picture)
            click.echo(f"wrote {picture}")
