"""The table of a report."""

from __future__ import annotations

import itertools
import statistics

from rich.table import Table
from rich.text import Text

from gpucore_bench.model import BETTER, CACHED, FASTER, READS, Report, Row

NOT_INSTALLED = "not installed"


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


NARROW = 96
"""Columns of a terminal below which the rates are left out."""


def table(report: Report, width: int = 110) -> Table:
    """One line a contender; the ratio says how many times faster gpucore is.

    Parameters
    ----------
    report : Report
    width : int
        The terminal's columns: below 96 rates are left out, which the caption says.
    """
    m = report.machine
    limits = ""
    if report.limits:
        limits = (
            f"; measured limits: copy {_limit(report, 'bytes_per_second', 'GB/s')}, "
            f"multiply-add {_limit(report, 'flops_per_second', 'Gflop/s')}"
        )
    narrow = width < NARROW
    letters = {CACHED: "c", READS: "r", FASTER: "f", BETTER: "m"}
    noted = [why for why in letters if any(row.notes == why for row in report.rows)]
    explained = "; ".join(f"{letters[why]}: {why}" for why in noted)
    result = Table(
        title=f"gpucore bench on {m['backend']}, {m['device']}",
        caption="median and half the distance of the quartiles; ratio: the contender's time over gpucore's, "
        "strict beside strict and fast beside fast"
        + limits
        + (f"; above the limit: {explained}" if explained else "")
        + (
            "; ~: unsteady, the quartiles are more than a median apart"
            if any(map(_unsteady, report.rows))
            else ""
        )
        + (
            "; spinning: Numba as it comes, whose threads wait for milliseconds where another process takes a core"
            if any("spinning" in row.contender and row.median for row in report.rows)
            else ""
        )
        + (f"; rates take a terminal of {NARROW} columns" if narrow else ""),
    )
    result.add_column("work", min_width=12, max_width=26)
    result.add_column("contender", min_width=16)
    for name in ("median", "±", *(() if narrow else ("rate",)), "limit", "ratio"):
        result.add_column(name, justify="right", no_wrap=True)
    absent: dict[str, None] = {}
    for (_, head), of_work in itertools.groupby(report.rows, lambda row: ((row.group, row.size), _head(row))):
        result.add_section()
        rows = list(of_work)
        heads = itertools.chain([head], itertools.repeat(""))
        for row in rows:
            if row.median is not None and row.low is not None and row.high is not None:
                result.add_row(
                    next(heads),
                    row.contender,
                    duration(row.median),
                    f"{(row.high - row.low) / 2 / row.median:.0%}",
                    *(() if narrow else (rate(row),)),
                    f"{row.fraction:.0%}{letters.get(row.notes, '')}" if row.fraction is not None else "",
                    f"{row.ratio:.2f}{'~' * _unsteady(row)}" if row.ratio is not None else "",
                )
        # those that could not take part stand below, together where the reason is one
        for (missing, error), names in _reasons(rows).items():
            if error == NOT_INSTALLED:
                absent.update(dict.fromkeys(names))
            else:
                result.add_row(next(heads), Text(f"{', '.join(names)}: {error}", "dim" if missing else "red"))
    if absent:
        result.add_section()
        result.add_row(Text(NOT_INSTALLED, "dim"), Text(", ".join(absent), "dim"))
    return result


def _unsteady(row: Row) -> bool:
    """Whether samples differ so much that the median says little."""
    if row.median is None or row.low is None or row.high is None:
        return False
    return row.high - row.low > row.median


def _limit(report: Report, key: str, unit: str) -> str:
    """The best moment's, and the median of all moments where that is far from it: the machine is shared then."""
    best = report.limits[key]
    usual = statistics.median([moment[key] for moment in report.moments] or [best])
    said = f"{best / 1e9:.4g} {unit}"
    return said if usual > 0.9 * best else f"{said} at best ({usual / 1e9:.4g} as a rule)"


def _reasons(rows: list[Row]) -> dict[tuple[bool, str], list[str]]:
    """The contenders without figures by what kept them."""
    found: dict[tuple[bool, str], list[str]] = {}
    for row in rows:
        if row.median is None:
            found.setdefault((row.missing, row.error), []).append(row.contender)
    return found


def _head(row: Row) -> str:
    return f"{row.name}\n{_size(row)}"


def _size(row: Row) -> str:
    return f"[dim]{row.group}[/]" if row.size == 1 else f"[dim]{row.group}, {row.size:,}[/]"
