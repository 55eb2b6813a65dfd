"""Distributions under ``packages/`` stand on public names of gpucore alone, as anyone's would."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import gpucore

PACKAGES = Path(__file__).parents[2] / "packages"
PUBLIC = (
    "cache",
    "cli.app",
    "config",
    "errors",
    "hookspecs",
    "ir",
    "math",
    "plugin_api",
    "plugins",
    "testing",
)
"""Public modules of gpucore, with what is below them."""

ALLOWED = ("os._exit",)
"""Names of the standard library with an underscore that are public."""


def is_public(module: str) -> bool:
    """Whether a module of gpucore may be imported by others."""
    inner = module.removeprefix("gpucore").removeprefix(".")
    if any(part.startswith("_") for part in inner.split(".")):
        return False
    return inner == "" or any(inner == name or inner.startswith(f"{name}.") for name in PUBLIC)


def breaches(source: str, own: frozenset[str] = frozenset()) -> Iterator[str]:
    """What a file takes of gpucore that is not public, and what it reads of others' privacy; ``own`` are its package's names."""
    tree = ast.parse(source)
    own |= names_of(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "gpucore" and not is_public(alias.name):
                    yield f"line {node.lineno}: {alias.name}"
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "gpucore":
            module = node.module or ""
            for alias in node.names:
                public = module == "gpucore" and (
                    alias.name in gpucore.__all__ or is_public(f"gpucore.{alias.name}")
                )
                inner = module != "gpucore" and is_public(module) and not alias.name.startswith("_")
                if not (public or inner):
                    yield f"line {node.lineno}: {alias.name} of {module}"
        elif isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            if not _is_self(node.value) and node.attr not in own and ast.unparse(node) not in ALLOWED:
                yield f"line {node.lineno}: {ast.unparse(node)}"


def names_of(tree: ast.AST) -> frozenset[str]:
    """What a file defines."""
    own = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and _is_self(n.value)}
    own |= {n.name for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
    return frozenset(own | {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)})


@cache
def names_of_package(folder: Path) -> frozenset[str]:
    """What any file of a package defines."""
    return frozenset().union(*(names_of(ast.parse(p.read_text("utf-8"))) for p in folder.rglob("*.py")))


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


SOURCES = [p for p in sorted(PACKAGES.glob("*/gpucore_*/**/*.py")) if ".venv" not in p.parts]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.relative_to(PACKAGES).as_posix())
def test_a_package_imports_public_names_only(path: Path) -> None:
    folder = PACKAGES.joinpath(*path.relative_to(PACKAGES).parts[:2])
    assert list(breaches(path.read_text("utf-8"), names_of_package(folder))) == []


@pytest.mark.parametrize(
    "planted",
    [
        "from gpucore.launch.kernel import Kernel",
        "def late():\n    import gpucore.compile.cache",
        "from gpucore import _files",
        "from gpucore import launch",
        "from gpucore.ir.nodes import _private",
        "import gpucore as gc\ndef f(ctx):\n    return ctx._state",
    ],
)
def test_a_planted_breach_is_found(planted: str) -> None:
    assert len(list(breaches(planted))) == 1


@pytest.mark.parametrize(
    "folder", sorted(p.parent for p in PACKAGES.glob("*/pyproject.toml")), ids=lambda p: p.name
)
def test_a_package_is_released_in_step_with_the_core(folder: Path) -> None:
    tables = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))
    project, carried = tables["project"], tables["tool"].get("gpucore-lockstep", {}).get("carries")
    assert project["name"] == f"gpucore-{folder.name}"
    assert "version" in project["dynamic"]
    assert '"gpucore" / "_version.py"' in (folder / "hatch_build.py").read_text("utf-8")
    assert (folder / "README.md").is_file()
    own = folder / f"gpucore_{folder.name}"
    if own.is_dir():
        assert (own / "py.typed").is_file()
    else:  # what it carries is typed by the mark of gpucore
        assert (PACKAGES.parent / carried / "__init__.py").is_file()
