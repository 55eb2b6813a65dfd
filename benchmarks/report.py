"""Write ``docs/performance.md`` and its plots from committed reports of ``gpucore bench``.

``python benchmarks/report.py docs/measured/bench-*.json --bounds docs/measured/bounds-*.json -o docs/performance.md``
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import plots
from targets import Reports, place_of, targets

from gpucore_bench.model import IN_SHORT
from gpucore_bench.plot import largest
from gpucore_bench.table import duration

INTRODUCTION = """# Performance

Written by `python benchmarks/report.py docs/measured/bench-*.json --bounds docs/measured/bounds-*.json -o docs/performance.md`
from the reports beside it, made by `gpucore bench` and by `benchmarks/bounds.py`. Nothing here was typed in.

How it is measured:

- Every contender's first result is compared with NumPy's, in double precision where that matters, before anything is timed; a
  wrong one is not timed.
- The contenders of a work alternate, sample by sample, in one process, so that a machine whose speed drifts slows them alike;
  between samples threads that spin, gpucore's own among them, are given time to fall asleep.
  Medians; the quartiles are in the JSON.
- Devices are timed by their own events. Arrays are placed and launches configured ahead of the loop, on both sides.
- *Strict*, the default, gives the same bits on every device; *fast* lets a device contract, reassociate, use its own functions.
  Peers are shown with and without their own fast flags.
- *Of limit* is the fraction of what the device did at best in the same run: a copy's bytes a second, or fused multiply-adds
  on registers. Bytes are counted as each input read once and each output written once. More than 100 % is reached by data that
  stay in a cache, and by works that read more than they write, which memory does faster than it copies.
- Numba waits passively (`OMP_WAIT_POLICY=PASSIVE`) beside gpucore in one process: on a shared host its default, which spins
  before it sleeps, is up to ten times slower where it streams or computes. Where threads meet often, in launches and in streams
  of up to 2^18 elements, it is there a second time as *spinning*: as it comes, in a process of its own, which is given time to
  fall asleep before anyone else is timed. The best part of each such sample counts, for one turn of another process on a
  core costs threads that spin milliseconds. Targets take the better of both.
- In the pictures shorter is better, and `(3.1x)` beside a contender is its time over gpucore's: strict beside strict, fast
  beside fast. A pale bar with a gap is cut; its time stands beside it.
"""


def machines(documents: list[dict[str, Any]]) -> str:
    """What was measured on."""
    lines = [
        "## Machines",
        "",
        "| | device | driver | processor | Python | packages | date | sources |",
        "|---|" + "---|" * 7,
    ]
    for document in documents:
        m = document["machine"]
        shown = (
            "gpucore",
            "numpy",
            "numba",
            "llvmlite",
            "cupy-cuda13x",
            "torch",
            "triton",
            "cuda-core",
            "cuda-bindings",
        )
        versions = ", ".join(f"{k} {m['versions'][k]}" for k in shown if k in m["versions"])
        lines.append(
            f"| {place_of(document)} | {m['device']} | {m['driver']} | {m['processor']}, {m['cores']} cores | {m['python']} "
            f"| {versions} | {m['date'][:10]} | `{m['source_sha256'][:12]}` |"
        )
    return "\n".join(lines) + "\n"


def target_table(reports: Reports) -> str:
    """Targets and what was found."""
    every = [t.line(reports) for t in targets()]
    met = sum("| met |" in line for line in every)
    missed = sum("**missed**" in line for line in every)
    head = f"{met} met, {missed} missed, {len(every) - met - missed} not measured. Ratios are of one run."
    return "\n".join(
        [
            "## Targets",
            "",
            head,
            "",
            "| what | target | measured | | what stands in the way |",
            "|---|---|---|---|---|",
            *every,
            "",
        ]
    )


def group_table(rows: list[dict[str, Any]]) -> str:
    """The rows of a group, at each work's largest size, one line a contender."""
    lines = [
        "| work | contender | median | of limit | its time over gpucore's |",
        "|---|---|---:|---:|---:|",
    ]
    last = None
    for row in rows:
        head = (
            ""
            if row["name"] == last
            else f"{row['name']}" + (f" ({row['size']:,})" if row["size"] > 1 else "")
        )
        last = row["name"]
        if row["median"] is None:
            lines.append(f"| {head} | {row['contender']} | {row['error']} | | |")
            continue
        why = IN_SHORT.get(row.get("notes", ""))
        fraction = (
            f"{row['fraction']:.0%} {row['limit']}{f' ({why})' if why else ''}" if row["fraction"] else ""
        )
        ratio = f"{row['ratio']:.2f}" if row["ratio"] else ""
        lines.append(f"| {head} | {row['contender']} | {duration(row['median'])} | {fraction} | {ratio} |")
    return "\n".join(lines) + "\n"


def _moments(limits: dict[str, Any]) -> str:
    """When a report's limits were measured."""
    count = len(limits.get("moments", ()))
    return f"the best of {count} moments of the run" if count > 1 else "at the start of the run"


def place_section(place: str, documents: list[dict[str, Any]], folder: Path) -> str:
    """Everything measured in one place: plots, then tables."""
    parts = [f"## {place}", ""]
    for document in documents:
        if limits := document["limits"]:
            parts.append(
                f"Measured limits: copy {limits['bytes_per_second'] / 1e9:,.0f} GB/s, "
                f"multiply-add {limits['flops_per_second'] / 1e9:,.0f} Gflop/s, {_moments(limits)}.\n"
            )
    absent: dict[str, str] = {}
    runs: dict[str, int] = {}
    for document in documents:
        for group in dict.fromkeys(row["group"] for row in document["rows"]):
            rows = [row for row in document["rows"] if row["group"] == group]
            for row in rows:
                if row.get("missing"):
                    absent[row["contender"]] = row["error"]
            shown = [row for row in largest(rows) if not row.get("missing")]
            runs[group] = runs.get(group, 0) + 1
            run = "" if runs[group] == 1 else f", run {runs[group]}"
            picture = plots.bars(place, group + run, shown, folder)
            parts += [f"### {place}: {group}{run}", ""]
            if document.get("interrupted"):
                parts += ["The run was ended early; what it had measured until then.", ""]
            if picture:
                parts += [f"![{group} on {place}](performance/{picture})", ""]
            if group == "stream" and (lines := plots.sizes(place, run, rows, folder)):
                parts += [f"![streaming on {place} by size](performance/{lines})", ""]
            parts += ["<details><summary>Figures</summary>", "", group_table(shown), "</details>", ""]
    if absent:
        parts += ["Not there: " + "; ".join(f"{name}: {why}" for name, why in absent.items()) + ".", ""]
    return "\n".join(parts)


def side_by_side(reports: Reports, folder: Path) -> str:
    """CUDA and Vulkan on one device."""
    places = [place_of(d) for d in reports.documents if d["machine"]["kind"] == "discrete"]
    cuda = next((p for p in places if p.endswith("cuda")), None)
    vulkan = next((p for p in places if p.endswith("vulkan")), None)
    if cuda is None or vulkan is None:
        return ""
    rows = (row for document in reports.documents for row in document["rows"])
    names = dict.fromkeys(row["name"] for row in rows if row["group"] in ("stream", "compute"))
    lines = [
        "| work | strict, CUDA | strict, Vulkan | CUDA / Vulkan | fast, CUDA | fast, Vulkan | CUDA / Vulkan |",
        "|---|" + "---:|" * 6,
    ]
    pairs: dict[str, tuple[float, float]] = {}
    for name in names:
        cells, ratios = [], []
        for math in ("strict", "fast"):
            a, b = (reports.seconds(p, name, f"gpucore {math}") for p in (cuda, vulkan))
            cells += [duration(a) if a else "", duration(b) if b else "", f"{a / b:.2f}" if a and b else ""]
            ratios.append(a / b if a and b else 0.0)
        if any(cells):
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
            pairs[name] = (ratios[0], ratios[1])
    picture = plots.pairs(pairs, folder)
    return "\n".join(
        [
            "## CUDA and Vulkan side by side, H200",
            "",
            f"![Vulkan's speed over CUDA's](performance/{picture})",
            "",
            *lines,
            "",
        ]
    )


def bounds_section(documents: list[dict[str, Any]]) -> str:
    """What checks of accesses cost over ``check=False``: reports of ``benchmarks/bounds.py``."""
    if not documents:
        return ""
    parts = [
        "## Checks of accesses",
        "",
        '`check="auto"` over `check=False` ([what is checked](bounds.md)), both in turn in one run on the same memory:',
        "the median of the ratios of neighbouring runs, and the ratio of the least times, which other work disturbs less.",
        "",
    ]
    for document in documents:
        m, mean = document["machine"], document["mean"]
        parts += [
            f"### {m['backend']}: {m['device']}",
            "",
            f"{m['cores']} cores, Python {m['python']}, NumPy {m['numpy']}, {m['date'][:16].replace('T', ' ')};",
            f"one-minute load before: {m['load']:.1f}. Geometric mean {mean['ratio']['mean']:.3f},",
            f"worst {mean['ratio']['worst']:.2f}; of the least times {mean['least']['mean']:.3f}, {mean['least']['worst']:.2f}.",
            *([f"{m['note']}."] if m["note"] else []),
            "",
            "| kernel | unchecked | ratio | of the least | accesses |",
            "|---|---:|---:|---:|---|",
        ]
        parts += [
            f"| {name} | {duration(row['off'])} | {row['ratio']:.2f} | {row['least']:.2f} | {row['accesses']} |"
            for name, row in document["kernels"].items()
        ]
        parts += ["", "| on the host | unchecked | ratio or more | of the least |", "|---|---:|---:|---:|"]
        for name, row in document["host"].items():
            if "more" in row:
                found = f"{1e6 * (row['auto'] - row['off']):+.2f} us", f"{1e6 * row['more']:+.2f} us"
            else:
                found = f"{row['ratio']:.2f}", f"{row['least']:.2f}"
            parts.append(f"| {name} | {duration(row['off'])} | {found[0]} | {found[1]} |")
        parts.append("")
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reports", nargs="+", type=Path)
    parser.add_argument("--bounds", nargs="*", type=Path, default=[], help="reports of benchmarks/bounds.py")
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    documents = [json.loads(path.read_text("utf-8")) for path in arguments.reports]
    # whole runs before those that were ended early
    documents.sort(key=lambda document: bool(document.get("interrupted")))
    folder = arguments.output.parent / "performance"
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()
    reports = Reports(documents)
    sections = [INTRODUCTION, target_table(reports), side_by_side(reports, folder)]
    for place in dict.fromkeys(place_of(d) for d in documents):
        sections.append(place_section(place, [d for d in documents if place_of(d) == place], folder))
    sections.append(bounds_section([json.loads(path.read_text("utf-8")) for path in arguments.bounds]))
    sections.append(machines(documents))
    arguments.output.write_text("\n".join(s for s in sections if s), "utf-8")
    print(f"wrote {arguments.output} and {len(list(folder.glob('*.png')))} plots")


if __name__ == "__main__":
    main()
