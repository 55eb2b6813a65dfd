"""Proves generated files: the Python parses, the C++ compiles without a warning, the package loads."""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from gpucore_wrap.errors import Problem, SpecError, VerifyError
from gpucore_wrap.generate import Tree
from gpucore_wrap.model import Spec

Level = Literal["spec", "syntax", "compile", "load"]
LEVELS: tuple[Level, ...] = ("spec", "syntax", "compile", "load")
WARNINGS = ("-Wall", "-Wextra", "-Werror")
TIMEOUT = 1800
SHOWN = 60


def verify(spec: Spec, tree: Tree, texts: Mapping[str, str], folder: Path, level: Level) -> list[str]:
    """Check generated files up to a level; nothing is left in their folder.

    Parameters
    ----------
    spec : Spec
        What they were made from.
    tree : Tree
        The generated files.
    texts : mapping of str to str
        Their texts with the user's regions.
    folder : Path
        Where they are for; relative include paths count from it.
    level : str
        `spec`: done already. `syntax`: Python and C++ parse. `compile`: the extension builds, warnings are errors. `load`: the
        package is imported and its smoke test runs.

    Returns
    -------
    list of str
        What was done.

    Raises
    ------
    SpecError
        If the compiler finds a mistake in C++ of the specification: at its line there.
    VerifyError
        If anything else fails.
    """
    wanted = LEVELS.index(level)
    done = ["spec: checked"]
    if wanted == 0:
        return done
    for path, text in texts.items():
        if path.endswith((".py", ".pyi")):
            try:
                ast.parse(text, path)
            except SyntaxError as error:
                raise VerifyError("syntax", f"{path}:{error.lineno}: {error.msg}") from None
    with tempfile.TemporaryDirectory(prefix="gpucore-wrap-") as name:
        place = Path(name)
        for path, text in texts.items():
            target = place / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, "utf-8")
        _relative_paths(place, folder)
        if wanted == 1:
            _run(spec, tree, "syntax", _syntax_command(place), place)
            return [*done, "syntax: Python parses, the bridge passes the compiler's -fsyntax-only"]
        environment = {"CFLAGS": f"{os.environ.get('CFLAGS', '')} {' '.join(WARNINGS)}".strip()}
        _run(
            spec,
            tree,
            "compile",
            [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
            place,
            environment,
        )
        done += ["syntax: passed", f"compile: {_compiler()} without a warning ({' '.join(WARNINGS)})"]
        if wanted == 2:
            return done
        _run(spec, tree, "load", [sys.executable, "-c", _SMOKE], place, {"PYTHONPATH": str(place / "src")})
        return [*done, f"load: {spec.library.package} was imported and its smoke test passed"]


_SMOKE = """\
import runpy
tests = runpy.run_path("tests/test_smoke.py")
for name, test in list(tests.items()):
    if name.startswith("test_"):
        test()
"""


_FLAGS = """\
import runpy
keywords = runpy.run_path("build_native.py")["ffi"]._assigned_source[3]
macros = [f"-D{name}" if value is None else f"-D{name}={value}" for name, value in keywords["define_macros"]]
print("\\0".join([*keywords["extra_compile_args"], *macros]))
"""


def _relative_paths(place: Path, folder: Path) -> None:
    """Relative folders of the build count from where the files are for."""
    target = place / "build_native.py"
    text = target.read_text("utf-8")
    target.write_text(text.replace("ROOT = HERE\n", f"ROOT = Path({str(folder.resolve())!r})\n"), "utf-8")


def _compiler() -> str:
    command = os.environ.get("CXX") or str(sysconfig.get_config_var("CXX") or "c++")
    return shlex.split(command)[0]


def _syntax_command(place: Path) -> list[str]:
    """The compiler call with the flags that the build would use."""
    done = subprocess.run(
        [sys.executable, "-c", _FLAGS],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    if done.returncode:
        raise VerifyError("syntax", _tail(done.stderr))
    command = shlex.split(os.environ.get("CXX") or str(sysconfig.get_config_var("CXX") or "c++"))
    if shutil.which(command[0]) is None:
        raise VerifyError("syntax", f"there is no C++ compiler `{command[0]}`; install one, or set CXX")
    flags = done.stdout.rstrip("\n").split("\0")
    return [*command, "-fsyntax-only", *WARNINGS, *flags, "-Inative", "native/bridge.cpp"]


def _run(
    spec: Spec,
    tree: Tree,
    level: str,
    command: list[str],
    place: Path,
    environment: Mapping[str, str] | None = None,
) -> None:
    try:
        done = subprocess.run(
            command, cwd=place, capture_output=True, text=True, errors="replace", timeout=TIMEOUT, check=False,
            env={**os.environ, **(environment or {})},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise VerifyError(level, f"{command[0]} did not end in {TIMEOUT} seconds") from None
    if done.returncode == 0:
        return
    output = f"{done.stdout}\n{done.stderr}"
    problems = _in_specification(spec, tree, output)
    if problems:
        raise SpecError(problems)
    raise VerifyError(level, _tail(output))


def _in_specification(spec: Spec, tree: Tree, output: str) -> list[Problem]:
    """The compiler's errors inside of entries, at the lines of the specification that the entries were made from."""
    problems: dict[tuple[int, str], Problem] = {}
    inside: int | None = None
    for line in output.splitlines():
        where = re.search(r"native/bridge\.cpp:(\d+):\d+", line)
        if where and ("required from" in line or "in instantiation" in line or "error:" in line):
            inside = int(where.group(1))
        found = re.search(r"error: (.*)", line)
        if not found or inside is None or found.group(1).startswith("Command '"):
            continue
        message = (
            found.group(1)
            .removeprefix("static assertion failed: ")
            .removeprefix("static_assert failed due to requirement ")
        )
        entry = None
        for number, position in tree.entries:
            if number > inside:
                break
            entry = position
        if entry is not None and entry.file:
            excerpt = _line(spec.file, entry.line)
            fix = _fix(message)
            problems.setdefault(
                (entry.line, message), Problem(entry, f"the compiler says: {message}", fix, excerpt)
            )
    return list(problems.values())


def _fix(message: str) -> str:
    """What to write where the compiler's words alone do not say it."""
    if "overloaded function" in message or "no matching function for call to 'call'" in message:
        return "check the parameters; if C++ overloads this name, write `cpp_fn: name` in place of `native: name`"
    if "lvalue required as unary" in message or "cannot take the address of an rvalue" in message:
        return "this is a macro: write `cpp_fn: name` in place of `native: name`"
    if "was not declared" in message or "undeclared identifier" in message:
        return "correct the name; if it is a macro, write `cpp_fn: name` in place of `native: name`"
    return "correct the C++ of this entry"


def _line(file: str, number: int) -> str:
    try:
        lines = Path(file).read_text("utf-8").splitlines()
    except OSError:
        return ""
    return lines[number - 1][:200] if 0 < number <= len(lines) else ""


def _tail(output: str) -> str:
    lines = [line for line in output.strip().splitlines() if line.strip()]
    shown = lines if len(lines) <= SHOWN else [*lines[: SHOWN // 2], "...", *lines[-SHOWN // 2 :]]
    return "\n".join(shown)
