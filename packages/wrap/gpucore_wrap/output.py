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

# Files that every package has.
ALWAYS = ("__init__.py", "_errors.py", "_native.pyi", "_runtime.py")


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
        If a file is not this generator's, a path leaves the folder, a region would be lost, or a folder cannot be written.
    """
    found = [_compare(path, text, folder) for path, text in files.items()]
    found += [File(path, "stale", "") for path in _stale(files, folder)]
    for file in found:
        _possible(file, folder)
    return found


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
    """Files of an earlier specification: parts that it had, and the whole of a package that had another name."""
    packages = {Path(path).parent for path in files if path.endswith("__init__.py")}
    stale = [(package / name).as_posix() for package in packages for name in OPTIONAL]
    for marker in sorted((folder / "src").glob("*/_native.pyi")):
        package = Path("src") / marker.parent.name
        if package not in packages and _is_own(marker):
            stale += [(package / name).as_posix() for name in (*OPTIONAL, *ALWAYS)]
            if (folder / package / "py.typed").is_file():
                stale.append((package / "py.typed").as_posix())
    return sorted(
        path for path in stale
        if path not in files and (path.endswith("py.typed") or _is_own(folder / path))
    )  # fmt: skip


def _is_own(target: Path) -> bool:
    return target.is_file() and MARK in target.read_text("utf-8", "replace")


def _possible(file: File, folder: Path) -> None:
    """Raise OutputError if a file cannot be written or removed, before the first one is."""
    if file.status == "unchanged":
        return
    target = _target(file.path, folder)
    if file.status == "stale" and target.stat().st_size:
        kept = regions.contents(target.read_text("utf-8"), str(target))
        if any(text.strip() for text in kept.values()):
            raise OutputError(f"{target} is no longer generated, and its region has content; move it first")
    parent = target.parent
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    if not parent.is_dir():
        raise OutputError(f"{parent} is no folder; {target} cannot be written")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"{parent} cannot be written")


def write(files: list[File], folder: Path) -> None:
    """Write what is new or changed, each file at once; remove what is stale, as `compare` found it possible.

    Raises
    ------
    OutputError
        If the folder cannot be written.
    """
    try:
        for file in files:
            target = _target(file.path, folder)
            if file.status == "stale":
                target.unlink()
                _remove_if_empty(target.parent, folder)
            elif file.status != "unchanged":
                target.parent.mkdir(parents=True, exist_ok=True)
                _replace(target, file.text)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error}") from None


def _remove_if_empty(folder: Path, root: Path) -> None:
    if folder.resolve() != root.resolve() and not any(folder.iterdir()):
        folder.rmdir()


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
