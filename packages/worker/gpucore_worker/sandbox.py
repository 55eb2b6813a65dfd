"""The sandbox of chat templates: what they make in all is counted, so that none runs for ever or fills the memory."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, NoReturn

from jinja2 import nodes
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment, SecurityError
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

MOST_CHARACTERS = 4_000_000
"""Of a prompt that a template writes, and of any value that it makes on the way, with all that is in it."""
MOST_STEPS = 200_000
"""Turns of loops and calls of one prompt."""
_MOST_WORK = 200_000_000
"""Characters that are made or looked through for one prompt."""
_ELEMENT = 16
"""What an element of a list counts, in characters: it takes that much memory and more."""
_MOST_BITS = 4_096
_LEFT_OUT = frozenset({"pprint", "random", "striptags", "urlize", "wordwrap", "xmlattr"})
"""Filters for pages on the web, that are slow or by chance."""
_FIELD = re.compile(r"\{[^{}]*:([^{}]*)")
_PERCENT = re.compile(r"%(?:\([^)]*\))?([^a-zA-Z%]*)")


class RefusedError(Exception):
    """What a template raises of itself."""


def _raise(message: object) -> NoReturn:
    raise RefusedError(str(message))


class _Names(Namespace):  # type: ignore[misc, unused-ignore]
    """A namespace that does not show what is in it, which may be much."""

    def __repr__(self) -> str:
        return "<namespace>"


class _Counted(NodeTransformer):  # type: ignore[misc, unused-ignore]
    """Has values counted where neither a call nor a filter makes them."""

    @staticmethod
    def _counted(node: nodes.Expr, name: str = "counted value", *arguments: nodes.Expr) -> nodes.Filter:
        return nodes.Filter(node, name, list(arguments), [], None, None, lineno=node.lineno)

    def visit_For(self, node: nodes.For) -> nodes.For:
        """A loop: each turn, with the text that it writes whatever happens."""
        text = sum(len(data.data) for part in node.body for data in _texts(part))
        self.generic_visit(node)
        node.iter = self._counted(node.iter, "counted turns", nodes.Const(text))
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Concat:
        """Parts of a text, before they are joined."""
        self.generic_visit(node)
        node.nodes = [self._counted(part) for part in node.nodes]
        return node

    def visit_Operand(self, node: nodes.Operand) -> nodes.Operand:
        """What is looked through for something."""
        self.generic_visit(node)
        if node.op in ("in", "notin"):
            node.expr = self._counted(node.expr)
        return node

    def _literal(self, node: Any) -> nodes.Expr:
        self.generic_visit(node)
        return node if getattr(node, "ctx", "load") != "load" else self._counted(node)

    visit_List = visit_Dict = visit_Tuple = _literal


def _texts(node: nodes.Node) -> list[nodes.TemplateData]:
    found = list(node.find_all(nodes.TemplateData))
    return [node, *found] if isinstance(node, nodes.TemplateData) else found


class Sandbox(ImmutableSandboxedEnvironment):  # type: ignore[misc, unused-ignore]
    """Runs the template of one prompt; what it does is counted until it is too much, which is a ``SecurityError``."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        self._steps = 0
        self._work = 0
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.loopcontrols"],
            finalize=self._value,
        )
        del self.globals["lipsum"]
        self.globals.update(raise_exception=_raise, namespace=_Names)
        for name in _LEFT_OUT:
            del self.filters[name]
        for name, function in tuple(self.filters.items()):
            self.filters[name] = self._filter(name, function)
        self.filters["tojson"] = self._json
        self.filters["counted turns"] = self._turns
        self.filters["counted value"] = self._value

    # --- counting
    def _step(self) -> None:
        self._steps += 1
        if self._steps > MOST_STEPS:
            raise SecurityError(f"it takes more than {MOST_STEPS:,} steps")

    def _count(self, size: int) -> None:
        self._work += size
        if self._work > _MOST_WORK:
            raise SecurityError(f"it makes or reads more than {_MOST_WORK:,} characters")

    @staticmethod
    def _fits(size: int) -> int:
        if size > MOST_CHARACTERS:
            raise SecurityError(f"it makes a value of {size:,} elements")
        return size

    def _weight(self, value: object) -> int:
        """Characters and elements of a value, those within it too, as often as they would be written."""
        total, waiting = 0, [value]
        while waiting:
            one = waiting.pop()
            total += _ELEMENT
            if isinstance(one, (str, bytes)):
                total += len(one)
            elif isinstance(one, Collection):
                self._fits(total + _ELEMENT * len(one))
                waiting.extend(one)
                if isinstance(one, Mapping):
                    waiting.extend(one.values())
            self._fits(total)
        return total

    def _value(self, value: Any) -> Any:
        """A value, once it is counted."""
        self._count(self._weight(value))
        return value

    def _result(self, value: Any) -> Any:
        """What a call or a filter gives, the elements of which were counted when they were made."""
        if isinstance(value, (str, bytes)):
            self._count(self._fits(len(value)))
        elif isinstance(value, dict):
            self._value(value)
        elif isinstance(value, (list, tuple)):
            self._count(_ELEMENT * self._fits(len(value)))
        return value

    def _turns(self, values: Iterable[object], text: int) -> Iterator[object]:
        for value in values:
            self._step()
            self._count(text)
            yield value

    # --- what makes much of little
    def _sizes(self, values: Iterable[object]) -> None:
        """Refuse widths and counts that are larger than any text."""
        for value in values:
            if isinstance(value, int):
                self._fits(abs(value))

    def _replaced(self, text: object, old: object, new: object, *_: object) -> None:
        if isinstance(text, str):
            self._fits(text.count(str(old)) * self._weight(new))

    def _indented(self, text: object, width: object = 4, *_: object) -> None:
        if isinstance(text, str):
            self._fits(text.count("\n") * (width if isinstance(width, int) else self._weight(width)))

    def _pieces(self, values: Iterable[object], between: object) -> list[object]:
        """What is to be joined, counted piece by piece."""
        found: list[object] = []
        size, gap = 0, self._weight(between)
        for value in values:
            size = self._fits(size + self._weight(value) + gap)
            found.append(value)
        return found

    def _formatted(self, text: str, fields: list[str], values: Iterable[object]) -> None:
        """Refuse widths that sum up to much, or are arguments themselves, and large values many times."""
        if any("*" in field for field in fields) or re.search(r"\{[^{}]*:[^{}]*\{", text):
            raise SecurityError("it formats with a width that is not written")
        widths = (number for field in fields for number in re.findall(r"\d+", field))
        for size in widths:
            self._count(int(size) if len(size) < 10 else _MOST_WORK + 1)
        self._count((text.count("{") + text.count("%")) * max(map(self._weight, values), default=0))

    def _filter(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A filter, with what goes in and comes out counted."""
        first = 1 if hasattr(function, "jinja_pass_arg") else 0

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            subject, rest = args[first], args[first + 1 :]
            self._sizes((*rest, *kwargs.values()))
            if name == "replace":
                self._replaced(subject, *rest, *kwargs.values())
            elif name == "indent":
                self._indented(subject, *rest, *kwargs.values())
            elif name == "format":
                self._formatted(str(subject), _PERCENT.findall(str(subject)), (*rest, *kwargs.values()))
            elif name == "join":
                between = rest[0] if rest else kwargs.get("d", "")
                args = (*args[:first], self._pieces(subject, between), *rest)
            if isinstance(subject, str):
                self._count(len(subject))
            return self._result(function(*args, **kwargs))

        return call

    def _json(self, value: object, indent: int | None = None) -> str:
        # Jinja's own is for HTML, and writes \u003c for <
        self._sizes((indent,))
        found, size = [], 0
        for piece in json.JSONEncoder(ensure_ascii=False, indent=indent).iterencode(value):
            size = self._fits(size + len(piece))
            found.append(piece)
        self._count(size)
        return "".join(found)

    def call(self, context: Context, function: Any, *args: Any, **kwargs: Any) -> Any:
        """Call what a template calls."""
        self._step()
        bound = getattr(function, "__wrapped__", function)
        text, name = getattr(bound, "__self__", None), getattr(bound, "__name__", "")
        if isinstance(text, (str, bytes)):
            self._count(len(text))
            given = (*args, *kwargs.values())
            if name in ("format", "format_map") and isinstance(text, str):
                self._formatted(text, _FIELD.findall(text), given)
            else:
                self._sizes(given)
            if name == "replace":
                self._replaced(text, *given)
            elif name == "translate":
                raise SecurityError("it translates texts")
            elif name == "join" and len(args) == 1:
                args = (self._pieces(args[0], text),)
        return self._result(super().call(context, function, *args, **kwargs))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Add, multiply or format, where what comes out is of a sensible size."""
        if operator == "**":
            raise SecurityError("it takes powers")
        if operator == "%":
            if isinstance(left, str):
                values = right if isinstance(right, tuple) else (right,)
                self._formatted(left, _PERCENT.findall(left), values)
            return super().call_binop(context, operator, left, right)
        sized = [isinstance(x, (str, list, tuple)) for x in (left, right)]
        if operator == "*" and any(sized):
            text, times = (left, right) if sized[0] else (right, left)
            if isinstance(times, int):
                size = len(text) if isinstance(text, str) else self._weight(text)
                self._count(self._fits(size * max(times, 0)))
        elif any(sized):
            self._count(self._fits(self._weight(left) + self._weight(right)))
        elif all(isinstance(x, int) and x.bit_length() > _MOST_BITS for x in (left, right)):
            raise SecurityError("it makes a number of too many digits")
        return super().call_binop(context, operator, left, right)

    def _generate(
        self, source: nodes.Template, name: str | None, filename: str | None, defer_init: bool = False
    ) -> str:
        return str(super()._generate(_Counted().visit(source), name, filename, defer_init))
