"""Imports of the plugin, of every kind, form no cycle: inside functions and for type checkers too."""

from __future__ import annotations

import ast
from pathlib import Path

import gpucore_vulkan

PACKAGE = Path(gpucore_vulkan.__file__).parent


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = ("gpucore_vulkan", *path.relative_to(PACKAGE).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(source: str, known: set[str]) -> set[str]:
    """The plugin's own modules that a file imports; a name from a package that is a module counts as that."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inner & known) or {node.module or ""}
    return found & known


def cycle(edges: dict[str, set[str]]) -> list[str]:
    """One cycle, or nothing."""
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for after in sorted(edges[name]):
            found = visit(after, [*path, name])
            if found:
                return found
        done.add(name)
        return []

    for name in sorted(edges):
        found = visit(name, [])
        if found:
            return found
    return []


def test_no_module_imports_itself_by_way_of_others():
    files = modules()
    edges = {name: imported(path.read_text("utf-8"), set(files)) for name, path in files.items()}
    assert sum(map(len, edges.values())) > 50
    assert cycle(edges) == []


def test_a_cycle_through_an_import_for_type_checkers_is_found():
    known = {"gpucore_vulkan.a", "gpucore_vulkan.b"}
    typed = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from gpucore_vulkan.b import B"
    late = "def f():\n    from gpucore_vulkan import a"
    edges = {"gpucore_vulkan.a": imported(typed, known), "gpucore_vulkan.b": imported(late, known)}
    assert cycle(edges) == ["gpucore_vulkan.a", "gpucore_vulkan.b", "gpucore_vulkan.a"]
