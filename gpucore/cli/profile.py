"""``gpucore profile``: a script under the profiler."""

from __future__ import annotations

import runpy
import sys
import traceback
from pathlib import Path

import click

import gpucore

__all__ = ["profile_script"]


def profile_script(
    script: Path, arguments: tuple[str, ...], output: Path, picture: Path | None, allocations: bool
) -> None:
    """Run a script as ``python SCRIPT ARGUMENTS`` does, then print the table and write the trace.

    Where the script raises or leaves with a status, the profile of what it did until then is shown first, then the traceback
    from the script's own line on.
    """
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
