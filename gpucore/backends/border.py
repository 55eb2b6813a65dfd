"""The border to a plugin: what its hooks raise and give back, held to the contract.

A hook that breaks it is named together with its plugin and what to do, where core would otherwise fail later with an
error that speaks of neither. Hooks that core calls again and again give back nothing or a bool; they are called as
they are, and whoever calls them names them with :func:`foreign_error` when they raise what they must not.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any, Final, NamedTuple, ParamSpec, TypeVar

from gpucore._suggestions import did_you_mean
from gpucore.errors import GpucoreError, PluginError

__all__ = ["check_capabilities", "checked", "foreign_error"]

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
