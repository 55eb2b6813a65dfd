"""Where the commands print."""

from __future__ import annotations

from rich.console import Console

__all__ = ["console"]

_PIPE_WIDTH = 400
"""Columns where nobody's window sets them: wide enough that no line breaks and no name is cut."""


def console() -> Console:
    """The terminal as it is; a pipe or a file gets whole lines."""
    found = Console()
    return found if found.is_terminal else Console(width=_PIPE_WIDTH)
