"""Files: the same each time, formatted, never lost, never outside of their folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gpucore_wrap import OutputError, generate, load_spec
from gpucore_wrap.cli import wrap
from gpucore_wrap.output import compare
from gpucore_wrap.regions import keep

HERE = Path(__file__).parent
TOOLBOX = HERE / "libraries" / "toolbox.yaml"
ZLIB = HERE.parent / "examples" / "zlib.yaml"
SPECS = [
    TOOLBOX,
    HERE / "libraries" / "edges.yaml",
    HERE / "libraries" / "original.yaml",
    ZLIB,
    *(HERE.parent / "examples" / f"{n}.yaml" for n in ("cuda", "torch")),
]
SMALL = (
    "library: {name: small, headers: [stdlib.h]}\n"
    "functions: [{name: absolute, native: abs, params: [{name: x, type: i32}], result: i32}]\n"
)


def call(*arguments: object) -> Result:
    return CliRunner().invoke(wrap, [str(argument) for argument in arguments])


def snapshot(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_same_specification_gives_the_same_files(tmp_path: Path) -> None:
    assert call(TOOLBOX, "-o", tmp_path / "a").exit_code == 0
    code = (
        "import sys; from pathlib import Path; from gpucore_wrap import generate, load_spec\n"
        f"for path, text in generate(load_spec({str(TOOLBOX)!r}), Path({str(tmp_path / 'a')!r})).files.items():\n"
        "    sys.stdout.write(f'=== {path}\\n{text}')"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
    written = "".join(
        f"=== {path}\n{data.decode()}" for path, data in sorted(snapshot(tmp_path / "a").items())
    )
    assert outputs.pop().decode() == written


@pytest.mark.parametrize("spec", SPECS, ids=lambda path: path.stem)
def test_generated_python_is_formatted_clean_and_typed(spec: Path, tmp_path: Path) -> None:
    assert call(spec, "-o", tmp_path).exit_code == 0
    for arguments in (["format", "--check"], ["check", "--select", "E,F,W,I,UP,B,SIM,C4,RUF,PIE,RET"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *arguments, "."],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout


def test_generated_python_passes_mypy_strict(tmp_path: Path) -> None:
    assert call(TOOLBOX, "-o", tmp_path).exit_code == 0
    user = tmp_path / "user.py"
    user.write_text(
        "import toolbox\n"
        "def use(box: toolbox.Box) -> tuple[int, ...]:\n"
        "    value: float = box.plus(toolbox.Box(2)).get() + toolbox.same_f32(1)\n"
        "    total: int = toolbox.each(3, lambda number: number + 1)\n"
        "    print(value, total, toolbox.next_color(toolbox.Color.RED).name, toolbox.PATTERN.upper())\n"
        "    return box.shape()\n"
        "toolbox.same_i32('wrong')  # line 7\n"
        "toolbox.each(3, lambda number: 'wrong')  # line 8\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "src/toolbox", "user.py"],
        cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "MYPYPATH": str(tmp_path / "src")}, check=False,
    )  # fmt: skip
    errors = [line for line in done.stdout.splitlines() if "error" in line]
    assert {line.split(":")[1] for line in errors if line.startswith("user.py")} == {"7", "8"}, done.stdout
    assert not [line for line in errors if line.startswith("src")], done.stdout


def test_marked_regions_survive_and_the_rest_is_made_anew(
    spec_file: Callable[[str], Path], tmp_path: Path
) -> None:
    spec, out = spec_file(SMALL), tmp_path / "out"
    assert call(spec, "-o", out).exit_code == 0
    functions = out / "src" / "small" / "_functions.py"
    text = functions.read_text()
    mine = "\n\ndef mine() -> int:\n    return absolute(-1)\n\n\n"
    functions.write_text(
        text.replace("# --- end functions", f"{mine}# --- end functions").replace(
            "def absolute", "def broken"
        )
    )
    bridge = out / "native" / "bridge.cpp"
    bridge.write_text(
        bridge.read_text().replace("// --- end bridge", "static int own = 5;\n// --- end bridge")
    )
    assert call(spec, "-o", out, "--check").exit_code == 1
    assert call(spec, "-o", out).exit_code == 0
    assert mine in functions.read_text() and "def broken" not in functions.read_text()
    assert "static int own = 5;" in bridge.read_text()
    before = snapshot(out)
    assert call(spec, "-o", out, "--check").exit_code == 0
    assert call(spec, "-o", out).exit_code == 0 and snapshot(out) == before


def test_check_and_dry_run_write_nothing(spec_file: Callable[[str], Path], tmp_path: Path) -> None:
    spec, out = spec_file(SMALL), tmp_path / "out"
    for option in ("--dry-run", "--check"):
        result = call(spec, "-o", out, option)
        assert "would be written" in result.output and not out.exists()
    assert call(spec, "-o", out).exit_code == 0
    before = snapshot(out)
    spec.write_text(SMALL.replace("absolute", "magnitude"))
    assert "would be rewritten" in call(spec, "-o", out, "--dry-run").output
    assert call(spec, "-o", out, "--check").exit_code == 1
    assert snapshot(out) == before


def test_json_says_what_happened(spec_file: Callable[[str], Path], tmp_path: Path) -> None:
    spec, out = spec_file(SMALL), tmp_path / "out"
    report = json.loads(call(spec, "-o", out, "--json").output)
    assert report["ok"] and report["written"] and {file["status"] for file in report["files"]} == {"new"}
    report = json.loads(call(spec, "-o", out, "--json", "--check").output)
    assert report["up_to_date"] and not report["written"]
    spec.write_text(SMALL.replace("i32}]", "i33}]"))
    result = call(spec, "-o", out, "--json")
    error = json.loads(result.output)["errors"][0]
    assert result.exit_code == 1 and (error["line"], error["column"]) == (2, 68) and "i32" in error["fix"]


def test_files_that_a_specification_no_longer_needs_are_removed(
    spec_file: Callable[[str], Path], tmp_path: Path
) -> None:
    with_enum = SMALL + "enums: [{name: E, members: {A: '1'}}]\n"
    spec, out = spec_file(with_enum), tmp_path / "out"
    assert call(spec, "-o", out).exit_code == 0
    enums = out / "src" / "small" / "_enums.py"
    spec.write_text(SMALL)
    assert call(spec, "-o", out, "--check").exit_code == 1
    enums.write_text(enums.read_text().replace("# --- end enums", "MINE = 1\n# --- end enums"))
    before = snapshot(out)
    for option in ([], ["--dry-run"], ["--check"]):
        result = call(spec, "-o", out, *option)
        assert result.exit_code == 1 and "has content" in result.output and snapshot(out) == before
    enums.write_text(enums.read_text().replace("MINE = 1\n", ""))
    assert call(spec, "-o", out).exit_code == 0 and not enums.exists()


def test_a_package_that_changes_its_name_leaves_no_old_one(
    spec_file: Callable[[str], Path], tmp_path: Path
) -> None:
    spec, out = spec_file(SMALL), tmp_path / "out"
    assert call(spec, "-o", out).exit_code == 0
    (out / "src" / "other").mkdir()
    (out / "src" / "other" / "__init__.py").write_text("mine = 1\n")
    spec.write_text(SMALL.replace("name: small", "name: small, package: large"))
    told = call(spec, "-o", out, "--check").output
    assert "would be removed" in told and f"{out / 'src' / 'small' / '_runtime.py'}\n" in told
    functions = out / "src" / "small" / "_functions.py"
    text = functions.read_text()
    functions.write_text(text.replace("# --- end functions", "MINE = 1\n# --- end functions"))
    before = snapshot(out)
    result = call(spec, "-o", out)
    assert result.exit_code == 1 and "has content" in result.output and snapshot(out) == before
    functions.write_text(text)
    assert call(spec, "-o", out).exit_code == 0
    assert sorted(path.name for path in (out / "src").iterdir()) == ["large", "other"]
    assert call(spec, "-o", out, "--check").exit_code == 0


def test_nothing_is_written_if_one_file_cannot_be(spec_file: Callable[[str], Path], tmp_path: Path) -> None:
    spec, out = spec_file(SMALL), tmp_path / "out"
    out.mkdir()
    (out / "tests").write_text("a file\n")
    result = call(spec, "-o", out)
    assert result.exit_code == 1 and "is no folder" in result.output
    assert list(out.iterdir()) == [out / "tests"]


def test_the_readme_shows_how_an_object_is_made(tmp_path: Path) -> None:
    readme = generate(load_spec(ZLIB), tmp_path).files["README.md"]
    assert "- class `GzFile(path, mode)`: " in readme and "`open`" not in readme


def test_files_of_others_are_not_touched(spec_file: Callable[[str], Path], tmp_path: Path) -> None:
    spec, out = spec_file(SMALL), tmp_path / "out"
    out.mkdir()
    (out / "pyproject.toml").write_text("[project]\nname = 'mine'\n")
    result = call(spec, "-o", out)
    assert result.exit_code == 1 and "was not made by gpucore wrap" in result.output
    assert list(out.iterdir()) == [out / "pyproject.toml"]


def test_nothing_is_written_through_links(spec_file: Callable[[str], Path], tmp_path: Path) -> None:
    spec, out, elsewhere = spec_file(SMALL), tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir(), elsewhere.mkdir()
    (out / "src").symlink_to(elsewhere)
    result = call(spec, "-o", out)
    assert result.exit_code == 1 and "not written through links" in result.output
    assert not list(elsewhere.iterdir())


@pytest.mark.parametrize(
    "old",
    ["# --- begin a: x ---\nmine\n", "# --- end a ---\n",
     "# --- begin a ---\n# --- begin b ---\n# --- end a ---\n# --- end b ---\n",
     "# --- begin gone ---\nmine\n# --- end gone ---\n"],
)  # fmt: skip
def test_a_region_that_cannot_be_kept_is_an_error(old: str) -> None:
    with pytest.raises(OutputError):
        keep("# --- begin a: x ---\n# --- end a ---\n", old, "file")


def test_a_mistake_in_cpp_is_told_at_its_line_of_the_specification(
    spec_file: Callable[[str], Path], tmp_path: Path
) -> None:
    spec = spec_file(SMALL)
    spec.write_text(
        SMALL.rstrip().rstrip("]") + ", {name: wrong, cpp_body: return undeclared_name;, result: i32}]\n"
    )
    result = call(spec, "-o", tmp_path / "out", "--verify=syntax")
    assert result.exit_code == 1 and f"{spec}:2:" in result.output and "undeclared_name" in result.output
    assert not (tmp_path / "out").exists()


def test_a_package_without_its_library_says_so(spec_file: Callable[[str], Path], tmp_path: Path) -> None:
    shutil.copy(HERE / "libraries" / "toolbox.hpp", tmp_path)
    spec, out = spec_file(TOOLBOX.read_text()), tmp_path / "out"
    assert call(spec, "-o", out).exit_code == 0
    environment = {**os.environ, "TOOLBOX_AVAILABLE": "0", "CFLAGS": "-O0 -g0 -Wall -Wextra -Werror"}
    build = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    subprocess.run(build, cwd=out, env=environment, check=True)
    code = (
        "import toolbox as t\n"
        "assert not t.available() and len(t.Color) == 3\n"
        "for f in (t.Box, lambda: t.same_i32(1), lambda: t.each(1, abs), lambda: t.split(1.0)):\n"
        "    try: f()\n"
        "    except t.UnavailableError as error: print(error)\n"
        "    else: raise SystemExit('no error')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=out / "src", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and done.stdout.count("built without the library") == 4, done.stderr


def test_symbols_that_would_be_equal_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(
        "library: {name: t, headers: [t.h]}\nhandles: [{name: Box, native: int, drop: none}]\n"
        "functions: [{name: box_free, native: f}, {name: t, native: f}, {name: failure, native: f},\n"
        "  {name: Box_close, native: f}]\n"
        "methods: [{name: free, handle: Box, native: f}]\n"
    )
    header = generate(load_spec(tmp_path / "s.yaml"), tmp_path).files["native/bridge.h"]
    declared = [line.split("(")[0].split()[-1] for line in header.splitlines() if line.endswith(");")]
    assert len(declared) == len(set(declared)) == 3 + 2 + 5


def test_the_output_of_compare_is_what_is_written(tmp_path: Path) -> None:
    files = compare(generate(load_spec(ZLIB), tmp_path).files, tmp_path)
    assert {file.status for file in files} == {"new"}
