"""Python functions written while the program runs, which tracebacks and debuggers show line by line."""

from __future__ import annotations

import itertools
import linecache
import textwrap
import types
import weakref
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["compile_functions", "fill_template"]

_numbers = itertools.count(1)


def fill_template(template: str, **sections: str) -> str:
    """The template with each ``{name}`` replaced; one on a line of its own takes several lines at its indentation, or none."""
    lines: list[str] = []
    for line in template.splitlines():
        bare = line.strip()
        if bare.startswith("{") and bare.endswith("}") and bare[1:-1] in sections:
            indent = line[: len(line) - len(line.lstrip())]
            lines += textwrap.indent(sections[bare[1:-1]].rstrip("\n"), indent).splitlines()
        else:
            for name, section in sections.items():
                line = line.replace(f"{{{name}}}", section)
            lines.append(line)
    return "\n".join(line for line in lines if line.strip()) + "\n"


def compile_functions(text: str, values: Mapping[str, Any], what: str) -> dict[str, Callable[..., Any]]:
    """The functions that a text defines, by name.

    Parameters
    ----------
    text : str
        It stays readable, through :mod:`linecache`, for as long as one of the functions lives.
    values : Mapping
        The global names of the text.
    what : str
        Names the text in tracebacks.
    """
    filename = f"<gpucore {next(_numbers)}: {what}>"
    space = dict(values)
    exec(compile(text, filename, "exec"), space)
    defined = {
        name: value
        for name, value in space.items()
        if name not in values and isinstance(value, types.FunctionType)
    }
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    lives = len(defined)

    def one_less() -> None:
        nonlocal lives
        lives -= 1
        if not lives:
            linecache.cache.pop(filename, None)

    for name, function in defined.items():
        if not any(name in other.__code__.co_names for other in defined.values()):
            del space[name]  # a function in its own globals would live until the garbage collector came
        weakref.finalize(function, one_less).atexit = False
    return dict(defined)
