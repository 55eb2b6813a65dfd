"""The core's own commands; each imports its work when it runs."""

from __future__ import annotations

import runpy
import sys
import traceback
import warnings
from pathlib import Path

import click


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
    from gpucore.cli.conformance import run_conformance

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
