"""A checked specification: names resolve, types are known, every body is there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from gpucore_wrap.errors import Position

TypeKind = Literal["scalar", "address", "text", "bytes", "array", "handle", "enum", "callback"]
Body = Literal["native", "name", "lambda", "expression", "body", "member", "member_lambda"]


@dataclass(frozen=True)
class Type:
    """A type of the specification.

    Parameters
    ----------
    kind : str
        What it is.
    name : str
        The scalar, the element of an array (`u8` for bytes), or the name of a handle, an enumeration or a callback.
    """

    kind: TypeKind
    name: str = ""

    def __str__(self) -> str:
        return f"array[{self.name}]" if self.kind == "array" else self.name or self.kind


@dataclass(frozen=True)
class Code:
    """C++ text and where it stands."""

    text: str
    position: Position


@dataclass(frozen=True)
class Param:
    """A parameter, or a value that the native function hands out through one."""

    name: str
    type: Type
    position: Position
    direction: Literal["in", "out", "inout"] = "in"
    count: str = ""
    capacity: str = ""
    optional: bool = False
    default: str | None = None
    owned: bool = False
    keep: Literal["call", "self", "ever"] = "call"
    doc: str = ""
    counts: tuple[str, ...] = ()
    """Arrays whose length this parameter is: Python does not pass it."""

    @property
    def goes_in(self) -> bool:
        """Whether Python passes it."""
        return self.direction != "out" and not self.counts

    @property
    def comes_out(self) -> bool:
        """Whether it is part of what the Python function returns."""
        return self.direction == "out" or (
            self.direction == "inout" and self.type.kind != "array" and self.type.kind != "bytes"
        )


@dataclass(frozen=True)
class Result:
    """What a native call returns."""

    type: Type
    optional: bool = False
    borrowed: bool = False
    container: Literal["array", "tuple"] = "array"
    doc: str = ""
    name: str = "result"


@dataclass(frozen=True)
class Function:
    """A function or a method."""

    name: str
    position: Position
    body: Body
    code: Code
    params: tuple[Param, ...]
    result: Result | None
    error: str = ""
    discard: bool = False
    scope: Code | None = None
    doc: str = ""
    handle: str = ""
    kind: Literal["method", "constructor", "static", "property"] = "method"

    @property
    def has_self(self) -> bool:
        return bool(self.handle) and self.kind in ("method", "property")

    @property
    def label(self) -> str:
        """The name as a reader of the specification finds it."""
        return f"{self.handle}.{self.name}" if self.handle else self.name

    def param(self, name: str) -> Param | None:
        return next((p for p in self.params if p.name == name), None)


@dataclass(frozen=True)
class Handle:
    """A native object that Python holds."""

    name: str
    native: str
    position: Position
    drop: Code | None = None
    owns_nothing: bool = False
    null: Code | None = None
    parent: str = ""
    shared: bool = False
    error: str = ""
    doc: str = ""


@dataclass(frozen=True)
class Enum:
    """An enumeration: Python names and native values."""

    name: str
    native: str
    members: tuple[tuple[str, str], ...]
    position: Position
    flags: bool = False
    doc: str = ""


@dataclass(frozen=True)
class ErrorRule:
    """How a returned value, or a C++ exception, becomes a Python exception."""

    name: str
    type: str
    check: str
    exception: str
    message: Code
    code: str
    position: Position
    doc: str = ""


@dataclass(frozen=True)
class Callback:
    """The type of a Python function that native code calls."""

    name: str
    params: tuple[Param, ...]
    result: Type | None
    user_data: Literal["last", "first", "none"]
    on_error: str
    position: Position
    doc: str = ""


@dataclass(frozen=True)
class Constant:
    """A value read once from the library."""

    name: str
    type: Type
    value: str
    position: Position
    doc: str = ""


@dataclass(frozen=True)
class PackagePath:
    """A folder inside an importable package."""

    package: str
    path: str


@dataclass(frozen=True)
class Library:
    """What is wrapped and how it is built."""

    name: str
    package: str
    version: str
    language: Literal["c", "c++"]
    standard: str
    headers: tuple[str, ...] = ()
    include_paths: tuple[str | PackagePath, ...] = ()
    link: tuple[str, ...] = ()
    search_paths: tuple[str | PackagePath, ...] = ()
    defines: tuple[tuple[str, str], ...] = ()
    requires: tuple[str, ...] = ()
    availability: str = ""
    prelude: Code | None = None
    doc: str = ""


@dataclass(frozen=True)
class Spec:
    """A whole specification."""

    file: str
    library: Library
    handles: tuple[Handle, ...] = ()
    enums: tuple[Enum, ...] = ()
    errors: tuple[ErrorRule, ...] = ()
    callbacks: tuple[Callback, ...] = ()
    constants: tuple[Constant, ...] = ()
    functions: tuple[Function, ...] = ()
    methods: tuple[Function, ...] = ()
    by_name: dict[str, Handle] = field(default_factory=dict)

    def handle(self, name: str) -> Handle:
        return self.by_name[name]
