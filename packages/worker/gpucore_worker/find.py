"""Models by name: a path, or an installed package that brings a GGUF file."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from gpucore_worker.errors import ModelError

SUFFIX = ".gguf"


def find_model(name: str) -> Path:
    """Where a model is.

    Parameters
    ----------
    name : str
        A path, or the name of an installed distribution with one file that ends in ``.gguf``. Nothing of it is imported.

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
    if len(found) != 1:
        what = "no" if not found else f"{len(found)}"
        raise ModelError(f"the distribution {name!r} has {what} files that end in {SUFFIX}; give a path")
    return found[0]
