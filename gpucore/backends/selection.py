"""Choosing a backend and a device: one grammar everywhere.

::

    selector = choice ("," choice)*
    choice   = backend [":" device]
    device   = ordinal | uuid | part of the device's name

A single choice is meant: when it cannot be opened the error says why and what to do.  Inside a list, and with
nothing selected, the next one is tried and the reasons of those passed over are kept.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from gpucore._messages import did_you_mean
from gpucore.backends import discovery
from gpucore.config import Settings
from gpucore.errors import (
    BackendNotFoundError,
    BackendUnavailableError,
    ConfigError,
    GpucoreError,
    PluginError,
)

if TYPE_CHECKING:
    from gpucore.hookspecs import DeviceInfo, ProbeResult

__all__ = ["BackendStatus", "Choice", "backends", "choose", "devices", "parse"]

log = logging.getLogger("gpucore")
T = TypeVar("T")

# a rasteriser that runs on the processor is never preferred to a backend made for the processor
_RANK = {"discrete": 0, "integrated": 0, "cpu": 0, "software": 1}


@dataclass(frozen=True, slots=True)
class Choice:
    """One choice of a selector; ``device`` is what stands after the colon."""

    backend: str
    device: str | None = None

    def __str__(self) -> str:
        return self.backend if self.device is None else f"{self.backend}:{self.device}"


@dataclass(frozen=True, slots=True)
class BackendStatus:
    """What is known of an installed backend.

    Attributes
    ----------
    name : str
    available : bool
    reason, fix : str
        Why it is not available, and what to do; empty when it is.
    devices : tuple[DeviceInfo, ...]
    priority : int
    description : str
    versions : tuple[tuple[str, str], ...]
    """

    name: str
    available: bool
    reason: str
    fix: str
    devices: tuple[DeviceInfo, ...]
    priority: int = 0
    description: str = ""
    versions: tuple[tuple[str, str], ...] = ()


def parse(selector: str) -> tuple[Choice, ...]:
    """Read a selector.

    Raises
    ------
    ConfigError
        When it is malformed.
    TypeError
        When it is no string.
    """
    if not isinstance(selector, str):
        have = discovery.names()
        example = f"{have[0] if have else 'backend'}:{selector if type(selector) is int else 0}"
        raise TypeError(
            f"a backend selector is a string such as {example!r}, or a device of gpucore.devices(), not "
            f"{selector!r}"
        )
    choices = []
    for part in selector.split(","):
        name, colon, device = part.strip().partition(":")
        name, device = name.strip(), device.strip()
        if not re.fullmatch(r"[A-Za-z_][\w.-]*", name) or (colon and not device):
            raise ConfigError(
                f"the backend selector {selector!r} is malformed at {part.strip()!r}; write a name, name:1, "
                "name:part-of-the-device-name, name:uuid, or several of them separated by commas"
            )
        choices.append(Choice(name, device or None))
    return tuple(choices)


def _probe(name: str) -> tuple[discovery.Hooks, ProbeResult]:
    plugin = discovery.load(name)
    hooks = discovery.bind(name, plugin)
    try:
        return hooks, hooks.probe()
    except Exception as error:
        raise PluginError(
            f"probe() of the backend {name!r} raised {type(error).__name__}: {error}; it must never raise"
        ) from error


def _status(name: str, settings: Settings) -> BackendStatus:
    try:
        plugin = discovery.load(name)
        info = discovery.bind(name, plugin).backend_info()
        if name in settings.disable_backends:
            where = settings.source_of("disable_backends")
            return BackendStatus(
                name,
                False,
                f"it is disabled by {where}",
                f"remove {name!r} there",
                (),
                info.priority,
                info.description,
            )
        _, result = _probe(name)
    except GpucoreError as error:
        reason, separator, fix = str(error).rpartition("; ")
        return BackendStatus(name, False, reason if separator else fix, fix if separator else "", ())
    except Exception as error:  # noqa: BLE001 - whatever a broken plugin raises is its status
        return BackendStatus(name, False, f"backend_info() raised {type(error).__name__}: {error}", "", ())
    return BackendStatus(
        name,
        result.available,
        result.reason,
        result.fix,
        tuple(result.devices),
        info.priority,
        info.description,
        tuple(sorted(info.versions.items())),
    )


def backends(settings: Settings | None = None) -> dict[str, BackendStatus]:
    """Every installed backend and how it fares, by priority; never raises for a broken plugin."""
    from gpucore.config import load

    settings = load() if settings is None else settings
    found = [_status(name, settings) for name in discovery.names()]
    return {
        status.name: status for status in sorted(found, key=lambda status: (-status.priority, status.name))
    }


def devices() -> list[DeviceInfo]:
    """Every device of every available backend, in the order in which they would be chosen."""
    found = [device for status in backends().values() if status.available for device in _named(status)]
    return sorted(found, key=lambda device: _RANK[device.kind])


def _named(status: BackendStatus) -> list[DeviceInfo]:
    from dataclasses import replace

    return [replace(device, backend=status.name) for device in status.devices]


def _pick(choice: Choice, found: tuple[DeviceInfo, ...]) -> DeviceInfo:
    """The device that the choice names."""
    requested = choice.device
    if requested is None:
        return min(found, key=lambda device: (_RANK[device.kind], device.ordinal))
    matches: list[DeviceInfo]
    if requested.isascii() and requested.isdigit() and len(requested) < 10:
        matches = [device for device in found if device.ordinal == int(requested)]
    else:
        plain = requested.lower().replace("-", "")
        matches = [d for d in found if d.uuid is not None and d.uuid.lower().replace("-", "") == plain]
        matches = matches or [device for device in found if requested.lower() in device.name.lower()]
    if not matches:
        listed = ", ".join(f"{choice.backend}:{device.ordinal} ({device.name})" for device in found)
        raise BackendUnavailableError(
            f"the backend {choice.backend!r} has no device {requested!r}; it has {listed}"
        )
    return matches[0]


def _open(choice: Choice, settings: Settings, opener: Callable[[str, DeviceInfo], T]) -> T:
    name = choice.backend
    if name in settings.disable_backends:
        where = settings.source_of("disable_backends")
        raise BackendUnavailableError(f"the backend {name!r} is disabled by {where}; remove {name!r} there")
    _, result = _probe(name)
    if not result.available or not result.devices:
        reason = result.reason or "it found no device"
        fix = f"; {result.fix}" if result.fix else ""
        kind = _Misconfigured if result.misconfigured else BackendUnavailableError
        raise kind(f"the backend {name!r} is not available: {reason.rstrip('.')}{fix}")
    return opener(name, _pick(choice, result.devices))


def choose(
    selector: str | None, settings: Settings, opener: Callable[[str, DeviceInfo], T]
) -> tuple[T, str, tuple[str, ...]]:
    """Open what the selector, else the settings, else the priorities say.

    Parameters
    ----------
    opener : callable
        ``opener(backend, device_info)`` opens the device; a ``GpucoreError`` from it counts as a failure of
        that choice.

    Returns
    -------
    opened : object
        What ``opener`` gave.
    why : str
        Why this one, for the log.
    passed_over : tuple[str, ...]
        ``"name: reason"`` for each choice that was tried and failed.

    Raises
    ------
    BackendNotFoundError, BackendUnavailableError, PluginError, ConfigError
    """
    for name in settings.disable_backends:
        have = discovery.names()
        hint = "" if name in have else did_you_mean(name, have)
        if hint:
            raise ConfigError(
                f"{settings.source_of('disable_backends')} disables {name!r}, which is not installed{hint}"
            )
    why = "it was asked for"
    if selector is None and settings.backend is not None:
        selector, why = settings.backend, f"{settings.source_of('backend')} says {settings.backend!r}"
    if selector is None:
        return _choose_any(settings, opener)
    try:
        choices = parse(selector)
    except ConfigError as error:
        if why.startswith("it was"):
            raise
        raise ConfigError(f"{why}, but {error}") from None
    if len(choices) == 1:
        try:
            return _open(choices[0], settings, opener), why, ()
        except (BackendNotFoundError, BackendUnavailableError) as error:
            if why.startswith("it was"):
                raise
            raise type(error)(f"{why}, but {error}") from error
    failures: list[str] = []
    missing = 0
    for choice in choices:
        try:
            return _open(choice, settings, opener), f"first of {selector!r} that works", tuple(failures)
        except GpucoreError as error:
            missing += isinstance(error, BackendNotFoundError)
            failures.append(f"{choice}: {error}")
            log.info("backend %s was passed over: %s", choice, error)
    kind = BackendNotFoundError if missing == len(choices) else BackendUnavailableError
    raise kind(f"none of {selector!r} can be used:\n" + "\n".join(f"  {failure}" for failure in failures))


def _choose_any(settings: Settings, opener: Callable[[str, DeviceInfo], T]) -> tuple[T, str, tuple[str, ...]]:
    have = discovery.names()
    if not have:
        raise BackendNotFoundError(
            "no backend is installed. Backends are plugins named gpucore-<backend>: install one with pip, "
            "in the same command as gpucore itself; `gpucore doctor` says more"
        )
    failures: list[str] = []
    ranked: list[tuple[int, int, str]] = []
    for name in have:
        try:
            info = discovery.bind(name, discovery.load(name)).backend_info()
        except GpucoreError as error:
            failures.append(f"{name}: {error}")
            continue
        except Exception as error:  # noqa: BLE001 - a broken plugin is passed over, with its reason
            failures.append(f"{name}: backend_info() raised {type(error).__name__}: {error}")
            continue
        ranked.append((-info.priority, len(ranked), name))
    software: list[str] = []
    for _, _, name in sorted(ranked):
        try:
            return _open_real(name, settings, opener), "highest priority that works", tuple(failures)
        except _OnlySoftware:
            software.append(name)
        except _Misconfigured as error:
            raise ConfigError(str(error)) from None
        except GpucoreError as error:
            failures.append(f"{name}: {error}")
            log.info("backend %s was passed over: %s", name, error)
    for name in software:
        try:
            return (
                _open(Choice(name), settings, opener),
                "no real device; this one is emulated",
                tuple(failures),
            )
        except GpucoreError as error:
            failures.append(f"{name}: {error}")
    raise BackendUnavailableError(
        "no backend can be used:\n" + "\n".join(f"  {failure}" for failure in failures)
    )


class _Misconfigured(BackendUnavailableError):
    """The user's settings are the reason."""


class _OnlySoftware(Exception):
    """The backend works, with devices of kind software alone."""


def _open_real(name: str, settings: Settings, opener: Callable[[str, DeviceInfo], T]) -> T:
    def real(backend: str, info: DeviceInfo) -> T:
        if _RANK[info.kind]:
            raise _OnlySoftware
        return opener(backend, info)

    return _open(Choice(name), settings, real)
