"""C++ text of a specification: what form it has, and that it ends where it ends.

A snippet is the user's own code and is compiled as it stands. Its brackets, quotes and comments must close: so it cannot swallow
or leave the entry that it is put into, and a mistake is reported at its line of the specification.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Collection, Iterator
from typing import Literal, NamedTuple

from gpucore_wrap.reader import QUALIFIED

Form = Literal["lambda", "name", "expression"]
TOKEN = re.compile(
    r"""(?P<raw>\b(?:u8|[uUL])?R"(?P<mark>[^\s()\\"]{0,16})\()"""
    r"""|(?P<line>//[^\n]*)"""
    r"""|(?P<block>/\*)"""
    r"""|(?P<text>"(?:[^"\\\n]|\\.)*")"""
    r"""|(?P<number>\b\d(?:'?[\w.])*)"""
    r"""|(?P<char>'(?:[^'\\\n]|\\.)+')"""
    r"""|(?P<open>[(\[{])|(?P<close>[)\]}])"""
    r"""|(?P<digraph><%|%>|<:(?!:[^:>])|:>)"""
    r"""|(?P<bad>["']|\?\?[=/'()!<>-])"""
    r"""|(?P<splice>\\[ \t]*\n)"""
    r"""|(?P<end>;)|(?P<hash>\#|%:)"""
)
PAIRS = {"(": ")", "[": "]", "{": "}"}
CLOSERS = {"(": "round", "[": "square", "{": "curly", ")": "round", "]": "square", "}": "curly"}


class Token(NamedTuple):
    """A piece of C++ that says where others begin and end."""

    kind: str
    text: str
    start: int
    end: int


def tokens(code: str) -> Iterator[Token]:
    """The tokens of a snippet, read once from front to back; the last one is `bad` where a text or a comment does not close."""
    place = 0
    while (found := TOKEN.search(code, place)) is not None:
        kind, start, place = found.lastgroup or "", found.start(), found.end()
        if kind in ("raw", "block"):
            closing = "*/" if kind == "block" else f'){found["mark"]}"'
            end = code.find(closing, place)
            if end < 0:
                yield Token("bad", found.group(), start, place)
                return
            place = end + len(closing)
        yield Token(kind, code[start:place], start, place)


def without(code: str, kinds: Collection[str]) -> str:
    """The snippet with a space for each token of some kinds."""
    parts, place = [], 0
    for token in tokens(code):
        if token.kind in kinds:
            parts += [code[place : token.start], " "]
            place = token.end
    return "".join((*parts, code[place:]))


def form(code: str) -> Form:
    """What a value of `cpp_fn`, `cpp_method` or `drop` is."""
    text = code.strip()
    if text.startswith("["):
        return "lambda"
    return "name" if QUALIFIED.fullmatch(text) else "expression"


def problem(code: str, *, statements: bool, directives: bool = False) -> str | None:
    """Why a snippet cannot be put into the bridge, or None.

    Parameters
    ----------
    code : str
        The snippet.
    statements : bool
        Whether it may hold statements; an expression may not.
    directives : bool
        Whether it may hold preprocessor lines.
    """
    waiting: list[str] = []
    last_line_comment = -1
    for token in tokens(code):
        kind, text = token.kind, token.text
        if kind == "open":
            waiting.append(PAIRS[text])
        elif kind == "close":
            if not waiting:
                return f"it closes a {CLOSERS[text]} bracket that it did not open"
            if waiting.pop() != text:
                return f"its {CLOSERS[text]} bracket closes another kind"
        elif kind == "bad":
            return "a comment or a quote in it does not close" if "?" not in text else "it holds a trigraph"
        elif kind == "end" and not waiting and not statements:
            return "it holds a `;`, and an expression is asked"
        elif kind == "hash" and not directives:
            return "it holds a preprocessor line"
        elif kind == "digraph":
            return f"it holds the digraph `{text}`; write the bracket that it stands for"
        elif kind == "splice" and not directives:
            return "it goes on in the next line after a backslash"
        elif kind == "line":
            if text.rstrip().endswith("\\"):
                return "a // comment in it ends in a backslash, which would hide the next line"
            last_line_comment = token.end
    if waiting:
        return f"a {CLOSERS[waiting[-1]]} bracket in it does not close"
    if code.rstrip(" \t\n").endswith("\\"):
        return "it ends in a backslash"
    if not statements and last_line_comment == len(code.rstrip()):
        return "it ends in a // comment, which would hide what follows"
    return None


def returns(code: str) -> bool:
    """Whether a body has a `return` with a value outside its comments and texts; a nested lambda's counts too."""
    bare = without(code, ("raw", "line", "block", "text", "char"))
    return re.search(r"\breturn\b\s*[^\s;]", bare) is not None or re.search(r"\bthrow\b", bare) is not None


def is_blank(code: str) -> bool:
    """Whether nothing but comments, spaces and empty statements is there."""
    bare = without(code, ("line", "block"))
    return not bare.strip(" \t\r\n;{}")


def placeholder(code: str) -> bool:
    """Whether the text is a note that code is to be written, in place of code."""
    lines = [line for line in code.splitlines() if line.strip()]
    return bool(lines) and all(re.match(r"\W*(?:TODO|FIXME|XXX)\b", line, re.IGNORECASE) for line in lines)


def indented(code: str, prefix: str) -> str:
    """The snippet's lines behind a prefix; left alone where a raw string would change."""
    text = code.strip("\n").rstrip()
    if 'R"' in text:
        return prefix + text.lstrip()
    lines = text.splitlines()
    if lines and not lines[0].startswith((" ", "\t")) and len(lines) > 1:
        text = (
            lines[0] + "\n" + textwrap.dedent("\n".join(lines[1:])) if lines[1:] and _hangs(lines) else text
        )
    return textwrap.indent(textwrap.dedent(text), prefix)


def _hangs(lines: list[str]) -> bool:
    """Whether all later lines are indented as deep as the last, a closing bracket: the first line began after a key."""
    last = lines[-1]
    depth = len(last) - len(last.lstrip())
    return depth > 0 and all(len(line) - len(line.lstrip()) >= depth for line in lines[1:] if line.strip())
