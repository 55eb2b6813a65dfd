"""The documents for contributors and authors of plugins name files, modules and names that are there."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "CONTRIBUTING.md"
FOLDERS = ("gpucore", "plugins", "packages", "tests", "docs", "benchmarks", "examples")
EXAMPLES = ("gpucore_mydevice", "gpucore_first", "try_first")
GROUPS = ("gpucore.toml", "gpucore.backends", "gpucore.wrappers", "gpucore.commands")
"""What looks like a module and is a file of settings or a group of entry points."""


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


@cache
def tails() -> frozenset[str]:
    """Every way to name a file or folder of the checkout from one of its parents: ``launch/kernel.py``, ``kernel.py``."""
    found = set()
    for top in FOLDERS:
        for path in (ROOT / top).rglob("*"):
            parts = path.relative_to(ROOT).parts
            found.update("/".join(parts[start:]) for start in range(len(parts)))
    return frozenset(found)


def untrue_paths(text: str) -> list[str]:
    """Files of Python wherever they are named, and folders in code spans, that no folder of the checkout holds."""
    files = re.findall(r"(?<![\w/.*-])[\w-]+(?:/[\w-]+)*\.py\b", text)
    folders = [name.rstrip("/") for name in re.findall(r"`([a-z_]\w*(?:/\w+)+/?)`", text)]
    return [name for name in (*files, *folders) if name not in tails() and not name.startswith(EXAMPLES)]


def untrue_names(text: str) -> list[str]:
    """Dotted names in code spans that are neither modules of the checkout nor defined in them."""
    names = re.findall(r"`(gpucore(?:_[a-z]+)?(?:\.\w+)+)[`(]", text)
    return [
        name for name in names if not name.startswith(EXAMPLES) and name not in GROUPS and not is_there(name)
    ]


def is_there(name: str) -> bool:
    top, *parts = name.split(".")
    path = next((path for path in (ROOT, *ROOT.glob("p*/*")) if (path / top).is_dir()), ROOT) / top
    while parts and (path / parts[0]).is_dir():
        path /= parts.pop(0)
    if parts and (path / f"{parts[0]}.py").is_file():
        path /= f"{parts.pop(0)}.py"
    if not parts:
        return path.exists()
    source = path / "__init__.py" if path.is_dir() else path
    defined = rf"^\s*(?:def |class )?{parts[0]}\b|[\"']{parts[0]}[\"']|\bimport\b.*\b{parts[0]}\b"
    return source.is_file() and re.search(defined, source.read_text("utf-8"), re.MULTILINE) is not None


@pytest.mark.skipif(not GUIDE.is_file(), reason="the guide is not beside the tests")
@pytest.mark.parametrize("page", ["docs/architecture.md", "docs/plugin-authors.md"])
def test_every_file_and_module_of_a_page_is_there(page):
    text = (ROOT / page).read_text("utf-8")
    assert untrue_paths(text) == []
    assert untrue_names(text) == []


@pytest.mark.skipif(not GUIDE.is_file(), reason="the guide is not beside the tests")
def test_a_wrong_file_or_module_of_a_page_is_found():
    assert untrue_paths("in launch/kernal.py and `runtime/kernel.py`, `ir/no_such`") == [
        "launch/kernal.py", "runtime/kernel.py", "ir/no_such",
    ]  # fmt: skip
    wrong = "`gpucore_vulkan.spirv.ended`, `gpucore.ir.passes.no_such`, `gpucore.ir.text.no_such`"
    assert untrue_names(wrong) == re.findall(r"[\w.]{9,}", wrong)
    assert untrue_names('`gpucore.ir.text.parse` `gpucore.ir.clike` `gpucore.Context("x")`') == []


@pytest.mark.skipif(not GUIDE.is_file(), reason="the guide is not beside the tests")
def test_every_file_of_the_table_is_there():
    rows = cells()
    assert [name for names in rows for name in missing(names)] == []
    assert sum(len(names) for names in rows) > 80


@pytest.mark.skipif(not GUIDE.is_file(), reason="the guide is not beside the tests")
@pytest.mark.parametrize("plugin", ["cpu", "cuda", "vulkan"])
def test_the_readme_of_a_plugin_lists_each_of_its_files(plugin):
    root = ROOT / "plugins" / plugin
    package = root / f"gpucore_{plugin}"
    there = {path.relative_to(package).as_posix() for path in package.rglob("*.py") if path.name[0] != "_"}
    there |= {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}
    assert (
        set(re.findall(r"^\| `([^`]+)` \|", (root / "README.md").read_text("utf-8"), re.MULTILINE)) == there
    )


def test_a_file_in_another_folder_counts_as_missing():
    assert missing(["gpucore/math", "kernel.py"]) == ["kernel.py"]
    assert missing(["gpucore/launch", "kernel.py"]) == []
    assert missing(["gpucore/no_such_folder"]) == ["gpucore/no_such_folder"]
