"""Errors at the user's line: where, the line with a caret, the rule, what to write instead; the texts of functions."""

from __future__ import annotations
import __future__

import ast
import contextlib
import copy
import functools
import inspect
import linecache
import sys
import textwrap
import threading
import tokenize
import types
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import NoReturn, ParamSpec, Protocol, TypeAlias, TypeVar

from gpucore._messages import show_syntax_errors, shown_file
from gpucore.errors import KernelNotSupportedError, KernelSyntaxError, KernelTypeError
from gpucore.ir.nodes import Loc

__all__ = [
    "Inner",
    "Source",
    "arguments_of",
    "article",
    "did_you_mean",
    "dotted_name",
    "parsed",
    "plural",
    "refuse_text",
    "replace_functions",
    "text_of",
]


P = ParamSpec("P")
T = TypeVar("T")


class Source:
    """A function's text and where it stands in its file.

    Attributes
    ----------
    filename : str
    first : int
        The file's line number of the text's first line.
    indent : int
        Columns that were cut off when the text was dedented.
    file : list[str]
        The lines of the whole file, as far as they are known.
    """

    file: list[str] = []  # noqa: RUF012 - nothing is added

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


def _steadily(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call what parses; CPython before 3.11.5 fails where a thread or finalizer parses meanwhile (issue 106905)."""
    for _ in range(99):
        with contextlib.suppress(SystemError):
            return function(*args, **kwargs)
    return function(*args, **kwargs)


def parsed(text: str) -> ast.Module:
    """The syntax tree of a text."""
    return _steadily(ast.parse, text)


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


def dotted_name(node: ast.AST) -> str | None:
    """``a`` or ``a.b.c`` of a load."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        return ".".join([node.id, *reversed(parts)])
    return None


# --- the text that compiles to the very code that Python runs, wherever its file has it now
Function: TypeAlias = "ast.FunctionDef | ast.Lambda"
Found: TypeAlias = tuple[Source, ast.FunctionDef]

_decorated: weakref.WeakValueDictionary[str, Source] = weakref.WeakValueDictionary()
"""By file the source of a function that was decorated in it, which holds the lines of the file as they were then."""


def text_of(function: types.FunctionType, given: str | None, later: bool = False) -> Found:
    """The text of a function and its syntax tree; those of ``given``, where that is the text.

    Parameters
    ----------
    later : bool
        Whether its file was imported some time ago: what the file was when others of its functions were decorated then comes
        before what it is now.

    Raises
    ------
    KernelSyntaxError
        Where no text is found, or none that compiles to the function's code.
    """
    filename = function.__code__.co_filename
    if given is not None:
        source = Source(filename, textwrap.dedent(given), 1, 0)
        return source, _named(function, source)
    linecache.checkcache(filename)
    # what a newer Python keeps under these names need not be this function's text
    now = [] if filename in ("<string>", "<stdin>") else linecache.getlines(filename, function.__globals__)
    kept = _decorated.get(filename)
    then = now if kept is None else kept.file
    for lines in (now,) if then == now else (then, now) if later else (now, then):
        for search in (_where_it_stood, _anywhere):
            result = search(function, lines) if lines else None
            if result is not None:
                result[0].file = lines
                if not later and (kept is None or then != lines):
                    _decorated[filename] = result[0]
                return result
    if now or then:
        refuse_text(function)
    why = (
        ", as for functions made by exec or python -c, piped into python, or typed at Python's prompt before 3.13; "
        "save it to a file, use IPython or Jupyter, or give it: @gc.kernel(source=...)"
    )
    if not filename.startswith("<"):
        why = "; a kernel is compiled from its text: install the .py file beside the .pyc, or give it: @gc.kernel(source=...)"
    raise KernelSyntaxError(
        f"the source of {function.__name__} ({filename}) cannot be read{why}", filename=filename
    )


def refuse_text(function: types.FunctionType) -> NoReturn:
    """Say that the text is another than that of the function."""
    filename, line = function.__code__.co_filename, function.__code__.co_firstlineno
    raise KernelSyntaxError(
        f"{filename}:{line}: the text found for {function.__name__} is not that of the function: "
        "the file changed after it was imported, or another decorator wraps it\n"
        "  Import it again, decorate the def itself, or give the text: @gc.kernel(source=...)",
        filename=filename,
        lineno=line,
    )


def _named(function: types.FunctionType, source: Source) -> ast.FunctionDef:
    """The function in a text that was given for it."""
    name, filename = function.__code__.co_name, source.filename
    try:
        nodes = list(ast.walk(parsed(source.text)))
    except SyntaxError as error:
        text = f"{filename}: the source given for {function.__name__} is no Python: {error.msg} (line {error.lineno})"
        raise KernelSyntaxError(text, filename=filename, lineno=error.lineno) from None
    for node in nodes:
        if isinstance(node, ast.AsyncFunctionDef) and node.name == name:
            source.syntax_error(
                node, "a kernel is an ordinary function, not an async one", "Write def, without async."
            )
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return node
    others = [node.name for node in nodes if isinstance(node, ast.FunctionDef)]
    raise KernelSyntaxError(
        f"{filename}: the source of {function.__name__} holds no function of that name; "
        + (f"it defines {', '.join(others)}" if others else "lambdas cannot be kernels: write a def"),
        filename=filename,
    )


# --- where it may be
def _where_it_stood(function: types.FunctionType, lines: list[str]) -> Found | None:
    """A def at its line, which is quick to read, or the nearest lambda."""
    code = function.__code__
    first = code.co_firstlineno
    if code.co_name == "<lambda>":
        return _nearest_lambda(function, "".join(lines))
    try:
        text = "".join(inspect.getblock(lines[first - 1 :]))
        # dedenting would change strings, and fail on those that start further left
        inside = text[:1] in (" ", "\t")
        source = Source(code.co_filename, "if 1:\n" * inside + text, first - inside, 0)
        (node,) = parsed(source.text).body
    except (SyntaxError, IndexError, ValueError, tokenize.TokenError):
        return None
    node = node.body[0] if isinstance(node, ast.If) else node
    if isinstance(node, ast.FunctionDef) and node.name == code.co_name:
        # the class that it is in gives private names their beginning
        around = code.co_qualname.split(".")[:-1]
        while around and around[-1] == "<locals>":
            del around[-2:]
        if _compiled(node, "".join(around[-1:]), function):
            return source, node
    return None


def _nearest_lambda(function: types.FunctionType, text: str) -> Found | None:
    code = function.__code__
    nearest: tuple[int, ast.Lambda] | None = None
    for node, owner in sorted(_functions(text), key=lambda at: abs(at[0].lineno - code.co_firstlineno)):
        distance = abs(node.lineno - code.co_firstlineno)
        if nearest is not None and distance > nearest[0]:
            break
        if not isinstance(node, ast.Lambda):
            continue
        made = _compiled(node, owner, function)
        # of those with the same code on a line the one at the same column
        if made and (nearest is None or made.replace(co_flags=code.co_flags) == code):
            nearest = distance, node
    return (
        None
        if nearest is None
        else (Source(code.co_filename, text, 1, 0), _as_def(copy.deepcopy(nearest[1])))
    )


def _anywhere(function: types.FunctionType, lines: list[str]) -> Found | None:
    """A def or lambda somewhere in a file, which is compiled as the import did it."""
    code, text = function.__code__, "".join(lines)
    loader = getattr(function.__globals__.get("__spec__"), "loader", None)
    asserts = any("@pytest_ar" in c.co_names for c in _codes(code))
    bare = _without_places(code)
    begins = {
        c.co_firstlineno
        for c in _file_compiled(text, code.co_filename, code.co_flags & _ANNOTATIONS, loader, asserts)
        if c.co_name == code.co_name and _without_places(c) == bare
    }
    nodes = [node for node, _ in _functions(text) if _name(node) == code.co_name and _first(node) in begins]
    if not nodes:
        return None
    node = copy.deepcopy(min(nodes, key=lambda node: abs(_first(node) - code.co_firstlineno)))
    return Source(code.co_filename, text, 1, 0), _as_def(node) if isinstance(node, ast.Lambda) else node


@functools.lru_cache(maxsize=8)
def _functions(text: str) -> list[tuple[Function, str]]:
    """The functions in a file, with the class that each is in."""
    found: list[tuple[Function, str]] = []
    try:
        pending: list[tuple[ast.AST, str]] = [(parsed(text), "")]
    except SyntaxError:
        return found
    for node, owner in pending:
        if isinstance(node, (ast.FunctionDef, ast.Lambda)):
            found.append((node, owner))
        inside = node.name if isinstance(node, ast.ClassDef) else owner
        pending += [(child, inside) for child in ast.iter_child_nodes(node)]
    return found


def _name(node: Function) -> str:
    return "<lambda>" if isinstance(node, ast.Lambda) else node.name


def _first(node: Function) -> int:
    """The line that Python counts a function's lines from."""
    decorators = [] if isinstance(node, ast.Lambda) else node.decorator_list
    return min(n.lineno for n in (node, *decorators))


# --- what Python makes of a text
_ANNOTATIONS = __future__.annotations.compiler_flag
_LISTS = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS
_lock = threading.RLock()


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Without warnings, which came when the file was imported."""
    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _codes(code: types.CodeType) -> list[types.CodeType]:
    """Code with all that is within, the outer ones first."""
    found = [code]
    for one in found:
        found += [c for c in one.co_consts if isinstance(c, types.CodeType)]
    return found


def _without_places(code: types.CodeType) -> types.CodeType:
    """What code does, wherever it is: equal to another that does the same."""
    return code.replace(
        co_consts=tuple(_without_places(c) if isinstance(c, types.CodeType) else c for c in code.co_consts),
        co_firstlineno=1,
        co_linetable=b"",
        # whether it lies within a function, and what its file imports of the future, are of no account
        co_flags=code.co_flags & _LISTS,
    )


def _compiled(node: Function, owner: str, function: types.FunctionType) -> types.CodeType | None:
    """A function's text alone as code, where that is the function's code."""
    code = function.__code__
    bare = copy.copy(node)
    bare.args = copy.copy(node.args)
    nothing = ast.copy_location(ast.Constant(None), node)  # defaults may be lambdas, too
    bare.args.defaults = [nothing for _ in node.args.defaults]
    bare.args.kw_defaults = [value and nothing for value in node.args.kw_defaults]
    if isinstance(bare, ast.Lambda):
        statement: ast.stmt = ast.copy_location(ast.Expr(bare), node)
    else:
        bare.decorator_list, statement = [], bare
    frame = f"{f'class {owner}' if owner else 'if 1'}:\n def __around__({', '.join(code.co_freevars)}):\n  "
    is_global = isinstance(bare, ast.FunctionDef) and bare.name not in code.co_freevars
    frame += f"global {code.co_name}" if is_global else "pass"
    # of what its file imports Python calls an attribute in another way: modules are imported, or everything is
    outside = function.__globals__
    names = {n for c in _codes(code) for n in c.co_names if n in outside and n.isidentifier()}
    modules = {n for n in names if isinstance(outside[n], types.ModuleType)}
    for imports in (modules,) if names == modules else (modules, names):
        tree = parsed("".join(f"import {name}\n" for name in imports) + frame)
        next(n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)).body.append(statement)
        with _silence():
            whole = _steadily(compile, tree, code.co_filename, "exec", code.co_flags & _ANNOTATIONS, True)
        made = next(c for c in _codes(whole) if c.co_name == code.co_name)
        if _without_places(made) == _without_places(code):
            return made
    return None


@functools.lru_cache(maxsize=8)
def _file_compiled(
    text: str, filename: str, flags: int, loader: object, asserts: bool
) -> list[types.CodeType]:
    """All code of a file, compiled as its import does it; none where that fails."""
    source_to_code = getattr(loader, "source_to_code", None)
    try:
        with _silence():
            if asserts:
                tree = parsed(text)
                rewriting = sys.modules["_pytest.assertion.rewrite"]
                rewriting.rewrite_asserts(tree, text.encode(), None, getattr(loader, "config", None))
                return _codes(compile(tree, filename, "exec", flags, True))
            if source_to_code is not None:
                return _codes(source_to_code(text.encode(), filename))
            return _codes(compile(text, filename, "exec", flags, True))
    except Exception:  # noqa: BLE001 - a text that is no Python, or whatever ails a loader: it is not the function's
        return []
