"""Models by name: a path, or an installed package that brings a GGUF file, whole or in parts."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import os
import re
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackagePath
from pathlib import Path

import platformdirs

from gpucore_worker.errors import ModelError

SUFFIX = ".gguf"
_PART = re.compile(r"(.+\.gguf)\.part(\d+)")


def find_model(name: str) -> Path:
    """Where a model is.

    Parameters
    ----------
    name : str
        A path, or the name of an installed distribution with one file that ends in ``.gguf``. Where it has none, one may lie in
        parts, ``x.gguf.part00`` and so on, in it and in the distributions that it requires: the parts are joined once, in the
        user's cache. Nothing of a distribution is imported.

    Raises
    ------
    ModelError
    """
    path = Path(name)
    if path.is_file():
        return path
    try:
        files = importlib.metadata.files(name) or []
    except (importlib.metadata.PackageNotFoundError, ValueError):
        raise ModelError(
            f"{name!r} is neither a file nor an installed distribution; give the path of a {SUFFIX} file"
        ) from None
    found = [Path(str(file.locate())) for file in files if file.name.endswith(SUFFIX)]
    if not found and (parts := _parts(name)):
        return _joined(name, parts)
    if len(found) != 1:
        what = "no" if not found else f"{len(found)}"
        raise ModelError(f"the distribution {name!r} has {what} files that end in {SUFFIX}; give a path")
    return found[0]


def _files_with_required(name: str) -> Iterator[PackagePath]:
    yield from importlib.metadata.files(name) or []
    for requirement in importlib.metadata.requires(name) or []:
        required = re.match(r"[A-Za-z0-9._-]+", requirement)
        if required is None or "extra ==" in requirement:
            continue
        try:
            yield from importlib.metadata.files(required[0]) or []
        except importlib.metadata.PackageNotFoundError:
            continue


def _parts(name: str) -> list[tuple[str, int, PackagePath]]:
    """Parts of a model by the name of the whole and their number, in order."""
    found = [
        (part[1], int(part[2]), file)
        for file in _files_with_required(name)
        if (part := _PART.fullmatch(file.name))
    ]
    return sorted(found, key=lambda part: part[:2])


def _joined(name: str, parts: list[tuple[str, int, PackagePath]]) -> Path:
    wholes = {whole for whole, _, _ in parts}
    numbers = [number for _, number, _ in parts]
    if len(wholes) != 1 or numbers[0] > 1 or numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        raise ModelError(
            f"the distribution {name!r} has the parts {', '.join(file.name for _, _, file in parts)}, which are no whole; "
            "install what it requires, or give a path"
        )
    recorded = [file.hash.value if file.hash is not None else str(file.size) for _, _, file in parts]
    key = hashlib.sha256("\n".join(recorded).encode()).hexdigest()[:16]
    folder = Path(platformdirs.user_cache_dir("gpucore-worker", appauthor=False)) / key
    target = folder / parts[0][0]
    sources = [Path(str(file.locate())) for _, _, file in parts]
    try:
        if target.is_file() and target.stat().st_size == sum(source.stat().st_size for source in sources):
            return target
        folder.mkdir(parents=True, exist_ok=True)
        handle, made = tempfile.mkstemp(dir=folder)
        try:
            with os.fdopen(handle, "wb") as out:
                for source, (_, _, file) in zip(sources, parts, strict=True):
                    raw = source.read_bytes()
                    _check(source, raw, file)
                    out.write(raw)
            Path(made).replace(target)
        finally:
            Path(made).unlink(missing_ok=True)
    except OSError as error:
        raise ModelError(f"the parts of {name!r} cannot be joined in {folder}: {error}") from error
    return target


def _check(source: Path, raw: bytes, file: PackagePath) -> None:
    """Compare a part with what its distribution records of it."""
    if file.hash is None or file.hash.mode != "sha256":
        return
    digest = base64.urlsafe_b64encode(hashlib.sha256(raw).digest()).rstrip(b"=").decode()
    if digest != file.hash.value:
        raise ModelError(f"{source} is damaged: it is not what was installed; install its distribution again")
