"""The hooks of a plugin: checked against :mod:`gpucore.hookspecs`, and bound to plain functions."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from gpucore._suggestions import did_you_mean
from gpucore._version import __version__
from gpucore.backends.border import checked
from gpucore.errors import PluginError

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

__all__ = ["Hooks", "bind", "check"]


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
