"""Run the stages, check them, time them, show them."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

import gpucore as gc
from gpucore.cli.demo import inputs, picture
from gpucore.cli.demo.stages import Stage, build

REPEATS = 5


@dataclass(frozen=True)
class Outcome:
    """A finished stage: device time in milliseconds (median), largest error, and the pixels."""

    stage: Stage
    milliseconds: float
    error: float
    result: npt.NDArray[np.float32]

    @property
    def passed(self) -> bool:
        return self.error <= self.stage.tolerance


def run(image: Path | None, backend: str | None, output: Path, console: Console) -> bool:
    """Run everything; True when every stage agrees with its reference."""
    folder = output.parent
    if not folder.is_dir():
        raise click.ClickException(f"the folder {folder} for the picture does not exist")
    photo, terrain = inputs.photograph(image), inputs.terrain()
    with gc.Context(backend) as ctx:
        stages = build(ctx, photo, terrain)
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        outcomes = []
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task("starting", total=len(stages) * 3)
            for stage in stages:
                progress.update(task, description=f"{stage.title}: compile and first run")
                stage.launch()
                ctx.synchronize()
                progress.update(task, advance=1, description=f"{stage.title}: timing")
                milliseconds = _time(ctx, stage)
                progress.update(task, advance=1, description=f"{stage.title}: checking against NumPy")
                result = stage.launch().numpy()
                error = float(np.max(np.abs(result.astype(np.float64) - stage.expected())))
                outcomes.append(Outcome(stage, milliseconds, error, result))
                progress.advance(task)
            progress.update(task, description="drawing")
            panels = [picture.to_rgb(o.result) for o in outcomes]
            cards = [
                (
                    o.stage.title,
                    f"{o.result.shape[-1]} x {o.result.shape[-2]}",
                    picture.to_rgb(o.stage.before),
                    panel,
                )
                for o, panel in zip(outcomes, panels, strict=True)
            ]
            picture.compose(cards, output)
        console.print(_table(ctx, outcomes, photo))
        console.print(f"picture  {output}", highlight=False, soft_wrap=True)
        console.print(f"pixels   sha256 {picture.digest(panels)}", highlight=False, soft_wrap=True)
    return all(o.passed for o in outcomes)


def _time(ctx: gc.Context, stage: Stage) -> float:
    times = []
    for _ in range(REPEATS):
        start, end = ctx.event(timing=True), ctx.event(timing=True)
        ctx.default_stream.record(start)
        stage.launch()
        ctx.default_stream.record(end)
        end.synchronize()
        times.append(start.elapsed_time(end))
    return statistics.median(times)


def _table(ctx: gc.Context, outcomes: list[Outcome], photo: npt.NDArray[np.float32]) -> Table:
    table = Table(
        title=f"gpucore demo on {ctx.backend}, {ctx.device.name}: "
        f"a photograph of {photo.shape[2]} x {photo.shape[1]} and a terrain",
        caption="time: median of device times; throughput: each input read once, each output written once; "
        "error: largest difference from NumPy in double precision",
    )
    for name, justify in (
        ("kernel", "left"),
        ("time", "right"),
        ("throughput", "right"),
        ("largest error", "right"),
        ("", "left"),
    ):
        table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for o in outcomes:
        rate = o.stage.bytes_moved / (o.milliseconds * 1e-3) / 1e9 if o.milliseconds > 0 else float("nan")
        table.add_row(
            o.stage.title,
            f"{o.milliseconds:.3f} ms",
            f"{rate:.2f} GB/s",
            f"{o.error:.1e}",
            "[green]ok[/]" if o.passed else f"[red]over {o.stage.tolerance:.0e}[/]",
        )
    return table
