"""YAML with positions: PyYAML composes the nodes, this module adds the limits and the places that errors name."""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from gpucore_wrap.errors import Position, Problem, SpecError

MAX_BYTES = 32 * 1024 * 1024
MAX_EXCERPT = 160
MAX_MESSAGE = 400
STRING, SEQUENCE, MAPPING = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map")
_Base: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc]
    """Composes nodes and leaves every scalar as it is written: `1.10` stays `1.10`, `on` stays `on`."""

    def resolve(self, kind: type[yaml.Node], value: object, implicit: object) -> str:
        if kind is yaml.ScalarNode:
            return STRING
        return SEQUENCE if kind is yaml.SequenceNode else MAPPING

    def descend_resolver(self, current: object, index: object) -> None:
        """Nothing depends on the path of a node."""

    def ascend_resolver(self) -> None:
        """Nothing depends on the path of a node."""


@contextmanager
def no_collections() -> Iterator[None]:
    """Many objects are made here and none in a cycle: the collector would only look at them again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@dataclass
class Source:
    """The text of a specification and the problems found in it so far.

    Parameters
    ----------
    file : str
        The path that messages show.
    text : str
        The whole text.
    """

    file: str
    text: str
    problems: list[Problem] = field(default_factory=list)
    _lines: list[str] = field(default_factory=list, repr=False)

    @classmethod
    def read(cls, path: Path) -> Source:
        """Read a file; raises SpecError if it cannot be read, is too large or is no UTF-8."""
        start = Position(str(path), 1, 1)
        try:
            size = path.stat().st_size
            if size > MAX_BYTES:
                raise SpecError(
                    [Problem(start, f"the file has {size} bytes", f"keep it under {MAX_BYTES} bytes")]
                )
            return cls(str(path), path.read_text("utf-8-sig"))
        except UnicodeDecodeError as error:
            raise SpecError(
                [Problem(start, f"byte {error.start} is not UTF-8", "save the file as UTF-8")]
            ) from None
        except OSError as error:
            raise SpecError(
                [Problem(start, f"cannot be read: {error.strerror}", "give the path of a YAML file")]
            ) from None

    def position(self, node: yaml.Node) -> Position:
        mark = node.start_mark
        return Position(self.file, mark.line + 1, mark.column + 1)

    def excerpt(self, position: Position) -> tuple[str, int]:
        """The line of a place and the column in it; of a long line the part around the place."""
        if not self._lines:
            self._lines = self.text.splitlines()
        if not 0 < position.line <= len(self._lines):
            return "", 0
        line, column = self._lines[position.line - 1].replace("\t", " "), position.column
        if len(line) <= MAX_EXCERPT:
            return line, column
        start = max(0, min(column - 1 - MAX_EXCERPT // 2, len(line) - MAX_EXCERPT))
        before, after = "... " if start else "", " ..." if start + MAX_EXCERPT < len(line) else ""
        return f"{before}{line[start : start + MAX_EXCERPT]}{after}", column - start + len(before)

    def add(self, position: Position, message: str, fix: str) -> None:
        """Note a problem; `finish` raises them together."""
        self.problems.append(Problem(position, _short(message), _short(fix), *self.excerpt(position)))

    def finish(self) -> None:
        """Raise SpecError if there are problems."""
        if self.problems:
            raise SpecError(self.problems)

    def compose(self) -> yaml.MappingNode:
        """The root mapping, with aliases, tags and repeated keys refused; raises SpecError."""
        try:
            root = yaml.compose(self.text, Loader=_Loader)
        except yaml.YAMLError as error:
            self._add_yaml_error(error)
            raise SpecError(self.problems) from None
        if not isinstance(root, yaml.MappingNode):
            self.add(Position(self.file, 1, 1), "the file holds no mapping", "begin with `library:`")
            raise SpecError(self.problems)
        if "!" in self.text or ("&" in self.text and "*" in self.text):
            self._refuse_aliases(root)
            self.finish()
        return root

    def _add_yaml_error(self, error: yaml.YAMLError) -> None:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        position = Position(self.file, mark.line + 1, mark.column + 1) if mark else Position(self.file, 1, 1)
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        self.add(position, f"not valid YAML: {problem}", "correct the indentation, quoting or brackets here")

    def _refuse_aliases(self, root: yaml.Node) -> None:
        seen: set[int] = set()
        waiting = [root]
        while waiting:
            node = waiting.pop()
            if id(node) in seen:
                self._add_alias()
                return
            seen.add(id(node))
            if node.tag not in (STRING, SEQUENCE, MAPPING):
                self.add(self.position(node), f"the tag {node.tag} is not read", "write the plain value")
            if isinstance(node, yaml.SequenceNode):
                waiting += node.value
            elif isinstance(node, yaml.MappingNode):
                for key, value in node.value:
                    waiting += (key, value)

    def _add_alias(self) -> None:
        for event in yaml.parse(self.text, Loader=_Loader):
            if isinstance(event, yaml.AliasEvent):
                mark = event.start_mark
                position = Position(self.file, mark.line + 1, mark.column + 1)
                self.add(
                    position, f"the alias *{event.anchor} is not read", "write the value out where it is used"
                )
                return


def _short(text: str) -> str:
    """A message that shows a long word of the file in part."""
    text = re.sub(r"\S{200,}", lambda word: f"{word.group()[:60]}...{word.group()[-20:]}", text)
    return text if len(text) <= MAX_MESSAGE else f"{text[: MAX_MESSAGE - 3]}..."


def items(source: Source, node: yaml.MappingNode) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
    """Key text, key node and value node of a mapping; notes keys that are no text or come twice."""
    seen: dict[str, Position] = {}
    for key, value in node.value:
        position = source.position(key)
        if not isinstance(key, yaml.ScalarNode):
            source.add(position, "a key must be text", "write `name: value`")
            continue
        if key.value in seen:
            first = seen[key.value]
            source.add(
                position,
                f"`{key.value}` stands here again, first in line {first.line}",
                "keep one of the two",
            )
            continue
        seen[key.value] = position
        yield key.value, key, value
