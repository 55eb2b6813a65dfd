"""The table "to change X, open Y" of the contributor's guide names files that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "CONTRIBUTING.md"
FOLDERS = ("gpucore", "plugins", "packages", "tests", "docs", "benchmarks", "examples")


def named() -> list[str]:
    """Paths from the root of the repository, and names of files in the folder named before them."""
    if not GUIDE.is_file():
        return []
    cells = (row.split("|")[2] for row in GUIDE.read_text("utf-8").splitlines() if row.startswith("| "))
    found = {name for cell in cells for name in re.findall(r"`([\w./-]+)`", cell)}
    return sorted(found - {"docs/_build"})  # which is built


@pytest.mark.skipif(not GUIDE.is_file(), reason="the guide is not beside the tests")
def test_every_file_of_the_table_is_there():
    missing = [
        name
        for name in named()
        if (name.startswith(FOLDERS) and "/" in name and not (ROOT / name).exists())
        or (
            name.endswith(".py") and "/" not in name and not any(any((ROOT / f).rglob(name)) for f in FOLDERS)
        )
    ]
    assert not missing
    assert len(named()) > 40
