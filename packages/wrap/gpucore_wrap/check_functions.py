"""Functions and methods: exactly one body, parameters whose types and counts resolve, names that are free."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, cast

from gpucore_wrap import naming, snippets
from gpucore_wrap.errors import Position
from gpucore_wrap.literals import literal
from gpucore_wrap.model import Body, Code, Enum, ErrorRule, Function, Handle, Param, Result, Type
from gpucore_wrap.reader import IDENTIFIER, Record, Text, nearest
from gpucore_wrap.source import Source
from gpucore_wrap.types import TypeNames

BODY_KEYS = ("native", "cpp_fn", "cpp_method", "cpp_body")


class FunctionChecker:
    """Checks functions and methods; problems go to the source."""

    def __init__(
        self,
        source: Source,
        types: TypeNames,
        handles: Mapping[str, Handle],
        enums: Sequence[Enum],
        errors: Sequence[ErrorRule],
        language: str,
    ) -> None:
        self.source = source
        self.types = types
        self.handles = handles
        self.enums = {enum.name: enum for enum in enums}
        self.errors = {rule.name: rule for rule in errors}
        self.language = language

    def add(self, position: Position, message: str, fix: str) -> None:
        self.source.add(position, message, fix)

    def function(self, record: Record) -> Function:
        name = record.text("name")
        handle = record.text("handle")
        if handle and handle not in self.handles:
            self.add(record.at("handle"), f"`{handle}` is no handle", nearest(handle, self.handles))
        kind = cast(Literal["method", "constructor", "static", "property"], record.text("kind", "method"))
        params = self.params(record)
        result = self.result(record)
        body, code = self.body(record, f"{record.kind} `{name}`", result)
        if body == "name" and code.text.strip() in {"self", *(param.name for param in params)}:
            body = "expression"
        function = Function(
            name, record.at("name"), body, code, params, result, self.error(record, result), record.flag("discard"),
            self.code(record, "scope", statements=True), record.text("doc"), handle, kind,
        )  # fmt: skip
        self.owners(function)
        return function

    def code(self, record: Record, key: str, *, statements: bool) -> Code | None:
        text = record.maybe(key)
        if text is None:
            return None
        reason = snippets.problem(text.value, statements=statements)
        if reason:
            self.add(
                text.position, f"`{key}` cannot be put into the bridge: {reason}", "write complete C++ here"
            )
        return Code(text.value, text.position)

    def body(self, record: Record, what: str, result: Result | None) -> tuple[Body, Code]:
        keys = [key for key in BODY_KEYS if key in record.positions]
        nothing: tuple[Body, Code] = ("native", Code(record.text("name"), record.position))
        if len(keys) != 1:
            told = f"has {' and '.join(keys)}" if keys else "has no body"
            self.add(record.position, f"the {what} {told}", f"give exactly one of {', '.join(BODY_KEYS)}")
            return nothing
        key = keys[0]
        text = record.maybe(key)
        if text is None:
            return nothing
        if snippets.is_blank(text.value) or snippets.placeholder(text.value):
            self.add(text.position, f"the {what} has an empty body", "write the C++ that does the work")
            return nothing
        code = self.code(record, key, statements=key == "cpp_body") or nothing[1]
        if key == "native":
            return "native", code
        if key == "cpp_body":
            if result is not None and not snippets.returns(text.value):
                self.add(
                    text.position,
                    f"the body of the {what} returns nothing, and a result is declared",
                    "add a `return`",
                )
            return "body", code
        form = snippets.form(text.value)
        if key == "cpp_fn":
            return form, code
        if form == "lambda":
            return "member_lambda", code
        if not IDENTIFIER.fullmatch(text.value.strip()) and not re.fullmatch(
            r"[A-Za-z_]\w*<[\w:, ]+>", text.value.strip()
        ):
            self.add(
                text.position,
                "`cpp_method` is no member's name",
                "write the name alone, a lambda, or use `cpp_body` with `self.inner`",
            )
        if record.text("kind") in ("static", "constructor"):
            self.add(
                text.position,
                f"a {record.text('kind')} has no object to call a member on",
                "use native, cpp_fn or cpp_body",
            )
        return "member", code

    def result(self, record: Record) -> Result | None:
        found = record.record("result")
        if found is None or found.text("type") in ("void", "nothing"):
            return None
        type_ = self.types.read(found.maybe("type"))
        if type_ is None:
            return None
        optional = found.flag("optional")
        if type_.kind == "callback":
            self.add(
                found.position,
                "a callback cannot be a result",
                "return a scalar, text, bytes, an array or a handle",
            )
        if optional and type_.kind not in ("handle", "text", "bytes"):
            self.add(
                found.position,
                f"a result of {type_} cannot be optional",
                "optional results are handles, text and bytes",
            )
        if "ownership" in found and type_.kind != "handle":
            self.add(
                found.at("ownership"), f"{type_} is not owned", "remove `ownership`; it belongs to handles"
            )
        if "container" in found and type_.kind != "array":
            self.add(
                found.at("container"), f"{type_} has no container", "remove `container`; it belongs to arrays"
            )
        container = cast(Literal["array", "tuple"], found.text("container", "array"))
        return Result(type_, optional, found.text("ownership") == "borrowed", container, found.text("doc"))

    def error(self, record: Record, result: Result | None) -> str:
        name = record.text("error")
        if name and name != "none" and name not in self.errors:
            self.add(record.at("error"), f"`{name}` is no error rule", nearest(name, [*self.errors, "none"]))
            return ""
        if name and name != "none" and self.errors[name].exception:
            self.add(
                record.at("error"),
                f"`{name}` is about an exception, which is always caught",
                "name a rule with `check`",
            )
        return name

    def params(self, record: Record) -> tuple[Param, ...]:
        params: list[Param] = []
        counts: list[Text | None] = []
        for item in record.records("params"):
            name = item.text("name")
            reason = naming.unusable(name) if name else None
            if reason or name == "self":
                self.add(
                    item.at("name"),
                    f"the parameter's name `{name}` is {reason or 'taken by the object'}",
                    "choose another name",
                )
            if name in self.types.declared:
                self.add(
                    item.at("name"),
                    f"the parameter `{name}` hides the {self.types.declared[name]} `{name}`",
                    "choose another name",
                )
            if any(param.name == name for param in params):
                self.add(
                    item.at("name"),
                    f"the parameter `{name}` stands here again",
                    "give each parameter a name of its own",
                )
            type_ = self.types.read(item.maybe("type"))
            if type_ is None:
                continue
            params.append(self.param(item, name, type_, record))
            counts.append(item.maybe("count"))
        return tuple(self.counted(params, counts))

    def param(self, item: Record, name: str, type_: Type, function: Record) -> Param:
        direction = cast(Literal["in", "out", "inout"], item.text("direction", "in"))
        sequence = type_.kind in ("array", "bytes") or (type_.kind == "text" and direction == "out")
        optional = item.flag("optional")
        default = item.maybe("default")
        value = None
        if default is not None:
            if direction != "in" or type_.kind in ("array", "bytes", "handle", "callback"):
                if not (optional and default.value in ("null", "~") and direction == "in"):
                    self.add(
                        default.position,
                        f"`{name}` cannot have a default of this kind",
                        "use `optional: true` with `default: null`",
                    )
                else:
                    value = "None"
            else:
                value = literal(self.source, default, type_, self.enums, optional)
        if "count" in item and not sequence:
            self.add(item.at("count"), f"`{name}` is no array", "remove `count`")
        if "capacity" in item and not (sequence and direction == "out"):
            self.add(
                item.at("capacity"),
                "`capacity` belongs to arrays that go out",
                "remove it, or write `direction: out`",
            )
        if direction != "in" and type_.kind == "callback":
            self.add(item.at("direction"), "a callback goes in", "remove `direction`")
        if direction == "inout" and type_.kind in ("text", "handle", "enum"):
            self.add(item.at("direction"), f"{type_} cannot be inout", "use an `in` and an `out` parameter")
        if optional and direction != "in":
            self.add(item.at("optional"), f"`{name}` goes out and cannot be optional", "remove `optional`")
        if "ownership" in item and type_.kind != "handle":
            self.add(
                item.at("ownership"), f"{type_} is not owned", "remove `ownership`; it belongs to handles"
            )
        if "keep" in item and type_.kind != "callback":
            self.add(item.at("keep"), f"{type_} is not kept", "remove `keep`; it belongs to callbacks")
        keep = cast(Literal["call", "self", "ever"], item.text("keep", "call"))
        if keep == "self" and (not function.text("handle") or function.text("kind") == "static"):
            self.add(
                item.at("keep"),
                "there is no object to keep the callback",
                "use `keep: ever`, or make it a method",
            )
        capacity = self.code(item, "capacity", statements=False)
        self.code(item, "count", statements=False)
        return Param(
            name, type_, item.at("name"), direction, item.text("count").strip(), capacity.text if capacity else "", optional,
            value, item.text("ownership") == "owned", keep, item.text("doc"),
        )  # fmt: skip

    def counted(self, params: list[Param], counts: Sequence[Text | None]) -> list[Param]:
        """Resolve the counts: a parameter that is an array's length is not passed by Python."""
        by_name = {param.name: index for index, param in enumerate(params)}
        for index, param in enumerate(params):
            count = counts[index]
            out = param.direction == "out"
            if param.type.kind not in ("array", "bytes") and not (param.type.kind == "text" and out):
                continue
            if count is None:
                if out:
                    self.add(
                        param.position,
                        f"`{param.name}` goes out and has no `count`",
                        "give the number of its elements",
                    )
                continue
            target = by_name.get(param.count)
            if target is None:
                if IDENTIFIER.fullmatch(param.count) and not out:
                    self.add(
                        count.position,
                        f"the count `{param.count}` is no parameter",
                        nearest(param.count, by_name),
                    )
                elif not out and not param.count.isdigit():
                    self.add(
                        count.position,
                        "the count of an array that goes in is an expression",
                        "name a parameter or a number",
                    )
                elif param.capacity:
                    self.add(
                        count.position,
                        "with `capacity` the count must be a parameter",
                        "name the parameter that native code sets",
                    )
                continue
            counter = params[target]
            if counter.type.kind != "scalar" or counter.type.name[0] not in "iu" or counter.direction != "in":
                self.add(
                    count.position,
                    f"the count `{counter.name}` is no integer that goes in",
                    "name a parameter of i8 to u64",
                )
                continue
            if counter.optional or (counter.default is not None and (not out or param.capacity)):
                self.add(
                    counter.position, f"`{counter.name}` is a count and has a default", "remove the default"
                )
            if not out or param.capacity:
                if out and counter.counts:
                    self.add(
                        count.position,
                        f"`{counter.name}` is the count of another array",
                        "give each capacity its own count",
                    )
                params[target] = replace(counter, counts=(*counter.counts, param.name))
        return params

    def owners(self, function: Function) -> None:
        """A handle that comes out with a parent, or borrowed, needs a handle that goes in."""
        results = [(function.result.type, function.result.borrowed)] if function.result else []
        results += [(param.type, False) for param in function.params if param.direction == "out"]
        if function.kind == "constructor":
            if [type_.name for type_, _ in results] != [function.handle]:
                self.add(
                    function.position, f"the constructor `{function.name}` does not give a {function.handle} alone",
                    f"let `result` or the one `out` parameter be {function.handle}",
                )  # fmt: skip
            elif function.result and function.result.optional:
                self.add(function.position, "a constructor cannot give None", "remove `optional`")
        if function.kind == "property" and [param for param in function.params if param.goes_in]:
            self.add(
                function.position,
                f"the property `{function.name}` has parameters",
                "remove them, or make it a method",
            )
        for type_, borrowed in results:
            if type_.kind != "handle" or type_.name not in self.handles:
                continue
            parent = self.handles[type_.name].parent
            if parent and not owner(function, parent):
                self.add(
                    function.position, f"`{function.label}` gives a {type_.name} and gets no {parent} to be its parent",
                    f"make it a method of {parent}, or add a parameter of that type",
                )  # fmt: skip
            if borrowed and not owner(function, ""):
                self.add(
                    function.position, f"`{function.label}` lends a {type_.name} and gets no handle that it comes from",
                    "make it a method; where it lives for ever, let the native type's handle have `drop: none`",
                )  # fmt: skip

    def methods(self, methods: Sequence[Function]) -> None:
        """The names of each class are its own; one constructor each."""
        taken: dict[tuple[str, str], Position] = {}
        constructors: dict[str, Position] = {}
        for method in methods:
            reason = naming.unusable(method.name, cpp=False)
            if reason:
                self.add(
                    method.position, f"the method's name `{method.name}` is {reason}", "choose another name"
                )
            if method.name in naming.HANDLE_NAMES:
                self.add(
                    method.position, f"every handle has `{method.name}` already",
                    "let `drop` name what closes it, or choose another name",
                )  # fmt: skip
            first = taken.setdefault((method.handle, method.name), method.position)
            if first != method.position:
                self.add(
                    method.position, f"`{method.label}` is taken by line {first.line}", "choose another name"
                )
            if method.kind == "constructor":
                first = constructors.setdefault(method.handle, method.position)
                if first != method.position:
                    self.add(
                        method.position,
                        f"{method.handle} has a constructor in line {first.line}",
                        "make the others static",
                    )


def owner(function: Function, type_name: str) -> str:
    """The name of the handle that a result comes from: `self`, or the first parameter of the type (of any, if it is empty)."""
    if function.has_self and type_name in ("", function.handle):
        return "self"
    for param in function.params:
        lends = (
            param.type.kind == "handle" and param.direction == "in" and not param.optional and not param.owned
        )
        if lends and type_name in ("", param.type.name):
            return param.name
    return ""
