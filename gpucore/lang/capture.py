"""What ``@gc.kernel`` and ``@gc.func`` keep of a function: its text, its globals, its closure, its frame."""

from __future__ import annotations

import ast
import builtins
import dataclasses
import enum
import functools
import inspect
import sys
import threading
import types
import weakref
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic

import numpy as np

from gpucore.errors import GpucoreError, KernelSyntaxError, KernelTypeError
from gpucore.ir.dtypes import DType, bool_
from gpucore.ir.records import RecordType
from gpucore.lang.diagnostics import (
    Source,
    arguments_of,
    dotted_name,
    refuse_text,
    replace_functions,
    text_of,
)
from gpucore.lang.types import (
    MISSING,
    REQUIRED,
    ArgumentType,
    ConstValue,
    Parameter,
    constants_in,
    holds_constants,
    is_frozen_dataclass,
    is_library,
    member,
    parameter_of,
    vars_of_closure,
)  # fmt: skip

__all__ = ["Captured", "DeviceFunction", "GivenFunction", "capture", "func", "given"]

# a function's parameters and result, for type checkers; any where nothing says
if TYPE_CHECKING:
    from typing import Concatenate, overload

    from typing_extensions import ParamSpec, TypeVar

    P = ParamSpec("P", default=...)
    Q = ParamSpec("Q")
    R = TypeVar("R", default=Any)
else:
    from typing import ParamSpec, TypeVar

    P = ParamSpec("P")
    R = TypeVar("R")


class Captured:
    """A function as it was when it was decorated.

    Attributes
    ----------
    name, filename : str
    function : Callable[..., Any]
    definition : ast.FunctionDef
        The function's syntax tree, with an :class:`Inner` for each function within it.
    """

    def __init__(
        self,
        function: types.FunctionType,
        source: Source,
        definition: ast.FunctionDef,
        annotations_scope: Mapping[str, Any],
        device: bool,
    ) -> None:
        self.function = function
        self.name = function.__name__
        self.filename = function.__code__.co_filename
        self.__doc__ = function.__doc__
        self.device = device
        self._scope = annotations_scope
        self._lock = threading.RLock()
        self._parameters: tuple[Parameter, ...] | None = None
        self._names: tuple[str, ...] | None = None
        self.source = source
        self.definition = definition

    def within(self, definition: ast.FunctionDef) -> Captured:
        """A function that is defined in this one; it sees the same globals and closure."""
        outer, arguments = self.function, definition.args
        annotated = {a.arg: a.annotation for a in arguments_of(arguments)} | {"return": definition.returns}
        function: Any = types.SimpleNamespace(
            __name__=definition.name,
            __qualname__=f"{outer.__qualname__}.<locals>.{definition.name}",
            **{n: getattr(outer, n) for n in ("__module__", "__code__", "__closure__", "__globals__")},
            __doc__=None,
            __annotations__={name: ast.unparse(node) for name, node in annotated.items() if node},
            __defaults__=(None,) * len(arguments.defaults),
            __kwdefaults__={a.arg: None for a, v in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if v},
        )  # fmt: skip
        inner = Captured(function, self.source, definition, self._scope, True)
        inner.fixed_parameters(arguments)
        return inner

    def check_form(self) -> None:
        """Refuse what no argument types could fix: a fixed list of parameters makes a plain function."""
        definition, arguments, code = self.definition, self.definition.args, self.function.__code__
        what = "a device function" if self.device else "a kernel"
        own = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        if own != tuple(a.arg for a in arguments_of(arguments)):
            refuse_text(self.function)
        if not self.device and self.is_method:
            self.source.syntax_error(
                arguments.args[0], f"{what} is a function, not a method",
                "Move it out of the class and pass what it needs as parameters.",
            )  # fmt: skip
        self.fixed_parameters(arguments)
        if not self.device and definition.returns is not None:
            node = definition.returns
            if not (isinstance(node, ast.Constant) and node.value in (None, "None")):
                self.source.syntax_error(
                    node,
                    "a kernel returns no value",
                    "Write it to an array; only @gc.func functions return values.",
                )

    @property
    def is_method(self) -> bool:
        """Whether it is a method of a class."""
        owner, _, _ = self.function.__qualname__.rpartition(".")
        code = self.function.__code__
        return (
            bool(owner)
            and not owner.endswith("<locals>")
            and code.co_varnames[: code.co_argcount][:1] in (("self",), ("cls",))
        )

    @functools.cached_property
    def result(self) -> DType | None:
        """The dtype that a device function's return annotation names."""
        annotation = self.function.__annotations__.get("return")
        if isinstance(annotation, str):
            try:
                annotation = eval(
                    annotation, self.function.__globals__, {**self._scope, **vars_of_closure(self.function)}
                )
            except Exception:  # noqa: BLE001 - a type checker's name, say: it says nothing of the dtype
                return None
        if annotation is bool:
            return bool_
        return annotation if isinstance(annotation, DType) else None

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The parameters with their annotations resolved."""
        with self._lock:
            if self._parameters is None:
                self._parameters = self._resolve()
            return self._parameters

    def _resolve(self) -> tuple[Parameter, ...]:
        arguments = self.definition.args
        self.fixed_parameters(arguments)
        positional = (*arguments.posonlyargs, *arguments.args)
        found = [(a, False) for a in positional] + [(a, True) for a in arguments.kwonlyargs]
        return tuple(self._optional(a, self._defaults.get(a.arg, REQUIRED), by_name) for a, by_name in found)

    @functools.cached_property
    def _defaults(self) -> dict[str, Any]:
        """The parameters' defaults by name."""
        arguments, values = self.definition.args, self.function.__defaults__ or ()
        names = [a.arg for a in (*arguments.posonlyargs, *arguments.args)]
        found = dict(zip(names[len(names) - len(values) :], values, strict=True))
        return {name: given(value) for name, value in (found | (self.function.__kwdefaults__ or {})).items()}

    def _optional(self, node: ast.arg, default: Any, by_name: bool) -> Parameter:
        parameter = self._parameter(node)
        if default is not REQUIRED and not self.device:
            if parameter.kind == "array":
                self.source.type_error(
                    node, f"the array {node.arg} has a default", "Pass the array at each launch."
                )
            number = isinstance(default, (bool, int, float, np.generic))
            if parameter.kind != "constexpr" and not number:
                self.source.type_error(
                    node, f"the default of {node.arg} is {default!r}, which is no number",
                    "Give a number, or annotate the parameter as gc.constexpr.",
                )  # fmt: skip
        return dataclasses.replace(parameter, default=default, keyword_only=by_name)

    def fixed_parameters(self, arguments: ast.arguments) -> None:
        for extra, what in ((arguments.vararg, "*"), (arguments.kwarg, "**")):
            if extra is not None:
                self.source.syntax_error(extra, f"a kernel has a fixed list of parameters; {what}{extra.arg} is not one",
                                   "Name each parameter.")  # fmt: skip

    def _parameter(self, node: ast.arg) -> Parameter:
        name = node.arg
        if node.annotation is None:
            return Parameter(name, "any")
        annotation = self.function.__annotations__.get(name, MISSING)
        if annotation is MISSING or isinstance(annotation, str):
            annotation = self._evaluate(
                node, annotation if isinstance(annotation, str) else ast.unparse(node.annotation)
            )
        return parameter_of(node, annotation, self.source)

    def _evaluate(self, node: ast.arg, text: str) -> Any:
        scope = {**self._scope, **vars_of_closure(self.function)}
        try:
            value = eval(text, self.function.__globals__, scope)
        except Exception as error:  # noqa: BLE001 - whatever the annotation raises is the user's to see
            self.source.type_error(node, f"the annotation {text!r} of {node.arg!r} cannot be resolved: {error}",
                             "Annotations may use globals, the closure, and names of the enclosing function.")  # fmt: skip
        return self._evaluate(node, value) if isinstance(value, str) else value

    # --- what is captured
    def lookup(self, name: str) -> Any:
        """The value of a free name now: closure, globals, builtins; MISSING where there is none."""
        closure = vars_of_closure(self.function)
        if name in closure:
            return closure[name]
        scope = self.function.__globals__
        if name in scope:
            return scope[name]
        return getattr(builtins, name, MISSING)

    def resolve(self, node: ast.AST) -> Any:
        """The object that a captured name, or an attribute of one, stands for; MISSING where there is none."""
        dotted = dotted_name(node)
        if dotted is None:
            return MISSING
        root, *rest = dotted.split(".")
        value = self.lookup(root)
        for attribute in rest:
            value = member(value, attribute)
        return value

    def constants(self, types: tuple[ArgumentType, ...] = ()) -> tuple[Any, ...]:
        """The captured constants as they are now, those of functions that it may call included."""
        return tuple(found for f in self._reached(types) for found in f._fingerprint())

    def watched(self, types: tuple[ArgumentType, ...] = ()) -> list[tuple[Any, str, Any]]:
        """Where the captured constants live: a mapping or an object, the name in it, the value now.

        The value is MISSING of a name that is Python's own, which a global may shadow later.
        """
        return [place for f in self._reached(types) for place in f._places()]

    def _reached(self, types: tuple[ArgumentType, ...]) -> list[Captured]:
        """This function and those that it may call."""
        found = [self, *_functions(types)]
        for f in found:
            values = map(f._value, f._free_names())
            found += [g for g in _functions((*values, *f._defaults.values())) if g not in found]
        return found

    def _value(self, dotted: str) -> Any:
        root, *rest = dotted.split(".")
        value = self.lookup(root)
        for attribute in rest:
            if not holds_constants(value):
                break
            value = member(value, attribute)
        return value

    def _places(self) -> Iterator[tuple[Any, str, Any]]:
        cells = dict(zip(self.function.__code__.co_freevars, self.function.__closure__ or (), strict=True))
        for dotted in self._free_names():
            root, *rest = dotted.split(".")
            value = self.lookup(root)
            if value is MISSING:
                continue
            holder: Any
            if root in cells:
                holder, name = cells[root], "cell_contents"
            elif root in self.function.__globals__:
                holder, name = self.function.__globals__, root
            else:
                holder, name, value = self.function.__globals__, root, MISSING
            yield holder, name, value
            for attribute in rest:
                # libraries do not change and are not worth a look at each launch
                if not holds_constants(value) or is_library(value):
                    break
                holder, value = value, member(value, attribute)
                if value is MISSING:
                    break
                yield holder, attribute, value

    def _fingerprint(self) -> Iterator[Any]:
        for dotted in self._free_names():
            value = self._value(dotted)
            if (
                isinstance(value, (int, float, str, tuple, enum.Enum))
                or type(value).__module__ in ("numpy", "ml_dtypes")
                or is_frozen_dataclass(value)
            ):
                yield dotted, constants_in(value)
            elif value is None or (callable(value) and isinstance(value, Hashable)):
                yield dotted, value

    def _free_names(self) -> tuple[str, ...]:
        if self._names is None:
            self._names = tuple(sorted(self.free()))
        return self._names

    def free(self) -> dict[str, ast.expr]:
        """Where the function reads what is not its own, one node for each such name."""
        local = {a.arg for a in arguments_of(self.definition.args)}
        nodes = [node for statement in self.definition.body for node in ast.walk(statement)]
        local |= {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        found = {name: node for node in nodes if (name := dotted_name(node))}
        return {name: node for name, node in found.items() if name.split(".")[0] not in local}  # type: ignore[misc]


class DeviceFunction(Generic[P, R]):
    """A function that kernels may call; on the host calling it is an error."""

    def __init__(self, captured: Captured) -> None:
        self.captured = captured
        self.__name__ = captured.name
        self.__doc__ = captured.__doc__
        self.__module__ = captured.function.__module__
        self.__qualname__ = captured.function.__qualname__
        self.__wrapped__ = captured.function

    def __reduce__(self) -> str:
        # by reference, as functions are: the other process has the same module
        if "<" in self.__qualname__:
            raise TypeError(
                f"the device function {self.__name__} cannot be pickled: the other process finds it by its module and "
                "name, so define it at the top level of a module"
            )
        return self.__qualname__

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        raise KernelTypeError(
            f"{self.__name__} is a device function: it runs inside kernels; "
            f"its Python form is {self.__name__}.__wrapped__"
        )

    if TYPE_CHECKING:  # a method of a struct is called without its first argument

        @overload
        def __get__(self, instance: None, owner: type) -> DeviceFunction[P, R]: ...
        @overload
        def __get__(
            self: DeviceFunction[Concatenate[Any, Q], R], instance: object, owner: type
        ) -> DeviceFunction[Q, R]: ...
        def __get__(self, instance: Any, owner: type) -> Any: ...

    def __repr__(self) -> str:
        return f"<gpucore.func {self.__name__}>"


class GivenFunction(DeviceFunction[..., Any]):
    """A plain function as a compile-time value, with its closure as it is now: equal to another of the same text and closure."""

    def __init__(self, function: types.FunctionType, within: tuple[types.FunctionType, ...] = ()) -> None:
        found = vars_of_closure(function)
        values = [
            given(found[n], (*within, function)) if n in found else MISSING
            for n in function.__code__.co_freevars
        ]
        cells = (types.CellType() if value is MISSING else types.CellType(value) for value in values)
        self.__wrapped__ = made = types.FunctionType(
            function.__code__, function.__globals__, function.__name__, function.__defaults__, tuple(cells)
        )
        made.__kwdefaults__, made.__qualname__ = function.__kwdefaults__, function.__qualname__
        made.__annotations__, made.__module__ = function.__annotations__, function.__module__
        self.__name__, self.__qualname__ = function.__name__, function.__qualname__
        self.__module__ = function.__module__
        by_name = made.__kwdefaults__ or {}, made.__annotations__
        rest = tuple(values), made.__defaults__, *(tuple(d.items()) for d in by_name)
        place = id(made.__code__), id(made.__globals__)
        self._key = *place, *map(constants_in, rest)
        self._same = *place, *map(_same, rest)

    @functools.cached_property
    def captured(self) -> Captured:  # type: ignore[override]
        found = _captured.get(self._same)
        if found is None:
            found = _captured[self._same] = capture(self.__wrapped__, device=True, later=True)
        return found

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GivenFunction) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


_captured: weakref.WeakValueDictionary[Any, Captured] = weakref.WeakValueDictionary()
"""Of functions that are made anew for each launch: by their code and what they hold."""


def _same(value: Any) -> Any:
    """Equal for numbers and texts that are equal, and functions of such; of other objects, which may change, for the same."""
    if type(value) is tuple:
        return tuple(map(_same, value))
    if isinstance(value, GivenFunction):
        return value._same
    return constants_in(value) if type(value) in (int, float, bool, str) else id(value)


def given(value: Any, within: tuple[types.FunctionType, ...] = ()) -> Any:
    """A compile-time value with device functions for its plain functions but those that it lies in, which cannot be called."""
    if type(value) is tuple:
        return tuple(given(item, within) for item in value)
    if not isinstance(value, types.FunctionType) or value in within:
        return value
    from gpucore.lang.builtins import TABLE

    return value if value in TABLE else GivenFunction(value, within)


def capture(function: Callable[..., Any], source: str | None = None, frame: types.FrameType | None = None,
            *, device: bool = False, later: bool = False) -> Captured:  # fmt: skip
    """Keep what compiling a function needs; ``later`` where it is not decorated now, while its file is imported.

    Raises
    ------
    KernelSyntaxError
        When there is no source, or the object is no plain function.
    """
    what = "gc.func" if device else "gc.kernel"
    if not isinstance(function, types.FunctionType):
        raise KernelSyntaxError(
            f"{what} decorates plain functions, not {type(function).__name__} objects: write it directly above a def"
        )
    flags = function.__code__.co_flags
    for flag, word in (
        (inspect.CO_GENERATOR, "generators (yield)"),
        (inspect.CO_COROUTINE, "async functions"),
        (inspect.CO_ASYNC_GENERATOR, "async generators"),
    ):
        if flags & flag:
            file, line = function.__code__.co_filename, function.__code__.co_firstlineno
            text = f"{file}:{line}: {function.__name__}: {what} does not take {word}; write an ordinary def"
            raise KernelSyntaxError(text, filename=file, lineno=line)
    if function.__name__ == "<lambda>" and not device:
        raise KernelSyntaxError(f"{what} does not take a lambda: write a def")
    # only annotations that are still text are resolved later; nothing else of the frame is kept alive
    waiting = any(isinstance(a, str) for a in function.__annotations__.values())
    local = waiting and frame is not None and frame.f_locals is not frame.f_globals
    scope = dict(frame.f_locals) if local and frame is not None else {}
    try:
        captured = Captured(function, *text_of(function, source, later), scope, device)
        lines = captured.source.text
        if (
            "lambda" in lines or lines.count("def") > 1
        ):  # else none is within, and looking for them takes time
            captured.definition = replace_functions(captured.definition, captured.within)
        captured.check_form()
        return captured
    except GpucoreError as error:
        raise error.with_traceback(None) from None


def func(function: Callable[P, R]) -> DeviceFunction[P, R]:
    """Make a function one that kernels may call."""
    frame = sys._getframe(1)
    return DeviceFunction(capture(function, None, frame, device=True))


def _functions(value: Any) -> Iterator[Captured]:
    """The functions that a constant or a type brings along."""
    if isinstance(value, DeviceFunction):
        yield value.captured
    elif isinstance(value, RecordType):
        yield from _functions((*value.methods.values(), *(f.dtype for f in value.fields)))
    elif isinstance(value, tuple):
        for item in value:
            yield from _functions(item)
    elif isinstance(value, ArgumentType):
        yield from _functions(value.value if isinstance(value, ConstValue) else value.dtype)
