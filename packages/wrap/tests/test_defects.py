"""The defects of the original generator, each with a test that has failed on a generator with that defect.

`tests/slow/test_mutants.py` puts each defect back and sees its test fail.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from gpucore_wrap import SpecError, generate, load_spec
from gpucore_wrap.output import compare
from gpucore_wrap.verify import verify

SPEC = Path(__file__).parent / "libraries" / "original.yaml"


@pytest.fixture(scope="module")
def tool(load: Callable[[Path, str], ModuleType]) -> ModuleType:
    return load(SPEC, "tool")


def test_lambdas_get_whole_handles(tool: ModuleType) -> None:
    assert tool.content(tool.tool_make(4)) == 4


def test_lambdas_are_called_as_functions_with_the_object_first(tool: ModuleType) -> None:
    assert tool.tool_make(4).doubled().get() == 8


def test_no_symbol_has_the_librarys_name_twice(tmp_path: Path) -> None:
    files = generate(load_spec(SPEC), tmp_path).files
    symbols = set(re.findall(r"gpw_\w+", files["native/bridge.h"]))
    assert "gpw_tool_make" in symbols and "gpw_tool_box_get" in symbols
    assert not [symbol for symbol in symbols if "tool_tool" in symbol]


def test_i32_and_f32_are_mapped(tool: ModuleType) -> None:
    assert tool.add(2**30, -5) == 2**30 - 5
    assert tool.half(3) == 1.5


def test_handles_are_freed(tool: ModuleType) -> None:
    for _ in range(10):
        tool.tool_make(1).doubled()
    gc.collect()
    assert tool.boxes() == 0
    with tool.tool_make(1):
        assert tool.boxes() == 1
    assert tool.boxes() == 0


def test_drop_names_what_is_generated(tool: ModuleType) -> None:
    header = generate(load_spec(SPEC), Path("x")).files["native/bridge.h"]
    for symbol in re.findall(
        r"_lib\.(gpw_\w+)", generate(load_spec(SPEC), Path("x")).files["src/tool/_handles.py"]
    ):
        assert symbol in header and hasattr(tool._native.lib, symbol)


def test_the_users_available_and_version_are_the_packages(tool: ModuleType) -> None:
    assert tool.available() is False
    assert tool.version() == "the user's"


def test_escapes_are_undone_once(tool: ModuleType) -> None:
    assert tool.escaped() == 'a\tb"c\\d'
    assert tool.tool_make.__doc__.startswith('A box. "Quoted", with a tab:    here, and a \\ backslash.')


def test_functions_without_a_handle_reach_python(tool: ModuleType) -> None:
    missing = {"add", "half", "escaped", "nothing", "current", "numbers"} - set(tool.__all__)
    assert not missing
    assert tool.nothing() is None and tool.current() == 5


def test_methods_that_give_handles_give_objects(tool: ModuleType) -> None:
    assert type(tool.tool_make(1).plus(tool.tool_make(2))) is tool.ToolBox


def test_arrays_come_back_with_their_elements(tool: ModuleType) -> None:
    assert list(tool.numbers()) == [4, 5, 6]


def syntax(path: Path, folder: Path) -> None:
    spec = load_spec(path)
    tree = generate(spec, folder)
    verify(spec, tree, {file.path: file.text for file in compare(tree.files, folder)}, folder, "syntax")


HEAD = "library: {name: t, language: c++, headers: [toolbox.hpp], include_paths: [.]}\n"
STATUS = (
    "errors: [{name: StatusError, type: toolbox::Status, check: value != toolbox::Status::ok, "
    "message: toolbox::describe(value)}]\n"
)


def test_errors_in_lambdas_are_seen(toolbox: ModuleType) -> None:
    with pytest.raises(toolbox.StatusError, match="missing"):
        toolbox.fail_in_lambda(3)


def test_an_error_code_is_never_taken_for_an_answer(spec_file: Callable[[str], Path], tmp_path: Path) -> None:
    """`query` answered True without a device: its status was the result."""
    path = spec_file(
        HEAD
        + STATUS
        + 'functions: [{name: query, cpp_fn: "[]() { return toolbox::fail(3); }", result: bool}]\n'
    )
    with pytest.raises(SpecError, match="would be an error code") as caught:
        syntax(path, tmp_path / "made")
    assert caught.value.problems[0].position.line == 3


def test_what_a_call_makes_current_is_restored(toolbox: ModuleType) -> None:
    assert toolbox.with_current(9) == 9
    assert toolbox.current() == 0


@pytest.mark.parametrize(
    "body", ["", "cpp_body: ''", "cpp_body: '// nothing yet'", "cpp_fn: 'TODO'", "cpp_body: '{ ; }'"]
)
def test_an_empty_body_is_an_error(spec_file: Callable[[str], Path], body: str) -> None:
    path = spec_file(f"{HEAD}functions:\n  - name: f\n{'    ' + body if body else ''}\n")
    with pytest.raises(SpecError, match=r"has no body|empty"):
        load_spec(path)
