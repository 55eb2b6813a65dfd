"""Plots of one or several reports, for people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

COLOURS = {"gpucore strict": "#1565c0", "gpucore fast": "#64b5f6", "gpucore": "#1565c0"}
OTHERS = ("#ef6c00", "#8e24aa", "#2e7d32", "#c62828", "#6d4c41", "#455a64", "#9e9d24")


def _largest(document: dict[str, Any], group: str) -> list[tuple[str, list[dict[str, Any]]]]:
    """For each work of a group its rows at the largest size."""
    rows = [r for r in document["rows"] if r["group"] == group and r["median"]]
    result = []
    for name in dict.fromkeys(r["name"] for r in rows):
        of_work = [r for r in rows if r["name"] == name]
        top = max(r["size"] for r in of_work)
        result.append((name, [r for r in of_work if r["size"] == top]))
    return result


def draw(documents: Sequence[dict[str, Any]], path: Path) -> None:
    """A panel a group and report: each contender's speed, gpucore's best being 1."""
    try:
        import matplotlib
    except ImportError:
        raise click.ClickException(
            "plots need matplotlib; install it with: pip install 'gpucore[bench]'"
        ) from None
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    panels = [
        (document, group, works)
        for document in documents
        for group in dict.fromkeys(r["group"] for r in document["rows"])
        if (works := _largest(document, group))
    ]
    if not panels:
        raise click.ClickException("nothing was measured, so there is nothing to plot")
    heights = [0.9 + 0.22 * sum(len(rows) + 0.8 for _, rows in works) for _, _, works in panels]
    figure, axes = plt.subplots(
        len(panels), 1, figsize=(10, sum(heights)), squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    for axis, (document, group, works) in zip(axes[:, 0], panels, strict=True):
        _panel(axis, document, group, works)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _panel(
    axis: Any, document: dict[str, Any], group: str, works: list[tuple[str, list[dict[str, Any]]]]
) -> None:
    palette = dict(COLOURS)
    others = iter(OTHERS * 8)
    position, ticks, labels = 0.0, [], []
    for name, rows in works:
        best = min((r["median"] for r in rows if r["contender"].startswith("gpucore")), default=None)
        best = best or min(r["median"] for r in rows)
        for row in rows:
            contender = row["contender"]
            colour = (
                palette.setdefault(contender, next(others))
                if contender not in palette
                else palette[contender]
            )
            speed = best / row["median"]
            axis.barh(position, speed, 0.85, color=colour)
            fraction = f", {row['fraction']:.0%} of {row['limit']}" if row["fraction"] else ""
            axis.text(
                speed + 0.015,
                position,
                f"{speed:.2f}  {_time(row['median'])}{fraction}",
                va="center",
                fontsize=7,
            )
            ticks.append(position)
            labels.append(f"{name}: {contender}" if row is rows[0] else contender)
            position += 1
        position += 0.8
    axis.set_yticks(ticks, labels, fontsize=7)
    axis.invert_yaxis()
    axis.axvline(1.0, color="#999999", linewidth=0.8, zorder=0)
    axis.set_xlim(0, max(p.get_width() for p in axis.patches) * 1.28)
    machine = document["machine"]
    axis.set_title(
        f"{group} on {machine['backend']}, {machine['device']}: speed, gpucore's best = 1",
        fontsize=9,
        loc="left",
    )
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def _time(seconds: float) -> str:
    from gpucore.cli.bench.table import duration

    return duration(seconds)
