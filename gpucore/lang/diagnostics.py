"""Errors at the user's line: where, the line with a caret, the rule, what to write instead."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import NoReturn

from gpucore._ipython import show_syntax_errors, shown_file
from gpucore.errors import KernelNotSupportedError, KernelSyntaxError, KernelTypeError
from gpucore.ir.nodes import Loc

__all__ = ["Source", "article", "did_you_mean", "plural"]


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
