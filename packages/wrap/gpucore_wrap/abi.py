"""The C ABI of the bridge: what each entry takes and gives. Tiers 1, 2 and 3 are all written from these."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from gpucore_wrap.check_functions import owner
from gpucore_wrap.model import Callback, Code, Function, Param, Result, Spec, Type
from gpucore_wrap.naming import Symbols
from gpucore_wrap.types import C_TYPES

Channel = Literal["status", "flag", "integer", "i64", "u64", "float", "blob", "shell"]
"""How a single result comes back, and with it what the failure value is."""

FAILED: dict[Channel, tuple[str, str]] = {
    "status": ("int32_t", "gpw::failed_status"),
    "flag": ("int32_t", "gpw::failed_status"),
    "integer": ("int64_t", "gpw::failed_integer"),
    "i64": ("int64_t", "gpw::failed_integer"),
    "u64": ("uint64_t", "gpw::failed_unsigned"),
    "float": ("double", "gpw::failed_float"),
    "blob": ("blob", "nullptr"),
    "shell": ("shell", "nullptr"),
}


@dataclass(frozen=True)
class Output:
    """One value that comes out of an entry."""

    name: str
    type: Type
    channel: Channel
    optional: bool = False
    borrowed: bool = False
    container: str = "array"
    parent: str = ""
    doc: str = ""


@dataclass(frozen=True)
class Argument:
    """One argument of an entry in C."""

    ctype: str
    name: str

    def __str__(self) -> str:
        return f"{self.ctype}{self.name}" if self.ctype.endswith("*") else f"{self.ctype} {self.name}"


@dataclass(frozen=True)
class Entry:
    """One function of the C ABI.

    Parameters
    ----------
    symbol : str
        Its name.
    function : Function
        What it was made from.
    arguments : tuple of Argument
        In order; outputs follow if there are several.
    outputs : tuple of Output
        What Python gets.
    """

    symbol: str
    function: Function
    arguments: tuple[Argument, ...]
    outputs: tuple[Output, ...]
    returns: str
    failed: str

    @property
    def channel(self) -> Channel:
        return self.outputs[0].channel if len(self.outputs) == 1 else "status"

    @property
    def declaration(self) -> str:
        """The prototype without its semicolon."""
        inside = ", ".join(str(argument) for argument in self.arguments) or "void"
        space = "" if self.returns.endswith("*") else " "
        return f"{self.returns}{space}{self.symbol}({inside})"


class Abi:
    """The entries of a specification.

    Parameters
    ----------
    spec : Spec
        A checked specification.
    """

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.symbols = Symbols(spec.library.name)
        self.prefix = self.symbols.prefix
        self.namespace = f"bridge_{self.symbols.library}"
        for handle in spec.handles:
            for part in ((), ("close!",), ("free!",)):
                self.symbols(handle.name, *part)
        for enum in spec.enums:
            self.symbols(enum.name, "member!")
        for constant in spec.constants:
            self.symbols("constant!", constant.name)
        for callback in spec.callbacks:
            self.symbols("call!", callback.name)
        self.constants = tuple(
            self._entry(
                Function(
                    c.name,
                    c.position,
                    "expression",
                    Code(c.value, c.position),
                    (),
                    Result(c.type),
                    error="none",
                ),
                self.symbols("constant!", c.name),
            )
            for c in spec.constants
        )
        self.functions = tuple(self._entry(function) for function in spec.functions)
        self.methods = tuple(self._entry(method) for method in spec.methods)

    @property
    def entries(self) -> Iterator[Entry]:
        yield from self.functions
        yield from self.methods

    def shell(self, handle: str) -> str:
        """The C type of a handle, without the star."""
        return self.symbols(handle)

    def callback_arguments(self, callback: Callback) -> tuple[Argument, ...]:
        """What the Python side of a callback gets: its token, then the parameters."""
        arguments = [Argument("uintptr_t", "gpw_token")]
        for param in callback.params:
            arguments += self._in(param, f32="float")
        return tuple(arguments)

    def callback_result(self, callback: Callback) -> str:
        if callback.result is None:
            return "void"
        return self._scalar(callback.result)

    def _scalar(self, type_: Type) -> str:
        if type_.kind == "enum":
            return "int64_t"
        return "uintptr_t" if type_.kind == "address" else C_TYPES[type_.name]

    def _in(self, param: Param, f32: str = "double") -> list[Argument]:
        """What C gets for a parameter; an f32 of Python's is a double until it is known to fit."""
        kind, name = param.type.kind, param.name
        if kind == "scalar" and param.type.name == "f32" and f32 == "double":
            return [Argument("const double *" if param.optional else "double", f"gpw_in_{name}")]
        if kind in ("scalar", "enum", "address"):
            if param.optional:
                return [Argument(f"const {self._scalar(param.type)} *", f"gpw_in_{name}")]
            return [Argument(self._scalar(param.type), name if kind == "scalar" else f"gpw_in_{name}")]
        if kind == "text":
            return [Argument("const char *", name)]
        if kind in ("bytes", "array"):
            const = "" if param.direction == "inout" else "const "
            return [
                Argument(f"{const}{C_TYPES[param.type.name]} *", f"gpw_in_{name}"),
                Argument("size_t", f"gpw_size_{name}"),
            ]
        if kind == "handle":
            return [Argument(f"{self.shell(param.type.name)} *", f"gpw_in_{name}")]
        return [Argument("uintptr_t", f"gpw_in_{name}")]

    def _symbol(self, function: Function) -> str:
        return (
            self.symbols(function.handle, function.name) if function.handle else self.symbols(function.name)
        )

    def _entry(self, function: Function, symbol: str = "") -> Entry:
        symbol = symbol or self._symbol(function)
        arguments: list[Argument] = []
        if function.has_self:
            arguments.append(Argument(f"{self.shell(function.handle)} *", "gpw_in_self"))
        for param in function.params:
            if param.goes_in:
                arguments += self._in(param)
        outputs = tuple(self._outputs(function))
        if len(outputs) > 1:
            arguments += [Argument(f"{self._out(output)} *", f"gpw_out_{output.name}") for output in outputs]
        channel: Channel = outputs[0].channel if len(outputs) == 1 else "status"
        returns, failed = FAILED[channel]
        if channel == "blob":
            returns = f"{self.prefix}_blob *"
        elif channel == "shell":
            returns = f"{self.shell(outputs[0].type.name)} *"
        return Entry(symbol, function, tuple(arguments), outputs, returns, failed)

    def _out(self, output: Output) -> str:
        if output.channel == "blob":
            return f"{self.prefix}_blob *"
        if output.channel == "shell":
            return f"{self.shell(output.type.name)} *"
        return "uint64_t" if output.type.kind == "address" else self._scalar(output.type)

    def _outputs(self, function: Function) -> Iterator[Output]:
        if function.result is not None:
            taken = any(param.name == "result" for param in function.params)
            yield self._output(
                function, replace(function.result, name="native_result") if taken else function.result
            )
        for param in function.params:
            if param.comes_out:
                yield self._output(function, Result(param.type, doc=param.doc, name=param.name))

    def _output(self, function: Function, result: Result) -> Output:
        parent = ""
        if result.type.kind == "handle":
            wanted = self.spec.handle(result.type.name).parent
            if wanted or result.borrowed:
                parent = owner(function, wanted)
        return Output(
            result.name,
            result.type,
            channel(result.type),
            result.optional,
            result.borrowed,
            result.container,
            parent,
            result.doc,
        )


def channel(type_: Type) -> Channel:
    """How a value of a type comes back when it is the only one."""
    if type_.kind in ("text", "bytes", "array"):
        return "blob"
    if type_.kind == "handle":
        return "shell"
    if type_.kind == "enum":
        return "integer"
    if type_.kind == "address":
        return "u64"
    by_name: dict[str, Channel] = {"bool": "flag", "i64": "i64", "u64": "u64", "f32": "float", "f64": "float"}
    return by_name.get(type_.name, "integer")
