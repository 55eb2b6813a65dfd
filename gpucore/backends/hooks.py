"""The hooks of a plugin: checked against :mod:`gpucore.hookspecs`, bound to plain functions, and held to the contract.

A hook that breaks the contract, by what it raises or gives back, is named together with its plugin and what to do, where
core would otherwise fail later with an error that speaks of neither. Hooks that core calls again and again give back nothing
or a bool; they are called as they are, and whoever calls them names them with :func:`foreign_error` when they raise what
they must not.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any, Final, NamedTuple, ParamSpec, Self, TypeVar

from gpucore._messages import did_you_mean
from gpucore._version import __version__
from gpucore.errors import GpucoreError, PluginError

__all__ = ["Hooks", "bind", "check", "check_capabilities", "checked", "foreign_error"]


P = ParamSpec("P")
R = TypeVar("R")

DIRECT: Final = frozenset({
    "copy", "fill", "copy_peer", "record_event", "wait_event", "query_event", "synchronize_event", "query_stream",
    "synchronize_stream", "launch", "update_graph", "launch_graph", "free", "unload", "destroy_stream", "destroy_event",
    "destroy_graph", "record_timestamp", "read_timestamps",
})  # fmt: skip
"""Hooks without a wrapper: the frequent ones, and those that give back nothing."""

_RAISE: Final[Mapping[str, str]] = {
    "backend_info": "it needs no driver and raises nothing",
    "probe": "it never raises; return ProbeResult(False, reason, fix)",
    "open_device": "raise BackendUnavailableError with the cause and what to do",
    "alloc": "raise OutOfMemoryError where there is no memory, NotSupportedError for a kind of memory without its capability",
    "render": "raise CompileError, or NotSupportedError for what the target cannot do",
    "compile": "raise CompileError with the source and the compiler's log",
    "compile_source": "raise CompileError with the source and the compiler's log",
    "load": "raise CompileError for code that cannot be loaded",
}


class _Result(NamedTuple):
    """What a hook gives back: in words, and whether an object is that, for a call with certain arguments."""

    words: str
    holds: Callable[[Any, tuple[Any, ...]], bool]


def _is_allocation(value: Any, args: tuple[Any, ...]) -> bool:
    """Whether it has an allocation's attributes; the third argument of ``alloc`` is the kind of memory."""
    if not isinstance(getattr(value, "nbytes", None), int):
        return False
    address, host = getattr(value, "address", value), getattr(value, "host", value)
    if any(where is not None and not isinstance(where, int) for where in (address, host)):
        return False
    return host is not None or args[2] not in ("pinned", "unified")


_NOTHING: Final = _Result("nothing", lambda value, args: True)
"""Of hooks that give back nothing: what one without a return statement gives back is not looked at."""


def _handle(what: str) -> _Result:
    return _Result(f"{what}, which is any object but None", lambda value, args: value is not None)


def _of(kind: type, words: str) -> _Result:
    return _Result(words, lambda value, args: isinstance(value, kind))


@functools.cache
def _results() -> Mapping[str, _Result]:
    from gpucore import hookspecs as spec

    def named(kind: type) -> _Result:
        return _of(kind, f"a {kind.__name__}")

    allocation = _Result(
        "an allocation: an object with nbytes, address and, where the memory is pinned or unified, host",
        _is_allocation,
    )
    return {
        "backend_info": named(spec.BackendInfo),
        "probe": named(spec.ProbeResult),
        "open_device": _handle("a device"),
        "capabilities": named(spec.DeviceCapabilities),
        "target": named(spec.Target),
        "alloc": allocation,
        "memory_info": named(spec.MemoryInfo),
        "pool_stats": _of(Mapping, "a mapping of counters"),
        "pool_trim": _of(int, "a number of bytes"),
        "import_memory": allocation,
        "export_memory": _handle("an exported handle"),
        "can_access_peer": _of(bool, "a bool"),
        "create_stream": _handle("a stream"),
        "import_stream": _handle("a stream"),
        "create_event": _handle("an event"),
        "elapsed_time": _of(Real, "a number of milliseconds"),
        "render": _of(str, "a str"),
        "compile": named(spec.ObjectCode),
        "load": _handle("an executable"),
        "compile_source": _Result(
            "one ObjectCode for each kernel of the signature",
            lambda value, args: (
                isinstance(value, Mapping)
                and all(isinstance(value.get(kernel), spec.ObjectCode) for kernel in args[3])
            ),
        ),
        "prepare": _Result("a callable", lambda value, args: callable(value)),
        "build_graph": _handle("a graph"),
        "device_health": named(spec.DeviceHealth),
        "process_memory": _of(int, "a number of bytes"),
    }


def foreign_error(who: str, hook: str, error: BaseException, what: str | None = None) -> PluginError:
    """The error for a hook, or for ``what`` came of it, that raised something outside of :mod:`gpucore.errors`."""
    advice = _RAISE.get(hook, "raise DeviceError with the driver's code and name")
    return PluginError(
        f"{who} breaks the contract: {what or f'its hook {hook}'} raised {type(error).__name__}: {error}. "
        f"Hooks raise types of gpucore.errors; {advice}"
    )


def checked(who: str, hook: str, function: Callable[P, R]) -> Callable[P, R]:
    """``function``, which implements a hook, with its errors and its result held to the contract.

    Parameters
    ----------
    who : str
        The plugin, for messages: ``"the backend 'x' (gpucore_x)"``.
    """
    if hook in DIRECT:
        return function
    expected = _results().get(hook, _NOTHING)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            result = function(*args, **kwargs)
        except GpucoreError:
            raise
        except Exception as error:
            raise foreign_error(who, hook, error) from error
        if not expected.holds(result, args):
            shown = "None" if result is None else f"{type(result).__name__} {result!r:.80}"
            raise PluginError(
                f"{who} breaks the contract: its hook {hook} returned {shown}; it returns {expected.words}"
            )
        return result

    return call


def _is_other_language(name: str) -> bool:
    """Whether a capability names native code in a language that core does not know, and that is no slip of one it knows."""
    from gpucore.hookspecs import CAPABILITIES

    if not name.startswith("source_") or name in CAPABILITIES:
        return False
    import difflib  # only when a name is not known

    return not difflib.get_close_matches(name, CAPABILITIES, n=1, cutoff=0.85)


def check_capabilities(who: str, found: Any) -> None:
    """Check that what a device says it can do is in words that core knows.

    Raises
    ------
    PluginError
        With the word, and one that may have been meant.
    """
    from gpucore.hookspecs import ATOMIC_OPERATIONS, CAPABILITIES, DTYPE_OPERATIONS
    from gpucore.ir.dtypes import ALL

    dtypes = frozenset(dtype.name for dtype in ALL)
    names = found.names - {name for name in found.names if _is_other_language(name)}
    words = [("names", name, CAPABILITIES) for name in sorted(names)]
    words += [("dtypes", name, dtypes) for name in found.dtypes]
    words += [
        (f"dtypes[{name!r}]", operation, DTYPE_OPERATIONS)
        for name, operations in found.dtypes.items()
        for operation in sorted(operations)
    ]
    for atomic in sorted(found.atomics):
        operation, _, dtype = atomic.partition(".")
        words += [("atomics", operation, ATOMIC_OPERATIONS), ("atomics", dtype, dtypes)]
    for field, word, known in words:
        if word not in known:
            hint = did_you_mean(word, known) or f"; known: {', '.join(sorted(known))}"
            raise PluginError(
                f"{who} breaks the contract: its hook capabilities lists {word!r} in DeviceCapabilities.{field}, "
                f"which gpucore does not know{hint}"
            )


if TYPE_CHECKING:
    from gpucore.hookspecs import (
        Allocation,
        BackendSpec,
        DeviceHandle,
        EventHandle,
        Executable,
        GraphHandle,
        StreamHandle,
        TimestampHandle,
    )

    AnyBackend = BackendSpec[
        DeviceHandle, StreamHandle, EventHandle, Executable, Allocation, GraphHandle, TimestampHandle
    ]
    """A backend as core sees it: nothing is known of its handles, but no stream is taken for an event."""
else:
    AnyBackend = object


def _specification() -> dict[str, tuple[str, ...]]:
    """The hooks and their parameter names in order."""
    from gpucore.hookspecs import BackendSpec

    return {
        name: tuple(inspect.signature(function).parameters)[1:]
        for name, function in vars(BackendSpec).items()
        if not name.startswith("_") and callable(function)
    }


def check(plugin: object, name: str, origin: str, distribution: str | None = None) -> None:
    """Check that an imported plugin keeps the contract.

    Raises
    ------
    PluginError
        With everything that is wrong, not only the first.
    """
    from gpucore.hookspecs import API_VERSION, IR_VERSION, OPTIONAL, PROJECT

    who = f"the backend {name!r} from {origin}"
    api = getattr(plugin, "GPUCORE_API", None)
    if api is None:
        raise PluginError(
            f"{who} does not define GPUCORE_API = (API_VERSION, IR_VERSION) and is no gpucore backend; "
            + (
                f"remove it: pip uninstall {distribution}"
                if distribution
                else "define it in the plugin's module"
            )
        )
    if not (isinstance(api, (tuple, list)) and len(api) == 2 and all(type(part) is int for part in api)):
        raise PluginError(f"{who} defines GPUCORE_API = {api!r}; it is (API_VERSION, IR_VERSION)")
    made_api, made_ir = api
    if made_api != API_VERSION or not 1 <= made_ir <= IR_VERSION:
        newer = made_api > API_VERSION or (made_api == API_VERSION and made_ir > IR_VERSION)
        update = "gpucore" if newer else distribution or f"gpucore-{name}"
        raise PluginError(
            f"{who} was built for the plugin interface {(made_api, made_ir)}, but gpucore {__version__} has "
            f"{(API_VERSION, IR_VERSION)}; update {'gpucore' if newer else 'the plugin'}: pip install --upgrade {update}"
        )
    specification = _specification()
    marker = f"{PROJECT}_impl"
    faults: list[str] = []
    for hook, expected in specification.items():
        function = getattr(plugin, hook, None)
        if function is None or not hasattr(function, marker):
            if hook not in OPTIONAL:
                state = "is not marked with @hookimpl" if function is not None else "is missing"
                faults.append(f"the hook {hook}({', '.join(expected)}) {state}")
            continue
        given = tuple(inspect.signature(function).parameters)
        if given != expected:
            faults.append(
                f"the hook {hook} takes ({', '.join(given)}) where the contract says ({', '.join(expected)})"
            )
    for hook in dir(plugin):
        if hook not in specification and hasattr(inspect.getattr_static(plugin, hook, None), marker):
            faults.append(f"there is no hook {hook}{did_you_mean(hook, specification)}")
    if faults:
        fix = (
            f"install another version: pip install --upgrade {distribution}"
            if distribution
            else "fix the plugin"
        )
        raise PluginError(f"{who} breaks the contract: {', and '.join(faults)}; {fix}")


class Hooks(AnyBackend):
    """The hooks of one plugin as plain functions, called positionally.

    A hook on which no wrapper sits is the plugin's own function, those with a result inside of a check of that result; one
    with a wrapper goes through pluggy.

    Attributes
    ----------
    name : str
    who : str
        The plugin, for messages.
    wrapped : frozenset[str]
        The hooks that go through pluggy.
    plugin : object
        The plugin itself.
    ir_version : int
        The version of the IR that the plugin was made for.
    """

    def __init__(
        self, name: str, functions: dict[str, Callable[..., Any]], wrapped: frozenset[str], plugin: object
    ) -> None:
        module = getattr(plugin, "__name__", type(plugin).__name__)
        self.name = name
        self.who = f"the backend {name!r} ({module})"
        self.wrapped = wrapped
        self.plugin = plugin
        self.ir_version: int = plugin.GPUCORE_API[1]  # type: ignore[attr-defined]  # check() has seen to it
        for hook, function in functions.items():
            who = f"{self.who}, or a wrapper around it," if hook in wrapped else self.who
            self.__dict__[hook] = checked(who, hook, function)

    @classmethod
    def of(
        cls, name: str, functions: dict[str, Callable[..., Any]], wrapped: frozenset[str], plugin: object
    ) -> Self:
        """Hooks that are these functions: what the protocol of a backend says, by name rather than by definition."""
        return cls(name, functions, wrapped, plugin)

    def replaced(self, functions: Mapping[str, Callable[..., Any]]) -> Self:
        """These hooks with others in the place of some."""
        made = copy.copy(self)
        made.__dict__.update(functions)
        return made

    def __getattr__(self, name: str) -> Any:
        # only reached for optional hooks that the plugin lacks (a class attribute would hide them)
        raise AttributeError(f"the backend {self.__dict__.get('name')!r} has no hook {name!r}")

    def has(self, name: str) -> bool:
        """Whether the plugin implements the hook."""
        return name in self.__dict__


def bind(name: str, plugin: object, extra: Sequence[object] = ()) -> Hooks:
    """Bind a checked plugin's hooks to functions, through pluggy only where a wrapper asks for it.

    Raises
    ------
    PluginError
        When a wrapper does not fit the hooks it wraps.
    """
    specification = _specification()
    functions: dict[str, Callable[..., Any]] = {
        hook: getattr(plugin, hook)
        for hook in specification
        if hasattr(getattr(plugin, hook, None), "gpucore_impl")
    }
    if not extra:
        return Hooks.of(name, functions, frozenset(), plugin)
    import pluggy

    from gpucore.hookspecs import PROJECT, BackendSpec

    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(BackendSpec)
    wrapped: set[str] = set()
    try:
        manager.register(plugin, name=name)
        for wrapper in extra:
            manager.register(wrapper)
            mine = {
                hook for hook in specification if hasattr(getattr(wrapper, hook, None), f"{PROJECT}_impl")
            }
            if not mine:
                raise PluginError(
                    f"the wrapper {wrapper!r} wraps no hook; mark its methods with @hookimpl(wrapper=True)"
                )
            wrapped |= mine
        manager.check_pending()
    except (pluggy.PluginValidationError, ValueError) as error:
        raise PluginError(f"a wrapper does not fit the contract: {error}") from error
    for hook in wrapped & functions.keys():
        functions[hook] = _through_pluggy(getattr(manager.hook, hook), specification[hook])
    return Hooks.of(name, functions, frozenset(wrapped & functions.keys()), plugin)


def _through_pluggy(caller: Any, parameters: tuple[str, ...]) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        return caller(**dict(zip(parameters, args, strict=True)))

    return call
