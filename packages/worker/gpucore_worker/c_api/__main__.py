"""``python -m gpucore_worker.c_api FOLDER``: build the shared library, and put the header beside it."""

from __future__ import annotations

from pathlib import Path

import click

from gpucore_worker.c_api.build import build


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
def main(folder: Path) -> None:
    """Build libgpucore_worker and its header into FOLDER; needs cffi, setuptools and a C compiler."""
    library = build(folder)
    click.echo(
        f"{library}\ncc program.c -I{folder} -L{folder} -lgpucore_worker -Wl,-rpath,{folder.resolve()}"
    )


main()
