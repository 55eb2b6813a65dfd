"""Files on disk: written without a loss, compared, and never outside of their folder."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gpucore_wrap import regions
from gpucore_wrap.errors import OutputError

Status = Literal["new", "changed", "unchanged", "stale"]
MARK = "enerated by gpucore wrap"
# Files of an earlier specification that a later one may no longer have.
OPTIONAL = ("_enums.py", "_constants.py", "_handles.py", "_functions.py", "_callbacks.py")


@dataclass(frozen=True)
class File:
    """A file of the generated tree and how it compares to what is on disk.

    Parameters
    ----------
    path : str
        Relative to the output folder.
    status : str
        `new`, `changed`, `unchanged`, or `stale`: no longer generated.
    text : str
        What it is to hold.
    """

    path: str
    status: Status
    text: str


def compare(files: Mapping[str, str], folder: Path) -> list[File]:
    """Compare generated files with a folder, the user's regions kept.

    Raises
    ------
    OutputError
        If a file is not this generator's, a path leaves the folder, or a region would be lost.
    """
    found = [_compare(path, text, folder) for path, text in files.items()]
    return found + [File(path, "stale", "") for path in _stale(files, folder)]


def _target(path: str, folder: Path) -> Path:
    root = folder.resolve()
    target = root / path
    current = root
    for part in Path(path).parts:
        current = current / part
        if current.is_symlink():
            raise OutputError(f"{current} is a link; generated files are not written through links")
    if not target.is_relative_to(root) or ".." in Path(path).parts:
        raise OutputError(f"{path} would leave {folder}")
    return target


def _compare(path: str, text: str, folder: Path) -> File:
    target = _target(path, folder)
    if not target.exists():
        return File(path, "new", text)
    try:
        old = target.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise OutputError(f"{target} cannot be read: {error}") from None
    if old == text:
        return File(path, "unchanged", text)
    if old and MARK not in old:
        raise OutputError(f"{target} was not made by gpucore wrap; choose another folder, or move the file")
    kept = regions.keep(text, old, str(target))
    return File(path, "unchanged" if kept == old else "changed", kept)


def _stale(files: Mapping[str, str], folder: Path) -> list[str]:
    packages = {Path(path).parent for path in files if path.endswith("__init__.py")}
    stale = []
    for package in packages:
        for name in OPTIONAL:
            path = (package / name).as_posix()
            target = folder / path
            if path not in files and target.is_file() and MARK in target.read_text("utf-8", "replace"):
                stale.append(path)
    return sorted(stale)


def write(files: list[File], folder: Path) -> None:
    """Write what is new or changed, each file at once; remove what is stale.

    Raises
    ------
    OutputError
        If a stale file has content in its region, or the folder cannot be written.
    """
    for file in files:
        target = _target(file.path, folder)
        if file.status == "stale":
            kept = regions.contents(target.read_text("utf-8"), str(target))
            if any(text.strip() for text in kept.values()):
                raise OutputError(
                    f"{target} is no longer generated, and its region has content; move it first"
                )
    try:
        for file in files:
            target = _target(file.path, folder)
            if file.status == "stale":
                target.unlink()
            elif file.status != "unchanged":
                target.parent.mkdir(parents=True, exist_ok=True)
                _replace(target, file.text)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error}") from None


def _replace(target: Path, text: str) -> None:
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
