"""Errors at the user's line: where, the line with a caret, the rule, what to write instead."""

from __future__ import annotations

import ast
import contextlib
import inspect
import textwrap
import types
from collections.abc import Iterable
from typing import NoReturn

from gpucore._ipython import show_syntax_errors, shown_file
from gpucore.errors import KernelNotSupportedError, KernelSyntaxError, KernelTypeError
from gpucore.ir.nodes import Loc

__all__ = ["Source", "article", "did_you_mean", "parsed", "plural", "source_of"]


class Source:
    """A function's text and where it stands in its file.

    Attributes
    ----------
    filename : str
    first : int
        The file's line number of the text's first line.
    indent : int
        Columns that were cut off when the text was dedented.
    """

    def __init__(self, filename: str, text: str, first: int, indent: int) -> None:
        self.filename = filename
        self.text = text
        self.first = first
        self.indent = indent
        self.lines = text.splitlines()

    def holds(self, place: Loc) -> bool:
        """Whether a place in a file stands in this text."""
        return place.file == self.filename and 0 <= place.line - self.first < len(self.lines)

    def line(self, node: ast.AST) -> int:
        """The line in the file."""
        return int(getattr(node, "lineno", 1)) + self.first - 1

    def column(self, node: ast.AST) -> int:
        """The column in the file, from 0."""
        number = int(getattr(node, "lineno", 1))
        return self._characters(number, int(getattr(node, "col_offset", 0))) + self.indent

    def _characters(self, number: int, offset: int) -> int:
        # ast counts the bytes of UTF-8
        text = self.lines[number - 1] if number <= len(self.lines) else ""
        return offset if text.isascii() else len(text.encode()[:offset].decode(errors="replace"))

    def syntax_error(self, node: ast.AST, rule: str, instead: str = "") -> NoReturn:
        """Raise a :class:`KernelSyntaxError` at a node."""
        self._raise(KernelSyntaxError, node, rule, instead)

    def later(self, node: ast.AST, rule: str, instead: str = "") -> NoReturn:
        """Refuse what a later version will have."""
        self._raise(KernelNotSupportedError, node, rule, instead)

    def type_error(self, node: ast.AST, rule: str, instead: str = "") -> NoReturn:
        """Raise a :class:`KernelTypeError` at a node."""
        self._raise(KernelTypeError, node, rule, instead)

    def _raise(
        self, kind: type[KernelSyntaxError] | type[KernelTypeError], node: ast.AST, rule: str, instead: str
    ) -> NoReturn:
        number = int(getattr(node, "lineno", 1))
        text = self.lines[number - 1] if 0 < number <= len(self.lines) else ""
        start = self._characters(number, int(getattr(node, "col_offset", 0)))
        end = getattr(node, "end_col_offset", None)
        if end is None or getattr(node, "end_lineno", number) != number:
            end = len(text.rstrip())
        else:
            end = self._characters(number, int(end))
        column = start + self.indent
        caret = " " * start + "^" * max(int(end) - start, 1)
        place = f"{shown_file(self.filename)}:{self.line(node)}:{column + 1}"
        cure = f"\n  {instead}" if instead else ""
        show_syntax_errors(KernelSyntaxError)
        raise kind(
            f"{place}: {rule}\n    {text}\n    {caret}{cure}",
            filename=self.filename,
            lineno=self.line(node),
            offset=column + 1,
            text=" " * self.indent + text,
            end_offset=column + len(caret) - start + 1,
            rule=rule + cure,
        )


def plural(count: int, noun: str) -> str:
    """``1 axis``, ``2 arguments``."""
    ending = "" if count == 1 else "s"
    return f"{count} axes" if noun == "axis" and ending else f"{count} {noun}{ending}"


def article(noun: object) -> str:
    """``an f32``, ``a u8``, ``a vec3``."""
    text = str(noun)
    return f"{'an' if text.startswith(('f16', 'f32', 'f64', 'i8', 'i16', 'i32', 'i64', 'index')) else 'a'} {text}"


def did_you_mean(name: str, among: Iterable[str]) -> str:
    """``" Did you mean 'x'?"`` or nothing."""
    import difflib  # only when something is wrong

    close = difflib.get_close_matches(name, list(among), n=1, cutoff=0.75)
    return f"Did you mean {close[0]!r}?" if close else ""


def parsed(text: str) -> ast.Module:
    """``ast.parse``; CPython before 3.11.5 fails where a thread or finalizer parses meanwhile (issue 106905)."""
    for _ in range(99):
        with contextlib.suppress(SystemError):
            return ast.parse(text)
    return ast.parse(text)


def source_of(function: types.FunctionType, given: str | None) -> Source:
    """The text of a function, or what was given for it."""
    filename = function.__code__.co_filename
    if given is not None:
        text = textwrap.dedent(given)
        return Source(filename, text, 1, 0)
    try:
        if filename in ("<string>", "<stdin>"):
            # what a newer Python keeps under such a name need not be this function's text
            raise OSError
        lines, first = inspect.getsourcelines(function)
    except (OSError, TypeError, IndexError):
        why = (
            ", as for functions made by exec or python -c, piped into python, or typed at Python's prompt before 3.13; "
            "save it to a file, use IPython or Jupyter, or give it: @gc.kernel(source=...)"
        )
        if not filename.startswith("<"):
            why = "; a kernel is compiled from its text: install the .py file beside the .pyc, or give it: @gc.kernel(source=...)"
        raise KernelSyntaxError(
            f"the source of {function.__name__} ({filename}) cannot be read{why}", filename=filename
        ) from None
    raw = "".join(lines)
    if raw[:1] in (" ", "\t"):
        # dedenting would change strings, and fail on those that start further left
        return Source(filename, "if 1:\n" + raw, first - 1, 0)
    return Source(filename, raw, first, 0)
