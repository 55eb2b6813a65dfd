"""Settings: the environment over ``gpucore.toml`` over ``[tool.gpucore]`` of ``pyproject.toml`` over the user's file.

The project's two files are looked for from the working directory upwards; the nearest of each counts.  The user's file is
``gpucore.toml`` in the user's configuration folder (``~/.config/gpucore`` on Linux).

A file of a project may come from anybody: what decides where code is loaded from (``cache_dir``) is taken from a file only
where it and its folders belong to the user or root and nobody else may write them.

====================  ============================  ==================================================
key in a file         environment                   value
====================  ============================  ==================================================
``backend``           ``GPUCORE_BACKEND``           a selector, see :mod:`gpucore.backends.selection`
``disable_backends``  ``GPUCORE_DISABLE_BACKENDS``  names never chosen, a list or separated by commas
``math``              ``GPUCORE_MATH``              ``strict`` or ``fast``
``check``             ``GPUCORE_CHECK``             checked kernels: ``0``, ``auto`` (accesses) or ``1`` (all)
``memory_limit``      ``GPUCORE_MEMORY_LIMIT``      bytes a context may hold, ``"2 GiB"`` allowed
``cache_dir``         ``GPUCORE_CACHE_DIR``         where compiled kernels are kept, or ``off``
``cache_limit``       ``GPUCORE_CACHE_LIMIT``       bytes that the cache may take on disk
``log``               ``GPUCORE_LOG``               ``debug``, ``info``, ``warning`` or ``error``
====================  ============================  ==================================================

A plugin has settings of its own, whose keys begin with its backend's name; it reads them by
:func:`gpucore.plugin_api.plugin_settings`.  From files they are taken as ``cache_dir`` is.
"""

from __future__ import annotations

import operator
import os
import re
import reprlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from gpucore._files import distrust, user_folder
from gpucore._messages import did_you_mean
from gpucore.errors import ConfigError

__all__ = ["Settings", "keys", "load", "plugin_values", "user_file"]

Math = Literal["strict", "fast"]
Check = Literal[False, True, "auto"]


@dataclass(frozen=True, slots=True)
class Settings:
    """What configuration says.

    Attributes
    ----------
    origin : tuple[tuple[str, str], ...]
        For each key that was set what set it.
    ignored : tuple[tuple[str, str], ...]
        For each key that was not taken from a file the reason.
    plugins : tuple[tuple[str, object], ...]
        Settings of plugins in files, as they stand there.
    """

    backend: str | None = None
    disable_backends: tuple[str, ...] = ()
    math: Math = "strict"
    check: Check = "auto"
    memory_limit: int | None = None
    cache_dir: str | None = None
    cache_limit: int = 1 << 30
    log: str | None = None
    dump: tuple[str, ...] = ()
    origin: tuple[tuple[str, str], ...] = ()
    ignored: tuple[tuple[str, str], ...] = ()
    plugins: tuple[tuple[str, object], ...] = ()

    def source_of(self, key: str) -> str | None:
        """Where a value was set, or None for a default."""
        return dict(self.origin).get(key)


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("a non-empty string")
    return value.strip()


def _names(value: object) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        raise ValueError("a list of backend names")
    return tuple(part.strip() for part in parts if part.strip())


def _math(value: object) -> str:
    if not isinstance(value, str) or value not in ("strict", "fast"):
        raise ValueError("'strict' or 'fast'")
    return value


def _boolean(value: object) -> bool:
    if isinstance(value, int) and value in (0, 1):
        return bool(value)
    if isinstance(value, str):
        lowered = value.strip().lower()
        if lowered in ("1", "true", "yes", "on"):
            return True
        if lowered in ("0", "false", "no", "off", ""):
            return False
    raise ValueError("a boolean (1, 0, true, false)")


def _check(value: object) -> Check:
    if isinstance(value, str) and value.strip().lower() == "auto":
        return "auto"
    try:
        return _boolean(value)
    except ValueError:
        raise ValueError("a boolean (1, 0, true, false) or 'auto'") from None


_MOST_BYTES = 1 << 62
_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def _bytes(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MOST_BYTES:
        return value
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d{1,20})(\.\d{1,20})?\s*([kmgt]?)(?:i?b)?\s*", value.lower(), re.ASCII)
        if match:
            size = int(match[1]) * _UNITS[match[3]] + int(float(match[2] or 0) * _UNITS[match[3]])
            if 0 < size <= _MOST_BYTES:
                return size
    raise ValueError("a positive number of bytes, at most 2**62, such as 1073741824 or '1 GiB'")


def memory_limit(value: object) -> int:
    """A number of bytes as ``Context(memory_limit=)`` takes it.

    Raises
    ------
    ConfigError
    """
    if not isinstance(value, (int, str, float)) and hasattr(value, "__index__"):
        value = operator.index(value)  # NumPy's integers
    parsed: int = _convert("memory_limit", value, "memory_limit")
    return parsed


def _folder(value: object) -> str:
    text = _text(value)
    try:
        if "\0" in text:
            raise RuntimeError
        Path(text).expanduser()
    except RuntimeError:  # of a user whose home nobody knows
        raise ValueError("a folder that can be found, or 'off'") from None
    return text


def _level(value: object) -> str:
    if isinstance(value, str) and value.strip().lower() in ("debug", "info", "warning", "error"):
        return value.strip().lower()
    if isinstance(value, str) and value.strip() in ("1", "true", "on"):
        return "info"
    raise ValueError("'debug', 'info', 'warning' or 'error'")


def _dump(value: object) -> tuple[str, ...]:
    names = _names(value)
    if any(name != "launch" for name in names):
        raise ValueError("'launch'")
    return names


_KEYS: dict[str, Callable[[object], Any]] = {
    "backend": _text,
    "disable_backends": _names,
    "math": _math,
    "check": _check,
    "memory_limit": _bytes,
    "cache_dir": _folder,
    "cache_limit": _bytes,
    "log": _level,
    "dump": _dump,
}
_GUARDED = frozenset({"cache_dir"})
"""Keys that decide which code runs: taken from trusted files alone."""
_VARIABLES = {f"GPUCORE_{key.upper()}": key for key in _KEYS}


def load(path: str | os.PathLike[str] | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings.

    Parameters
    ----------
    path : path, optional
        A ``gpucore.toml`` or ``pyproject.toml``; without it both are looked for from the working directory
        upwards.
    environ : mapping, optional
        Instead of ``os.environ``.

    Raises
    ------
    ConfigError
        For a file that cannot be read, an unknown key, or a bad value; it names what set it.
    """
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}
    ignored: dict[str, str] = {}
    plugins: dict[str, object] = {}
    for file, table in _tables(path):
        for key, raw in table.items():
            of_plugin = key not in _KEYS and _is_of_plugin(key)
            if key not in _KEYS and not of_plugin:
                raise ConfigError(
                    f"{file}: unknown key {key!r}{did_you_mean(key, _KEYS)}; known keys: {', '.join(_KEYS)}"
                )
            value = raw if of_plugin else _convert(key, raw, f"{file}: {key}")
            reason = distrust(file) if of_plugin or key in _GUARDED else None
            if reason is not None:
                ignored[key] = f"{file} sets it, but {reason}"
                continue
            (plugins if of_plugin else values)[key], origin[key] = value, str(file)
    environ = os.environ if environ is None else environ
    for variable, raw in environ.items():
        if not variable.startswith("GPUCORE_"):
            continue
        known = _VARIABLES.get(variable)
        if known is None:
            # other programs and plugins have variables with this prefix; only what looks like a
            # slip is refused
            hint = did_you_mean_variable(variable)
            if hint:
                raise ConfigError(f"the environment variable {variable} is unknown{hint}")
            continue
        if raw.strip():
            values[known] = _convert(known, raw, f"the environment variable {variable}")
            origin[known] = f"the environment variable {variable}"
    for key, reason in ignored.items():
        if not origin.get(key, "").startswith("the environment"):
            # from one place, however many read the settings: Python shows a text once for each place
            warnings.warn(
                f"{key} is not taken from a file that others may change: {reason}; set {_variable(key)} instead",
                RuntimeWarning,
                stacklevel=1,
            )
    return replace(
        Settings(),
        **values,
        origin=tuple(sorted(origin.items())),
        ignored=tuple(sorted(ignored.items())),
        plugins=tuple(sorted(plugins.items())),
    )


def _variable(key: str) -> str:
    return f"GPUCORE_{key.upper()}"


def plugin_setting(key: str, settings: Settings) -> tuple[object, str | None]:
    """A plugin's setting by its key, such as ``cpu_devices``, and where it was set; None and None where it was not."""
    variable = _variable(key)
    raw = os.environ.get(variable, "").strip()
    if raw:
        return raw, f"the environment variable {variable}"
    values = dict(settings.plugins)
    return values.get(key), settings.source_of(key) if key in values else None


def _is_of_plugin(key: str) -> bool:
    """Whether a key begins with the name of an installed backend."""
    from importlib.metadata import entry_points

    return any(key.startswith(f"{_in_keys(point.name)}_") for point in entry_points(group="gpucore.backends"))


def _in_keys(backend: str) -> str:
    return backend.replace("-", "_").replace(".", "_").lower()


def plugin_values(
    backend: str, known: Sequence[str], environ: Mapping[str, str] | None = None
) -> dict[str, tuple[object, str]]:
    """The settings of a backend's plugin that are set: for each its value and what set it.

    Raises
    ------
    ConfigError
        For a key or a variable of the plugin that is not known; it names what set it.
    """
    environ = os.environ if environ is None else environ
    _PLUGIN_KEYS.update(dict.fromkeys(f"{_in_keys(backend)}_{name}" for name in known))
    settings, prefix = load(environ=environ), f"{_in_keys(backend)}_"
    found: dict[str, tuple[object, str]] = {}
    for key, value in settings.plugins:
        if not key.startswith(prefix):
            continue
        name, source = key.removeprefix(prefix), settings.source_of(key) or ""
        if name not in known:
            names = [prefix + each for each in known]
            raise ConfigError(
                f"{source}: unknown key {key!r}{did_you_mean(key, names)}; {backend} has: {', '.join(names)}"
            )
        found[name] = (value, f"{source}: {key}")
    for name in known:
        variable = _variable(prefix + name)
        if environ.get(variable, "").strip():
            found[name] = (environ[variable].strip(), f"the environment variable {variable}")
    return found


_PLUGIN_KEYS: dict[str, None] = {}
"""Keys of plugins that were asked for in this process; it only grows."""


def plugin_keys() -> tuple[str, ...]:
    """The keys that plugins have, of those that have been asked in this process."""
    return tuple(_PLUGIN_KEYS)


def keys() -> tuple[str, ...]:
    """The keys that a file may have, in the order of the table."""
    return tuple(_KEYS)


def did_you_mean_variable(variable: str) -> str:
    """A suggestion for an environment variable that is one slip away from a known one, else nothing."""
    import difflib

    close = difflib.get_close_matches(variable, list(_VARIABLES), n=1, cutoff=0.88)
    return f", did you mean {close[0]!r}?" if close else ""


_brief = reprlib.Repr()
_brief.maxstring = _brief.maxlong = _brief.maxother = 80


def _convert(key: str, raw: object, where: str) -> Any:
    try:
        return _KEYS[key](raw)
    except ValueError as error:
        raise ConfigError(f"{where} wants {error}, not {_brief.repr(raw)}") from None


_LONGEST_FILE = 4 << 20


def _tables(path: str | os.PathLike[str] | None) -> list[tuple[Path, dict[str, Any]]]:
    """The tables that apply, the weaker first."""
    if path is not None:
        file = Path(path)
        if not file.is_file():
            raise ConfigError(f"there is no configuration file {file}")
        return [(file, _read(file, section=file.name == "pyproject.toml"))]
    found: list[tuple[Path, dict[str, Any]]] = []
    user = user_file()
    if _is_file(user):
        found.append((user, _read(user, section=False)))
    try:
        here = Path.cwd()
    except OSError:
        return found  # the working directory is gone; that is no fault of the configuration
    directories = [here, *here.parents]
    for name, section in (("pyproject.toml", True), ("gpucore.toml", False)):
        for directory in directories:
            file = directory / name
            if file != user and _is_file(file):
                if section and not _mentions_gpucore(file):
                    continue
                found.append((file, _read(file, section=section)))
                break
    return found


def user_file() -> Path:
    """The file with the user's own settings, which may not exist."""
    return user_folder("config") / "gpucore.toml"


def _is_file(file: Path) -> bool:
    try:
        return file.is_file()
    except OSError:
        return False  # in a folder that this user may not look into


def _mentions_gpucore(file: Path) -> bool:
    with file.open("rb") as opened:
        return b"tool.gpucore" in opened.read(_LONGEST_FILE)


def _read(file: Path, *, section: bool) -> dict[str, Any]:
    import tomllib

    try:
        if file.stat().st_size > _LONGEST_FILE:
            raise ConfigError(f"{file} is longer than {_LONGEST_FILE:,} bytes; a file of settings is short")
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except RecursionError:
        raise ConfigError(f"{file} cannot be read: its values lie too deep in one another") from None
    # of ValueError: TOML that is none, text that is not UTF-8, integers of thousands of digits
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from None
    if not section:
        return content
    tool = content.get("tool", {})
    table = tool.get("gpucore", {}) if isinstance(tool, dict) else None
    if not isinstance(table, dict):
        raise ConfigError(f"{file}: [tool.gpucore] is not a table")
    return table
