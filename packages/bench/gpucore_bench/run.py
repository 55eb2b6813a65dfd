"""Run the groups, show the table, write JSON and plots."""

from __future__ import annotations

import datetime
import difflib
import hashlib
import importlib.metadata
import json
import os
import platform
from pathlib import Path
from typing import Any

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

import gpucore as gc
from gpucore_bench import groups
from gpucore_bench.limits import Limits
from gpucore_bench.measure import measure
from gpucore_bench.model import Report, Row, Work
from gpucore_bench.peers import KNOWN, of_peer
from gpucore_bench.table import table

SCHEMA = 1
ENVIRONMENT = (
    "OMP_WAIT_POLICY",
    "OMP_NUM_THREADS",
    "NUMBA_THREADING_LAYER",
    "NUMBA_NUM_THREADS",
    "GPUCORE_MATH",
    "GPUCORE_CHECK",
)
"""Variables that change what is measured; the report names those that are set."""
INTERRUPTED = 130
"""Exit status of a run that the user ended, as shells give it."""
WIDTH = 110
"""Columns of the table where the output is no terminal that says its own."""
PACKAGES = (
    "gpucore", "gpucore-cpu", "gpucore-cuda", "gpucore-vulkan", "numpy", "numba", "llvmlite", "cupy-cuda13x", "torch", "triton",
    "cuda-core", "cuda-bindings", "nvidia-cuda-nvrtc", "vulkan", "warp-lang", "jax", "jaxlib", "quadrants", "vkdispatch",
    "numba-vulkan",
)  # fmt: skip


def source_hash() -> str:
    """SHA-256 of gpucore's own sources and of the benchmarks', so that figures say what they were measured on."""
    sha = hashlib.sha256()
    for root in (Path(gc.__file__).parent, Path(__file__).parent):
        for path in sorted(root.rglob("*.py")):
            sha.update(path.relative_to(root.parent).as_posix().encode())
            sha.update(path.read_bytes())
    return sha.hexdigest()


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def machine(ctx: gc.Context) -> dict[str, Any]:
    """Device, driver, versions, date."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    driver = next(
        (
            d.driver
            for d in gc.backends()[ctx.backend].devices
            if d.uuid == ctx.device.uuid and d.name == ctx.device.name
        ),
        "",
    )
    return {
        "backend": ctx.backend,
        "device": ctx.device.name,
        "uuid": ctx.device.uuid,
        "kind": ctx.device.kind,
        "driver": driver,
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": versions,
        "environment": {name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "source_sha256": source_hash(),
    }


def _wanted(peers: str | None) -> Any:
    if peers is None:
        return lambda contender: True
    chosen = [p.strip() for p in peers.split(",") if p.strip()]
    unknown = [p for p in chosen if p not in KNOWN]
    if unknown:
        raise click.ClickException(f"unknown peers: {', '.join(unknown)}; known are {', '.join(KNOWN)}")
    return lambda contender: any(of_peer(contender, p) for p in ("gpucore", *chosen))


def _absent(peers: str | None, rows: list[Row]) -> list[str]:
    """Known peers (or those asked for) that no benchmark of the selection has as a contender: none goes unsaid."""
    chosen = KNOWN if peers is None else [p.strip() for p in peers.split(",") if p.strip()]
    return [p for p in chosen if not any(of_peer(r.contender, p) for r in rows)]


def _select(names: tuple[str, ...], ctx: gc.Context, quick: bool) -> list[Work]:
    every = _work_names(ctx, quick)
    for name in names:
        if name not in groups.NAMES and name not in every:
            near = difflib.get_close_matches(name, [*groups.NAMES, *every])
            raise click.ClickException(
                f"there is no benchmark {name!r}"
                + (f"; did you mean {' or '.join(map(repr, near))}?" if near else "")
                + f"\ngroups: {', '.join(groups.NAMES)}\nbenchmarks: {', '.join(map(repr, sorted(every)))}"
            )
    result = []
    for group in groups.NAMES:
        for work in groups.works(group, ctx, quick):
            if not names or group in names or work.name in names:
                result.append(work)
    return result


def _work_names(ctx: gc.Context, quick: bool) -> set[str]:
    return {work.name for group in groups.NAMES for work in groups.works(group, ctx, quick)}


def _try_to_write(path: Path) -> None:
    """Refuse a file that cannot be written before anything is measured for it."""
    if not path.parent.is_dir():
        raise click.ClickException(f"the folder {path.parent} does not exist")
    try:
        existed = path.exists()
        path.open("a").close()
        if not existed:
            path.unlink()
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror}") from error


def run_bench(
    names: tuple[str, ...],
    backend: str | None,
    peers: str | None,
    json_path: Path | None,
    plot: Path | None,
    quick: bool,
) -> bool:
    """Run, show, write; True when no contender of gpucore's failed.

    An interrupt ends the measuring, not what was measured: it is shown and written, and says that it is not all.
    """
    console = Console()
    if not console.is_terminal and console.width < WIDTH:
        console = Console(width=WIDTH)
    for path in (json_path, plot):
        if path is not None:
            _try_to_write(path)
    if plot is not None:
        from gpucore_bench.plot import check_format

        check_format(plot)
    wanted = _wanted(peers)
    with gc.Context(backend) as ctx:
        report = Report({})
        works = _select(names, ctx, quick)
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task("", total=len(works) + 1)
            limits = Limits(ctx, quick)
            rows: list[tuple[Row, Work]] = []
            try:
                for work in works:
                    if work.bounded:
                        progress.update(task, description="measuring the device's limits")
                        limits.measure_if_due()
                    progress.update(task, description=f"{work.group}: {work.name}, {work.size}")
                    rows += [(row, work) for row in measure(work, ctx, wanted, quick)]
                    progress.advance(task)
            except KeyboardInterrupt:
                report.interrupted = True
                if not rows:
                    raise
            if limits.moments:
                progress.update(task, description="measuring the device's limits")
                limits.measure()
            for row, work in rows:
                limits.judge(row, work)
                report.rows.append(row)
        report.limits, report.moments = limits.best(), limits.moments
        report.machine = machine(ctx)
    console.print(table(report, console.width))
    if report.interrupted:
        done = len({(r.group, r.name, r.size) for r in report.rows})
        console.print(f"interrupted after {done} of {len(works)} benchmarks", style="yellow")
    report.absent = _absent(peers, report.rows)
    if report.absent and not report.interrupted:
        console.print(f"no contender in this selection: {', '.join(report.absent)}", highlight=False)
    if json_path is not None:
        json_path.write_text(json.dumps(document(report), indent=1) + "\n", "utf-8")
        console.print(f"figures  {json_path}", highlight=False)
    if plot is not None:
        from gpucore_bench.plot import draw

        draw(document(report), plot)
        console.print(f"plot     {plot}", highlight=False)
    if report.interrupted:
        raise click.exceptions.Exit(INTERRUPTED)
    return not any(r.error for r in report.rows if r.contender.startswith("gpucore"))


def document(report: Report) -> dict[str, Any]:
    """The report as JSON."""
    return {
        "schema": SCHEMA,
        "machine": report.machine,
        "limits": report.limits | ({"moments": report.moments} if report.moments else {}),
        "absent_peers": report.absent,
        "rows": [row.as_json() for row in report.rows],
        **({"interrupted": True} if report.interrupted else {}),
    }
