"""The JSON schema and the reference page, both made from the tables of `schema.py`.

`python -m gpucore_wrap.reference schema` and `python -m gpucore_wrap.reference page` print them.
"""

from __future__ import annotations

import json
import sys

from gpucore_wrap.schema import RECORDS, Field

ADDRESS = "https://json-schema.org/draft/2020-12/schema"
IDENTIFIER = "^[A-Za-z][A-Za-z0-9_]*$"
TITLES = {
    "spec": "The specification",
    "library": "`library`",
    "location": "A folder in a package",
    "handle": "An item of `handles`",
    "enum": "An item of `enums`",
    "error": "An item of `errors`",
    "callback": "An item of `callbacks`",
    "callback_param": "A parameter of a callback",
    "constant": "An item of `constants`",
    "function": "An item of `functions`",
    "method": "An item of `methods`",
    "param": "An item of `params`",
    "result": "`result`",
}
WORDS = {
    "identifier": "name",
    "text": "text",
    "line": "text in one line",
    "code": "C++",
    "integer": "integer",
    "boolean": "true or false",
    "type": "type",
    "literal": "literal",
    "name": "C++ name",
    "path": "path",
    "map": "names to values",
}


def json_schema() -> dict[str, object]:
    """The JSON schema of a specification, for editors: `# yaml-language-server: $schema=...`."""
    definitions = {kind: _record(fields) for kind, fields in RECORDS.items() if kind != "spec"}
    return {
        "$schema": ADDRESS,
        "title": "A specification for gpucore wrap",
        **_record(RECORDS["spec"]),
        "$defs": definitions,
    }


def _record(fields: tuple[Field, ...]) -> dict[str, object]:
    record: dict[str, object] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {field.name: _field(field) for field in fields},
    }
    required = [field.name for field in fields if field.required]
    return {**record, "required": required} if required else record


def _field(field: Field) -> dict[str, object]:
    one = _value(field)
    value: dict[str, object] = {"type": "array", "items": one} if field.many else one
    return {**value, "description": field.doc, **({"default": field.default} if field.default else {})}


def _value(field: Field) -> dict[str, object]:
    scalar: dict[str, object] = {"type": ["string", "number", "boolean"]}
    if field.kind == "record":
        reference: dict[str, object] = {"$ref": f"#/$defs/{field.record}"}
        return {"anyOf": [reference, {"type": "string"}]} if field.short else reference
    if field.kind == "path":
        return {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/location"}]}
    if field.kind == "choice":
        return {"enum": list(field.values)}
    if field.kind == "boolean":
        return {"type": "boolean"}
    if field.kind == "identifier":
        return {"type": "string", "pattern": IDENTIFIER}
    if field.kind == "map":
        return {
            "anyOf": [
                {"type": "object", "additionalProperties": scalar},
                {"type": "array", "items": {"type": "string"}},
            ]
        }
    if field.kind == "literal":
        return {"type": ["string", "number", "boolean", "null"]}
    return scalar


def page() -> str:
    """The reference page, in Markdown."""
    lines = [
        "# Wrapping a library: reference",
        "",
        "Every key of a specification, made from the tables that the reader itself uses. The tutorial is [wrap.md](wrap.md);",
        "the JSON schema for editors is `packages/wrap/gpucore_wrap/schema.json`, in the wheel `gpucore_wrap/schema.json`.",
    ]
    for kind, fields in RECORDS.items():
        lines += ["", f"## {TITLES[kind]}", "", "| key | value | meaning |", "|---|---|---|"]
        lines += [_row(field) for field in fields]
    return "\n".join(lines) + "\n"


def _row(field: Field) -> str:
    if field.kind == "choice":
        value = ", ".join(f"`{choice}`" for choice in field.values)
    elif field.kind == "record":
        value = f"[{field.record.replace('_', ' ')}](#{_anchor(TITLES[field.record])})"
        value += ", or a type" if field.short else ""
    else:
        value = WORDS[field.kind]
    value = f"list of: {value}" if field.many else value
    ending = " Required." if field.required else ""
    if field.default:
        shown = field.default if " " in field.default else f"`{field.default}`"
        ending += f" Default: {shown}."
    return f"| `{field.name}` | {value} | {field.doc}{ending} |".replace("||", r"\|\|").replace(
        "`|`", r"`\|`"
    )


def _anchor(title: str) -> str:
    return title.lower().replace("`", "").replace(" ", "-")


def main(arguments: list[str]) -> int:
    """Print the schema or the page."""
    made = {"schema": lambda: json.dumps(json_schema(), indent=2) + "\n", "page": page}
    if len(arguments) != 1 or arguments[0] not in made:
        sys.stderr.write("python -m gpucore_wrap.reference schema|page\n")
        return 2
    sys.stdout.write(made[arguments[0]]())
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
