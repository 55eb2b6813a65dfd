"""From a checked specification to the files of the three tiers."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path, PurePosixPath

import jinja2

from gpucore_wrap import layout, python
from gpucore_wrap.abi import Abi, channel
from gpucore_wrap.bridge import Bridge, std
from gpucore_wrap.errors import Position
from gpucore_wrap.literals import quote
from gpucore_wrap.model import ErrorRule, PackagePath, Spec, Type
from gpucore_wrap.naming import PACKAGE_NAMES
from gpucore_wrap.regions import region
from gpucore_wrap.source import no_collections
from gpucore_wrap.types import PYTHON_TYPES

PRELUDE = "// The prelude of the specification."
FUNDAMENTAL = {"int", "unsigned", "long", "short", "char", "signed", "bool", "size_t", "ssize_t"}


@dataclass(frozen=True)
class Tree:
    """Generated files.

    Parameters
    ----------
    files : dict of str to str
        Paths, relative and with forward slashes, and texts.
    entries : tuple of (int, Position)
        Lines of `native/bridge.cpp` where entries begin, and what in the specification they were made from.
    """

    files: dict[str, str]
    entries: tuple[tuple[int, Position], ...]


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gpucore_wrap"), undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip
    environment.globals["region"] = region
    return environment


def generate(spec: Spec, output: Path) -> Tree:
    """Write the three tiers, in memory.

    Parameters
    ----------
    spec : Spec
        A checked specification.
    output : Path
        The folder that the files are for; relative include paths are made relative to it.

    Returns
    -------
    Tree
        The same for the same specification and folder.
    """
    with no_collections():
        return Generator(spec, output).tree()


class Generator:
    """Renders each file of the generated project."""

    def __init__(self, spec: Spec, output: Path) -> None:
        self.spec = spec
        self.output = output
        self.package = spec.library.package
        self.abi = Abi(spec)
        self.bridge = Bridge(self.abi)
        self.python = python.Python(self.abi)
        self.user_has_available = any(function.name == "available" for function in spec.functions)

    def render(self, template: str, **values: object) -> str:
        text = _environment().get_template(f"{template}.j2").render(
            spec=self.spec, abi=self.abi, prefix=self.abi.prefix, package=self.package, namespace=self.abi.namespace, **values
        )  # fmt: skip
        return "\n".join(line.rstrip() for line in text.rstrip("\n").split("\n")) + "\n"

    def tree(self) -> Tree:
        source = f"src/{self.package}"
        files = {
            "native/bridge.h": self.header(),
            "native/runtime.hpp": self.render("runtime.hpp", callbacks=bool(self.spec.callbacks)),
            "native/bridge.cpp": self.cpp(),
            "build_native.py": self.build(),
            "setup.py": self.render("setup.py"),
            "pyproject.toml": self.project(),
            "MANIFEST.in": self.render("MANIFEST.in"),
            "README.md": self.readme(),
            "tests/test_smoke.py": self.smoke(),
            f"{source}/py.typed": "",
            f"{source}/_native.pyi": self.stub(),
            f"{source}/_errors.py": self.errors(),
            f"{source}/_runtime.py": self.runtime(),
            f"{source}/__init__.py": self.init(),
        }
        if self.spec.enums:
            files[f"{source}/_enums.py"] = self.enums()
        if self.spec.constants:
            files[f"{source}/_constants.py"] = self.constants()
        if self.spec.handles:
            texts = [self.python.handle(handle) for handle in self.spec.handles]
            files[f"{source}/_handles.py"] = self.module(
                "_handles.py", "handles", texts, [h.name for h in self.spec.handles]
            )
        if self.spec.functions:
            texts = [self.python.function(entry) for entry in self.abi.functions]
            files[f"{source}/_functions.py"] = self.module("_functions.py", "functions", texts)
        if self.spec.callbacks:
            texts = [self.python.callback(callback) for callback in self.spec.callbacks]
            files[f"{source}/_callbacks.py"] = self.module("_callbacks.py", "callback_functions", texts)
        return Tree(dict(sorted(files.items())), self.lines(files["native/bridge.cpp"]))

    def module(self, template: str, key: str, texts: list[str], local: list[str] | None = None) -> str:
        wanted = python.imports("\n".join(texts), self.spec, local or [])
        return self.render(template, imports=wanted, **{key: texts})

    def lines(self, cpp: str) -> tuple[tuple[int, Position], ...]:
        positions = {entry.function.label: entry.function.code.position for entry in self.abi.entries}
        found = []
        prelude = self.spec.library.prelude
        for number, line in enumerate(cpp.split("\n"), 1):
            if line.startswith("#else"):
                break
            if prelude and line == PRELUDE:
                found.append((number, prelude.position))
            elif (
                line == f"namespace {self.abi.namespace} {{"
            ):  # not the user's code from here to the first entry
                found.append((number, Position("", 0, 0)))
            if line.startswith("// ") and line[3:] in positions:
                found.append((number, positions[line[3:]]))
        return tuple(found)

    # --- tier 1

    def header(self) -> str:
        return self.render("bridge.h", entries=list(self.abi.entries), constants=self.abi.constants)

    def rules(self) -> list[dict[str, object]]:
        found = []
        seen: set[str] = set()
        for number, rule in enumerate(self.spec.errors):
            plain = set(rule.type.split()) <= FUNDAMENTAL or rule.type.startswith(
                ("int", "uint", "std::int", "std::uint")
            )
            own = not rule.exception and not plain and rule.type not in seen
            seen.add(rule.type)
            found.append({
                "name": rule.name, "type": rule.type, "check": rule.check.strip(), "message": rule.message.text.strip(),
                "code": rule.code.strip(), "exception": rule.exception, "number": number, "own_type": own,
                "docstring": layout.docstring(self.rule_doc(rule)),
            })  # fmt: skip
        return found

    def rule_doc(self, rule: ErrorRule) -> list[str]:
        told = (
            f"The library threw `{rule.exception}`." if rule.exception else "The library reported an error."
        )
        return layout.prose(rule.doc) or [told]

    def cpp(self) -> str:
        rules = self.rules()
        callbacks = [
            {
                "name": callback.name,
                "result": std(self.abi.callback_result(callback)),
                "params": ", ".join(
                    str(replace(a, ctype=std(a.ctype))) for a in self.abi.callback_arguments(callback)[1:]
                ),
                "default": self.cpp_default(callback.on_error) if callback.result else "",
                "call": f"{self.abi.symbols('call!', callback.name)}("
                f"{', '.join(['gpw_token_', *(a.name for a in self.abi.callback_arguments(callback)[1:])])})",
            }
            for callback in self.spec.callbacks
        ]
        handles = [
            {
                "name": handle.name,
                "null": handle.null.text.strip() if handle.null else "",
                "drop": self.bridge.drop(handle),
                "owns_nothing": handle.owns_nothing,
            }
            for handle in self.spec.handles
        ]
        return self.render(
            "bridge.cpp", bridge=self.bridge, entries=list(self.abi.entries), constants=self.abi.constants,
            rules=[rule for rule in rules if not rule["exception"]], exceptions=[rule for rule in rules if rule["exception"]],
            bridge_callbacks=callbacks, bridge_handles=handles,
        )  # fmt: skip

    def cpp_default(self, literal: str) -> str:
        words = {"True": "true", "False": "false", 'float("nan")': "gpw::failed_float"}
        return words.get(literal, literal)

    # --- tier 2

    def build(self) -> str:
        library = self.spec.library
        defines = [f"({quote(name)}, {quote(value) if value else 'None'})" for name, value in library.defines]
        macro = library.availability
        macros = f'[*DEFINES, ("{macro}", "1" if with_library else "0")]' if macro else "[*DEFINES]"
        return self.render(
            "build_native.py", include_paths=self.folders(library.include_paths), search_paths=self.folders(library.search_paths),
            libraries=f"[{', '.join(map(quote, library.link))}]", defines=f"[{', '.join(defines)}]", macros=macros,
            with_library=f'os.environ.get("{macro}", "1") != "0"' if macro else "True",
        )  # fmt: skip

    def folders(self, paths: tuple[str | PackagePath, ...]) -> str:
        texts = []
        for path in paths:
            if isinstance(path, PackagePath):
                texts.append(f"({quote(path.package)}, {quote(path.path)})")
            elif path.startswith("/"):
                texts.append(quote(path))
            else:
                spec_folder = Path(self.spec.file).resolve().parent
                texts.append(
                    quote(
                        PurePosixPath(os.path.relpath(spec_folder / path, self.output.resolve())).as_posix()
                    )
                )
        return f"[{', '.join(texts)}]"

    def stub(self) -> str:
        symbols, lines = self.abi.symbols, []
        for handle in self.spec.handles:
            lines += [
                f"def {symbols(handle.name, part)}(self, handle: Any) -> int: ..."
                for part in ("close!", "free!")
            ]
        lines += [
            f"def {symbols(enum.name, 'member!')}(self, index: int) -> int: ..." for enum in self.spec.enums
        ]
        if self.spec.callbacks:
            lines.append(f"def {self.abi.prefix}_end_callbacks(self) -> None: ...")
        for entry in (*self.abi.constants, *self.abi.entries):
            params = [f"{argument.name}: {_stub_type(argument.ctype)}" for argument in entry.arguments]
            returns = (
                "Any" if entry.returns.endswith("*") else "float" if entry.returns == "double" else "int"
            )
            lines.append(
                layout.bracketed(
                    f"def {entry.symbol}(", ["self", *params], f") -> {returns}: ...", "    "
                ).strip()
            )
        return self.render("_native.pyi", lines=lines)

    # --- tier 3

    def runtime(self) -> str:
        return self.render("_runtime.py", rules=self.rules(), callbacks=bool(self.spec.callbacks))

    def errors(self) -> str:
        return self.render("_errors.py", rules=self.rules())

    def enums(self) -> str:
        enums = [
            {
                "name": enum.name, "flags": enum.flags, "members": [name for name, _ in enum.members],
                "symbol": self.abi.symbols(enum.name, "member!"),
                "docstring": layout.docstring(layout.prose(enum.doc) or [f"Values of the library's `{enum.native}`."]),
            }
            for enum in self.spec.enums
        ]  # fmt: skip
        kinds = sorted({"IntFlag" if enum.flags else "IntEnum" for enum in self.spec.enums})
        return self.render(
            "_enums.py",
            enums=enums,
            enum_imports="\n".join(f"from enum import {kind} as _{kind}" for kind in kinds),
        )

    def constants(self) -> str:
        constants, kinds = [], set()
        for constant, entry in zip(self.spec.constants, self.abi.constants, strict=True):
            call = f"_lib.{entry.symbol}()"
            value, kind = _constant(constant.type, call)
            kinds.add(kind)
            doc = layout.prose(constant.doc) or [
                f"The library's `{layout.printable(constant.value.strip())}`."
            ]
            python_type = "str" if constant.type.kind == "text" else PYTHON_TYPES[constant.type.name]
            constants.append(
                {
                    "name": constant.name,
                    "python": python_type,
                    "value": value,
                    "doc": layout.docstring(doc, ""),
                }
            )
        wanted = set()
        if "number" in kinds:
            wanted |= {"FAILED_INTEGER", "FAILED_UNSIGNED", "check"}
        if "real" in kinds:
            wanted.add("check")
        if "text" in kinds:
            wanted.add("take_text")
        return self.render(
            "_constants.py", constants=constants, constant_imports=sorted(wanted), integer_constants="number" in kinds,
            float_constants="real" in kinds,
        )  # fmt: skip

    def init(self) -> str:
        spec = self.spec
        has_available = not self.user_has_available
        groups: list[tuple[str, list[str]]] = [
            ("_callbacks", []),
            ("_constants", [constant.name for constant in spec.constants]),
            ("_enums", [enum.name for enum in spec.enums]),
            ("_errors", sorted({*(PACKAGE_NAMES - {"Handle"}), *(rule.name for rule in spec.errors)})),
            ("_functions", [function.name for function in spec.functions]),
            ("_handles", [handle.name for handle in spec.handles]),
            ("_runtime", ["Handle"] if spec.handles else []),
        ]
        lines = [] if not spec.callbacks else ["from . import _callbacks as _callbacks"]
        names: list[str] = ["available"] if has_available else []
        for module, found in groups:
            names += found
            if module == "_runtime" and has_available:
                lines.append("from ._native import lib as _lib")
            if found:
                lines.append(python._from(f".{module}", sorted(found, key=python._order)))
        public = layout.bracketed(
            "__all__ = [", [quote(name) for name in sorted(names, key=python._order)], "]"
        )
        doc = layout.prose(spec.library.doc) or [f"Python bindings of {spec.library.name}."]
        return self.render(
            "__init__.py",
            docstring=layout.docstring(doc, ""),
            import_lines=lines,
            all=public,
            has_available=has_available,
        )

    # --- the project

    def project(self) -> str:
        library = self.spec.library
        requires = [quote(requirement) for requirement in library.requires]
        summary = (layout.prose(library.doc) or [f"Python bindings of {library.name}"])[0].rstrip(".")
        return self.render(
            "pyproject.toml", distribution=self.package.replace("_", "-"), summary=_toml(summary),
            build_requires=f"[{', '.join([quote('setuptools>=77'), quote('cffi>=2.0'), *requires])}]",
            dependencies=f"[{', '.join([quote('cffi>=2.0'), *requires])}]",
        )  # fmt: skip

    def readme(self) -> str:
        library = self.spec.library
        needs = f" and {', '.join(f'`{name}`' for name in library.requires)}" if library.requires else ""
        if library.headers:
            needs += f", and the library's headers ({', '.join(f'`{header}`' for header in library.headers)})"
        api = []
        for entry in self.abi.functions:
            api.append(f"- `{entry.function.name}({', '.join(p.name for p in python.Signature.of(entry.function).params)})`"
                       f" {self._first(entry)}")  # fmt: skip
        for handle in self.spec.handles:
            methods = [entry.function for entry in self.abi.methods if entry.function.handle == handle.name]
            made = next((function for function in methods if function.kind == "constructor"), None)
            call = f"({', '.join(p.name for p in python.Signature.of(made).params)})" if made else ""
            names = [function.name for function in methods if function is not made]
            told = f": {', '.join(f'`{name}`' for name in names)}" if names else ""
            api.append(f"- class `{handle.name}{call}`{told}")
        doc = "\n".join(layout.prose(library.doc)) or f"Bindings of {library.name}."
        return self.render(
            "README.md", distribution=self.package.replace("_", "-"), doc=doc, needs=needs,
            spec_name=layout.printable(Path(self.spec.file).name),
            api=[line.rstrip() for line in api],
        )  # fmt: skip

    def _first(self, entry: object) -> str:
        assert hasattr(entry, "function")
        lines = layout.prose(entry.function.doc)
        return lines[0] if lines else ""

    def smoke(self) -> str:
        entries = [quote(entry.symbol) for entry in (*self.abi.constants, *self.abi.entries)]
        names = [quote(handle.name) for handle in self.spec.handles]
        return self.render(
            "test_smoke.py",
            entries_list=layout.bracketed("ENTRIES: list[str] = [", entries, "]"),
            handles_list=layout.bracketed("HANDLES: list[str] = [", names, "]") if names else "",
        )


def _stub_type(ctype: str) -> str:
    if ctype.endswith("*"):
        return "Any"
    return "bool" if ctype == "bool" else "float" if ctype in ("float", "double") else "int"


def _constant(type_: Type, call: str) -> tuple[str, str]:
    """Python source of a constant's value, and which helper it needs."""
    found = channel(type_)
    if found == "blob":
        return f"_take_text({call})", "text"
    if found == "flag":
        return f"{call} > 0", ""
    if found == "float":
        return f"_real({call})", "real"
    return f"_number({call})", "number"


def _toml(text: str) -> str:
    """A TOML string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
