"""What a plugin may import besides :mod:`gpucore.hookspecs`, :mod:`gpucore.ir` and :mod:`gpucore.errors`.

The packer of launch arguments, versions, and files kept between processes where the settings say.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
from pathlib import Path

from gpucore import _files
from gpucore._packing import STRUCT_CODES, ArgumentPacker, PackedField
from gpucore._version import __version__
from gpucore.config import load

__all__ = [
    "STRUCT_CODES",
    "ArgumentPacker",
    "PackedField",
    "distribution_version",
    "plugin_folder",
    "read_kept",
    "write_kept",
]


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


def read_kept(file: Path) -> bytes | None:
    """The data of a kept file; None where it is missing, cannot be read, or was not written by this user."""
    return _files.read_signed(file)


def write_kept(file: Path, data: bytes) -> None:
    """Keep data for later processes: written whole, signed; where the folder cannot be written nothing is kept."""
    with contextlib.suppress(OSError):
        _files.write_signed(file, data)
