"""Files that processes share, written whole or not at all; whom they may be trusted to: nobody but the user and root may have
written them, and a key of the user's own signs what the cache keeps and what is kept for plugins.

Windows has no owner and mode in this sense: there the folders of the user's profile are private by default, and the
signature alone decides about the rest.
"""

from __future__ import annotations

import contextlib
import functools
import hmac
import os
import stat
import sys
import tempfile
from pathlib import Path
from typing import Literal

__all__ = [
    "PLUGINS",
    "cache_directory",
    "distrust",
    "is_mine",
    "make_private",
    "plugin_directory",
    "read_regular",
    "read_signed",
    "refusal",
    "secret_key",
    "shown",
    "sign",
    "user_folder",
    "without_home",
    "write_signed",
    "write_whole",
]


_KEY_BYTES = 32


def shown(path: object) -> str:
    """A path in a message, cut in the middle where it is very long."""
    text = str(path)
    return text if len(text) <= 200 else f"{text[:120]}...{text[-40:]} ({len(text)} characters)"


def is_mine(uid: int) -> bool:
    """Whether what belongs to ``uid`` belongs to the user of this process, or to root."""
    return not hasattr(os, "geteuid") or uid in (0, os.geteuid())


def _name_of(uid: int) -> str:
    if sys.platform == "win32":
        return f"uid {uid}"
    import pwd

    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"


def distrust(path: str | os.PathLike[str], *, folder: bool = False) -> str | None:
    """Why somebody else may decide what a file or folder holds.

    Each folder above counts too: who may rename one may put another in its place.  A folder above may be open to all where
    it is sticky, as ``/tmp`` is, for nobody can rename there what is not theirs; the file, its own folder, and a folder
    that is asked about may not.

    Parameters
    ----------
    folder : bool
        Whether the path is that of a folder, which may be missing, rather than that of a file.

    Returns
    -------
    str | None
        The reason; None where the path, as far as it exists, belongs to the user or root and nobody else may write it.
    """
    if not hasattr(os, "geteuid"):
        return None
    try:
        real = Path(os.path.realpath(path))
        own = (real,) if folder else (real, real.parent)
    except (OSError, ValueError) as error:
        return f"{shown(path)} cannot be looked at ({getattr(error, 'strerror', None) or shown(error)})"
    for ancestor in (real, *real.parents):
        try:
            found = os.lstat(ancestor)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            return f"{shown(ancestor)} cannot be looked at ({error.strerror})"
        if not is_mine(found.st_uid):
            return f"{shown(ancestor)} belongs to {_name_of(found.st_uid)}"
        if found.st_mode & 0o022:
            sticky = stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX
            if not sticky or ancestor in own:
                mode = stat.S_IMODE(found.st_mode)
                return f"others may write {shown(ancestor)}, whose mode is {mode:04o} (chmod go-w takes that away)"
    return None


def make_private(folder: Path) -> None:
    """Make a folder, and those above it that are missing, for the user alone.

    Raises
    ------
    OSError
        Where one cannot be made, or the folder is a symbolic link.
    """
    missing = []
    path = folder
    while not os.path.lexists(path) and path != path.parent:
        missing.append(path)
        path = path.parent
    for path in reversed(missing):
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            if not path.is_dir():  # else another process was faster
                raise
    if folder.is_symlink():
        raise OSError(f"{folder} is a symbolic link")


LARGEST_FILE = 64 << 20
"""Bytes of the longest file of a cache."""


def read_regular(file: Path) -> bytes | None:
    """The bytes of a regular file of the user's; None for anything else: links, pipes, devices, files of others.

    None, too, for files of more than :data:`LARGEST_FILE`: nothing here is as long, so a damaged one is not read into memory.
    """
    flags = os.O_RDONLY
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
        flags |= getattr(os, name, 0)
    try:
        if not hasattr(os, "O_NOFOLLOW") and file.is_symlink():
            return None
        handle = os.open(file, flags)
    except (OSError, ValueError):
        return None
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or not is_mine(found.st_uid) or found.st_size > LARGEST_FILE:
            return None
        parts = []
        while part := os.read(handle, max(found.st_size, 1 << 16)):
            parts.append(part)
        return b"".join(parts)
    except OSError:
        return None
    finally:
        os.close(handle)


_XDG = {"cache": ".cache", "config": ".config", "state": ".local/state"}


def user_folder(kind: Literal["cache", "config", "state"]) -> Path:
    """The user's folder of gpucore for a kind of files; it may not exist."""
    if sys.platform in ("win32", "darwin"):
        import platformdirs

        return Path(getattr(platformdirs, f"user_{kind}_dir")("gpucore", appauthor=False))
    # what platformdirs says elsewhere; importing it would cost every start more than this
    base = os.environ.get(f"XDG_{kind.upper()}_HOME", "").strip() or os.path.expanduser(f"~/{_XDG[kind]}")
    return Path(base) / "gpucore"


def without_home(folder: Path) -> str | None:
    """Why a folder is none: it lies in the home folder, and nothing says which that is."""
    if folder.parts[:1] != ("~",):
        return None
    return "no home folder is known: HOME is not set, and the system knows no user of this number"


def secret_key() -> bytes:
    """The user's key, made when it is first wanted.

    It lies apart from the cache, in the user's folder for state, so that a cache that comes from somebody else, in a cloned
    repository for one, is signed with another key.

    Raises
    ------
    OSError
        Where no key can be kept; the message says why.
    """
    folder = user_folder("state")
    reason = without_home(folder)
    if reason is not None:
        raise OSError(reason)
    return _key_in(folder / "cache.key")


@functools.lru_cache(maxsize=4)
def _key_in(file: Path) -> bytes:
    for _ in range(3):
        found = _read_key(file)
        if found is not None:
            return found
        _make_key(file)
    raise OSError(f"{file} cannot be kept")


def _read_key(file: Path) -> bytes | None:
    reason = distrust(file)
    if reason is not None:
        raise OSError(reason)
    content = read_regular(file)
    if content is None or len(content) != _KEY_BYTES:
        return None
    if hasattr(os, "geteuid") and os.stat(file).st_mode & 0o077:
        return None  # others may have read it
    return content


def _make_key(file: Path) -> None:
    make_private(file.parent)
    if os.path.lexists(file) and _read_key(file) is None:
        os.unlink(file)  # no key, or one that others know
    handle, temporary = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(os.urandom(_KEY_BYTES))
        with contextlib.suppress(FileExistsError):  # another process was faster: its key counts
            try:
                os.link(temporary, file)
            except (AttributeError, PermissionError, NotImplementedError):  # a file system without links
                os.rename(temporary, file)
    finally:
        if os.path.lexists(temporary):
            os.unlink(temporary)


def sign(label: str, content: bytes | memoryview) -> bytes:
    """The signature of ``content`` as what is kept under ``label``: HMAC-SHA256 with the user's key.

    Raises
    ------
    OSError
        Where no key can be kept.
    """
    mac = hmac.new(secret_key(), label.encode() + b"\0", "sha256")
    mac.update(content)
    return mac.digest()


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
