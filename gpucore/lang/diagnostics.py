"""Errors at the user's line: where, the line with a caret, the rule, what to write instead; functions within a text."""

from __future__ import annotations

import ast
import contextlib
import copy
import functools
import inspect
import textwrap
import types
from collections.abc import Callable, Iterable
from typing import NoReturn, Protocol

from gpucore._ipython import show_syntax_errors, shown_file
from gpucore.errors import KernelNotSupportedError, KernelSyntaxError, KernelTypeError
from gpucore.ir.nodes import Loc

__all__ = [
    "Inner",
    "Source",
    "arguments_of",
    "article",
    "did_you_mean",
    "dotted_name",
    "lambda_of",
    "parsed",
    "plural",
    "replace_functions",
    "source_of",
]


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
        code = function.__code__  # that of what functools.wraps names is another's
        # of a lambda, the lines alone need not be Python
        lines, first = (
            (inspect.findsource(code)[0], 1) if code.co_name == "<lambda>" else inspect.getsourcelines(code)
        )
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


class Reads(Protocol):
    """A function that knows what it reads."""

    def free(self) -> dict[str, ast.expr]:
        """A node for each name that is not its own."""


class Inner(ast.Lambda):
    """In a syntax tree: a ``def`` or lambda within a function.

    Attributes
    ----------
    captured : Captured
    defaults, decorators, loads : list[ast.expr]
        What its line evaluates, and what of the names around it the function reads when it is called.
    """

    _fields = ("defaults", "decorators", "loads")

    def __init__(
        self, text: ast.Lambda | ast.FunctionDef, definition: ast.FunctionDef, captured: Reads
    ) -> None:
        arguments = definition.args
        self.captured = captured
        self.defaults = [*arguments.defaults, *(node for node in arguments.kw_defaults if node is not None)]
        self.decorators = definition.decorator_list
        self.loads = list(self.captured.free().values())
        self.args, self.body = arguments, text.body  # type: ignore[assignment] # what ast.unparse writes of a lambda
        ast.copy_location(self, text)


Inner.__name__ = "Lambda"  # by which ast.unparse knows it


def replace_functions(
    definition: ast.FunctionDef, capture: Callable[[ast.FunctionDef], Reads]
) -> ast.FunctionDef:
    """Put an :class:`Inner` in the place of each function within a function; a ``def`` becomes an assignment of it."""

    def replaced(node: ast.AST) -> ast.AST:
        if isinstance(node, ast.Lambda):
            made = _as_def(node)
            return Inner(node, made, capture(made))
        if not isinstance(node, ast.FunctionDef):
            return node
        name = ast.copy_location(ast.Name(node.name, ast.Store()), node)
        return ast.copy_location(ast.Assign([name], Inner(node, node, capture(node))), node)

    # the innermost first; without recursion, since expressions may be long
    for parent in reversed(list(ast.walk(definition))):
        for name, value in ast.iter_fields(parent):
            if isinstance(value, list):
                value[:] = map(replaced, value)
            elif isinstance(value, ast.Lambda):
                setattr(parent, name, replaced(value))
    return definition


def arguments_of(arguments: ast.arguments) -> tuple[ast.arg, ...]:
    """All that have a name of their own."""
    return (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)


def _as_def(node: ast.Lambda) -> ast.FunctionDef:
    """A lambda as the function that it is short for."""
    body: list[ast.stmt] = [ast.copy_location(ast.Return(node.body), node.body)]
    return ast.copy_location(ast.FunctionDef("<lambda>", node.args, body, []), node)


def lambda_of(text: str, code: types.CodeType) -> ast.FunctionDef | None:
    """The lambda in a file that was compiled to the code, as a function; None where the file has changed."""
    lambdas, imports = _lambdas(text)
    for node in lambdas:
        if node.lineno == code.co_firstlineno and _is_text_of(node, code, imports):
            return _as_def(copy.deepcopy(node))
    return None


@functools.lru_cache(maxsize=8)
def _lambdas(text: str) -> tuple[list[ast.Lambda], list[ast.stmt]]:
    """The lambdas in a file, and its imports: Python calls an attribute of what is imported in another way."""
    tree = parsed(text)
    outside = [
        n for n in tree.body if not isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
    ]
    imports: list[ast.stmt] = [
        node for top in outside for node in ast.walk(top) if isinstance(node, (ast.Import, ast.ImportFrom))
    ]
    return [node for node in ast.walk(tree) if isinstance(node, ast.Lambda)], imports


_LISTS = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS


def _is_text_of(node: ast.Lambda, code: types.CodeType, imports: list[ast.stmt]) -> bool:
    """Whether this lambda is what was compiled to the code: there may be several on its line, and files change."""
    free, bare = [ast.arg(name) for name in code.co_freevars], copy.deepcopy(node)
    # defaults may be lambdas, too
    bare.args.defaults = [ast.Constant(None) for _ in bare.args.defaults]
    bare.args.kw_defaults = [value and ast.Constant(None) for value in bare.args.kw_defaults]
    around = ast.Expr(ast.Lambda(ast.arguments([], free, None, [], [], None, []), bare))
    tree = ast.fix_missing_locations(ast.Module([*imports, ast.copy_location(around, node)], []))
    outer = [
        c for c in compile(tree, "", "exec", dont_inherit=True).co_consts if isinstance(c, types.CodeType)
    ][-1]
    made = [c for c in outer.co_consts if isinstance(c, types.CodeType)]
    # whether it lies within a function, and what its file imports of the future, are of no account
    return any(c.replace(co_flags=c.co_flags & _LISTS | code.co_flags & ~_LISTS) == code for c in made)


def dotted_name(node: ast.AST) -> str | None:
    """``a`` or ``a.b.c`` of a load."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        return ".".join([node.id, *reversed(parts)])
    return None
