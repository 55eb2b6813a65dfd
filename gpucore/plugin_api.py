"""What a plugin may import besides :mod:`gpucore.hookspecs`, :mod:`gpucore.ir` and :mod:`gpucore.errors`.

The packer of launch arguments, versions, a plugin's settings, files kept between processes where the settings say, threads
that move the parts of large copies, and the mark of functions in a plugin's own threads.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gpucore import _files
from gpucore._generated import STRUCT_CODES, ArgumentPacker, PackedField
from gpucore._part_workers import PartWorkers, serves_calls, take
from gpucore._version import __version__
from gpucore.config import load, plugin_values

__all__ = [
    "STRUCT_CODES",
    "ArgumentPacker",
    "PackedField",
    "PartWorkers",
    "PluginSetting",
    "distribution_version",
    "plugin_folder",
    "plugin_settings",
    "read_kept",
    "serves_calls",
    "take",
    "write_kept",
]


@functools.cache
def distribution_version(name: str) -> str:
    """The version of an installed distribution, for ``BackendInfo.versions``.

    Distributions of gpucore's own that run from a folder, uninstalled, have gpucore's version; others that are missing are
    ``"not installed"``.
    """
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return __version__ if name == "gpucore" or name.startswith("gpucore-") else "not installed"


def plugin_folder(plugin: str) -> Path | None:
    """Where the plugin may keep files between processes, as the settings of this moment say.

    Returns
    -------
    Path | None
        A folder that may not exist yet; None where nothing is to be kept (``GPUCORE_CACHE_DIR=off``), or others may write
        the cache.
    """
    cache = _files.cache_directory(load().cache_dir)
    if cache is None or _files.refusal(cache) is not None:
        return None
    return _files.plugin_directory(cache, plugin)


@dataclass(frozen=True, slots=True)
class PluginSetting:
    """A setting of a plugin.

    Attributes
    ----------
    value : object
        Text from the environment, what TOML holds from a file.
    source : str
        What set it, for messages: ``"the environment variable GPUCORE_NAME_X"``.
    """

    value: object
    source: str


def plugin_settings(backend: str, names: Sequence[str]) -> dict[str, PluginSetting]:
    """The settings of a backend that are set, of those that it has.

    The setting ``x`` of the backend ``name`` is ``GPUCORE_NAME_X`` in the environment, which wins, and ``name_x`` in a file.

    Raises
    ------
    ConfigError
        For a key of the backend in a file that is not among ``names``.
    """
    return {name: PluginSetting(*found) for name, found in plugin_values(backend, names).items()}


def read_kept(file: Path) -> bytes | None:
    """The data of a kept file; None where it is missing, cannot be read, or was not written by this user."""
    return _files.read_signed(file)


def write_kept(file: Path, data: bytes) -> None:
    """Keep data for later processes: written whole, signed; where the folder cannot be written nothing is kept."""
    with contextlib.suppress(OSError):
        _files.write_signed(file, data)
