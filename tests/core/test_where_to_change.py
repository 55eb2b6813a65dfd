"""The table "to change X, open Y" of the contributor's guide names files that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "CONTRIBUTING.md"
FOLDERS = ("gpucore", "plugins", "packages", "tests", "docs", "benchmarks", "examples")


def cells() -> list[list[str]]:
    """The names in each row of the table, from left to right."""
    if not GUIDE.is_file():
        return []
    rows = [row.split("|")[2] for row in GUIDE.read_text("utf-8").splitlines() if row.startswith("| ")]
    return [[name for name in re.findall(r"`([\w./*-]+)`", cell) if name != "docs/_build"] for cell in rows]


def missing(names: list[str]) -> list[str]:
    """Names of a row that are not there: paths from the root, and files in the folder of the path before them."""
    found, folder = [], ROOT
    for name in names:
        if name.startswith(FOLDERS) and "/" in name:
            path = ROOT / name
            if path.exists():
                folder = path if path.is_dir() else path.parent
            else:
                found.append(name)
        elif name.endswith((".py", ".toml", ".ini")) and not any(folder.glob(name)):
            found.append(name)
    return found


@pytest.mark.skipif(not GUIDE.is_file(), reason="the guide is not beside the tests")
def test_every_file_of_the_table_is_there():
    rows = cells()
    assert [name for names in rows for name in missing(names)] == []
    assert sum(len(names) for names in rows) > 80


def test_a_file_in_another_folder_counts_as_missing():
    assert missing(["gpucore/math", "kernel.py"]) == ["kernel.py"]
    assert missing(["gpucore/launch", "kernel.py"]) == []
    assert missing(["gpucore/no_such_folder"]) == ["gpucore/no_such_folder"]
