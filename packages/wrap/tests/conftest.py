"""Builds generated packages once a session and loads each under its own name."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from gpucore_wrap import generate, load_spec
from gpucore_wrap.output import compare, write

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples"
QUICK = "-O0 -g0 -Wall -Wextra -Werror"


def make(spec: Path, folder: Path) -> Path:
    """Generate a project."""
    tree = generate(load_spec(spec), folder)
    write(compare(tree.files, folder), folder)
    return folder


def build(folder: Path, flags: str = QUICK, **environment: str) -> Path:
    """Compile a project in place; the folder to import from."""
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "CFLAGS": flags, **environment},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "src"


def run(source: Path, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python code with a built package on the path."""
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(source), **environment},
        check=False,
    )


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """Builds a specification once; gives the folder to import from."""
    known: dict[Path, Path] = {}

    def get(spec: Path) -> Path:
        if spec not in known:
            known[spec] = build(make(spec, tmp_path_factory.mktemp(spec.stem)))
        return known[spec]

    return get


def load_from_folder(source: Path, package: str) -> ModuleType:
    """Imports a package from a folder, whatever was imported under its name before."""
    for name in [name for name in sys.modules if name == package or name.startswith(f"{package}.")]:
        del sys.modules[name]
    sys.path.insert(0, str(source))
    try:
        return importlib.import_module(package)
    finally:
        sys.path.remove(str(source))


@pytest.fixture(scope="session")
def load(built: Callable[[Path], Path]) -> Callable[[Path, str], ModuleType]:
    """Builds and imports a package, once a session."""
    known: dict[Path, ModuleType] = {}

    def get(spec: Path, package: str) -> ModuleType:
        if spec not in known:
            known[spec] = load_from_folder(built(spec), package)
        return known[spec]

    return get


@pytest.fixture
def load_from() -> Callable[[Path, str], ModuleType]:
    """Imports a package from a folder."""
    return load_from_folder


@pytest.fixture(scope="session")
def toolbox(load: Callable[[Path, str], ModuleType]) -> ModuleType:
    return load(HERE / "libraries" / "toolbox.yaml", "toolbox")


@pytest.fixture
def spec_file(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a specification beside the toolbox's header."""

    def get(text: str, name: str = "spec.yaml") -> Path:
        shutil.copy(HERE / "libraries" / "toolbox.hpp", tmp_path)
        path = tmp_path / name
        path.write_text(text, "utf-8")
        return path

    return get


@pytest.fixture
def project(spec_file: Callable[[str], Path], tmp_path: Path) -> Callable[..., Path]:
    """Generates and builds a specification given as text; the folder to import from."""

    def get(text: str, flags: str = QUICK) -> Path:
        return build(make(spec_file(text), tmp_path / "made"), flags)

    return get
