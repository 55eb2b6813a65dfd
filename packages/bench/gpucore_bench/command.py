"""``gpucore bench``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--backend", "-b", help="A selector, as in GPUCORE_BACKEND.")
@click.option(
    "--peers",
    help="Comma-separated: numpy, numba, cupy, torch, triton, jax, warp, quadrants, cuda.core, cuda.bindings, vulkan-cffi, "
    "vkdispatch, numba-vulkan (default: all of them that are installed).",
)
@click.option(
    "--json", "json_path", type=click.Path(path_type=Path, dir_okay=False), help="Write results here."
)
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Draw the results as a PNG.")
@click.option("--quick", is_flag=True, help="Small sizes, under two minutes.")
def bench(
    names: tuple[str, ...],
    backend: str | None,
    peers: str | None,
    json_path: Path | None,
    plot: Path | None,
    quick: bool,
) -> None:
    """Measure gpucore beside its peers, in one run.

    On this machine, beside what one would use instead.

    NAME is a group (launch, stream, compute, transfer, graph, pipeline, compile, memory, start) or a benchmark of one, such as
    saxpy; all are run where none is given.
    """
    from gpucore_bench.run import run_bench

    if not run_bench(names, backend, peers, json_path, plot, quick):
        raise click.exceptions.Exit(1)
