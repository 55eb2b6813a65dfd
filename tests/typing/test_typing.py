"""What type checkers say: examples and documents pass without an ignore, wrong programs are refused at their lines."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import doc_pages
import pytest

ROOT = Path(__file__).parents[2]
WRONG = Path(__file__).with_name("wrong.py")
SKLEARN = "[mypy]\n[mypy-sklearn.*]\nignore_missing_imports = True\n"
"""scikit-learn has no types; nothing else is forgiven."""
PAGES = [
    page
    for page in doc_pages.pages()
    if page not in ("docs/plugin-authors.md", "docs/wrap.md", "docs/worker.md")
]


def mypy(files: list[Path], cache: Path) -> set[tuple[str, int]]:
    config = cache.parent / "mypy.ini"
    config.write_text(SKLEARN, "utf-8")
    command = [
        sys.executable, "-m", "mypy", "--strict", f"--config-file={config}", f"--cache-dir={cache}",
        "--no-error-summary", "--no-pretty", *map(str, files),
    ]  # fmt: skip
    env = {**os.environ, "MYPYPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=cache.parent, env=env, check=False)
    assert done.returncode in (0, 1), done.stderr or done.stdout
    found = re.findall(r"^(.+?):(\d+): error: ", done.stdout, re.MULTILINE)
    assert bool(found) == bool(done.returncode), done.stdout
    return {(Path(file).name, int(line)) for file, line in found}


def pyright(files: list[Path], cache: Path) -> set[tuple[str, int]]:
    command = [
        sys.executable,
        "-m",
        "pyright",
        "--outputjson",
        "--pythonpath",
        sys.executable,
        *map(str, files),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cache.parent)
    report = json.loads(done.stdout[done.stdout.index("{") :])
    assert report["summary"]["filesAnalyzed"] == len(files), done.stdout
    return {
        (Path(d["file"]).name, d["range"]["start"]["line"] + 1)
        for d in report["generalDiagnostics"]
        if d["severity"] == "error" and 'Import "sklearn.' not in d["message"]
    }


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """One cache for all, so that gpucore itself is read once."""
    return tmp_path_factory.mktemp("checkers") / "cache"


CHECKERS = pytest.mark.parametrize("checker", [mypy, pyright], ids=["mypy", "pyright"])


@CHECKERS
def test_wrong_programs_are_refused_at_their_lines_and_nowhere_else(checker, cache):
    lines = WRONG.read_text("utf-8").splitlines()
    marked = {("wrong.py", number) for number, line in enumerate(lines, 1) if "# WRONG" in line}
    assert len(marked) >= 12
    assert checker([WRONG], cache) == marked


@CHECKERS
def test_the_examples_pass(checker, cache):
    assert checker(sorted((ROOT / "examples").rglob("*.py")), cache) == set()


@CHECKERS
def test_the_documents_pass(checker, tmp_path, cache):
    files = []
    for page in PAGES:
        for name, code in doc_pages.programs(page).items():
            files.append(tmp_path / f"{name}.py")
            files[-1].write_text(code, "utf-8")
    assert len(files) >= 7
    assert checker(files, cache) == set()
