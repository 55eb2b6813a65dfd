"""Files that processes share: each is written whole or not at all, and signed where it is kept for plugins."""

from __future__ import annotations

import contextlib
import hmac
import os
import tempfile
from pathlib import Path

from gpucore._trust import distrust, make_private, read_regular, shown, sign, user_folder, without_home

__all__ = [
    "PLUGINS", "cache_directory", "plugin_directory", "read_signed", "refusal", "write_signed", "write_whole",
]  # fmt: skip

PLUGINS = "gpucore-plugins"
"""The folder within the cache in which each plugin has a folder."""
_KEPT = b"gpucore kept 1\n"


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
        return user_folder("cache")
    return None if configured.lower() == "off" else Path(configured).expanduser()


def refusal(cache: Path) -> str | None:
    """Why a folder is not used as the cache: code is loaded from there, so nobody else may write it.

    Returns
    -------
    str | None
        The reason, None where the folder is fit, or does not exist yet and can be made.
    """
    reason = without_home(cache)
    if reason is not None:
        return reason
    if os.path.exists(cache) and not os.path.isdir(cache):
        return f"{shown(cache)} is no folder"
    return distrust(cache, folder=True)


def plugin_directory(cache: Path, plugin: str) -> Path:
    """The folder within the cache where a plugin keeps files of its own."""
    return cache / PLUGINS / plugin


def write_whole(file: Path, content: bytes) -> None:
    """Write a file under a temporary name in its folder and rename it, so that readers see all of it or nothing.

    Folders that are missing are made for the user alone.

    Raises
    ------
    OSError
        Where the folder cannot be made or written, or is a symbolic link.
    """
    make_private(file.parent)
    handle, temporary = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        os.replace(temporary, file)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def write_signed(file: Path, data: bytes) -> None:
    """Write ``data`` with the user's signature, whole.

    Raises
    ------
    OSError
        Where the folder cannot be made or written, or no key can be kept.
    """
    write_whole(file, _KEPT + sign(f"kept {file.name}", data) + data)


def read_signed(file: Path) -> bytes | None:
    """What :func:`write_signed` wrote; None where the file is missing, cannot be read, or is not what this user wrote."""
    raw = read_regular(file)
    start = len(_KEPT) + 32
    if raw is None or not raw.startswith(_KEPT) or len(raw) < start:
        return None
    try:
        expected = sign(f"kept {file.name}", memoryview(raw)[start:])
    except OSError:
        return None
    return raw[start:] if hmac.compare_digest(expected, raw[len(_KEPT) : start]) else None
