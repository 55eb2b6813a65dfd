"""Files that processes share: each is written whole or not at all, and carries a checksum where it is kept for plugins."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

__all__ = ["PLUGINS", "cache_directory", "plugin_directory", "read_checked", "write_checked", "write_whole"]

PLUGINS = "gpucore-plugins"
"""The folder within the cache in which each plugin has a folder."""


def cache_directory(configured: str | None) -> Path | None:
    """The folder of the cache.

    Parameters
    ----------
    configured : str | None
        The setting ``cache_dir``: a path, ``"off"``, or None for the user's cache folder.

    Returns
    -------
    Path | None
        None where nothing is kept on disk.
    """
    if configured is None:
        import platformdirs

        return Path(platformdirs.user_cache_dir("gpucore", appauthor=False))
    return None if configured.lower() == "off" else Path(configured).expanduser()


def plugin_directory(cache: Path, plugin: str) -> Path:
    """The folder within the cache where a plugin keeps files of its own."""
    return cache / PLUGINS / plugin


def write_whole(file: Path, content: bytes) -> None:
    """Write a file under a temporary name in its folder and rename it, so that readers see all of it or nothing.

    Raises
    ------
    OSError
        Where the folder cannot be made or written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        os.replace(temporary, file)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def write_checked(file: Path, data: bytes) -> None:
    """Write ``data`` with its checksum, whole.

    Raises
    ------
    OSError
        Where the folder cannot be made or written.
    """
    write_whole(file, hashlib.sha256(data).digest() + data)


def read_checked(file: Path) -> bytes | None:
    """What :func:`write_checked` wrote; None where the file is missing, cannot be read, or was changed."""
    try:
        raw = file.read_bytes()
    except OSError:
        return None
    return raw[32:] if hashlib.sha256(raw[32:]).digest() == raw[:32] else None
