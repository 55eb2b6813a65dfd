"""The pictures of ``docs/performance.md``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter

from gpucore.cli.bench.table import duration

OURS = {"gpucore": "#1558d6", "gpucore strict": "#1558d6", "gpucore fast": "#6ea8fe"}
PEERS = {
    "numpy": "#f4a261", "numba parallel": "#2a9d8f", "numba parallel fastmath": "#8ad1c6", "cupy": "#9d4edd",
    "cupy RawKernel": "#9d4edd", "cupy RawKernel fast": "#c9a5f0", "torch": "#e63946", "triton": "#6c757d",
    "cuda.core": "#588157", "cuda.bindings prepacked": "#a3b18a", "vulkan-cffi": "#8d6e63",
}  # fmt: skip
plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "figure.dpi": 100})


def colour(contender: str) -> str:
    """One colour for a contender on every page."""
    return OURS.get(contender) or PEERS.get(contender) or PEERS.get(contender.split(" ")[0], "#adb5bd")


def largest(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each work its rows at the largest size."""
    top: dict[str, int] = {}
    for row in rows:
        top[row["name"]] = max(top.get(row["name"], 0), row["size"])
    return [row for row in rows if row["size"] == top[row["name"]]]


def _slug(*parts: str) -> str:
    return "-".join(
        "".join(c if c.isalnum() else " " for c in part).lower().replace(" ", "-") for part in parts
    ).replace("--", "-")


def bars(place: str, group: str, rows: list[dict[str, Any]], folder: Path) -> str | None:
    """Small multiples: a panel a work, a bar a contender, its time; shorter is better."""
    names = [
        n for n in dict.fromkeys(r["name"] for r in rows) if any(r["name"] == n and r["median"] for r in rows)
    ]
    if not names:
        return None
    columns = min(3, len(names))
    lines = -(-len(names) // columns)
    of = {n: [r for r in rows if r["name"] == n and r["median"]] for n in names}
    heights = [
        0.62 + 0.25 * max(len(of[n]) for n in names[k * columns : (k + 1) * columns]) for k in range(lines)
    ]
    figure, axes = plt.subplots(
        lines,
        columns,
        figsize=(12.5, sum(heights) + 0.5),
        squeeze=False,
        gridspec_kw={"height_ratios": heights},
    )
    for axis in axes.flat:
        axis.set_visible(False)
    for axis, name in zip(axes.flat, names, strict=False):
        axis.set_visible(True)
        _panel(axis, name, of[name])
    figure.suptitle(
        f"{group} on {place}: median time, shorter is better", x=0.01, ha="left", fontweight="bold"
    )
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.1 / (sum(heights) + 0.5)))
    return _save(figure, folder, _slug(place, group))


def _panel(axis: Any, name: str, rows: list[dict[str, Any]]) -> None:
    best = min((r["median"] for r in rows if r["contender"].startswith("gpucore")), default=rows[0]["median"])
    slowest = max(r["median"] for r in rows)
    limit = min(slowest, 12 * best)  # a bar beyond is cut, its time still written
    for k, row in enumerate(rows):
        cut = row["median"] > limit * 1.001
        axis.barh(
            k,
            min(row["median"], limit),
            0.78,
            color=colour(row["contender"]),
            hatch="///" if cut else None,
            edgecolor="white",
            linewidth=0,
        )
        label = duration(row["median"])
        if not row["contender"].startswith("gpucore"):
            label += (
                f"  ({row['median'] / best:.1f}x)"
                if row["median"] / best < 100
                else f"  ({row['median'] / best:,.0f}x)"
            )
        elif row["fraction"]:
            label += f"  {row['fraction']:.0%} of limit"
        inside = row["median"] > 0.55 * limit
        axis.text(
            min(row["median"], limit) + (-0.012 if inside else 0.012) * limit, k, label, va="center", fontsize=8,
            ha="right" if inside else "left", color="white" if inside else "#333333",
        )  # fmt: skip
    axis.set_yticks(range(len(rows)), [r["contender"] for r in rows], fontsize=8)
    axis.invert_yaxis()
    axis.set_xlim(0, limit * 1.02)
    axis.set_xticks([])
    axis.spines["bottom"].set_visible(False)
    size = f", {rows[0]['size']:,}" if rows[0]["size"] > 1 else ""
    axis.set_title(f"{name}{size}", loc="left", fontsize=9)


def sizes(place: str, rows: list[dict[str, Any]], folder: Path) -> str | None:
    """Bytes a second against size, a panel a work."""
    names = list(dict.fromkeys(r["name"] for r in rows))
    if len({r["size"] for r in rows}) < 3:
        return None
    figure, axes = plt.subplots(2, -(-len(names) // 2), figsize=(12.5, 6.2), squeeze=False)
    for axis in axes.flat[len(names) :]:
        axis.set_visible(False)
    handles: dict[str, Any] = {}
    for axis, name in zip(axes.flat, names, strict=False):
        for contender in dict.fromkeys(r["contender"] for r in rows if r["name"] == name):
            points = [(r["size"], r["bytes_moved"] / r["median"] / 1e9) for r in rows
                      if r["name"] == name and r["contender"] == contender and r["median"]]  # fmt: skip
            if not points:
                continue
            ours = contender.startswith("gpucore")
            (line,) = axis.plot(
                *zip(*points, strict=True), marker="o", markersize=3.5, color=colour(contender),
                linewidth=2.2 if ours else 1.3, zorder=3 if ours else 2, linestyle="--" if "fast" in contender else "-",
            )  # fmt: skip
            handles.setdefault(contender, line)
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.grid(alpha=0.25)
        axis.xaxis.set_major_formatter(FuncFormatter(lambda n, _: _count(n)))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        axis.set_title(name, loc="left", fontsize=9)
    for axis in axes[:, 0]:
        axis.set_ylabel("GB/s")
    figure.suptitle(
        f"streaming on {place} by number of elements; higher is better", x=0.01, ha="left", fontweight="bold"
    )
    figure.legend(
        handles.values(),
        handles.keys(),
        loc="lower center",
        ncols=min(8, len(handles)),
        frameon=False,
        fontsize=8,
    )
    figure.tight_layout(rect=(0, 0.04, 1, 0.98))
    return _save(figure, folder, _slug(place, "sizes"))


def _count(n: float) -> str:
    for unit, scale in (("Gi", 30), ("Mi", 20), ("Ki", 10)):
        if n >= 1 << scale:
            return f"{n / (1 << scale):g} {unit}"
    return f"{n:g}"


def pairs(ratios: dict[str, tuple[float, float]], folder: Path) -> str:
    """Vulkan's speed over CUDA's, strict and fast."""
    figure, axis = plt.subplots(figsize=(10, 0.6 + 0.42 * len(ratios)))
    for k, (strict, fast) in enumerate(ratios.values()):
        for value, offset, name in ((strict, -0.19, "gpucore strict"), (fast, 0.19, "gpucore fast")):
            if value:
                axis.barh(
                    k + offset, value, 0.36, color=OURS[name], label=name.split()[1] if k == 0 else None
                )
                axis.text(value + 0.01, k + offset, f"{value:.2f}", va="center", fontsize=8)
    axis.axvline(1, color="#333333", linewidth=0.8)
    axis.set_yticks(range(len(ratios)), list(ratios))
    axis.invert_yaxis()
    axis.legend(frameon=False, loc="lower right")
    axis.set_title(
        "Vulkan's speed over CUDA's on one H200 (1 is as fast)", loc="left", fontweight="bold", fontsize=10
    )
    figure.tight_layout()
    return _save(figure, folder, "cuda-vulkan")


def _save(figure: Any, folder: Path, name: str) -> str:
    figure.savefig(folder / f"{name}.png", dpi=100, metadata={"Software": None})
    plt.close(figure)
    return f"{name}.png"
