"""The pictures of ``docs/performance.md``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.ticker import FuncFormatter

from gpucore_bench import plot
from gpucore_bench.plot import OURS, colour

plt = plot.pyplot()
plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "figure.dpi": 100})


def _slug(*parts: str) -> str:
    return "-".join(
        "".join(c if c.isalnum() else " " for c in part).lower().replace(" ", "-") for part in parts
    ).replace("--", "-")


def bars(place: str, group: str, rows: list[dict[str, Any]], folder: Path) -> str | None:
    """A group's picture; None where there is nothing to compare: nothing measured, or one row alone."""
    if not plot.panels(rows):
        return None
    figure = plt.figure(figsize=(12.5, plot.height(rows)), layout="constrained")
    plot.bars(figure, f"{group} on {place}", rows)
    return _save(figure, folder, _slug(place, group))


def sizes(place: str, run: str, rows: list[dict[str, Any]], folder: Path) -> str | None:
    """Bytes a second against size, a panel a work; ``run`` tells a second run of a place from the first."""
    names = list(dict.fromkeys(r["name"] for r in rows))
    if len({r["size"] for r in rows}) < 3:
        return None
    lines = 1 if len(names) < 3 else 2
    columns = -(-len(names) // lines)
    figure, axes = plt.subplots(lines, columns, figsize=(12.5, 0.6 + 2.8 * lines), squeeze=False)
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
                linewidth=2.2 if ours else 1.3, zorder=3 if ours else 2,
                linestyle=":" if "spinning" in contender else "--" if "fast" in contender else "-",
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
    columns = min(8, len(handles))
    figure.legend(
        handles.values(), handles.keys(), loc="lower center", ncols=columns, frameon=False, fontsize=8
    )  # fmt: skip
    beneath = 0.1 + 0.18 * -(-len(handles) // columns)
    figure.tight_layout(rect=(0, beneath / figure.get_figheight(), 1, 0.98))
    return _save(figure, folder, _slug(place, f"sizes{run}"))


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
