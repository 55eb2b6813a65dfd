"""What a profile shows: a table, a trace for Perfetto, a timeline picture."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from gpucore.errors import NotSupportedError

if TYPE_CHECKING:
    from gpucore.runtime.context_profile import ProfileEvent

__all__ = ["plot", "save_trace", "table", "tracks"]

ON_DEVICE = ("kernel", "copy", "fill")


def tracks(events: Sequence[ProfileEvent]) -> dict[tuple[str, str], list[ProfileEvent]]:
    """Events by process and track: kernels, and copies with fills, of each stream of a device; each thread of the host."""
    found: dict[tuple[str, str], list[ProfileEvent]] = {}
    for event in events:
        if event.kind in ON_DEVICE and event.stream is not None:
            device, _, stream = event.stream.partition(" ")
            what = "kernels" if event.kind == "kernel" else "copies"
            key = (device, f"{stream}: {what}")
        elif event.kind == "alloc":
            key = ("host", "memory")
        else:
            key = ("host", event.thread)
        found.setdefault(key, []).append(event)
    return dict(sorted(found.items(), key=lambda item: (item[0][0] == "host", item[0])))


def table(events: Sequence[ProfileEvent]) -> str:
    """Calls, total, mean, rate and share, by kind and name; the longest first."""
    groups: dict[tuple[str, str], list[ProfileEvent]] = {}
    for event in events:
        groups.setdefault((event.kind, event.name), []).append(event)
    on_device = sum(event.duration_ns for event in events if event.kind in ON_DEVICE)
    rows = [("kind", "name", "calls", "total ms", "mean us", "GB/s", "share")]
    ordered = sorted(
        groups.items(),
        key=lambda item: (item[0][0] not in ON_DEVICE, -sum(event.duration_ns for event in item[1])),
    )
    for (kind, name), group in ordered:
        total = sum(event.duration_ns for event in group)
        nbytes = sum(event.bytes for event in group)
        rows.append((
            kind, name, str(len(group)), f"{total / 1e6:.3f}", f"{total / 1e3 / len(group):.2f}",
            f"{nbytes / total:.2f}" if nbytes and total and kind in ("copy", "fill") else "",
            f"{total / on_device:.1%}" if on_device and kind in ON_DEVICE else "",
        ))  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def _trace_events(events: Sequence[ProfileEvent]) -> Iterable[dict[str, Any]]:
    processes: dict[str, int] = {}
    for thread, ((process, track), found) in enumerate(tracks(events).items(), start=1):
        if process not in processes:
            processes[process] = len(processes) + 1
            yield {
                "ph": "M", "pid": processes[process], "tid": 0, "name": "process_name", "args": {"name": process},
            }  # fmt: skip
        pid = processes[process]
        yield {"ph": "M", "pid": pid, "tid": thread, "name": "thread_name", "args": {"name": track}}
        for event in found:
            made: dict[str, Any] = {
                "ph": "X", "pid": pid, "tid": thread, "name": event.name, "cat": event.kind,
                "ts": event.start_ns / 1e3, "dur": event.duration_ns / 1e3,
            }  # fmt: skip
            args: dict[str, Any] = {}
            if event.bytes:
                args["bytes"] = event.bytes
            if event.kind in ON_DEVICE:
                args["queued_us"] = (event.start_ns - event.queued_ns) / 1e3
                args["thread"] = event.thread
            elif event.stream is not None:
                args["stream"] = event.stream
            if args:
                made["args"] = args
            yield made


def save_trace(events: Sequence[ProfileEvent], path: str | os.PathLike[str]) -> None:
    """Write Chrome's trace format."""
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"traceEvents": list(_trace_events(events)), "displayTimeUnit": "ns"}, file)


_COLORS = {
    "kernel": "#3b6fb6", "copy to device": "#e08a2e", "copy to host": "#5aa05a", "copy": "#b9a13c",
    "fill": "#9a9a9a", "wait": "#d7d7d7", "range": "#b7a1d6", "alloc": "#c05a5a",
}  # fmt: skip


def plot(events: Sequence[ProfileEvent], path: str | os.PathLike[str]) -> None:
    """Draw a row for each track, in milliseconds from the first event."""
    if not events:
        raise NotSupportedError("there is nothing to draw: no event was noted", capability="plot")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.patches import Patch
    except ImportError as error:
        raise NotSupportedError(
            "a picture wants matplotlib: pip install 'gpucore[plot]'", capability="plot"
        ) from error
    rows = [item for item in tracks(events).items() if item[0] != ("host", "memory")] or list(
        tracks(events).items()
    )
    begin = min(event.start_ns for event in events)
    figure = Figure(figsize=(11, 1.2 + 0.42 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    used: dict[str, str] = {}
    for row, (_, found) in enumerate(rows):
        for event in found:
            what = event.name if event.name in _COLORS else event.kind
            color = used.setdefault(what, _COLORS[what])
            start, width = (event.start_ns - begin) / 1e6, event.duration_ns / 1e6
            axes.broken_barh([(start, width)], (row - 0.38, 0.76), color=color, linewidth=0)
    axes.set_yticks(range(len(rows)), [f"{process} {track}" for (process, track), _ in rows])
    axes.invert_yaxis()
    axes.set_xlabel("ms")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(
        handles=[Patch(color=color, label=what) for what, color in used.items()],
        loc="upper center", bbox_to_anchor=(0.5, -0.18 - 0.5 / len(rows)), ncols=max(len(used), 1), frameon=False,
    )  # fmt: skip
    figure.savefig(path, dpi=120)
