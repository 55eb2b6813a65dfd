"""The fields of a specification: one table that the reader, the JSON schema and the reference page are made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "identifier",
    "text",
    "line",
    "code",
    "integer",
    "boolean",
    "type",
    "choice",
    "literal",
    "name",
    "path",
    "record",
    "map",
]

SCALARS = ("bool", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "f32", "f64")


@dataclass(frozen=True)
class Field:
    """One key of a record.

    Parameters
    ----------
    name : str
        The key.
    kind : str
        What its value is. `identifier`: a name of C and Python; `name`: a qualified C++ name; `code`: C++; `line`: text in one
        line; `literal`: a number, truth value, text or `null`; `path`: text or a `location`; `map`: names to text.
    doc : str
        What it means.
    required : bool
        Whether it must be given.
    many : bool
        Whether it is a list of such values.
    record : str
        The table of a value of the kind `record`.
    values : tuple of str
        The choices of the kind `choice`.
    short : str
        Text in place of a record is taken for this field of it.
    default : str
        What holds where it is missing, for the reference.
    """

    name: str
    kind: Kind
    doc: str
    required: bool = False
    many: bool = False
    record: str = ""
    values: tuple[str, ...] = ()
    short: str = ""
    default: str = ""


DOC = Field("doc", "text", "What a user reads: the first line is a summary; it becomes the docstring.")
SCOPE = Field(
    "scope",
    "code",
    "C++ declarations that hold during the call, such as a guard that changes the current device and restores it at the end.",
)
BODIES = (
    Field(
        "native",
        "name",
        "The native function. It gets native values: `inner` of handles, a pointer and a size for bytes and arrays.",
    ),
    Field(
        "cpp_fn",
        "code",
        "A lambda, which gets whole handles (`stream.inner` is the native value); a function's name, which gets native values; "
        "or an expression over the parameters, handles whole.",
    ),
    Field(
        "cpp_body",
        "code",
        "C++ statements over the parameters, handles whole, that `return` the result.",
    ),
)
CALLABLE = (
    Field("params", "record", "The parameters in the order of the native call.", many=True, record="param"),
    Field(
        "result", "record", "What the native call returns.", record="result", short="type", default="nothing"
    ),
    Field(
        "error",
        "identifier",
        "The rule of `errors` that judges the returned value, or `none`. A value of a rule's own type is always judged.",
    ),
    Field("discard", "boolean", "The returned value is dropped on purpose.", default="false"),
    SCOPE,
    DOC,
)

RECORDS: dict[str, tuple[Field, ...]] = {
    "spec": (
        Field("library", "record", "What is wrapped and how it is built.", required=True, record="library"),
        Field("handles", "record", "Native objects that Python holds.", many=True, record="handle"),
        Field("enums", "record", "Enumerations.", many=True, record="enum"),
        Field(
            "errors",
            "record",
            "How a returned value or a C++ exception becomes a Python exception.",
            many=True,
            record="error",
        ),
        Field(
            "callbacks",
            "record",
            "Types of Python functions that native code calls.",
            many=True,
            record="callback",
        ),
        Field("constants", "record", "Values read once from the library.", many=True, record="constant"),
        Field("functions", "record", "Functions of the package.", many=True, record="function"),
        Field("methods", "record", "Methods of the handles.", many=True, record="method"),
    ),
    "library": (
        Field(
            "name", "identifier", "The library's name; it begins the C symbols of the bridge.", required=True
        ),
        Field("package", "identifier", "The import name of the generated package.", default="the name"),
        Field("version", "line", "The version of the generated package.", default="0.1.0"),
        DOC,
        Field("language", "choice", "The headers' language.", values=("c", "c++"), default="c"),
        Field(
            "standard",
            "choice",
            "The least C++ standard of the bridge.",
            values=("c++17", "c++20", "c++23"),
            default="c++17",
        ),
        Field(
            "headers",
            "line",
            "Headers to include, as `name.h` or `<name.h>`. Required, unless there is a `prelude`.",
            many=True,
        ),
        Field(
            "include_paths",
            "path",
            "Folders of headers. A relative one counts from the specification's folder, and is found from the generated "
            "project's place: an sdist that is to be built elsewhere needs absolute folders or folders in packages.",
            many=True,
        ),
        Field("link", "line", "Libraries to link, as after `-l`.", many=True),
        Field(
            "search_paths",
            "path",
            "Folders of libraries, at link time and at run time; as `include_paths`.",
            many=True,
        ),
        Field("defines", "map", "Macros and their values, set while compiling."),
        Field(
            "requires",
            "line",
            "Distributions that hold headers or libraries; the package needs them to build and to run.",
            many=True,
        ),
        Field(
            "availability",
            "identifier",
            "A macro. The environment variable of this name set to 0 at build time leaves the library out: the package "
            "imports, `available()` is False, and each call raises `UnavailableError`.",
        ),
        Field(
            "prelude",
            "code",
            "C++ that follows the headers: helpers for the bodies, further `#include` lines.",
        ),
    ),
    "location": (
        Field(
            "package",
            "line",
            "An importable package, which may be a namespace: `nvidia.cu13`, `torch`.",
            required=True,
        ),
        Field("path", "line", "A folder in it.", required=True),
    ),
    "handle": (
        Field(
            "name",
            "identifier",
            "The Python class and the C++ struct, whose member `inner` is the native value.",
            required=True,
        ),
        Field("native", "line", "The native type: `cudaStream_t`, `gzFile`, `torch::Tensor`.", required=True),
        Field(
            "drop",
            "code",
            "What frees it: a function's name (gets `inner`), a lambda (gets the whole handle), an expression over `handle`, or "
            "`none` where nothing is owned. A C++ object needs none: its destructor runs.",
        ),
        Field(
            "null",
            "code",
            "A C++ expression over `handle` that is true where there is no object. Such a result raises `NullError`, or is None "
            "if the result is optional.",
            default="`handle.inner == nullptr` for pointers",
        ),
        Field("error", "identifier", "The rule of `errors` that judges what `drop` returns, or `none`."),
        Field("parent", "identifier", "The handle that must outlive it. Closing the parent closes it first."),
        Field(
            "threads",
            "choice",
            "`exclusive`: calls on one object from several threads run one after another. `shared`: they run at once.",
            values=("exclusive", "shared"),
            default="exclusive",
        ),
        DOC,
    ),
    "enum": (
        Field("name", "identifier", "The Python class.", required=True),
        Field("native", "line", "The native type.", default="int"),
        Field("members", "map", "Python names and their native values.", required=True),
        Field(
            "flags",
            "boolean",
            "Members can be combined with `|`, and other bits pass. Without it a number that is no member is a ValueError.",
            default="false",
        ),
        DOC,
    ),
    "error": (
        Field("name", "identifier", "The exception's name.", required=True),
        Field("type", "line", "The native type of the value that is judged.", default="int"),
        Field(
            "check",
            "code",
            "A C++ expression over `value`, true where the call failed.",
            default="value != 0",
        ),
        Field(
            "exception", "line", "In place of `type` and `check`: a C++ exception class, caught as `value`."
        ),
        Field(
            "message",
            "code",
            "A C++ expression over `value` that gives the text of the error.",
            required=True,
        ),
        Field(
            "code",
            "code",
            "A C++ expression over `value` that gives `error.code`.",
            default="the value, 0 for exceptions",
        ),
        DOC,
    ),
    "callback": (
        Field("name", "identifier", "The name of the type.", required=True),
        Field("params", "record", "What the Python function gets.", many=True, record="callback_param"),
        Field("result", "type", "What it returns: a scalar or an enumeration.", default="nothing"),
        Field(
            "user_data",
            "choice",
            "Where the native signature has its `void *`. With `none` the function runs on the calling thread only.",
            values=("last", "first", "none"),
            default="last",
        ),
        Field("on_error", "literal", "What native code gets where the Python function raised.", default="0"),
        DOC,
    ),
    "callback_param": (
        Field("name", "identifier", "The parameter's name.", required=True),
        Field(
            "type",
            "type",
            "A scalar, `text`, `bytes` (a pointer and a size), `address` or an enumeration.",
            required=True,
        ),
    ),
    "constant": (
        Field("name", "identifier", "The Python name.", required=True),
        Field("type", "type", "A scalar or `text`.", required=True),
        Field("value", "code", "A C++ expression.", default="the name"),
        DOC,
    ),
    "function": (Field("name", "identifier", "The Python name.", required=True), *BODIES, *CALLABLE),
    "method": (
        Field("name", "identifier", "The Python name.", required=True),
        Field("handle", "identifier", "The handle it belongs to; in C++ it is `self`.", required=True),
        Field(
            "kind",
            "choice",
            "`constructor`: `Handle(...)` makes it; `static`: it has no `self`; `property`: read without a call.",
            values=("method", "constructor", "static", "property"),
            default="method",
        ),
        *BODIES,
        Field(
            "cpp_method",
            "code",
            "A member function's name, called on the native object; or a lambda whose first argument is the whole handle.",
        ),
        *CALLABLE,
    ),
    "param": (
        Field("name", "identifier", "The name in Python and in C++.", required=True),
        Field(
            "type",
            "type",
            "A scalar (`bool`, `i8` to `u64`, `f32`, `f64`), `address`, `text`, `bytes`, `array[T]` of a scalar T, or the name "
            "of a handle, an enumeration or a callback.",
            required=True,
        ),
        Field(
            "direction",
            "choice",
            "`out`: the native function fills it and Python gets it as a result; `inout`: both, and arrays change in place.",
            values=("in", "out", "inout"),
            default="in",
        ),
        Field(
            "count",
            "code",
            "The number of elements of an array: the name of an integer parameter, which Python no longer passes if an array "
            "that goes in gives it; a number; for `out` also a C++ expression.",
            default="passed after the pointer",
        ),
        Field(
            "capacity",
            "code",
            "For `out` with a `count` that native code sets: a C++ expression for the elements to allocate.",
        ),
        Field("optional", "boolean", "None may be passed; native code gets a null pointer.", default="false"),
        Field("default", "literal", "The value where Python passes none."),
        Field(
            "ownership",
            "choice",
            "`owned`: native code takes the handle over, and the Python object is closed.",
            values=("borrowed", "owned"),
            default="borrowed",
        ),
        Field(
            "keep",
            "choice",
            "How long a callback may be called: during the `call`, as long as `self` is open, or for `ever`.",
            values=("call", "self", "ever"),
            default="call",
        ),
        DOC,
    ),
    "result": (
        Field("type", "type", "As for parameters, without callbacks.", required=True),
        Field("optional", "boolean", "Null becomes None (handles, text, bytes).", default="false"),
        Field(
            "ownership",
            "choice",
            "`borrowed`: the library owns the handle; it is kept from outliving the object that it came from.",
            values=("owned", "borrowed"),
            default="owned",
        ),
        Field("container", "choice", "What an array becomes.", values=("array", "tuple"), default="array"),
        DOC,
    ),
}
