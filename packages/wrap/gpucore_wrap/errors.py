"""Errors of the wrapper generator: each problem says where it is, what is wrong and what to write instead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Position(NamedTuple):
    """A place in a specification.

    Parameters
    ----------
    file : str
        The path as the user gave it.
    line, column : int
        Counted from 1.
    """

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, order=True)
class Problem:
    """One thing that is wrong with a specification.

    Parameters
    ----------
    position : Position
        Where.
    message : str
        What.
    fix : str
        What to write instead.
    excerpt : str
        The line of the file, or the part of it around the place, for the reader.
    caret : int
        The column in the excerpt, from 1; 0 for that of the position.
    """

    position: Position
    message: str
    fix: str
    excerpt: str = ""
    caret: int = 0

    def __str__(self) -> str:
        text = f"{self.position}: error: {self.message}"
        if self.excerpt:
            number = str(self.position.line)
            margin = " " * len(number)
            text += f"\n  {number} | {self.excerpt}\n  {margin} | {' ' * ((self.caret or self.position.column) - 1)}^"
        return f"{text}\n  fix: {self.fix}"


class WrapError(Exception):
    """The base of this package's errors."""


class SpecError(WrapError):
    """A specification that cannot be used.

    Attributes
    ----------
    problems : tuple of Problem
        At least one, in the order of the file.
    """

    SHOWN = 20

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        shown = [str(problem) for problem in self.problems[: self.SHOWN]]
        if len(self.problems) > self.SHOWN:
            shown.append(f"and {len(self.problems) - self.SHOWN} more")
        super().__init__("\n".join(shown))


class OutputError(WrapError):
    """Files that cannot be written without a loss."""


class VerifyError(WrapError):
    """Generated code that does not pass the asked check; the message holds the tool's output.

    Attributes
    ----------
    level : str
        ``"syntax"``, ``"compile"`` or ``"load"``.
    """

    def __init__(self, level: str, message: str) -> None:
        self.level = level
        super().__init__(message)
