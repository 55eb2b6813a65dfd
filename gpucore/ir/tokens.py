"""Tokens of the text form of the IR, line by line, and what to say when one does not fit."""

from __future__ import annotations

import json
import math
import re
from typing import NoReturn, cast

from gpucore.errors import GpucoreError
from gpucore.ir.dtypes import DType
from gpucore.ir.dtypes import dtype as dtype_named
from gpucore.ir.nodes import Number

__all__ = ["ParseError", "Tokens"]

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<name>[%!&@](?:[A-Za-z0-9_.$]+|"(?:[^"\\]|\\.)*"))
    | (?P<string>"(?:[^"\\]|\\.)*")
    | (?P<number>-?(?:inf|nan)\b | -?\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![A-Za-z_]))
    | (?P<word>[A-Za-z_][A-Za-z0-9_.]*)
    | (?P<mark>->|[][(){}:,=?])
    )""",
    re.VERBOSE,
)
_SIGILS = {"%": "a value", "!": "a variable", "&": "a memory", "@": "a function"}


class ParseError(GpucoreError, ValueError):
    """The text is not a module.

    Attributes
    ----------
    line : int
        Counted from 1.
    expected : str
        What would have fitted there.
    """

    def __init__(self, message: str = "", *, line: int = 0, expected: str = "") -> None:
        super().__init__(message)
        self.line = line
        self.expected = expected


class Tokens:
    """The tokens of a text, and a place in them."""

    def __init__(self, text: str) -> None:
        self.lines: list[tuple[int, list[tuple[str, str]]]] = []
        for number, line in enumerate(text.split("\n"), 1):
            tokens = self._tokens(number, line)
            if tokens:
                self.lines.append((number, tokens))
        self.row = 0
        self.column = 0

    @staticmethod
    def _tokens(number: int, line: str) -> list[tuple[str, str]]:
        tokens = []
        at = 0
        end = len(line.rstrip())
        while at < end:
            match = _TOKEN.match(line, at)
            if match is None:
                message = f"line {number}: expected a token, found {line[at:].strip()!r}"
                raise ParseError(message, line=number, expected="a token")
            kind = cast(str, match.lastgroup)
            tokens.append((kind, match[kind]))
            at = match.end()
        return tokens

    def fail(self, expected: str) -> NoReturn:
        if self.row >= len(self.lines):
            line = self.lines[-1][0] if self.lines else 1
            found = "the end of the text"
        else:
            line, tokens = self.lines[self.row]
            found = repr(tokens[self.column][1]) if self.column < len(tokens) else "the end of the line"
        raise ParseError(f"line {line}: expected {expected}, found {found}", line=line, expected=expected)

    def peek(self) -> tuple[str, str]:
        if self.row < len(self.lines):
            tokens = self.lines[self.row][1]
            if self.column < len(tokens):
                return tokens[self.column]
        return ("end", "")

    def token(self, kind: str, expected: str) -> str:
        found, text = self.peek()
        if found != kind:
            self.fail(expected)
        self.column += 1
        return text

    def accept(self, text: str) -> bool:
        kind, found = self.peek()
        if found == text and kind in ("word", "mark"):
            self.column += 1
            return True
        return False

    def expect(self, text: str) -> None:
        if not self.accept(text):
            self.fail(repr(text))

    def end_line(self) -> None:
        if self.peek()[0] != "end":
            self.fail("the end of the line")
        self.row += 1
        self.column = 0

    def name(self, sigil: str) -> str:
        kind, text = self.peek()
        if kind != "name" or text[0] != sigil:
            self.fail(f"{_SIGILS[sigil]} ({sigil}name)")
        self.column += 1
        return cast(str, json.loads(text[1:])) if text[1] == '"' else text[1:]

    def integer(self) -> int:
        text = self.token("number", "an integer")
        try:
            return int(text)
        except ValueError:
            self.column -= 1
            self.fail("an integer")

    def dtype(self) -> DType:
        text = self.token("word", "a dtype")
        try:
            return dtype_named(text)
        except KeyError:
            self.column -= 1
            self.fail("a dtype")

    def number(self, dtype: DType) -> Number:
        if dtype.kind == "bool":
            if self.accept("true"):
                return True
            if self.accept("false"):
                return False
            self.fail("true or false")
        if not dtype.is_float:
            return self.integer()
        text = self.token("number", "a float")
        value = float(text)
        return math.nan if value != value else value

    def string(self) -> str:
        return cast(str, json.loads(self.token("string", "a string")))
