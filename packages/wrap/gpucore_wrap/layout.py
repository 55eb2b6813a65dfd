"""Python text laid out as a formatter would: what does not fit one line is broken at its brackets."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

WIDTH = 110
PROSE = 94


def bracketed(head: str, items: Sequence[str], tail: str, indent: str = "") -> str:
    """`head(items)tail` in one line, or one item a line with a trailing comma.

    Parameters
    ----------
    head : str
        Ends in an opening bracket.
    items : sequence of str
        What stands between the brackets.
    tail : str
        Begins with the closing bracket.
    indent : str
        Spaces before the first line.
    """
    line = f"{indent}{head}{', '.join(items)}{tail}"
    if len(line) <= WIDTH or not items:
        return line
    inner = "".join(f"{indent}    {item},\n" for item in items)
    return f"{indent}{head}\n{inner}{indent}{tail}"


def printable(text: str) -> str:
    """Text without control characters: they are shown as escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == " " else "    " if c == "\t" else repr(c)[1:-1] for c in text)


def prose(text: str) -> list[str]:
    """The lines of a documentation text, its indentation taken off."""
    if len(text) <= PROSE and text.isprintable():
        return [text.strip()] if text.strip() else []
    lines = [printable(line).rstrip() for line in textwrap.dedent(text.strip("\n")).split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    while lines and not lines[0]:
        lines.pop(0)
    return [part for line in lines for part in _wrapped(line)]


def _wrapped(line: str) -> list[str]:
    if len(line) <= PROSE:
        return [line]
    margin = line[: len(line) - len(line.lstrip())]
    return textwrap.wrap(
        line, PROSE, subsequent_indent=margin, break_long_words=False, break_on_hyphens=False
    )


def docstring(lines: Sequence[str], indent: str = "    ") -> str:
    """A docstring of these lines, quotes and backslashes kept as they are."""
    safe = [line.replace("\\", "\\\\").replace('"""', '\\"\\"\\"') for line in lines]
    if len(safe) == 1:
        end = safe[0]
        if end.endswith('"'):
            end = end[:-1] + '\\"'
        if end.startswith(('"', " ")):
            end = end.strip()
            end = f"\\{end}" if end.startswith('"') else end
        return f'{indent}"""{end}"""'
    first, rest = safe[0].strip(), safe[1:]
    if first.startswith('"'):
        first = f"\\{first}"
    body = "".join(f"{indent}{line}\n" if line else "\n" for line in rest)
    return f'{indent}"""{first}\n{body}{indent}"""'
