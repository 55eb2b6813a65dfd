"""Tier 1: the C++ bodies of the bridge's entries."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from gpucore_wrap import snippets
from gpucore_wrap.abi import Abi, Entry, Output
from gpucore_wrap.model import Callback, Enum, Function, Handle, Param, Type
from gpucore_wrap.types import C_TYPES

INDENT = "    "
WORD = re.compile(r"[A-Za-z_]\w*", re.ASCII)


def std(ctype: str) -> str:
    """The name of a C type in C++."""
    return f"std::{ctype}" if ctype.endswith("_t") else ctype


def element(type_: Type) -> str:
    return "char" if type_.kind == "text" else std(C_TYPES[type_.name])


class Bridge:
    """Writes the bodies; the template puts them together.

    Parameters
    ----------
    abi : Abi
        The entries.
    """

    def __init__(self, abi: Abi) -> None:
        self.abi = abi
        self.spec = abi.spec
        self.enums: dict[str, Enum] = {enum.name: enum for enum in abi.spec.enums}
        self.callbacks: dict[str, Callback] = {callback.name: callback for callback in abi.spec.callbacks}

    def definition(self, entry: Entry) -> str:
        """The whole C++ definition of an entry."""
        lines = [*self._prepare(entry.function), *self._run(entry)]
        opening = self._signature(entry)
        guard = f"{INDENT}return gpw::guard<{self._cpp_return(entry)}>({entry.failed}, [&]() -> {self._cpp_return(entry)} {{"
        body = "\n".join(snippets.indented(line, INDENT * 2) if line else "" for line in lines)
        return f"// {entry.function.label}\n{opening}\n{{\n{guard}\n{body}\n{INDENT}}});\n}}"

    def stub(self, entry: Entry) -> str:
        """The definition where the library is left out."""
        unused = "\n".join(f"{INDENT}static_cast<void>({argument.name});" for argument in entry.arguments)
        middle = f"{unused}\n" if unused else ""
        return f"{self._signature(entry)}\n{{\n{middle}{INDENT}gpw::unavailable();\n{INDENT}return {entry.failed};\n}}"

    def constant_stub(self, entry: Entry) -> str:
        """The definition of a constant where the library is left out: zero, or no text."""
        if entry.channel != "blob":
            return f"{self._signature(entry)} {{ return 0; }}"
        made = f'gpw::guard<{entry.returns}>(nullptr, [] {{ return gpw::text("").release(); }})'
        return f"{self._signature(entry)} {{ return {made}; }}"

    def _signature(self, entry: Entry) -> str:
        declared = entry.declaration
        if len(declared) <= 120:
            return declared
        head = declared[: declared.index("(") + 1]
        inside = f",\n{INDENT}".join(str(argument) for argument in entry.arguments)
        return f"{head}\n{INDENT}{inside})"

    def _cpp_return(self, entry: Entry) -> str:
        return entry.returns if entry.returns.endswith("*") else std(entry.returns)

    # --- what comes before the call

    def _prepare(self, function: Function) -> Iterator[str]:
        handles = [
            param for param in function.params if param.type.kind == "handle" and param.direction == "in"
        ]
        yield from self._pins(function, handles)
        for param in function.params:
            if param.goes_in:
                yield from self._incoming(param)
        yield from self._counts(function)
        for param in function.params:
            yield from self._outgoing(param, function)
        yield from self._unused(function)
        if function.scope:
            yield function.scope.text.rstrip().rstrip(";") + ";"

    def _pins(self, function: Function, handles: list[Param]) -> Iterator[str]:
        pins = [("self", function.handle, False)] if function.has_self else []
        pins += [(param.name, param.type.name, param.optional) for param in handles]
        exclusive = []
        if (
            len(pins) == 1
            and not pins[0][2]
            and not self.spec.handle(pins[0][1]).shared
            and not any(p.owned for p in handles)
        ):
            name, handle, _ = pins[0]
            yield f"const gpw::exclusive<{handle}> gpw_pin_{name}(gpw_in_{name});"
            yield f"{handle} &{name} = gpw_pin_{name}.handle();"
            return
        for name, handle, optional in pins:
            maybe = ", true" if optional else ""
            yield f"const gpw::pinned<{handle}> gpw_pin_{name}(gpw_in_{name}{maybe});"
            if not self.spec.handle(handle).shared:
                exclusive.append(f"gpw_pin_{name}")
        if exclusive:
            yield f"const auto gpw_lock = gpw::lock({', '.join(exclusive)});"
        for param in handles:
            if param.owned:
                yield f"gpw::consumed gpw_consumed_{param.name}(gpw_pin_{param.name});"
        for name, handle, optional in pins:
            if optional:
                yield f"{handle} *const {name} = gpw_pin_{name}.maybe();"
            else:
                yield f"{handle} &{name} = gpw_pin_{name}.handle();"

    def _incoming(self, param: Param) -> Iterator[str]:
        kind, name = param.type.kind, param.name
        if kind in ("bytes", "array"):
            const = "" if param.direction == "inout" else "const "
            yield f"const gpw::view<{const}{element(param.type)}> {name}(gpw_in_{name}, gpw_size_{name});"
        elif kind == "callback":
            yield f"const {param.type.name} {name}(gpw_in_{name});"
            if self.callbacks[param.type.name].user_data == "none":
                yield f"const gpw::current<{param.type.name}> gpw_current_{name}({name});"
        elif kind in ("scalar", "enum", "address") and param.optional:
            native = self._native_scalar(param.type)
            yield f"const std::optional<{native}> {name} ="
            made = f"std::optional<{native}>(gpw::convert<{native}>(*gpw_in_{name}))"
            yield f"    gpw_in_{name} == nullptr ? std::nullopt : {made};"
        elif kind == "scalar" and param.type.name == "f32":
            const = "" if param.direction == "inout" else "const "
            yield f"{const}float {name} = gpw::number<float>(gpw_in_{name});"
        elif kind in ("enum", "address"):
            native = self._native_scalar(param.type)
            yield f"const auto {name} = gpw::convert<{native}>(gpw_in_{name});"

    def _native_scalar(self, type_: Type) -> str:
        if type_.kind == "enum":
            return self.enums[type_.name].native
        return "void *" if type_.kind == "address" else std(C_TYPES[type_.name])

    def _counts(self, function: Function) -> Iterator[str]:
        for param in function.params:
            arrays = [
                array
                for array in (function.param(name) for name in param.counts)
                if array and array.direction != "out"
            ]
            ctype = std(C_TYPES[param.type.name]) if arrays else ""
            if len(arrays) > 1 and any(array.optional for array in arrays):
                lengths = ", ".join(
                    f'{{"{a.name}", {f"{a.name}.data() != nullptr" if a.optional else "true"}, {a.name}.size()}}'
                    for a in arrays
                )
                yield f"const {ctype} {param.name} = gpw::number<{ctype}>(gpw::same({{{lengths}}}));"
                continue
            for other in arrays[1:]:
                yield f'gpw::same("{other.name}", {arrays[0].name}.size(), {other.name}.size());'
            if arrays:
                yield f"const {ctype} {param.name} = gpw::number<{ctype}>({arrays[0].name}.size());"
            if param.direction != "out" and param.count.isdigit():
                given = f"if ({param.name}.data() != nullptr) " if param.optional else ""
                yield f'{given}gpw::same("{param.name}", {param.count}, {param.name}.size());'

    def _outgoing(self, param: Param, function: Function) -> Iterator[str]:
        if param.direction != "out":
            return
        kind, name = param.type.kind, param.name
        if kind in ("bytes", "array", "text"):
            count = param.count
            if param.capacity:
                counter = function.param(param.count)
                ctype = std(C_TYPES[counter.type.name]) if counter else "std::uint64_t"
                yield f"{ctype} {param.count} = gpw::number<{ctype}>({param.capacity.strip()});"
            yield f"gpw::buffer<{element(param.type)}> {name}({count});"
        elif kind == "handle":
            yield f"decltype({param.type.name}::inner) {name}{{}};"
        elif kind == "address":
            yield f"void *{name} = nullptr;"
        else:
            yield f"{self._native_scalar(param.type)} {name}{{}};"

    def _unused(self, function: Function) -> Iterator[str]:
        """Names that the user's code does not mention; compilers would warn of them."""
        if function.body in ("expression", "body"):
            seen = set(WORD.findall(function.code.text + (function.scope.text if function.scope else "")))
            names = [param.name for param in function.params]
            names = ["self", *names] if function.has_self else names
            yield from (f"static_cast<void>({name});" for name in names if name not in seen)
        elif function.body in ("lambda", "member_lambda"):
            yield from (f"static_cast<void>({param.name});" for param in function.params if param.counts)

    # --- the call

    def _native_arguments(self, function: Function) -> list[str]:
        exact = function.body == "native" and self.spec.library.language == "c"
        found = ["self.inner"] if function.has_self and function.body != "member" else []
        for param in function.params:
            found += self._native_argument(param, function, exact)
        return found

    def _native_argument(self, param: Param, function: Function, exact: bool) -> list[str]:
        kind, name = param.type.kind, param.name
        by_pointer = f"gpw::out({name})" if exact else f"&{name}"
        if kind in ("bytes", "array") or (kind == "text" and param.direction == "out"):
            return [f"{name}.data()"] if param.count else [f"{name}.data()", f"{name}.size()"]
        if param.direction != "in":
            return [by_pointer]
        if param.counts:
            sets = any(array and array.direction == "out" for array in map(function.param, param.counts))
            return [by_pointer] if sets else [name]
        if kind == "handle":
            if param.optional:
                return [f"{name} == nullptr ? decltype({param.type.name}::inner){{}} : {name}->inner"]
            return [f"std::move({name}.inner)" if param.owned else f"{name}.inner"]
        if kind == "callback":
            where = self.callbacks[param.type.name].user_data
            thunk = f"gpw::thunk<{param.type.name}, gpw::user_data::{where}>({name})"
            return [thunk] if where == "none" else [thunk, f"{name}.data()"]
        if param.optional and kind in ("scalar", "enum", "address"):
            return [f"{name} ? &*{name} : nullptr"]
        return [name]

    def _whole_arguments(self, function: Function) -> list[str]:
        found = ["self"] if function.has_self else []
        return found + [param.name for param in function.params if not param.counts]

    def _call(self, function: Function) -> str:
        code = function.code.text.strip().removeprefix("&" if function.body in ("native", "name") else "")
        if function.body in ("lambda", "member_lambda"):
            text = function.code.text.strip("\n").rstrip()
            return f"({text})({', '.join(self._whole_arguments(function))})"
        if function.body == "expression":
            return code
        if function.body == "body":
            return f"[&] {{\n{snippets.indented(function.code.text, INDENT)}\n}}()"
        arguments = self._native_arguments(function)
        if function.body == "member":
            return f"gpw::object(self.inner).{code}({', '.join(arguments)})"
        if function.body == "native" and self.spec.library.language == "c":
            head = "gpw::call_late(gpw_late, " if self._late(function) else "gpw::call("
            return f"{head}{', '.join([f'&{self._free(code, function)}', *arguments])})"
        return f"{self._free(code, function)}({', '.join(arguments)})"

    def _late(self, function: Function) -> bool:
        """Whether a value that does not fit is told only when the handles that came with it have an owner."""
        exact = function.body == "native" and self.spec.library.language == "c"
        outs = [param for param in function.params if param.direction == "out"]
        return exact and len(outs) > 1 and any(param.type.kind == "handle" for param in outs)

    def _free(self, code: str, function: Function) -> str:
        """The name of a function, as it is seen past a parameter of the same name."""
        return f"::{code}" if any(param.name == code for param in function.params) else code

    def _run(self, entry: Entry) -> Iterator[str]:
        function = entry.function
        call = self._call(function)
        explicit = bool(function.error) and function.error != "none"
        if explicit:
            call = f"gpw::check_{function.error}({call})"
        if self._late(function):
            yield "std::exception_ptr gpw_late;"
        judged = explicit or function.error == "none" or function.discard
        consumed = [
            f"gpw_consumed_{p.name}.done();" for p in function.params if p.owned and p.direction == "in"
        ]
        outs = [
            output for output in entry.outputs if function.result is None or output is not entry.outputs[0]
        ]
        if function.result is not None:
            value = call if judged else f"gpw::value({self._deferred(call)})"
            if any(output.channel == "shell" for output in outs):
                yield f"auto &&gpw_native = {value};"
                yield from consumed
                yield from self._after(function)
                yield from self._give_several(entry, outs, "std::forward<decltype(gpw_native)>(gpw_native)")
                return
            held = self._held(entry.outputs[0], value)
            if not outs and not consumed:
                yield f"return {self._final(entry.outputs[0], held)};"
                return
            yield f"auto gpw_result = {held};"
        elif judged:
            yield f"static_cast<void>({call});"
        else:
            yield f"gpw::nothing({self._deferred(call)});"
        yield from consumed
        yield from self._after(function)
        yield from self._give(entry, outs)

    def _deferred(self, call: str) -> str:
        return f"[&]() -> decltype(auto) {{\n{INDENT}return {call.replace(chr(10), chr(10) + INDENT)};\n}}"

    def _after(self, function: Function) -> Iterator[str]:
        for param in function.params:
            if param.direction == "out" and param.type.kind in ("bytes", "array", "text"):
                if param.capacity:
                    yield f"{param.name}.resize({param.count});"
                if param.type.kind == "text":
                    yield f"{param.name}.cut();"

    def _give(self, entry: Entry, outs: list[Output]) -> Iterator[str]:
        """The statements that hand the outputs over: what is owned gets its owner before anything can fail."""
        if len(entry.outputs) > 1:
            yield from self._give_several(entry, outs)
            return
        values: list[str] = []
        for output in entry.outputs:
            if output not in outs:
                values.append("gpw_result")
            elif output.channel == "blob":
                values.append(f"{output.name}.take()")
            elif output.channel == "shell":
                yield f"auto gpw_shell_{output.name} = {self._held(output, f'std::move({output.name})')};"
                values.append(f"gpw_shell_{output.name}")
            else:
                values.append(self._held(output, output.name))
        if not entry.outputs:
            yield "return 0;"
        else:
            yield f"return {self._final(entry.outputs[0], values[0])};"

    def _give_several(self, entry: Entry, outs: list[Output], result: str = "") -> Iterator[str]:
        late = "gpw::settle(gpw_late);" if self._late(entry.function) else ""
        names: dict[str, str] = {}
        required: list[Output] = []
        for output in sorted(entry.outputs, key=lambda output: output.channel != "shell"):
            name = f"gpw_got_{output.name}"
            if late and output.channel != "shell":
                yield late
                late = ""
            if output not in outs and not result:
                name = "gpw_result"
            elif output.channel == "shell":
                source = result if output not in outs else f"std::move({output.name})"
                yield f"auto {name} = {self._held(replace(output, optional=True), source)};"
                required += [] if output.optional else [output]
            elif output not in outs:
                yield f"auto {name} = {self._held(output, result)};"
            elif output.channel == "blob":
                yield f"auto {name} = {output.name}.take();"
            else:
                yield f"const auto {name} = {self._held(output, output.name)};"
            names[output.name] = name
        if late:
            yield late
        yield from (f'gpw::needed({names[output.name]}, "{output.type.name}");' for output in required)
        for output in entry.outputs:
            owned = output.channel in ("blob", "shell")
            yield f"*gpw_out_{output.name} = {names[output.name]}{'.release()' if owned else ''};"
        yield "return 0;"

    def _held(self, output: Output, value: str) -> str:
        """The value as the type that the C ABI has, while it may still fail."""
        kind = output.type.kind
        if kind == "text":
            return f"gpw::text({value}{', true' if output.optional else ''})"
        if kind in ("bytes", "array"):
            return f"gpw::elements<{element(output.type)}>({value})"
        if kind == "handle":
            handle = self.spec.handle(output.type.name)
            owned = "false" if output.borrowed or handle.owns_nothing else "true"
            parent = f"gpw_pin_{output.parent}.box()" if output.parent else "nullptr"
            maybe = ", true" if output.optional else ""
            return f"gpw::wrap<::{self.abi.shell(handle.name)}, {handle.name}>({value}, {owned}, {parent}{maybe})"
        if kind == "address":
            return f"gpw::convert<std::uint64_t>({value})"
        return f"gpw::number<{'std::int64_t' if kind == 'enum' else std(C_TYPES[output.type.name])}>({value})"

    def _final(self, output: Output, held: str) -> str:
        """What the entry returns."""
        if output.channel in ("blob", "shell"):
            if output.optional:
                return f"gpw::give({held if held.startswith('gpw::') else f'std::move({held})'})"
            return f"{held}.release()"
        if output.channel in ("i64", "u64"):
            return f"gpw::give({held})"
        if output.channel == "float":
            return f"gpw::give(static_cast<double>({held}))"
        return f"{held} ? 1 : 0" if output.channel == "flag" else held

    # --- what belongs to handles

    def drop(self, handle: Handle) -> str:
        """The statement that frees a native object."""
        if handle.drop is None:
            return ""
        text = handle.drop.text.strip()
        form = snippets.form(text)
        if form == "lambda":
            call = f"({text})(handle)"
        elif form == "name":
            call = f"{text.removeprefix('&')}(handle.inner)"
        else:
            call = text
        if handle.error == "none":
            return f"static_cast<void>({call});"
        if handle.error:
            return f"gpw::check_{handle.error}({call});"
        return f"gpw::nothing([&]() -> decltype(auto) {{ return {call}; }});"
