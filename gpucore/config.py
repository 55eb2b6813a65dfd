"""Settings: the environment over ``gpucore.toml`` over ``[tool.gpucore]`` of ``pyproject.toml``.

The files are looked for from the working directory upwards; the nearest one counts.

====================  ============================  ==================================================
key in a file         environment                   value
====================  ============================  ==================================================
``backend``           ``GPUCORE_BACKEND``           a selector, see :mod:`gpucore.backends.selection`
``disable_backends``  ``GPUCORE_DISABLE_BACKENDS``  names never chosen, a list or separated by commas
``math``              ``GPUCORE_MATH``              ``strict`` or ``fast``
``check``             ``GPUCORE_CHECK``             checked kernels, a boolean
``memory_limit``      ``GPUCORE_MEMORY_LIMIT``      bytes a context may hold, ``"2 GiB"`` allowed
``cache_dir``         ``GPUCORE_CACHE_DIR``         where compiled kernels are kept, or ``off``
``cache_limit``       ``GPUCORE_CACHE_LIMIT``       bytes that the cache may take on disk
``log``               ``GPUCORE_LOG``               ``debug``, ``info``, ``warning`` or ``error``
====================  ============================  ==================================================
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from gpucore._suggestions import did_you_mean
from gpucore.errors import ConfigError

__all__ = ["Settings", "load"]

Math = Literal["strict", "fast"]


@dataclass(frozen=True, slots=True)
class Settings:
    """What configuration says; ``origin`` names the place of each value that was set."""

    backend: str | None = None
    disable_backends: tuple[str, ...] = ()
    math: Math = "strict"
    check: bool = False
    memory_limit: int | None = None
    cache_dir: str | None = None
    cache_limit: int = 1 << 30
    log: str | None = None
    origin: tuple[tuple[str, str], ...] = ()

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


_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def _bytes(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?\s*", value.lower())
        if match and float(match[1]) > 0:
            return int(float(match[1]) * _UNITS[match[2]])
    raise ValueError("a positive number of bytes, such as 1073741824 or '1 GiB'")


def _level(value: object) -> str:
    if isinstance(value, str) and value.strip().lower() in ("debug", "info", "warning", "error"):
        return value.strip().lower()
    if isinstance(value, str) and value.strip() in ("1", "true", "on"):
        return "info"
    raise ValueError("'debug', 'info', 'warning' or 'error'")


_KEYS: dict[str, Callable[[object], Any]] = {
    "backend": _text,
    "disable_backends": _names,
    "math": _math,
    "check": _boolean,
    "memory_limit": _bytes,
    "cache_dir": _text,
    "cache_limit": _bytes,
    "log": _level,
}
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
        For a file that cannot be read, an unknown key, or a bad value; it names the place.
    """
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for file, table in _tables(path):
        for key, raw in table.items():
            if key not in _KEYS:
                raise ConfigError(
                    f"{file}: unknown key {key!r}{did_you_mean(key, _KEYS)}; known keys: {', '.join(_KEYS)}"
                )
            values[key] = _convert(key, raw, f"{file}: {key}")
            origin[key] = str(file)
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
    return replace(Settings(), **values, origin=tuple(sorted(origin.items())))


def did_you_mean_variable(variable: str) -> str:
    """A suggestion for an environment variable that is one slip away from a known one, else nothing."""
    import difflib

    close = difflib.get_close_matches(variable, list(_VARIABLES), n=1, cutoff=0.88)
    return f", did you mean {close[0]!r}?" if close else ""


def _convert(key: str, raw: object, where: str) -> Any:
    try:
        return _KEYS[key](raw)
    except ValueError as error:
        raise ConfigError(f"{where} wants {error}, not {raw!r}") from None


def _tables(path: str | os.PathLike[str] | None) -> list[tuple[Path, dict[str, Any]]]:
    """The tables that apply, the weaker first."""
    if path is not None:
        file = Path(path)
        if not file.is_file():
            raise ConfigError(f"there is no configuration file {file}")
        return [(file, _read(file, section=file.name == "pyproject.toml"))]
    found: list[tuple[Path, dict[str, Any]]] = []
    try:
        here = Path.cwd()
    except OSError:
        return []  # the working directory is gone; that is no fault of the configuration
    directories = [here, *here.parents]
    for name, section in (("pyproject.toml", True), ("gpucore.toml", False)):
        for directory in directories:
            file = directory / name
            if file.is_file():
                if section and b"tool.gpucore" not in file.read_bytes():
                    continue
                found.append((file, _read(file, section=section)))
                break
    return found


def _read(file: Path, *, section: bool) -> dict[str, Any]:
    import tomllib

    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from None
    if not section:
        return content
    table = content.get("tool", {}).get("gpucore", {})
    if not isinstance(table, dict):
        raise ConfigError(f"{file}: [tool.gpucore] is not a table")
    return table
