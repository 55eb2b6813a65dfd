"""The order of the packages: imports of every kind point down it, inside functions and for type checkers too."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import gpucore

PACKAGE = Path(gpucore.__file__).parent

ORDER: tuple[tuple[str, ...], ...] = (
    ("_messages", "_version", "_trust", "_files", "_part_workers"),
    ("errors",),
    ("config",),
    ("ir",),
    ("lang", "math"),
    ("hookspecs",),
    ("_generated",),
    ("plugin_api",),
    ("compile",),
    ("backends",),
    ("runtime",),
    ("launch",),
    ("algorithms",),
    ("cache", "plugins"),  # public modules that gather names of the packages above them
    ("__init__", "_static_types"),
    ("testing",),
    ("cli",),
    ("__main__",),
)
"""A package or module imports its own row and the rows before it."""

ALLOWED = {
    ("runtime.context", "launch.native_module"): "Context.module makes kernels of native code",
}
"""Imports against the order, each with its reason."""

PLUGIN_MODULES = ("gpucore.hookspecs", "gpucore.ir", "gpucore.errors", "gpucore.plugin_api")
"""What a plugin may import of gpucore."""

PLUGINS = ("gpucore_cpu", "gpucore_cuda", "gpucore_vulkan")


def rank(module: str) -> int:
    """The row of a module of gpucore, given without the leading ``gpucore.``."""
    head = module.split(".")[0]
    for number, row in enumerate(ORDER):
        if head in row:
            return number
    raise AssertionError(f"gpucore.{head} has no place in ORDER; give it one")


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every module of gpucore that a file imports, with the line; names imported from a package count as modules of it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "gpucore":
                    yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute"
            module = node.module or ""
            if module == "gpucore":
                for alias in node.names:
                    if (PACKAGE / alias.name).is_dir() or (PACKAGE / f"{alias.name}.py").is_file():
                        yield node.lineno, f"gpucore.{alias.name}"
                    else:
                        yield node.lineno, "gpucore.__init__"
            elif module.split(".")[0] == "gpucore":
                yield node.lineno, module


def breaches(source: str, name: str) -> list[str]:
    """Imports of a file against the order; ``name`` is the module without ``gpucore.``."""
    found = []
    for line, target in imported(ast.parse(source)):
        inner = target.removeprefix("gpucore").removeprefix(".") or "__init__"
        if rank(inner) > rank(name) and (name, inner) not in ALLOWED:
            found.append(f"line {line}: gpucore.{name} imports {target}, which comes after it")
    return found


def modules() -> list[tuple[str, Path]]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found.append((".".join(parts if parts[-1] != "__init__" or len(parts) == 1 else parts[:-1]), path))
    return found


@pytest.mark.parametrize(
    ("name", "path"), modules(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_imports_point_down_the_order(name: str, path: Path) -> None:
    if name == "__init__":
        return  # it names every public module
    assert breaches(path.read_text("utf-8"), name) == []


@pytest.mark.parametrize(
    "planted",
    [
        "from gpucore.launch.kernel import Kernel",
        "def late():\n    import gpucore.launch.argument_checks",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from gpucore.launch import kernel",
        "from gpucore import Kernel",
        "from gpucore import launch",
    ],
)
def test_a_planted_breach_is_found(planted: str) -> None:
    assert len(breaches(planted, "runtime.stream")) == 1


def test_every_allowed_breach_is_needed() -> None:
    for name, target in ALLOWED:
        path = PACKAGE.joinpath(*name.split(".")).with_suffix(".py")
        targets = {inner for _, inner in imported(ast.parse(path.read_text("utf-8")))}
        assert f"gpucore.{target}" in targets and rank(target) > rank(name)


def foreign(source: str) -> list[str]:
    """Imports of a plugin's file past the modules that plugins have."""
    return [
        f"line {line}: {target}"
        for line, target in imported(ast.parse(source))
        if not any(target == module or target.startswith(f"{module}.") for module in PLUGIN_MODULES)
    ]


@pytest.mark.parametrize("package", PLUGINS)
def test_a_plugin_imports_its_modules_only(package: str) -> None:
    folder = PACKAGE.parent / "plugins" / package.removeprefix("gpucore_") / package
    if not folder.is_dir():
        pytest.skip("the plugins are not beside the core: it runs from a wheel")
    for path in sorted(folder.rglob("*.py")):
        assert foreign(path.read_text("utf-8")) == [], path


def test_the_worked_example_imports_its_doors_only() -> None:
    assert foreign((PACKAGE / "testing" / "null.py").read_text("utf-8")) == []


def test_a_plugin_past_its_doors_is_found() -> None:
    assert foreign("def f():\n    from gpucore.compile.cache import current") == [
        "line 2: gpucore.compile.cache"
    ]
