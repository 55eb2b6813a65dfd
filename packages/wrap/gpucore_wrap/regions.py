"""Marked regions: parts of generated files that belong to the user and survive regeneration."""

from __future__ import annotations

import re

from gpucore_wrap.errors import OutputError

BEGIN = re.compile(r"^[ \t]*(?:#|//|<!--) --- begin (\w+)\b.*$", re.MULTILINE)
END = re.compile(r"^[ \t]*(?:#|//|<!--) --- end (\w+)\b.*$", re.MULTILINE)


def region(name: str, comment: str, hint: str, end: str = "") -> str:
    """An empty region.

    Parameters
    ----------
    name : str
        Its name, one of its kind in the file.
    comment, end : str
        What begins and ends a comment of one line.
    hint : str
        What belongs into it.
    """
    begin = f"{comment} --- begin {name}: {hint}; kept when this file is generated anew ---{end}"
    return f"{begin}\n{comment} --- end {name} ---{end}"


def contents(text: str, path: str) -> dict[str, str]:
    """What stands in each region of a file.

    Raises
    ------
    OutputError
        If markers are missing, doubled or crossed: nobody can tell what is whose.
    """
    marks = sorted(
        [(found.start(), "begin", found) for found in BEGIN.finditer(text)]
        + [(found.start(), "end", found) for found in END.finditer(text)],
        key=lambda mark: mark[0],
    )
    found_regions: dict[str, str] = {}
    for first, second in zip(marks[::2], marks[1::2], strict=False):
        name = first[2].group(1)
        if (first[1], second[1]) != ("begin", "end") or name != second[2].group(1) or name in found_regions:
            raise OutputError(
                f"{path}: the markers of the region `{name}` do not pair; restore its begin and end lines"
            )
        found_regions[name] = text[first[2].end() + 1 : second[2].start()]
    if len(marks) % 2:
        raise OutputError(f"{path}: a region begins or ends alone; restore its begin and end lines")
    return found_regions


def keep(new: str, old: str, path: str) -> str:
    """The new text with the old text's regions in it; raises OutputError if a filled region has no place in the new text."""
    kept = contents(old, path)
    for name, inside in kept.items():
        begin = re.search(rf"^[ \t]*(?:#|//|<!--) --- begin {name}\b.*$\n", new, re.MULTILINE)
        if begin is not None:
            new = new[: begin.end()] + inside + new[begin.end() :]
        elif inside.strip():
            raise OutputError(
                f"{path}: the region `{name}` has content and no place in the new file; move it first"
            )
    return new
