"""Discovery of backends, and the handshake.

A backend is an entry point of the group ``gpucore.backends``.  Nothing is imported until it is needed, and a
plugin that is broken harms nobody who does not ask for it.  What is checked, in order: that one distribution
alone bears the name, that its requirement on gpucore is met (before import), that it imports, that
``GPUCORE_API`` matches, that every hook is there with the parameters of :mod:`gpucore.hookspecs`, and that it calls itself
by its entry point's name. :mod:`gpucore.backends.hooks` checks and binds the hooks
and holds what they do later to the contract.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType

from gpucore._messages import did_you_mean
from gpucore._version import __version__
from gpucore.backends.hooks import Hooks, bind, check
from gpucore.errors import BackendNotFoundError, PluginError

__all__ = [
    "GROUP",
    "WRAPPER_GROUP",
    "Candidate",
    "Hooks",
    "bind",
    "check",
    "installed",
    "load",
    "names",
    "not_installed",
    "register",
    "users_interrupts",
    "wrappers",
]


@contextlib.contextmanager
def users_interrupts() -> Iterator[Callable[[], bool]]:
    """Watch for Ctrl-C; gives a function that says whether a KeyboardInterrupt of the block may be the user's.

    Python's own handler is replaced in the block by one that does the same and remembers it.  Handlers of the program stay:
    then every KeyboardInterrupt may be the user's.  Threads other than the main thread get none.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield lambda: True
        return
    pressed = False

    def handler(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        pressed = True
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, handler)
    try:
        yield lambda: pressed
    finally:
        if signal.getsignal(signal.SIGINT) is handler:  # else the code of the block set one of its own
            signal.signal(signal.SIGINT, signal.default_int_handler)


GROUP = "gpucore.backends"
WRAPPER_GROUP = "gpucore.wrappers"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One plugin that says it is the backend ``name``; not imported yet.

    Attributes
    ----------
    name : str
    value : str
        The entry point's ``module`` or ``module:attribute``.
    distribution, version : str | None
        The distribution that brings it, None where there is none.
    requires : tuple[str, ...]
        The distribution's requirements, as its metadata spells them.
    what : str
        ``"backend"`` or ``"wrapper"``, for messages.
    """

    name: str
    value: str
    distribution: str | None = None
    version: str | None = None
    requires: tuple[str, ...] = ()
    load: Callable[[], object] | None = None
    what: str = "backend"

    @property
    def origin(self) -> str:
        """Where it comes from, for messages."""
        if self.distribution is None:
            return self.value
        return f"{self.distribution} {self.version} ({self.value})"


class _Registry:
    """What this process knows of plugins: entry points (read once for each ``sys.path``), registrations,
    modules.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.path: tuple[str, ...] | None = None
        self.found: dict[str, dict[str, list[Candidate]]] = {}
        self.registered: dict[str, list[Candidate]] = {}
        self.loaded: dict[Candidate, object] = {}

    def candidates(self, group: str) -> dict[str, list[Candidate]]:
        with self.lock:
            path = tuple(sys.path)
            if path != self.path:
                self.path, self.found = path, {}
            if group not in self.found:
                self.found[group] = _read_entry_points(group)
            result = {name: list(found) for name, found in self.found[group].items()}
            if group == GROUP:
                for name, extra in self.registered.items():
                    result.setdefault(name, []).extend(extra)
            return result


_registry = _Registry()


def _read_entry_points(group: str) -> dict[str, list[Candidate]]:
    found: dict[str, list[Candidate]] = {}
    for point in importlib.metadata.entry_points(group=group):
        dist = point.dist
        candidate = Candidate(
            point.name,
            point.value,
            dist.metadata["Name"] if dist is not None else None,
            dist.version if dist is not None else None,
            tuple(dist.requires or ()) if dist is not None else (),
            point.load,
            "wrapper" if group == WRAPPER_GROUP else "backend",
        )
        found.setdefault(point.name, []).append(candidate)
    return found


@contextlib.contextmanager
def register(name: str, plugin: object) -> Iterator[None]:
    """Make ``plugin`` (a module or an object with the hooks) the backend ``name`` inside a ``with`` block.

    For tests and for backends that live in an application rather than in a distribution.
    """
    label = getattr(plugin, "__name__", type(plugin).__name__)
    candidate = Candidate(name, str(label), load=lambda: plugin)
    with _registry.lock:
        _registry.registered.setdefault(name, []).append(candidate)
    try:
        yield
    finally:
        with _registry.lock:
            remaining = _registry.registered[name]
            remaining.remove(candidate)
            if not remaining:
                del _registry.registered[name]
            _registry.loaded.pop(candidate, None)


def refresh() -> None:
    """Forget the entry points that were read; the next look reads them again."""
    with _registry.lock:
        _registry.path = None


def installed() -> dict[str, list[Candidate]]:
    """The plugins that are installed or registered, by backend name; more than one for a name is an error
    later.
    """
    return _registry.candidates(GROUP)


def names() -> list[str]:
    """The names of the installed backends, sorted."""
    return sorted(installed())


def load(name: str) -> object:
    """Import and check the plugin of one backend.

    Raises
    ------
    BackendNotFoundError
        When none is installed under the name.
    PluginError
        When two are, or when the one there is breaks the contract.
    """
    found = installed().get(name)
    if not found:
        raise BackendNotFoundError(not_found(name))
    if len(found) > 1:
        both = " and ".join(candidate.origin for candidate in found)
        raise PluginError(f"the backend name {name!r} is claimed by {both}; uninstall all but one of them")
    candidate = found[0]
    with _registry.lock:
        plugin = _registry.loaded.get(candidate)
        if plugin is None:
            plugin = _import(candidate)
            check(plugin, candidate.name, candidate.origin, candidate.distribution)
            if candidate.distribution is not None:
                _check_name(plugin, candidate)
            _registry.loaded[candidate] = plugin
        return plugin


def _check_name(plugin: object, candidate: Candidate) -> None:
    """Compare the name that an installed plugin gives itself with that of its entry point.

    A module that takes over the hooks of another package whole, such as the null backend's, has said no name itself.
    """
    hooks = bind(candidate.name, plugin)
    name = hooks.backend_info().name
    own = getattr(plugin, "__name__", type(plugin).__module__).partition(".")[0]
    said_by = getattr(hooks.backend_info, "__module__", own).partition(".")[0]
    if name != candidate.name and said_by == own:
        raise PluginError(
            f"the backend {candidate.name!r} from {candidate.origin} breaks the contract: its hook backend_info says the name "
            f"{name!r}, its entry point in the group {GROUP!r} says {candidate.name!r}; give both the same name"
        )


def not_found(name: str) -> str:
    """The message for a backend that is not installed."""
    have = names()
    listed = f"installed: {', '.join(have)}" if have else "no backend is installed"
    offered = _offered()
    close = did_you_mean(name, [*have, *offered])
    if name in ("gpu", "device", "auto", "default"):
        return f"there is no backend {name!r}; Context() without a name takes the best device, or name one ({listed})"
    advice = (
        ""
        if close
        else "Backends are plugins: pip install the one that brings it; `gpucore doctor` says which are there. "
    )
    if name in offered:
        close = ""
        advice = _how_to_install(name)
    return f"there is no backend {name!r}{close or ';'} {listed}. {advice}".rstrip(" .")


def _how_to_install(name: str) -> str:
    return (
        f"Install its plugin; from a checkout: pip install -e '.[{name}]' -e plugins/{name}, or from wheels: "
        f"pip install --find-links wheels 'gpucore[{name}]'"
    )


def not_installed() -> dict[str, str]:
    """The backends of gpucore's own extras whose plugins are missing, and how to install each."""
    from importlib.metadata import PackageNotFoundError, version

    missing: dict[str, str] = {}
    for name in _offered():
        try:
            version(f"gpucore-{name}")
        except PackageNotFoundError:
            missing[name] = _how_to_install(name)
    return missing


def _offered() -> list[str]:
    """The backends that gpucore's own extras install."""
    try:
        requires = importlib.metadata.requires("gpucore") or []
    except importlib.metadata.PackageNotFoundError:
        return []  # run from a folder that was never installed
    found = (re.match(r"gpucore-([\w-]+)[^;]*;\s*extra\s*==\s*['\"]\1['\"]", text) for text in requires)
    return [match[1] for match in found if match]


def _import(candidate: Candidate) -> object:
    _check_requirement(candidate)
    assert candidate.load is not None
    try:
        with users_interrupts() as interrupted:
            return candidate.load()
    except BaseException as error:
        # a plugin that leaves the interpreter is as broken as one that raises; a Ctrl-C meanwhile is the user's
        if isinstance(error, KeyboardInterrupt) and interrupted():
            raise
        fix = (
            f"; repair it with: pip install --force-reinstall {candidate.distribution}"
            if candidate.distribution
            else ""
        )
        raise PluginError(
            f"the {candidate.what} {candidate.name!r} from {candidate.origin} fails at import: "
            f"{type(error).__name__}: {error}{fix}"
        ) from error


def _check_requirement(candidate: Candidate) -> None:
    """Compare the distribution's requirement on gpucore with this gpucore, before any of its code runs."""
    if candidate.distribution is None:
        return
    mine = [text for text in candidate.requires if re.match(r"gpucore(?![\w.-])", text, re.IGNORECASE)]
    if all(text.replace(" ", "") == f"gpucore=={__version__}" for text in mine):
        return  # what our own plugins say; reading it needs no parser
    from packaging.requirements import InvalidRequirement, Requirement

    for text in mine:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue  # not ours to judge; pip did
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        if not requirement.specifier.contains(__version__, prereleases=True):
            raise PluginError(
                f"the {candidate.what} {candidate.name!r} from {candidate.distribution} {candidate.version} needs "
                f"gpucore{requirement.specifier}, but gpucore {__version__} is running; "
                f"install versions that fit: pip install --upgrade gpucore {candidate.distribution}"
            )


def wrappers() -> list[object]:
    """The installed wrappers, of the entry point group ``gpucore.wrappers``, in the order of their names.

    Raises
    ------
    PluginError
        When one of them fails at import: an observer that is silently missing would be worse.
    """
    found: list[object] = []
    for _, candidates in sorted(_registry.candidates(WRAPPER_GROUP).items()):
        for candidate in candidates:
            with _registry.lock:
                if candidate not in _registry.loaded:
                    loaded = _import(candidate)
                    _registry.loaded[candidate] = loaded() if isinstance(loaded, type) else loaded
                found.append(_registry.loaded[candidate])
    return found
