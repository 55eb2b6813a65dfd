"""The table of a report."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from gpucore.cli.bench.model import Report, Row


def duration(seconds: float) -> str:
    """Seconds in the unit that reads best."""
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if seconds * scale >= 1:
            return f"{seconds * scale:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def rate(row: Row) -> str:
    """Bytes or operations a second, whichever bounds the row."""
    if not row.median:
        return ""
    if row.limit == "arithmetic":
        return f"{row.flops / row.median / 1e9:.4g} Gflop/s"
    return f"{row.bytes_moved / row.median / 1e9:.4g} GB/s" if row.bytes_moved else ""


def table(report: Report) -> Table:
    """One line a contender; the ratio says how many times faster gpucore is."""
    m = report.machine
    limits = ""
    if report.limits:
        limits = (
            f"; measured limits: copy {report.limits['bytes_per_second'] / 1e9:.4g} GB/s, "
            f"multiply-add {report.limits['flops_per_second'] / 1e9:.4g} Gflop/s"
        )
    result = Table(
        title=f"gpucore bench on {m['backend']}, {m['device']}",
        caption="median and half the distance of the quartiles; ratio: the contender's time over gpucore's, "
        "strict beside strict and fast beside fast" + limits,
    )
    result.add_column("work", min_width=18, max_width=26)
    result.add_column("contender", min_width=24)
    for name in ("median", "±", "rate", "of limit", "ratio"):
        result.add_column(name, justify="right", no_wrap=True)
    last: tuple[str, str, int] | None = None
    for row in report.rows:
        key = (row.group, row.name, row.size)
        if last is not None and key != last:
            result.add_section()
        head = "" if key == last else f"{row.name}\n{_size(row)}"
        last = key
        if row.median is None or row.low is None or row.high is None:
            style = "dim" if row.missing else "red"
            # the reason stands below the name: columns of figures stay narrow
            result.add_row(head, Text(f"{row.contender}: {row.error}", style))
            continue
        result.add_row(
            head,
            row.contender,
            duration(row.median),
            f"{(row.high - row.low) / 2 / row.median:.0%}",
            rate(row),
            f"{row.fraction:.0%}" if row.fraction is not None else "",
            f"{row.ratio:.2f}" if row.ratio is not None else "",
        )
    return result


def _size(row: Row) -> str:
    return f"[dim]{row.group}[/]" if row.size == 1 else f"[dim]{row.group}, {row.size:,}[/]"
