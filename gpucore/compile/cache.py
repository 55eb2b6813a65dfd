"""The disk cache of compiled kernels, and fingerprints of what compiles them; its public module is :mod:`gpucore.cache`.

One file an entry: a magic line, a signature, a JSON header, the code.  The signature is made with a key of the user's own over
the entry and its key, because what is in the file is run: a file that somebody else wrote, or that was moved, is a miss.  A
file is written under a temporary name in the same directory and renamed, so that a reader sees all of it or nothing.  Links,
pipes and other special files are neither read, written nor removed.  Where the directory cannot be written, or others may write
it, entries stay in memory and one warning says why.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import hmac
import json
import os
import re
import stat
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from gpucore._files import (
    PLUGINS,
    cache_directory,
    plugin_directory,
    read_regular,
    refusal,
    shown,
    sign,
    write_whole,
)
from gpucore._messages import frames_to_the_user
from gpucore.config import Settings, load

__all__ = ["DiskCache", "Entry", "clear", "core_sources", "current", "fingerprint", "sources_of", "stats"]


@cache
def fingerprint(path: Path) -> str:
    """A hash of a Python file, or of all those in a folder and below; empty where they cannot be read."""
    state = hashlib.sha256()
    try:
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
        for file in files:
            content = file.read_bytes()
            state.update(f"{file.relative_to(path).as_posix()} {len(content)}\n".encode())
            state.update(content)
    except OSError:
        return ""
    return state.hexdigest()[:16]


@cache
def core_sources() -> str:
    """The fingerprint of the passes, which make the low level that every backend compiles, of the analysis that says which
    accesses they guard, and of the renderer that backends with C-like languages share."""
    ir = Path(__file__).parents[1] / "ir"
    return " ".join(fingerprint(ir / folder) for folder in ("bounds", "passes", "clike"))


def sources_of(plugin: object) -> str:
    """The fingerprint of a plugin: a package, a module, or an object of a class in one."""
    import sys

    module = plugin if hasattr(plugin, "__spec__") else sys.modules.get(type(plugin).__module__)
    if (folders := getattr(module, "__path__", None)) is not None:
        return " ".join(fingerprint(Path(folder)) for folder in folders)
    file = getattr(module, "__file__", None)
    return "" if file is None else fingerprint(Path(file))


_FAMILY = b"gpucore cache "
_MAGIC = b"gpucore cache 2\n"
_SUFFIX = ".gpu"
_FOLDER = re.compile(r"[0-9a-f]{2}")
_ENTRY = re.compile(r"[0-9a-f]{62}\.gpu")
_TEMPORARY = re.compile(r"\..*\.tmp")
_STALE_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Entry:
    """One compiled kernel: the code and a header of JSON types."""

    header: Mapping[str, Any]
    data: bytes

    def encode(self, key: str) -> bytes:
        """The contents of the file of ``key``.

        Raises
        ------
        OSError
            Where the user's signing key cannot be kept.
        """
        header = json.dumps(self.header, sort_keys=True).encode()
        body = len(header).to_bytes(8, "little") + header + self.data
        return _MAGIC + sign(f"entry {key}", body) + body

    @classmethod
    def decode(cls, content: bytes, key: str) -> Entry | None:
        """The entry, or None where the contents are not what this user wrote for ``key``.

        Raises
        ------
        OSError
            Where the user's signing key cannot be kept.
        """
        start = len(_MAGIC) + 32
        if not content.startswith(_MAGIC) or len(content) < start + 8:
            return None
        body = memoryview(content)[start:]
        if not hmac.compare_digest(sign(f"entry {key}", body), content[len(_MAGIC) : start]):
            return None
        size = int.from_bytes(body[:8], "little")
        try:
            header = json.loads(bytes(body[8 : 8 + size]))
        except (ValueError, RecursionError):
            return None
        return cls(header, bytes(body[8 + size :])) if isinstance(header, dict) else None


class DiskCache:
    """A directory of entries; ``None`` keeps them in memory alone.

    Parameters
    ----------
    directory : Path | None
    limit : int
        Bytes on disk; the entries used longest ago go first.
    """

    def __init__(self, directory: Path | None, limit: int = 1 << 30) -> None:
        self.directory = directory
        self.limit = limit
        self.hits = 0
        self.misses = 0
        self._lock = threading.RLock()
        self._memory: dict[str, Entry] = {}
        self._seen: tuple[str, Entry] | None = None  # what was looked at last, for who then gets it
        self._on_disk = directory is not None
        self._written = 0

    def _file(self, key: str) -> Path:
        assert self.directory is not None
        return self.directory / key[:2] / f"{key[2:]}{_SUFFIX}"

    @functools.cached_property
    def refused(self) -> str | None:
        """Why the directory is not used: others may write it, or it is no directory; None where it is used."""
        return None if self.directory is None else refusal(self.directory)

    def problem(self) -> str | None:
        """Why nothing can be kept on disk, found out by writing a file; None where it can, or is not wanted."""
        if self.directory is None or self.refused is not None:
            return self.refused
        probe = self.directory / ".probe.tmp"
        try:
            write_whole(probe, b"")
            probe.unlink()
        except OSError as error:
            return f"{shown(self.directory)} cannot be written ({error.strerror or shown(error)})"
        return None

    def _usable(self) -> bool:
        """Whether files of the directory are read and written; says once why they are not."""
        if not self._on_disk:
            return False
        if self.refused is not None:
            self._give_up(self.refused)
            return False
        return True

    def get(self, key: str, fit: Callable[[Entry], bool] | None = None) -> Entry | None:
        """The entry of a key; counts a hit or a miss.  One that is not ``fit`` is a miss too."""
        seen, self._seen = self._seen, None
        entry = seen[1] if seen is not None and seen[0] == key else self.peek(key)
        if entry is not None and fit is not None and not fit(entry):
            entry = None
        with self._lock:
            if entry is None:
                self.misses += 1
            else:
                self.hits += 1
        return entry

    def look(self, key: str) -> Entry | None:
        """The entry of a key, uncounted; the next ``get`` of it reads no file."""
        entry = self.peek(key)
        self._seen = None if entry is None else (key, entry)
        return entry

    def peek(self, key: str) -> Entry | None:
        """The entry of a key, uncounted."""
        entry = self._memory.get(key)
        if entry is not None or not self._usable():
            return entry
        file = self._file(key)
        if file.parent.is_symlink():
            return None
        content = read_regular(file)
        if content is None:
            return None
        try:
            entry = Entry.decode(content, key)
        except OSError as error:
            self._give_up(shown(error))
            return None
        if entry is not None:
            with contextlib.suppress(OSError):
                os.utime(file)  # the age says when an entry was last of use
        return entry

    def put(self, key: str, entry: Entry) -> None:
        """Keep an entry; never raises for a directory that cannot be written."""
        if self._usable():
            try:
                self._write(self._file(key), entry.encode(key))
            except OSError as error:
                self._give_up(f"{shown(self.directory)} cannot be written ({error.strerror or shown(error)})")
            else:
                return
        with self._lock:
            self._memory[key] = entry
            while len(self._memory) > 512:
                del self._memory[next(iter(self._memory))]

    def _write(self, file: Path, content: bytes) -> None:
        write_whole(file, content)
        with self._lock:
            self._written += len(content)
            look = self._written > self.limit // 16 or self._written == len(content)
            if look:
                self._written = 1
        if look:
            self._shrink()

    def _give_up(self, reason: str) -> None:
        with self._lock:
            if not self._on_disk:
                return
            self._on_disk = False
        warnings.warn(
            f"compiled kernels are kept in memory only: {reason}; set GPUCORE_CACHE_DIR to a folder that is yours alone, "
            "or to 'off'",
            RuntimeWarning,
            stacklevel=frames_to_the_user(),
        )

    # --- what is on disk: names and kinds are looked at, for the folder may hold what is not the cache's
    def _folders(self) -> Iterator[Path]:
        if self.directory is None or self.refused is not None:
            return
        for name in _listed(self.directory):
            folder = self.directory / name
            if _FOLDER.fullmatch(name) and _is_real_folder(folder):
                yield folder

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        for folder in self._folders():
            for name in _listed(folder):
                found = _regular(folder / name) if _ENTRY.fullmatch(name) else None
                if found is not None and _is_entry(folder / name, found):
                    yield folder / name, found

    def _shrink(self) -> None:
        """Remove what is past the limit, and temporary files that a killed process left."""
        now = time.time()
        for folder in self._folders():
            for name in _listed(folder):
                found = _regular(folder / name) if _TEMPORARY.fullmatch(name) else None
                if found is not None and now - found.st_mtime > _STALE_SECONDS:
                    with contextlib.suppress(OSError):
                        os.unlink(folder / name)
        found_files = sorted(self._files(), key=lambda item: item[1].st_mtime)
        total = sum(found.st_size for _, found in found_files)
        for file, found in found_files:
            if total <= self.limit:
                break
            with contextlib.suppress(OSError):
                file.unlink()
                total -= found.st_size

    def stats(self) -> dict[str, int]:
        """``hits misses`` of this process, ``entries bytes`` of the cache."""
        found = list(self._files())
        return {
            "hits": self.hits,
            "misses": self.misses,
            "entries": len(found) + len(self._memory),
            "bytes": sum(stat.st_size for _, stat in found) + sum(len(e.data) for e in self._memory.values()),
        }

    def folder_of(self, plugin: str) -> Path | None:
        """Where a plugin may keep files of its own; None where nothing is kept."""
        if self.directory is None or self.refused is not None:
            return None
        return plugin_directory(self.directory, plugin)

    def _plugin_files(self) -> Iterator[Path]:
        if self.directory is None or self.refused is not None:
            return
        above = self.directory / PLUGINS
        for name in _listed(above) if _is_real_folder(above) else ():
            folder = above / name
            for file in _listed(folder) if _is_real_folder(folder) else ():
                if _regular(folder / file) is not None:
                    yield folder / file

    def clear(self) -> None:
        """Remove every entry, and what plugins keep."""
        with self._lock:
            self._memory.clear()
            self._seen = None
        for file in [*(file for file, _ in self._files()), *self._plugin_files()]:
            with contextlib.suppress(OSError):
                file.unlink()

    def entries(self) -> Iterator[Entry]:
        """Every entry that can be read."""
        yield from list(self._memory.values())
        for file, _ in self._files():
            content = read_regular(file)
            try:
                entry = None if content is None else Entry.decode(content, file.parent.name + file.stem)
            except OSError:
                return
            if entry is not None:
                yield entry


def _listed(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _is_real_folder(folder: Path) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(folder).st_mode)
    except OSError:
        return False


def _regular(file: Path) -> os.stat_result | None:
    """What is known of a file that is neither a link nor special; None of any other."""
    try:
        found = os.lstat(file)
    except OSError:
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def _is_entry(file: Path, found: os.stat_result) -> bool:
    """Whether the file was written as an entry, by this version or another; an empty one is what a full disk left."""
    if found.st_size == 0:
        return True
    try:
        with file.open("rb") as stream:
            return stream.read(len(_FAMILY)) == _FAMILY
    except OSError:
        return False


class _Caches:
    """One cache a directory, shared by the contexts of this process."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.caches: dict[Path | None, DiskCache] = {}

    def of(self, path: str | None, limit: int) -> DiskCache:
        directory = cache_directory(path)
        with self.lock:
            cache = self.caches.get(directory)
            if cache is None:
                cache = self.caches[directory] = DiskCache(directory, limit)
            cache.limit = limit
            return cache


_caches = _Caches()


def current(settings: Settings | None = None) -> DiskCache:
    """The cache that the settings name; those of the environment where none are given."""
    if settings is None:
        settings = load()
    return _caches.of(settings.cache_dir, settings.cache_limit)


def stats() -> dict[str, int]:
    """Figures of the cache: ``hits misses`` of this process, ``entries bytes`` on disk."""
    return current().stats()


def clear() -> None:
    """Remove every entry from the cache, and what plugins keep there."""
    current().clear()
