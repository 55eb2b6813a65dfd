"""YAML nodes into records by the tables of the schema; each value keeps its position."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import yaml

from gpucore_wrap.errors import Position
from gpucore_wrap.schema import RECORDS, Field
from gpucore_wrap.source import Source, items

IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
QUALIFIED = re.compile(r"&?(::)?[A-Za-z_]\w*(::~?[A-Za-z_]\w*)*(<[\w:,<>* ]*>)?", re.ASCII)
FIELDS = {kind: {field.name: field for field in fields} for kind, fields in RECORDS.items()}
REQUIRED = {kind: [field for field in fields if field.required] for kind, fields in RECORDS.items()}
TRUTH = {"true": True, "false": False}
NOTHING = ("null", "Null", "~")  # as YAML spells it
MAX_LINE = 4096


@dataclass(frozen=True)
class Text:
    """A scalar of the file.

    Parameters
    ----------
    value : str
        The text, as YAML reads it: escapes are undone.
    position : Position
        Where it begins.
    quoted : bool
        Whether it was quoted or a block: then it is text whatever it looks like.
    """

    value: str
    position: Position
    quoted: bool = False


@dataclass
class Record:
    """The values of one mapping, by the table of its kind."""

    kind: str
    position: Position
    values: dict[str, object] = field(default_factory=dict)
    positions: dict[str, Position] = field(default_factory=dict)

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def at(self, name: str) -> Position:
        """The position of a key, or of the record where it has none."""
        return self.positions.get(name, self.position)

    def text(self, name: str, default: str = "") -> str:
        value = self.values.get(name)
        return value.value if isinstance(value, Text) else default

    def maybe(self, name: str) -> Text | None:
        value = self.values.get(name)
        return value if isinstance(value, Text) else None

    def flag(self, name: str) -> bool:
        return self.values.get(name) is True

    def texts(self, name: str) -> list[Text]:
        value = self.values.get(name)
        return [item for item in value if isinstance(item, Text)] if isinstance(value, list) else []

    def record(self, name: str) -> Record | None:
        value = self.values.get(name)
        return value if isinstance(value, Record) else None

    def records(self, name: str) -> list[Record]:
        value = self.values.get(name)
        return [item for item in value if isinstance(item, Record)] if isinstance(value, list) else []

    def paths(self, name: str) -> list[Text | Record]:
        value = self.values.get(name)
        return [item for item in value if isinstance(item, (Text, Record))] if isinstance(value, list) else []

    def mapping(self, name: str) -> dict[str, Text]:
        value = self.values.get(name)
        return value if isinstance(value, dict) else {}


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint with the known word that looks most like `word`, or the list of them."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, 1, 0.6) if len(word) <= 200 else []
    if close:
        return f"write `{close[0]}`"
    return f"use one of {', '.join(names)}" if names else "remove it"


class Reader:
    """Reads records; problems go to the source."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def record(self, node: yaml.Node, kind: str, what: str) -> Record:
        record = Record(kind, self.source.position(node))
        if not isinstance(node, yaml.MappingNode):
            self.source.add(record.position, f"{what} must be a mapping", "write `key: value` pairs")
            return record
        fields = FIELDS[kind]
        for name, key, value in items(self.source, node):
            known = fields.get(name)
            if known is None:
                fix = nearest(name, fields)
                if isinstance(value, yaml.ScalarNode) and not value.value and not value.style:
                    fix = "quote the text before it: inside of { } a comma ends it"
                self.source.add(self.source.position(key), f"unknown key `{name}` in {what}", fix)
                continue
            record.positions[name] = self.source.position(value)
            read = self.value(value, known, f"`{name}` of {what}")
            if read is not None:
                record.values[name] = read
        for known in REQUIRED[kind]:
            if known.name not in record.positions:
                name = known.name
                self.source.add(record.position, f"{what} has no `{name}`", f"add `{name}:`. {known.doc}")
        return record

    def value(self, node: yaml.Node, known: Field, what: str) -> object:
        if known.many:
            if isinstance(node, yaml.ScalarNode) and not node.value and not node.style:
                return []
            if not isinstance(node, yaml.SequenceNode):
                self.source.add(
                    self.source.position(node), f"{what} must be a list", "begin each item with `- `"
                )
                return None
            read = [self.one(item, known, f"{self.singular(known)}") for item in node.value]
            return [item for item in read if item is not None]
        return self.one(node, known, what)

    def singular(self, known: Field) -> str:
        if known.kind != "record":
            return f"an item of `{known.name}`"
        noun = known.record.replace("_", " ")
        return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"

    def one(self, node: yaml.Node, known: Field, what: str) -> object:
        if known.kind == "record" or (known.kind == "path" and isinstance(node, yaml.MappingNode)):
            if known.short and isinstance(node, yaml.ScalarNode):
                record = Record(known.record, self.source.position(node))
                record.values[known.short] = self.scalar(node)
                return record
            return self.record(
                node, known.record or "location", what if not known.many else self.named(node, known)
            )
        if known.kind == "map":
            return self.map(node, what)
        if not isinstance(node, yaml.ScalarNode):
            self.source.add(
                self.source.position(node), f"{what} must be text", f"write `{known.name}: ...` in one value"
            )
            return None
        return self.check(self.scalar(node), known, what)

    def named(self, node: yaml.Node, known: Field) -> str:
        """`the function \\`crc32\\`` rather than `a function`, where the name can be seen."""
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if (
                    isinstance(key, yaml.ScalarNode)
                    and key.value == "name"
                    and isinstance(value, yaml.ScalarNode)
                ):
                    return f"the {known.record.replace('_', ' ')} `{value.value[:60]}`"
        return self.singular(known)

    def scalar(self, node: yaml.ScalarNode) -> Text:
        return Text(node.value, self.source.position(node), bool(node.style))

    def map(self, node: yaml.Node, what: str) -> dict[str, Text] | None:
        read: dict[str, Text] = {}
        if isinstance(node, yaml.SequenceNode):
            for item in node.value:
                if isinstance(item, yaml.ScalarNode):
                    read[item.value] = self.scalar(item)
                else:
                    self.source.add(
                        self.source.position(item), f"{what} must hold names", "write `NAME: value`"
                    )
            return read
        if not isinstance(node, yaml.MappingNode):
            self.source.add(
                self.source.position(node), f"{what} must be a mapping", "write `NAME: value` pairs"
            )
            return None
        for name, _, value in items(self.source, node):
            if isinstance(value, yaml.ScalarNode):
                read[name] = self.scalar(value)
            else:
                self.source.add(
                    self.source.position(value), f"`{name}` in {what} must be text", "write `NAME: value`"
                )
        return read

    def check(self, text: Text, known: Field, what: str) -> object:
        value = text.value
        if known.kind == "boolean":
            if value in TRUTH and not text.quoted:
                return TRUTH[value]
            return self.refuse(text, f"{what} is `{value[:60]}`", "write true or false")
        if known.kind == "choice" and value not in known.values:
            return self.refuse(text, f"{what} is `{value[:60]}`", nearest(value, known.values))
        if value in NOTHING and not text.quoted and known.kind != "literal":
            return self.refuse(
                text, f"{what} is `{value}`, which is nothing", "give a value, quote it, or remove the key"
            )
        if "\0" in value:
            return self.refuse(text, f"{what} holds a NUL character", "remove it")
        if known.kind == "literal":
            return text
        if not value.strip():
            return self.refuse(text, f"{what} is empty", f"{known.doc} Give it, or remove the key")
        if known.kind == "identifier" and not IDENTIFIER.fullmatch(value):
            return self.refuse(
                text,
                f"{what} is {value[:60]!r}, which is no name",
                "use letters, digits and _, a letter first",
            )
        if known.kind == "name" and not QUALIFIED.fullmatch(value):
            return self.refuse(
                text,
                f"{what} is {value[:60]!r}, which is no function's name",
                "name a function; put C++ into `cpp_fn` or `cpp_body`",
            )
        if known.kind == "line" and (len(value) > MAX_LINE or not value.isprintable()):
            return self.refuse(text, f"{what} has line breaks or control characters", "write it in one line")
        return text

    def refuse(self, text: Text, message: str, fix: str) -> object:
        self.source.add(text.position, message, fix)
        return None
