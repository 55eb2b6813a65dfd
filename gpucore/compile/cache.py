"""The disk cache of compiled kernels; its public module is :mod:`gpucore.cache`.

One file an entry: a magic line, the SHA-256 of the rest, a JSON header, the code.  A file is written under a
temporary name in the same directory and renamed, so that a reader sees all of it or nothing; a file that does
not match its checksum is a miss.  Where the directory cannot be written, entries stay in memory and one
warning says so.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpucore._files import PLUGINS, cache_directory, plugin_directory, write_whole
from gpucore.config import Settings, load

__all__ = ["DiskCache", "Entry", "clear", "current", "stats"]

_MAGIC = b"gpucore cache 1\n"
_SUFFIX = ".gpu"
_STALE_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Entry:
    """One compiled kernel: the code and a header of JSON types."""

    header: Mapping[str, Any]
    data: bytes

    def encode(self) -> bytes:
        """The contents of its file."""
        header = json.dumps(self.header, sort_keys=True).encode()
        body = len(header).to_bytes(8, "little") + header + self.data
        return _MAGIC + hashlib.sha256(body).digest() + body

    @classmethod
    def decode(cls, content: bytes) -> Entry | None:
        """The entry, or None where the contents are not what was written."""
        start = len(_MAGIC) + 32
        if not content.startswith(_MAGIC) or len(content) < start + 8:
            return None
        body = memoryview(content)[start:]
        if hashlib.sha256(body).digest() != content[len(_MAGIC) : start]:
            return None
        size = int.from_bytes(body[:8], "little")
        return cls(json.loads(bytes(body[8 : 8 + size])), bytes(body[8 + size :]))


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
        self._lock = threading.Lock()
        self._memory: dict[str, Entry] = {}
        self._writable = directory is not None
        self._written = 0

    def _file(self, key: str) -> Path:
        assert self.directory is not None
        return self.directory / key[:2] / f"{key[2:]}{_SUFFIX}"

    def get(self, key: str) -> Entry | None:
        """The entry of a key; counts a hit or a miss."""
        entry = self.peek(key)
        with self._lock:
            if entry is None:
                self.misses += 1
            else:
                self.hits += 1
        return entry

    def peek(self, key: str) -> Entry | None:
        """The entry of a key, uncounted."""
        entry = self._memory.get(key)
        if entry is not None or self.directory is None:
            return entry
        file = self._file(key)
        try:
            content = file.read_bytes()
        except OSError:
            return None
        entry = Entry.decode(content)
        if entry is not None:
            with contextlib.suppress(OSError):
                os.utime(file)  # the age says when an entry was last of use
        return entry

    def put(self, key: str, entry: Entry) -> None:
        """Keep an entry; never raises for a directory that cannot be written."""
        if self._writable:
            try:
                self._write(self._file(key), entry.encode())
            except OSError as error:
                self._give_up(error)
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

    def _give_up(self, error: OSError) -> None:
        with self._lock:
            if not self._writable:
                return
            self._writable = False
        warnings.warn(
            f"compiled kernels are kept in memory only: {self.directory} cannot be written ({error}); "
            "set GPUCORE_CACHE_DIR to a directory that can, or to 'off'",
            RuntimeWarning,
            stacklevel=2,
        )

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        if self.directory is None:
            return
        for file in self.directory.glob(f"??/*{_SUFFIX}"):
            with contextlib.suppress(OSError):
                yield file, file.stat()

    def _shrink(self) -> None:
        """Remove what is past the limit, and temporary files that a killed process left."""
        assert self.directory is not None
        now = time.time()
        for file in self.directory.glob("??/.*.tmp"):
            with contextlib.suppress(OSError):
                if now - file.stat().st_mtime > _STALE_SECONDS:
                    file.unlink()
        found = sorted(self._files(), key=lambda item: item[1].st_mtime)
        total = sum(stat.st_size for _, stat in found)
        for file, stat in found:
            if total <= self.limit:
                break
            with contextlib.suppress(OSError):
                file.unlink()
                total -= stat.st_size

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
        return None if self.directory is None else plugin_directory(self.directory, plugin)

    def clear(self) -> None:
        """Remove every entry, and what plugins keep."""
        with self._lock:
            self._memory.clear()
        own = [] if self.directory is None else list(self.directory.glob(f"{PLUGINS}/*/*"))
        for file in [*(file for file, _ in self._files()), *own]:
            with contextlib.suppress(OSError):
                file.unlink()

    def entries(self) -> Iterator[Entry]:
        """Every entry that can be read."""
        yield from list(self._memory.values())
        for file, _ in self._files():
            with contextlib.suppress(OSError):
                entry = Entry.decode(file.read_bytes())
                if entry is not None:
                    yield entry


class _Caches:
    """One cache a directory, shared by the contexts of this process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.caches: dict[Path | None, DiskCache] = {}

    def of(self, place: str | None, limit: int) -> DiskCache:
        directory = cache_directory(place)
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
