"""What type checkers say: examples and documents pass without an ignore, wrong programs are refused at their lines."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WRONG = Path(__file__).with_name("wrong.py")
PREAMBLE = """\
import numpy as np
import gpucore as gc
import gpucore
ctx = gc.Context()
stream = ctx.stream()
x = ctx.ones(1000, gc.f32)
samples, weights = np.ones((8, 4), np.float32), np.ones(4, np.float32)
@gc.kernel
def gradient(x: gc.Array2[gc.f32], w: gc.Array[gc.f32], g: gc.Array[gc.f32]) -> None: ...
image, result = ctx.ones((8, 8), gc.f32), ctx.ones((8, 8), gc.f32)
"""
SCALE = "@gc.kernel\ndef scale(x: gc.Array[gc.f32], a: gc.f32) -> None: ...\n"
TICKET = "part, ticket, last, total = ctx.zeros(8, gc.i32), ctx.zeros(1, gc.i32), ctx.zeros(1, gc.i32), 0\n"
"""What the snippets of the documents take for granted."""
PAGES = ("README.md", "docs/language.md", "docs/host.md")


def mypy(files: list[Path], cache: Path) -> set[tuple[str, int]]:
    command = [
        sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={cache}", "--no-error-summary",
        "--no-pretty", *map(str, files),
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
        if d["severity"] == "error"
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
    assert checker(sorted((ROOT / "examples").glob("*.py")), cache) == set()


@CHECKERS
def test_the_documents_pass(checker, tmp_path, cache):
    files = []
    for page in PAGES:
        text = (ROOT / page).read_text("utf-8")
        for number, block in enumerate(re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)):
            file = tmp_path / f"{Path(page).stem.lower()}_{number}.py"
            ticket = TICKET if "ticket" in block else ""
            before = (
                "" if page == "README.md" else PREAMBLE + ticket + ("" if "def scale" in block else SCALE)
            )
            file.write_text(before + block, "utf-8")
            files.append(file)
    assert len(files) >= 7
    assert checker(files, cache) == set()
