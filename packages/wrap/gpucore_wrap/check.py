"""From records to a checked specification: the library and everything but the functions."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Literal, cast

from gpucore_wrap import naming, snippets
from gpucore_wrap.check_functions import FunctionChecker
from gpucore_wrap.errors import Position
from gpucore_wrap.literals import literal
from gpucore_wrap.model import (
    Callback,
    Code,
    Constant,
    Enum,
    ErrorRule,
    Handle,
    Library,
    PackagePath,
    Param,
    Spec,
    Type,
)
from gpucore_wrap.original import is_original, refuse_rust, translate
from gpucore_wrap.reader import Reader, Record, Text, nearest
from gpucore_wrap.source import Source, no_collections
from gpucore_wrap.types import TypeNames

NATIVE_TYPE = re.compile(r"[A-Za-z_:][\w:<>,*&() ]*", re.ASCII)
HEADER = re.compile(r"<[\w./+-]+>|[\w./+-]+", re.ASCII)
LINK = re.compile(r":?[\w.+-]+", re.ASCII)
VERSION = re.compile(
    r"\d+(\.\d+)*((a|b|rc)\d+)?(\.post\d+)?(\.dev\d+)?(\+[a-z0-9]+(\.[a-z0-9]+)*)?", re.ASCII
)
REQUIREMENT = re.compile(r"[A-Za-z0-9][\w.-]*(\[[\w, -]+\])? *([<>=!~]=?[\w.*, <>=!~+-]+)?", re.ASCII)
PACKAGE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
DEFINE = re.compile(r'[\w.+*/:()<>," -]*', re.ASCII)


def load_spec(path: Path | str) -> Spec:
    """Read and check a specification.

    Parameters
    ----------
    path : Path or str
        A YAML file.

    Returns
    -------
    Spec
        With every name resolved.

    Raises
    ------
    SpecError
        All problems found, each with file, line, column and what to write instead.
    """
    return check(Source.read(Path(path)))


def check(source: Source) -> Spec:
    """As `load_spec`, of text that is already read."""
    with no_collections():
        return _check(source)


def _check(source: Source) -> Spec:
    root = source.compose()
    if refuse_rust(source, root):
        source.finish()
    if is_original(root):
        root = translate(source, root)
        source.finish()
    record = Reader(source).record(root, "spec", "the specification")
    source.finish()
    spec = Checker(source).spec(record)
    source.finish()
    return spec


class Checker:
    """Checks records; problems go to the source."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.types = TypeNames(source)
        self.package: dict[str, Position] = {}

    def add(self, position: Position, message: str, fix: str) -> None:
        self.source.add(position, message, fix)

    def spec(self, record: Record) -> Spec:
        for kind, key in (("handle", "handles"), ("enum", "enums"), ("callback", "callbacks")):
            for item in record.records(key):
                self.types.declare(item.text("name"), kind)
        library = self.library(cast(Record, record.record("library")))
        handles = tuple(self.handle(item) for item in record.records("handles"))
        enums = tuple(self.enum(item) for item in record.records("enums"))
        errors = tuple(self.error(item) for item in record.records("errors"))
        callbacks = tuple(self.callback(item) for item in record.records("callbacks"))
        constants = tuple(self.constant(item) for item in record.records("constants"))
        self.parents(handles)
        rules = [rule.name for rule in errors if not rule.exception]
        for handle in handles:
            if handle.error and handle.error != "none" and handle.error not in rules:
                self.add(
                    handle.position,
                    f"the `error` of `{handle.name}` is no rule with a check",
                    nearest(handle.error, [*rules, "none"]),
                )
        by_name = {handle.name: handle for handle in handles}
        checker = FunctionChecker(self.source, self.types, by_name, enums, errors, library.language)
        functions = tuple(checker.function(item) for item in record.records("functions"))
        methods = tuple(checker.function(item) for item in record.records("methods"))
        for function in functions:
            self.public(function.name, function.position, "function")
        checker.methods(methods)
        return Spec(
            self.source.file,
            library,
            handles,
            enums,
            errors,
            callbacks,
            constants,
            functions,
            methods,
            by_name,
        )

    def public(self, name: str, position: Position, what: str) -> None:
        """Take a name of the generated package."""
        reason = naming.unusable(name, cpp=what in ("handle", "callback"))
        if reason:
            self.add(
                position,
                f"the {what}'s name `{name}` is {reason}",
                f"choose another, such as `{name.strip('_')}_`"[:80],
            )
        elif name in naming.PACKAGE_NAMES:
            self.add(position, f"the generated package has a `{name}` of its own", "choose another name")
        elif name in self.package:
            first = self.package[name]
            self.add(
                position,
                f"`{name}` is taken by line {first.line}",
                "give each thing of the package a name of its own",
            )
        self.package.setdefault(name, position)

    def code(
        self, record: Record, key: str, *, statements: bool = False, directives: bool = False
    ) -> Code | None:
        text = record.maybe(key)
        if text is None:
            return None
        reason = snippets.problem(text.value, statements=statements, directives=directives)
        if reason:
            self.add(
                text.position, f"`{key}` cannot be put into the bridge: {reason}", "write complete C++ here"
            )
        return Code(text.value, text.position)

    def library(self, record: Record) -> Library:
        name = record.text("name")
        package = record.text("package", name)
        for key, value in (
            ("name", name),
            ("package", package),
            ("availability", record.text("availability")),
        ):
            reason = naming.unusable(value) if key in record else None
            if reason:
                self.add(record.at(key), f"`{key}` is {value}, {reason}", "choose another name")
        if package in sys.stdlib_module_names or package in ("gpucore", "cffi", "setuptools", "pip"):
            self.add(
                record.at("package" if "package" in record else "name"),
                f"a package named `{package}` would hide Python's own module" if package in sys.stdlib_module_names
                else f"a package named `{package}` would hide another",
                f"add `package: {package}_bindings` or another free name",
            )  # fmt: skip
        self.matches(record, "version", VERSION, "write a version such as 1.2.0")
        headers = self.all_match(record, "headers", HEADER, "write `name.h` or `<folder/name.h>`")
        for text in record.texts("headers"):
            self.no_escape(text)
        link = self.all_match(
            record, "link", LINK, "write the name after -l, such as `z`; folders go into `search_paths`"
        )
        requires = self.all_match(record, "requires", REQUIREMENT, "write a requirement such as `name>=1.0`")
        defines = []
        for macro, text in record.mapping("defines").items():
            if not re.fullmatch(r"[A-Za-z_]\w*", macro, re.ASCII):
                self.add(text.position, f"`{macro[:60]}` is no macro's name", "use letters, digits and _")
            if not DEFINE.fullmatch(text.value):
                self.add(
                    text.position,
                    f"the value of `{macro}` has characters that no macro here needs",
                    "use a plain value",
                )
            defines.append((macro, text.value))
        if not headers and "prelude" not in record:
            self.add(record.position, "the library has no headers", "add `headers: [name.h]`")
        return Library(
            name=name, package=package, version=record.text("version", "0.1.0"),
            language=cast(Literal["c", "c++"], record.text("language", "c")), standard=record.text("standard", "c++17"),
            headers=headers, include_paths=self.folders(record, "include_paths"), link=link,
            search_paths=self.folders(record, "search_paths"), defines=tuple(defines), requires=requires,
            availability=record.text("availability"), prelude=self.code(record, "prelude", statements=True, directives=True),
            doc=record.text("doc"),
        )  # fmt: skip

    def matches(self, record: Record, key: str, pattern: re.Pattern[str], fix: str) -> None:
        text = record.maybe(key)
        if text and not pattern.fullmatch(text.value):
            self.add(text.position, f"`{key}` is {text.value[:60]!r}", fix)

    def all_match(self, record: Record, key: str, pattern: re.Pattern[str], fix: str) -> tuple[str, ...]:
        for text in record.texts(key):
            if not pattern.fullmatch(text.value):
                self.add(text.position, f"{text.value[:60]!r} cannot be used in `{key}`", fix)
        return tuple(text.value for text in record.texts(key))

    def no_escape(self, text: Text) -> None:
        path = text.value.strip("<>")
        if path.startswith("/") or ".." in path.split("/"):
            self.add(
                text.position,
                f"{text.value[:60]!r} leaves the include paths",
                "add its folder to `include_paths`",
            )

    def folders(self, record: Record, key: str) -> tuple[str | PackagePath, ...]:
        found: list[str | PackagePath] = []
        for item in record.paths(key):
            text = item if isinstance(item, Text) else item.maybe("path")
            if text is None:
                continue
            if ".." in re.split(r"[/\\]", text.value) or not re.fullmatch(r"[\w./@+ -]+", text.value):
                self.add(
                    text.position,
                    f"the path {text.value[:60]!r} climbs up or has special characters",
                    "write a path without `..`",
                )
            if isinstance(item, Text):
                found.append(item.value)
                continue
            package = item.maybe("package")
            if package and not PACKAGE.fullmatch(package.value):
                self.add(
                    package.position,
                    f"{package.value[:60]!r} is no package",
                    "write an import name such as nvidia.cu13",
                )
            if text.value.startswith("/"):
                self.add(text.position, "a path in a package must be relative", "leave out the leading /")
            found.append(PackagePath(item.text("package"), text.value))
        return tuple(found)

    def native_type(self, record: Record, key: str, default: str = "") -> str:
        text = record.maybe(key)
        if text is None:
            return default
        depth = 0
        for character in text.value:
            depth += (character in "<(") - (character in ">)")
            if depth < 0:
                break
        if not NATIVE_TYPE.fullmatch(text.value) or depth:
            self.add(
                text.position,
                f"{text.value[:60]!r} is no C++ type",
                "write a type such as `cudaStream_t` or `gzFile_s *`",
            )
        return " ".join(text.value.split())

    def handle(self, record: Record) -> Handle:
        name = record.text("name")
        self.public(name, record.at("name"), "handle")
        native = self.native_type(record, "native")
        if re.search(rf"(?<![\w:]){re.escape(name)}(?!\w)", native):
            self.add(
                record.at("native"),
                f"the native type has the handle's own name `{name}`",
                f"write `::{name}`, or rename the handle",
            )
        drop = self.code(record, "drop")
        nothing = drop is not None and drop.text.strip() == "none"
        if drop is None and native.rstrip().endswith("*"):
            self.add(
                record.position, f"the handle `{name}` is a pointer and has no `drop`",
                "name the function that frees it, or write `drop: none` where the library keeps it",
            )  # fmt: skip
        return Handle(
            name, native, record.at("name"), None if nothing else drop, nothing, self.code(record, "null"),
            record.text("parent"), record.text("threads") == "shared", record.text("error"), record.text("doc"),
        )  # fmt: skip

    def parents(self, handles: tuple[Handle, ...]) -> None:
        known = {handle.name: handle for handle in handles}
        for handle in handles:
            if handle.parent and handle.parent not in known:
                self.add(
                    handle.position,
                    f"the parent `{handle.parent}` of `{handle.name}` is no handle",
                    nearest(handle.parent, known),
                )
                continue
            seen, current = {handle.name}, handle.parent
            while current:
                if current in seen:
                    self.add(
                        handle.position,
                        f"`{handle.name}` is its own ancestor",
                        "let the parents end at a handle without one",
                    )
                    return
                seen.add(current)
                current = known[current].parent if current in known else ""

    def enum(self, record: Record) -> Enum:
        name = record.text("name")
        self.public(name, record.at("name"), "enumeration")
        members = []
        for member, text in record.mapping("members").items():
            reason = naming.unusable(member, cpp=False)
            if (
                not re.fullmatch(r"[A-Za-z]\w*", member, re.ASCII)
                or reason
                or member in ("mro", "name", "value")
            ):
                self.add(
                    text.position,
                    f"`{member[:60]}` cannot be a member's name",
                    "use letters, digits and _, and no keyword",
                )
            value = text.value or member
            why = snippets.problem(value, statements=False)
            if why or "," in value:
                self.add(
                    text.position, f"the value of `{member}` is no C++ constant", "name the native constant"
                )
            members.append((member, value))
        if not members and "members" in record:
            self.add(
                record.at("members"),
                f"the enumeration `{name}` has no members",
                "write `NAME: NATIVE_NAME` pairs",
            )
        return Enum(
            name,
            self.native_type(record, "native", "int"),
            tuple(members),
            record.at("name"),
            record.flag("flags"),
            record.text("doc"),
        )

    def error(self, record: Record) -> ErrorRule:
        name = record.text("name")
        self.public(name, record.at("name"), "error")
        exception = self.native_type(record, "exception")
        if exception and ("type" in record or "check" in record):
            self.add(
                record.at("exception"),
                f"`{name}` has both `exception` and `type` or `check`",
                "split it into two errors",
            )
        check_code = self.code(record, "check")
        code = self.code(record, "code")
        message = self.code(record, "message") or Code('""', record.position)
        return ErrorRule(
            name, self.native_type(record, "type", "int"), check_code.text if check_code else "value != 0", exception, message,
            code.text if code else ("0" if exception else "value"), record.at("name"), record.text("doc"),
        )  # fmt: skip

    def callback(self, record: Record) -> Callback:
        name = record.text("name")
        self.public(name, record.at("name"), "callback")
        params: list[Param] = []
        for item in record.records("params"):
            type_ = self.types.read(item.maybe("type")) or Type("scalar", "i32")
            if type_.kind not in ("scalar", "text", "bytes", "address", "enum"):
                self.add(
                    item.at("type"),
                    f"a callback cannot get {type_}",
                    "use a scalar, text, bytes, address or an enumeration",
                )
            self.param_name(item, {param.name for param in params})
            params.append(Param(item.text("name"), type_, item.at("name")))
        result = self.types.read(record.maybe("result")) if "result" in record else None
        if result and result.kind not in ("scalar", "enum", "address"):
            self.add(
                record.at("result"), f"a callback cannot return {result}", "use a scalar or an enumeration"
            )
        default = record.maybe("on_error")
        on_error = "0"
        if default is not None and result is not None:
            on_error = (
                literal(self.source, default, Type("scalar", "i64") if result.kind == "enum" else result, {})
                or "0"
            )
        return Callback(
            name, tuple(params), result, cast(Literal["last", "first", "none"], record.text("user_data", "last")), on_error,
            record.at("name"), record.text("doc"),
        )  # fmt: skip

    def param_name(self, record: Record, taken: set[str]) -> None:
        name = record.text("name")
        reason = naming.unusable(name) if name else None
        if reason or name == "self":
            self.add(
                record.at("name"),
                f"the parameter's name `{name}` is {reason or 'taken by the object'}",
                "choose another name",
            )
        if name in taken:
            self.add(
                record.at("name"),
                f"the parameter `{name}` stands here again",
                "give each parameter a name of its own",
            )

    def constant(self, record: Record) -> Constant:
        name = record.text("name")
        self.public(name, record.at("name"), "constant")
        type_ = self.types.read(record.maybe("type")) or Type("scalar", "i32")
        if type_.kind not in ("scalar", "text"):
            self.add(record.at("type"), f"a constant cannot be {type_}", "use a scalar or text")
        value = self.code(record, "value")
        return Constant(name, type_, value.text if value else name, record.at("name"), record.text("doc"))
