"""Fingerprints of source files, so that no compiled kernel outlives a change of what compiled it."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

__all__ = ["core_sources", "fingerprint", "sources_of"]


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
