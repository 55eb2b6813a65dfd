"""The modules of the language know errors, config, notebooks' cells and the IR alone, and one another without circles."""

import ast
from pathlib import Path

import gpucore.lang

PACKAGE = Path(gpucore.lang.__file__).parent
BELOW = ("gpucore.errors", "gpucore.config", "gpucore._messages", "gpucore.ir")


def imports(source):
    """Every module that a file imports, in functions and for type checkers too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            inside = [f"{node.module}.{a.name}" for a in node.names if (PACKAGE / f"{a.name}.py").is_file()]
            yield from inside if node.module == "gpucore.lang" and inside else [node.module]


def graph():
    files = {f"gpucore.lang.{p.stem}": p for p in PACKAGE.glob("*.py") if p.stem != "__init__"}
    return {name: set(imports(path.read_text("utf-8"))) for name, path in files.items()}


def circle(edges):
    """The modules that import one another in a circle, or nothing."""
    left = {name: targets & set(edges) for name, targets in edges.items()}
    while True:
        leaves = {name for name, targets in left.items() if not targets}
        if not leaves:
            return sorted(left)
        left = {name: targets - leaves for name, targets in left.items() if name not in leaves}


def test_the_language_imports_nothing_above_it():
    ours = {n for targets in graph().values() for n in targets if n.split(".")[0] == "gpucore"}
    assert not {n for n in ours if not n.startswith((*BELOW, "gpucore.lang."))}


def test_no_circle():
    assert circle(graph()) == []


def test_a_planted_circle_is_found():
    edges = graph()
    edges["gpucore.lang.state"] |= set(
        imports("def late():\n    from gpucore.lang.statements import Statements")
    )
    assert "gpucore.lang.statements" in circle(edges)
