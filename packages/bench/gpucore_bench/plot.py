"""Pictures of a report, for people: a panel a work, a bar a contender."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from gpucore_bench.model import IN_SHORT
from gpucore_bench.table import duration

OURS = {"gpucore": "#1558d6", "gpucore strict": "#1558d6", "gpucore fast": "#6ea8fe"}
PEERS = {
    "numpy": "#f4a261", "numba parallel": "#2a9d8f", "numba parallel fastmath": "#8ad1c6", "cupy": "#9d4edd",
    "cupy RawKernel": "#9d4edd", "cupy RawKernel fast": "#c9a5f0", "torch": "#e63946", "triton": "#6c757d",
    "cuda.core": "#588157", "cuda.bindings prepacked": "#a3b18a", "vulkan-cffi": "#8d6e63", "warp": "#00897b",
    "warp fast": "#80cbc4", "jax": "#c0ca33", "quadrants": "#d81b60", "vkdispatch": "#546e7a", "numba-vulkan": "#ffb300",
}  # fmt: skip
COLUMNS = 3
CUT = 12
"""A bar longer than this many times gpucore's is cut; its time is still written."""


def pyplot() -> Any:
    """Matplotlib's ``pyplot``, drawing to files.

    Raises
    ------
    click.ClickException
        When matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise click.ClickException(
            "plots need matplotlib; install it with: pip install 'gpucore[bench]'"
        ) from None
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def check_format(path: Path) -> str:
    """The format that a file's suffix names, PNG where it has none.

    Raises
    ------
    click.ClickException
        When matplotlib is not installed, or does not write such files.
    """
    pyplot()
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    known = FigureCanvasAgg.get_supported_filetypes()
    wanted = path.suffix[1:].lower() or "png"
    if wanted not in known:
        raise click.ClickException(
            f"no plot can be written as {path.name}; end the name in .png, .svg or .pdf"
        )
    return wanted


def colour(contender: str) -> str:
    """One colour for a contender in every picture."""
    contender = contender.removesuffix(", spinning")
    return OURS.get(contender) or PEERS.get(contender) or PEERS.get(contender.split(" ")[0], "#adb5bd")


def largest(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each work its rows at the largest size."""
    top: dict[str, int] = {}
    for row in rows:
        top[row["name"]] = max(top.get(row["name"], 0), row["size"])
    return [row for row in rows if row["size"] == top[row["name"]]]


def draw(document: dict[str, Any], path: Path) -> None:
    """Every group of a report in one picture; a group with a single bar is left to the table."""
    plt = pyplot()
    measured = [row for row in document["rows"] if row["median"]]
    groups = {
        group: largest([row for row in measured if row["group"] == group])
        for group in dict.fromkeys(row["group"] for row in measured)
    }
    if not groups:
        raise click.ClickException("nothing was measured, so there is nothing to plot")
    groups = {group: rows for group, rows in groups.items() if panels(rows)} or groups
    heights = [height(rows) for rows in groups.values()]
    figure = plt.figure(figsize=(12.5, sum(heights)), layout="constrained")
    parts = figure.subfigures(len(groups), 1, height_ratios=heights, squeeze=False)[:, 0]
    machine = document["machine"]
    for part, (group, rows) in zip(parts, groups.items(), strict=True):
        bars(part, f"{group} on {machine['backend']}, {machine['device']}", rows)
    figure.savefig(path, dpi=110, format=check_format(path))
    plt.close(figure)


@dataclass(frozen=True)
class Panel:
    """Bars that are drawn beside one another, each with its name."""

    title: str
    rows: list[dict[str, Any]]
    names: list[str]


def panels(rows: Sequence[dict[str, Any]]) -> list[Panel]:
    """A panel a work, of its measured rows; works that one contender alone did share the last one.  No panel has one bar:
    there is none at all where only one row was measured.
    """
    works: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["median"]:
            works.setdefault(row["name"], []).append(row)
    result = [
        Panel(_title(found[0]), found, [row["contender"] for row in found])
        for found in works.values()
        if len(found) > 1
    ]
    alone = [found[0] for found in works.values() if len(found) == 1]
    if len(alone) > 1:
        who = " or ".join(dict.fromkeys(row["contender"] for row in alone))
        result.append(Panel(f"{who} alone", alone, [_title(row) for row in alone]))
    return result


def _title(row: dict[str, Any]) -> str:
    return f"{row['name']}, {row['size']:,}" if row["size"] > 1 else str(row["name"])


def _drawn(rows: Sequence[dict[str, Any]]) -> list[Panel]:
    """The panels, or the one row where there is nothing else."""
    found = [row for row in rows if row["median"]]
    return panels(found) or [Panel(_title(row), [row], [row["contender"]]) for row in found]


def _heights(drawn: list[Panel]) -> list[float]:
    sizes = [len(panel.rows) for panel in drawn]
    return [0.62 + 0.25 * max(sizes[k : k + COLUMNS]) for k in range(0, len(sizes), COLUMNS)]


def height(rows: Sequence[dict[str, Any]]) -> float:
    """Inches that :func:`bars` wants for these rows."""
    return sum(_heights(_drawn(rows))) + 0.5


def bars(figure: Any, title: str, rows: Sequence[dict[str, Any]]) -> None:
    """Small multiples in a figure or subfigure: a panel a work, a bar a contender, its time; shorter is better."""
    drawn = _drawn(rows)
    heights = _heights(drawn)
    axes = figure.subplots(
        len(heights), min(COLUMNS, len(drawn)), squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    for axis in axes.flat:
        axis.set_visible(False)
    for axis, panel in zip(axes.flat, drawn, strict=False):
        axis.set_visible(True)
        _draw_panel(axis, panel)
    figure.suptitle(
        f"{title}: median time, shorter is better", x=0.01, ha="left", fontweight="bold", fontsize=11
    )


def _draw_panel(axis: Any, panel: Panel) -> None:
    rows = panel.rows
    best = min((r["median"] for r in rows if r["contender"].startswith("gpucore")), default=rows[0]["median"])
    slowest = max(r["median"] for r in rows)
    limit = min(slowest, CUT * best)
    for k, row in enumerate(rows):
        cut = row["median"] > limit * 1.001
        length = min(row["median"], limit)
        axis.barh(k, length, 0.78, color=colour(row["contender"]), alpha=0.55 if cut else 1.0, linewidth=0)
        if cut:  # a gap says that the bar goes on
            axis.barh(k, 0.012 * limit, 0.9, left=0.42 * limit, color="white")
        inside = row["median"] > 0.55 * limit
        axis.text(
            length + (-0.012 if inside else 0.012) * limit, k, _label(row), va="center", fontsize=8,
            ha="right" if inside else "left", color="#222222",
            bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "alpha": 0.8, "linewidth": 0} if inside else None,
        )  # fmt: skip
    axis.set_yticks(range(len(rows)), panel.names, fontsize=8)
    axis.invert_yaxis()
    axis.set_xlim(0, limit * 1.02)
    axis.set_xticks([])
    for side in ("top", "right", "bottom"):
        axis.spines[side].set_visible(False)
    axis.set_title(panel.title, loc="left", fontsize=9)


def _label(row: dict[str, Any]) -> str:
    """The time, and gpucore's fraction of the device's limit or the others' ratio."""
    text = duration(row["median"])
    ratio = row["ratio"]
    if ratio is not None:
        return f"{text}  ({ratio:,.2f}x)" if ratio < 2 else f"{text}  ({ratio:,.{1 if ratio < 100 else 0}f}x)"
    return f"{text}  {of_limit(row)}" if row["fraction"] else text


def of_limit(row: dict[str, Any]) -> str:
    """The fraction of the limit, and why it is above 1 where it is."""
    why = IN_SHORT.get(row.get("notes", ""))
    return f"{row['fraction']:.0%} of limit" + (f", {why}" if why else "")
