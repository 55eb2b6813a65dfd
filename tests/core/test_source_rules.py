"""The rules that all source keeps, checked over the source."""

from __future__ import annotations

import ast
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

import gpucore
from gpucore import hookspecs

PACKAGE = Path(gpucore.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
BACKENDS = ("cuda", "vulkan", "cpu", "llvm", "llvmlite", "nvrtc", "spirv", "nvidia")
# Strings that must be spelled out although they name a backend's world, each with its reason.
ALLOWED_FILES = {
    "cli/demo",  # prose of the demo
    "testing/conformance",  # the report's file names
}


def module_name(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def is_allowed(path: Path) -> bool:
    return any(module_name(path).startswith(prefix) for prefix in ALLOWED_FILES)


def mentions(word: str) -> bool:
    parts = word.lower().replace(".", "_").split("_")
    return any(name in parts for name in BACKENDS)


OS_FUNCTION = "cpu_count"
"""The operating system's number of processors: a name of ``os``, not of a backend."""


def named_backends(tree: ast.AST) -> list[tuple[int, str]]:
    """Identifiers, imports, and strings in comparisons or matches that name a backend."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Name):
            names = [node.id]
        elif isinstance(node, ast.Attribute):
            names = [node.attr]
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names = [node.name]
        elif isinstance(node, ast.arg):
            names = [node.arg]
        elif isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(a.name for a in node.names)]
        elif isinstance(node, ast.Compare):
            constants = [node.left, *node.comparators]
            names = [c.value for c in constants if isinstance(c, ast.Constant) and isinstance(c.value, str)]
        elif isinstance(node, ast.MatchValue) and isinstance(node.value, ast.Constant):
            names = [str(node.value.value)]
        found += [(getattr(node, "lineno", 0), n) for n in names if mentions(n) and n != OS_FUNCTION]
    return found


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_the_core_neither_names_nor_branches_on_a_backend(path: Path) -> None:
    if is_allowed(path):
        return
    assert named_backends(ast.parse(path.read_text("utf-8"))) == []


LONGER = {
    "hookspecs.py": "the contract of a backend, which its author reads from top to bottom",
}
"""Files of more than 500 lines, and why each is one thing."""


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_a_file_is_one_thing_of_at_most_five_hundred_lines(path: Path) -> None:
    lines = len(path.read_text("utf-8").splitlines())
    assert (lines > 500) is (module_name(path) in LONGER), lines


def imports(path: Path) -> set[str]:
    """Modules imported anywhere in a file, those for type checkers only left out."""
    result: set[str] = set()
    tree = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for inner in ast.walk(node):
                inner._typing_only = True  # type: ignore[attr-defined]
        if getattr(node, "_typing_only", False):
            continue
        if isinstance(node, ast.Import):
            result |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            result |= {node.module, *(f"{node.module}.{a.name}" for a in node.names)}
    return result


@pytest.mark.parametrize("path", sorted((PACKAGE / "ir").rglob("*.py")), ids=module_name)
def test_the_ir_does_not_import_the_language(path: Path) -> None:
    assert not [name for name in imports(path) if name.startswith("gpucore.lang")]


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_the_library_does_not_print_and_catches_nothing_blindly(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"bare except in line {node.lineno}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"print in line {node.lineno}"


HOOKS = [name for name, value in vars(hookspecs.BackendSpec).items() if hasattr(value, "gpucore_spec")]


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_typed_and_documented(hook: str) -> None:
    function = getattr(hookspecs.BackendSpec, hook)
    signature = inspect.signature(function)
    assert inspect.getdoc(function)
    assert signature.return_annotation is not inspect.Signature.empty
    for parameter in list(signature.parameters.values())[1:]:
        assert parameter.annotation is not inspect.Parameter.empty


def test_importing_gpucore_imports_no_plugin_and_no_driver() -> None:
    code = (
        "import sys, gpucore\n"
        "bad = [m for m in sys.modules if m.split('.')[0] in\n"
        "       ('gpucore_cpu', 'gpucore_cuda', 'gpucore_vulkan', 'llvmlite', 'cuda', 'vulkan', 'cffi', "
        "'rich', 'click')]\n"
        "print(bad)"
    )
    env = {k: v for k, v in os.environ.items() if k != "COV_CORE_SOURCE"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert done.stdout.strip() == "[]"


def test_every_public_name_resolves() -> None:
    for name in gpucore.__all__:
        assert getattr(gpucore, name) is not None
