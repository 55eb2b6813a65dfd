"""The options of a context, and what it does with them when it opens; the default context."""

from __future__ import annotations

import functools
import logging
import sys
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ParamSpec, cast

import numpy as np

from gpucore.backends import discovery, selection
from gpucore.errors import ConfigError
from gpucore.runtime.device import Device, open_devices
from gpucore.runtime.geometry import Check
from gpucore.runtime.state import ContextState

if TYPE_CHECKING:
    from gpucore.config import Settings
    from gpucore.hookspecs import DeviceInfo
    from gpucore.runtime.context import Context

__all__ = ["as_check", "check_options", "configure_log", "default_context", "known_options", "open_state"]

P = ParamSpec("P")
log = logging.getLogger("gpucore")


def open_state(
    selector: str | DeviceInfo | Device | None,
    settings: Settings,
    wrappers: Sequence[object],
    limit: int | None,
) -> tuple[ContextState, str, tuple[str, ...]]:
    """Open the device that is meant: its state, why it was chosen, and what was tried before it."""
    extra = [*discovery.wrappers(), *wrappers]

    def opener(name: str, info: DeviceInfo) -> ContextState:
        plugin = discovery.load(name)
        hooks = discovery.bind(name, plugin, extra)
        device = open_devices.acquire(name, plugin, info)
        try:
            return ContextState(device, hooks, limit, settings)
        except BaseException:
            open_devices.release(device)
            raise

    if selector is not None and not isinstance(selector, str):
        backend, ordinal = getattr(selector, "backend", None), getattr(selector, "ordinal", None)
        if isinstance(backend, str) and backend and isinstance(ordinal, int):
            selector = f"{backend}:{ordinal}"
    return selection.choose(cast("str | None", selector), settings, opener)


def known_options(init: Callable[P, None]) -> Callable[P, None]:
    """The constructor of a context, which says of a keyword that it does not take what to write."""
    known = ("selector", "check", "math", "wrappers", "memory_limit", "_settings")

    @functools.wraps(init)
    def checked(*args: P.args, **named: P.kwargs) -> None:
        for name, value in named.items():
            if name not in known:
                raise TypeError(_unknown_option(name, value, known[:-1]))
        init(*args, **named)

    return checked


def _unknown_option(name: str, value: object, known: tuple[str, ...]) -> str:
    from gpucore._messages import did_you_mean

    if name in ("backend", "device", "platform", "target"):
        return f"Context() has no option {name!r}; the device comes first: Context({value!r})"
    hint = did_you_mean(name, known) or "; it takes " + ", ".join(known)
    return f"Context() has no option {name!r}{hint}"


def check_options(check: object, math: object) -> None:
    """Refuse what is none of the options' values."""
    if check not in (None, "auto") and not isinstance(check, (bool, np.bool_)) and check not in (0, 1):
        raise ConfigError(f"check is True or False, or 'auto' for accesses alone, not {check!r}")
    if math not in (None, "strict", "fast"):
        raise ConfigError(f"math is 'strict' or 'fast', not {math!r}")


def as_check(check: Check) -> Check:
    """The option as one of its three values, of a bool of NumPy's or a number too."""
    return "auto" if check == "auto" else bool(check)


def configure_log(settings: Settings) -> None:
    """Let the library's log go to the error output, from the level that the settings say."""
    if settings.log is None:
        return
    log.setLevel(settings.log.upper())
    if not any(isinstance(handler, logging.StreamHandler) for handler in log.handlers):
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("gpucore: %(message)s"))
        log.addHandler(handler)


class _Default:
    """The default context."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.context: Context | None = None

    def get(self) -> Context:
        from gpucore.runtime.context import Context

        with self.lock:
            if not self._is_open():
                made = Context()
                if self._is_open():
                    made.close()  # a finalizer asked meanwhile
                else:
                    self.context = made
            assert self.context is not None
            return self.context

    def _is_open(self) -> bool:
        return self.context is not None and not self.context._state.closed


_default = _Default()


def default_context() -> Context:
    """The context that the settings choose, opened at the first call and kept."""
    return _default.get()
