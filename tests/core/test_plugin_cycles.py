"""No file of a plugin imports, by whatever way, a file that imports it: inside functions and for type checkers too."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

PLUGINS = Path(__file__).parents[2] / "plugins"
PACKAGES = ("gpucore_cpu", "gpucore_cuda", "gpucore_vulkan")


def files(package: str) -> dict[str, Path]:
    """The package's modules by name; the package itself, whose file says what leads in, is not one of them."""
    folder = PLUGINS / package.removeprefix("gpucore_") / package
    assert folder.is_dir(), f"there is no {folder}"
    named = {}
    for path in folder.rglob("*.py"):
        parts = path.relative_to(folder).with_suffix("").parts
        name = ".".join((package, *(parts[:-1] if parts[-1] == "__init__" else parts)))
        named[name] = path
    return named


def imported(source: str, known: Mapping[str, object]) -> Iterator[str]:
    """The known modules that a text imports anywhere in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if inner in known:
                    yield inner
                elif node.module in known:
                    yield str(node.module)


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """Modules that import each other in turn, the first again at the end; empty where there are none."""
    done: set[str] = set()
    way: list[str] = []

    def visit(name: str) -> list[str]:
        if name in way:
            return [*way[way.index(name) :], name]
        if name in done:
            return []
        way.append(name)
        for target in sorted(graph[name]):
            if found := visit(target):
                return found
        way.pop()
        done.add(name)
        return []

    for name in sorted(graph):
        if found := visit(name):
            return found
    return []


def graph_of(sources: Mapping[str, str]) -> dict[str, set[str]]:
    return {name: set(imported(text, sources)) - {name} for name, text in sources.items()}


@pytest.mark.parametrize("package", PACKAGES)
def test_the_files_of_a_plugin_form_no_circle(package: str) -> None:
    sources = {name: path.read_text() for name, path in files(package).items()}
    assert circle(graph_of(sources)) == []


@pytest.mark.parametrize(
    "planted",
    [
        "from gpucore_cuda.memory import alloc",
        "def late():\n    from gpucore_cuda import memory",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import gpucore_cuda.memory",
    ],
)
def test_a_planted_circle_is_found(planted: str) -> None:
    sources = {name: path.read_text() for name, path in files("gpucore_cuda").items()}
    sources["gpucore_cuda.driver"] += f"\n{planted}\n"
    found = circle(graph_of(sources))
    assert "gpucore_cuda.driver" in found
    assert "gpucore_cuda.memory" in found
