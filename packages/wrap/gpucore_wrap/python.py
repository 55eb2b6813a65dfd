"""Tier 3: the typed Python functions and classes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gpucore_wrap import layout
from gpucore_wrap.abi import Abi, Entry, Output
from gpucore_wrap.model import Callback, Function, Handle, Param, Spec, Type
from gpucore_wrap.types import ARRAY_CODES, C_TYPES, PYTHON_TYPES

# Names of builtins that generated code uses; one that a specification takes is written `_builtins.name`.
BUILTINS = frozenset(
    {"bool", "bytes", "float", "int", "len", "property", "staticmethod", "str", "tuple", "type", "list"}
)
SIGNED = {1: "bc", 2: "h", 4: "il", 8: "lq"}
UNSIGNED = {1: "Bc", 2: "H", 4: "IL", 8: "LQ"}


def buffer_codes(scalar: str) -> str:
    """The codes of buffer formats that mean the same elements."""
    size = {"8": 1, "16": 2, "32": 4, "64": 8}[scalar[1:]] if scalar != "bool" else 1
    if scalar == "bool":
        return "?"
    if scalar[0] == "f":
        return ARRAY_CODES[scalar]
    return (SIGNED if scalar[0] == "i" else UNSIGNED)[size]


@dataclass(frozen=True)
class Signature:
    """What Python passes: parameters without a default first, as Python asks."""

    params: tuple[Param, ...]

    @classmethod
    def of(cls, function: Function) -> Signature:
        passed = [param for param in function.params if param.goes_in]
        return cls(tuple(sorted(passed, key=lambda param: param.default is not None)))


class Python:
    """Writes functions and classes.

    Parameters
    ----------
    abi : Abi
        The entries.
    """

    def __init__(self, abi: Abi) -> None:
        self.abi = abi
        self.spec: Spec = abi.spec
        self.callbacks: dict[str, Callback] = {callback.name: callback for callback in self.spec.callbacks}
        self.flags = {enum.name for enum in self.spec.enums if enum.flags}
        self.clashing = BUILTINS & self._users_names()

    def _users_names(self) -> set[str]:
        spec = self.spec
        names = {function.name for function in (*spec.functions, *spec.methods)}
        names |= {param.name for function in (*spec.functions, *spec.methods) for param in function.params}
        for group in (spec.handles, spec.callbacks, spec.enums, spec.errors, spec.constants):
            names |= {str(item.name) for item in group}
        return names

    def builtin(self, name: str) -> str:
        return f"_builtins.{name}" if name in self.clashing else name

    # --- types

    def annotation(self, param: Param) -> str:
        """The type of a parameter."""
        kind = param.type.kind
        if kind in ("bytes", "array"):
            read = f"_Buffer | _Sequence[{self.builtin(PYTHON_TYPES[param.type.name])}]"
            text = "_Buffer" if kind == "bytes" or param.direction == "inout" else read
        elif kind == "scalar":
            text = self.builtin(PYTHON_TYPES[param.type.name])
        elif kind == "text":
            text = self.builtin("str")
        elif kind == "address":
            text = self.builtin("int")
        elif kind == "callback":
            text = self.callable(self.callbacks[param.type.name])
        else:
            text = param.type.name
        return f"{text} | None" if param.optional else text

    def callable(self, callback: Callback) -> str:
        gets = ", ".join(
            self.plain(param.type) + (" | None" if param.type.kind == "text" else "")
            for param in callback.params
        )
        gives = self.plain(callback.result) if callback.result else "object"
        return f"_Callable[[{gets}], {gives}]"

    def plain(self, type_: Type) -> str:
        if type_.kind == "scalar":
            return self.builtin(PYTHON_TYPES[type_.name])
        names = {"text": "str", "bytes": "bytes", "address": "int"}
        return self.builtin(names[type_.kind]) if type_.kind in names else type_.name

    def returned(self, output: Output) -> str:
        """The type of a result."""
        if output.type.kind == "array":
            item = self.builtin(PYTHON_TYPES[output.type.name])
            if output.container == "tuple":
                return f"{self.builtin('tuple')}[{item}, ...]"
            return f"{self.builtin('list')}[{item}]" if output.type.name == "bool" else f"_array[{item}]"
        text = self.plain(output.type)
        return f"{text} | None" if output.optional else text

    def return_annotation(self, entry: Entry) -> str:
        if not entry.outputs or entry.function.kind == "constructor":
            return "None"
        if len(entry.outputs) == 1:
            return self.returned(entry.outputs[0])
        return f"{self.builtin('tuple')}[{', '.join(self.returned(output) for output in entry.outputs)}]"

    # --- functions

    def function(self, entry: Entry, indent: str = "") -> str:
        """The definition of a function or a method."""
        function = entry.function
        name = "__init__" if function.kind == "constructor" else function.name
        params = [f"{p.name}: {self.annotation(p)}{f' = {p.default}' if p.default is not None else ''}"
                  for p in Signature.of(function).params]  # fmt: skip
        if function.handle and function.kind != "static":
            params = ["self", *params]
        lines = []
        if function.kind in ("static", "property"):
            decorator = "staticmethod" if function.kind == "static" else "property"
            lines.append(f"{indent}@{self.builtin(decorator)}")
        lines.append(
            layout.bracketed(f"def {name}(", params, f") -> {self.return_annotation(entry)}:", indent)
        )
        lines.append(layout.docstring(self.docs(entry), indent + "    "))
        lines += self.body(entry, indent + "    ")
        return "\n".join(lines)

    def docs(self, entry: Entry) -> list[str]:
        """The lines of the docstring, in NumPy's style."""
        function = entry.function
        lines = layout.prose(function.doc) or [f"Call `{self._native_name(function)}`."]
        params = Signature.of(function).params
        if params:
            lines += ["", "Parameters", "----------"]
            for param in params:
                ending = ", optional" if param.default is not None else ""
                lines.append(f"{param.name} : {self._words(param.type, param.optional)}{ending}")
                lines += [f"    {line}" for line in layout.prose(self._param_doc(param))]
        if entry.outputs and function.kind != "constructor":
            lines += ["", "Returns", "-------"]
            for output in entry.outputs:
                named = f"{output.name} : " if len(entry.outputs) > 1 else ""
                lines.append(
                    f"{named}{self._words(output.type, output.optional, output.container, out=True)}"
                )
                lines += [f"    {line}" for line in layout.prose(output.doc)]
        rule = next((rule for rule in self.spec.errors if rule.name == function.error), None)
        raised = [rule.name] if rule else []
        if raised:
            lines += ["", "Raises", "------", *raised, "    If the library reports an error."]
        return lines

    def _native_name(self, function: Function) -> str:
        simple = function.body in ("native", "name", "member")
        return layout.printable(function.code.text.strip()) if simple else function.name

    def _param_doc(self, param: Param) -> str:
        if param.doc:
            return param.doc
        if param.direction == "inout" and param.type.kind in ("bytes", "array"):
            return "Changed in place."
        return "Taken over: it is closed afterwards." if param.owned else ""

    def _words(self, type_: Type, optional: bool, container: str = "array", out: bool = False) -> str:
        if type_.kind == "scalar":
            text = PYTHON_TYPES[type_.name]
        elif type_.kind == "array":
            kind = "tuple" if container == "tuple" else "list" if type_.name == "bool" else "array"
            text = f"{kind} of {type_.name}" if out else f"buffer or sequence of {type_.name}"
        elif type_.kind == "callback":
            text = "callable"
        else:
            text = {"text": "str", "bytes": "bytes" if out else "buffer", "address": "int"}.get(
                type_.kind, type_.name
            )
        return f"{text} or None" if optional else text

    def body(self, entry: Entry, indent: str) -> list[str]:
        """The statements of a function."""
        function = entry.function
        lines: list[str] = []
        arguments = ["self._box"] if function.has_self else []
        scoped: list[str] = []
        after: list[str] = []
        for param in function.params:
            if param.goes_in:
                before, passed = self.incoming(param, scoped, after)
                lines += [f"{indent}{line}" for line in before]
                arguments += passed
        if len(entry.outputs) > 1:
            for output in entry.outputs:
                lines.append(f'{indent}_out_{output.name} = _ffi.new("{self.abi._out(output)} *")')
                arguments.append(f"_out_{output.name}")
        inner = indent
        if scoped:
            line = f"{indent}with {', '.join(scoped)}:"
            if len(line) > layout.WIDTH:
                line = layout.bracketed("with (", scoped, "):", indent)
            lines.append(line)
            inner = indent + "    "
        lines += self.call(entry, arguments, inner)
        give = self.give(entry)
        # A constructor's object keeps things only once it is one; elsewhere the last statement returns.
        ending = [*give, *after] if function.kind == "constructor" else [*after, *give]
        lines += [f"{indent}{line}" for line in ending]
        return lines

    def incoming(self, param: Param, scoped: list[str], after: list[str]) -> tuple[list[str], list[str]]:
        """The statements before the call, and what is passed."""
        kind, name, local = param.type.kind, param.name, f"_c_{param.name}"
        if kind in ("scalar", "enum", "address"):
            listed = kind == "enum" and param.type.name not in self.flags
            value = f"_member_in({name}, {param.type.name})" if listed else name
            if not param.optional:
                return [], [value]
            ctype = {"enum": "int64_t", "address": "uintptr_t"}.get(kind) or C_TYPES[param.type.name]
            ctype = "double" if ctype == "float" else ctype
            return [f'{local} = _NULL if {name} is None else _ffi.new("{ctype} *", {value})'], [local]
        if kind == "text":
            made = f"_text_in({name})"
            return [
                f"{local} = _NULL if {name} is None else {made}" if param.optional else f"{local} = {made}"
            ], [local]
        if kind == "handle":
            if param.owned:
                after.append(f"if {name} is not None:" if param.optional else f"{name}.close()")
                after += [f"    {name}.close()"] if param.optional else []
            made = f"_box_of({name}, {param.type.name})"
            if param.optional:
                return [f"{local} = _NULL if {name} is None else {made}"], [local]
            return [], [made]
        if kind == "callback":
            if param.keep == "call":
                scoped.append(f"_Callback({name}{', optional=True' if param.optional else ''}) as {local}")
                return [], [f"{local}.token"]
            before = [
                f"{local} = _Callback({name}, scoped=False{', optional=True' if param.optional else ''})"
            ]
            after.append(f"{'self._kept' if param.keep == 'self' else '_forever'}.append({local})")
            return before, [f"{local}.token"]
        size, given = f"{self.builtin('len')}({local})", f"_size_{name}"
        if kind == "bytes":
            if param.direction == "inout":
                made = f"_bytes_inout({name})"
            else:
                made = f"{name} if {self.builtin('type')}({name}) is {self.builtin('bytes')} else _bytes_in({name})"
        else:
            writable = ", writable=True" if param.direction == "inout" else ""
            made = f'_array_in({name}, "{C_TYPES[param.type.name]}", "{buffer_codes(param.type.name)}"{writable})'
        if param.optional:
            return [
                f"if {name} is None:", f"    {local}, {given} = _NULL, 0",
                "else:", f"    {local} = {made}", f"    {given} = {size}",
            ], [local, given]  # fmt: skip
        return [f"{local} = {made}"], [local, size]

    def call(self, entry: Entry, arguments: Sequence[str], indent: str) -> list[str]:
        """The call and the look at its failure value."""
        head = f"_lib.{entry.symbol}("
        if entry.channel == "status":
            lines = [layout.bracketed(f"if {head}", arguments, "):", indent)]
        else:
            lines = [layout.bracketed(f"_result = {head}", arguments, ")", indent)]
            tests = {
                "flag": "_result < 0", "integer": "_result == _FAILED_INTEGER", "i64": "_result == _FAILED_INTEGER",
                "u64": "_result == _FAILED_UNSIGNED", "float": "_result != _result", "blob": "_result == _NULL",
                "shell": "_result == _NULL",
            }  # fmt: skip
            lines.append(f"{indent}if {tests[entry.channel]}:")
        return [*lines, f"{indent}    _check()"]

    def give(self, entry: Entry) -> list[str]:
        """The statements that return the outputs."""
        function, outputs = entry.function, entry.outputs
        if not outputs:
            return []
        if function.kind == "constructor":
            parent = f", {outputs[0].parent}" if outputs[0].parent else ""
            return [f"self._adopt(_result{parent})"]
        if len(outputs) == 1:
            output = outputs[0]
            if output.optional:
                return [f"return None if _result == _NULL else {self.value(output, '_result')}"]
            return [f"return {self.value(output, '_result', single=True)}"]
        values = {output.name: self._cell(output) for output in outputs}
        lines = []
        if any(output.type.kind == "enum" for output in outputs):  # which may have no member for it
            for output in sorted(outputs, key=lambda output: output.channel != "shell"):
                if output.channel in ("shell", "blob"):
                    lines.append(f"_got_{output.name} = {values[output.name]}")
                    values[output.name] = f"_got_{output.name}"
        line = f"return {', '.join(values.values())}"
        if len(line) <= layout.WIDTH - 8:
            return [*lines, line]
        return [*lines, "return (", *(f"    {value}," for value in values.values()), ")"]

    def _cell(self, output: Output) -> str:
        cell = f"_out_{output.name}[0]"
        value = self.value(output, cell)
        return f"None if {cell} == _NULL else {value}" if output.optional else value

    def value(self, output: Output, source: str, single: bool = False) -> str:
        """What Python gets for what C gave."""
        kind, name = output.type.kind, output.type.name
        if kind == "text":
            return f"_take_text({source})"
        if kind == "bytes":
            return f"_take_bytes({source})"
        if kind == "array":
            if name == "bool":
                items = f"item != 0 for item in _take_bytes({source})"
                return f"{self.builtin('tuple')}({items})" if output.container == "tuple" else f"[{items}]"
            made = f'_take_array({source}, "{ARRAY_CODES[name]}")'
            return f"{self.builtin('tuple')}({made})" if output.container == "tuple" else made
        if kind == "handle":
            parent = f", {output.parent}" if output.parent else ""
            return f"{name}._wrap({source}{parent})"
        if kind == "enum":
            return f"{name}({source})"
        return f"{source} != 0" if single and name == "bool" else source

    # --- classes

    def handle(self, handle: Handle) -> str:
        """The class of a handle."""
        symbols = self.abi.symbols
        doc = layout.prose(handle.doc) or [f"A `{handle.native}` of the library."]
        if handle.parent:
            doc += ["", f"It is closed when the {handle.parent} that it was made from is closed."]
        lines = [
            f"class {handle.name}(_Handle):", layout.docstring(doc), "", "    __slots__ = ()",
            layout.bracketed(
                "_native = (",
                [f"_lib.{symbols(handle.name, 'close!')}", f"_release(_lib.{symbols(handle.name, 'free!')})"], ")", "    ",
            ),
        ]  # fmt: skip
        for entry in self.abi.methods:
            if entry.function.handle == handle.name:
                lines += ["", self.function(entry, "    ")]
        return "\n".join(lines)

    def callback(self, callback: Callback) -> str:
        """The function that native code enters through."""
        symbol = self.abi.symbols("call!", callback.name)
        names, values = ["_token"], []
        for param in callback.params:
            names.append(f"{param.name}")
            if param.type.kind == "bytes":
                names.append(f"_{param.name}_size")
                values.append(f"_bytes_from({param.name}, _{param.name}_size)")
            elif param.type.kind == "text":
                values.append(f"_text_from({param.name})")
            elif param.type.kind == "enum":
                values.append(f"{param.type.name}({param.name})")
            else:
                values.append(param.name)
        ctype = self.abi.callback_result(callback)
        default = callback.on_error if callback.result else "None"
        made = f"lambda: ({', '.join(values)}{',' if len(values) == 1 else ''})"
        head = layout.bracketed(
            f"def _{symbol.removeprefix('gpw_')}(", [f"{name}: _Any" for name in names], ") -> _Any:"
        )
        call = layout.bracketed("return _run(", ["_token", f'"{ctype}"', default, made], ")", "    ")
        name = f"_{symbol.removeprefix('gpw_')}"
        return f'{head}\n{call}\n\n\n_ffi.def_extern(name="{symbol}")({name})'


RUNTIME_NAMES = (
    "FAILED_INTEGER", "FAILED_UNSIGNED", "NULL", "Buffer", "Callback", "Handle", "array_in", "box_of", "bytes_from",
    "bytes_in", "bytes_inout", "check", "forever", "member_in", "release", "run", "take_array", "take_bytes", "take_text",
    "text_from", "text_in",
)  # fmt: skip


def imports(text: str, spec: Spec, local: Iterable[str] = ()) -> str:
    """The import lines that a module's text needs, sorted as a formatter would."""
    words = set(re.findall(r"[A-Za-z_]\w*", text))
    own = set(local)
    lines: list[str] = []
    if "_builtins" in words:
        lines.append("import builtins as _builtins")
    if "_array" in words:
        lines.append("from array import array as _array")
    lines += [
        f"from collections.abc import {name} as _{name}"
        for name in ("Callable", "Sequence")
        if f"_{name}" in words
    ]
    if "_Any" in words:
        lines.append("from typing import Any as _Any")
    blocks = ["\n".join(lines)] if lines else []
    here: list[str] = []
    enums = [enum.name for enum in spec.enums if enum.name in words and enum.name not in own]
    if enums:
        here.append(_from("._enums", sorted(enums, key=_order)))
    handles = [handle.name for handle in spec.handles if handle.name in words and handle.name not in own]
    if handles:
        here.append(_from("._handles", sorted(handles, key=_order)))
    here += [f"from ._native import {name} as _{name}" for name in ("ffi", "lib") if f"_{name}" in words]
    runtime = [f"{name} as _{name}" for name in sorted(RUNTIME_NAMES, key=_order) if f"_{name}" in words]
    here += [f"from ._runtime import {item}" for item in runtime]
    if here:
        blocks.append("\n".join(here))
    return "\n\n".join(blocks)


def _from(module: str, names: Sequence[str]) -> str:
    line = f"from {module} import {', '.join(names)}"
    if len(line) <= layout.WIDTH:
        return line
    return layout.bracketed(f"from {module} import (", names, ")")


def _order(name: str) -> tuple[int, list[tuple[int, str]], str]:
    """The order of names in an import: constants, classes, the rest; numbers in names count as numbers."""
    rank = 0 if name.isupper() and len(name) > 1 else 1 if name[0].isupper() else 2
    parts = re.split(r"(\d+)", name.lower())
    return rank, [(int(part), "") if part.isdigit() else (-1, part) for part in parts], name
