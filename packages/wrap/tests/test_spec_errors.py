"""Every mistake in a specification is told with its file, line, column and what to write instead."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gpucore_wrap import SpecError, load_spec

LIBRARY = "library: {name: t, headers: [t.h]}\n"
BOX = "handles: [{name: Box, native: box *, drop: free_box}]\n"
F = "functions: [{name: f, native: f, "

MISTAKES = [
    # text, line, column, message, fix
    ("", 1, 1, "holds no mapping", "library:"),
    ("library: [\n", 2, 1, "not valid YAML", "correct the indentation"),
    ("library:\n\tname: t\n", 2, 1, "not valid YAML", "correct"),
    ("functions: []\n", 1, 1, "has no `library`", "add `library:`"),
    ("library: {name: t}\n", 1, 10, "has no headers", "headers: [name.h]"),
    ("library: {name: t, headers: [t.h], heders: x}\n", 1, 36, "unknown key `heders`", "write `headers`"),
    (LIBRARY + "functon: []\n", 2, 1, "unknown key `functon`", "write `functions`"),
    (LIBRARY + LIBRARY, 2, 1, "`library` stands here again, first in line 1", "keep one"),
    ("library: {name: t, headers: [t.h], language: java}\n", 1, 46, "is `java`", "use one of c, c++"),
    ("library: {name: t, headers: [t.h], language: rust}\n", 1, 46, "Rust libraries are not wrapped", "cbindgen"),
    ("wrapper_lib:\n  name: t\n  lang: rust\n", 3, 9, "Rust libraries are not wrapped", "cbindgen"),
    ("wrapper_lib: {name: t, lng: c}\n", 1, 24, "unknown key `lng`", "write `lang`"),
    ("library: {name: zlib, headers: [zlib.h]}\n", 1, 17, "would hide Python's own module", "package: zlib_bindings"),
    ("library: {name: null, headers: [t.h]}\n", 1, 17, "is `null`, which is nothing", "quote it"),
    ("library: {name: class, headers: [t.h]}\n", 1, 17, "keyword of Python", "choose another"),
    ("library: {name: t, headers: ['t.h\"']}\n", 1, 30, "cannot be used in `headers`", "write `name.h`"),
    ("library: {name: t, headers: t.h}\n", 1, 29, "must be a list", "begin each item"),
    (LIBRARY + "functions: [{name: f}]\n", 2, 13, "has no body", "exactly one of native, cpp_fn, cpp_method, cpp_body"),
    (LIBRARY + "functions: [{name: f, native: f, cpp_fn: g}]\n", 2, 13, "has native and cpp_fn", "exactly one"),
    (LIBRARY + "functions:\n  - name: f\n    cpp_body: TODO\n", 4, 15, "empty body", "write the C++"),
    (LIBRARY + "functions:\n  - name: f\n    cpp_fn: '[](int x) { return x;'\n", 4, 13, "does not close", "complete C++"),
    (LIBRARY + "functions:\n  - name: f\n    cpp_body: 'return 1; }'\n", 4, 15, "did not open", "complete C++"),
    (LIBRARY + "functions: [{name: f, native: 'f; g'}]\n", 2, 31, "is no function's name", "put C++ into"),
    (LIBRARY + F + "result: i23}]\n", 2, 42, "unknown type `i23`", "write `i32`"),
    (LIBRARY + F + "params: [{name: x, type: int}]}]\n", 2, 59, "unknown type `int`", "write `"),
    (LIBRARY + F + "params: [{name: x}]}]\n", 2, 43, "has no `type`", "add `type:`"),
    (LIBRARY + F + "params: [{name: x, type: i8, default: 300}]}]\n", 2, 72, "300 does not fit i8", "use -128 to 127"),
    (LIBRARY + F + "params: [{name: x, type: 'array[f32]', count: n}]}]\n", 2, 80, "`n` is no parameter", "use one of x"),
    (LIBRARY + F + "params: [{name: x, type: 'array[text]'}]}]\n", 2, 59, "array of `text`", "use array[T]"),
    (LIBRARY + F + "params: [{name: self, type: i32}]}]\n", 2, 50, "taken by the object", "choose another"),
    (LIBRARY + F + "params: [{name: for, type: i32}]}]\n", 2, 50, "keyword of Python", "choose another"),
    (LIBRARY + F + "params: [{name: int, type: i32}]}]\n", 2, 50, "keyword of C++", "choose another"),
    (LIBRARY + F + "params: [{name: errno, type: i32}]}]\n", 2, 50, "a macro or a type of C", "choose another"),
    (LIBRARY + F + "params: [{name: E, type: i32}]}]\nenums: [{name: E, members: [A]}]\n", 2, 50, "hides the enum `E`", "choose"),
    (LIBRARY + F + "error: Nope}]\n", 2, 41, "`Nope` is no error rule", "use one of none"),
    (LIBRARY + F + "result: {type: i32, optional: true}}]\n", 2, 42, "cannot be optional", "handles, text and bytes"),
    (LIBRARY + F + "result: {type: i32, optional: 'yes'}}]\n", 2, 64, "is `yes`", "write true or false"),
    (LIBRARY + F + "doc: Sums x, y.}]\n", 2, 47, "unknown key `y.`", "quote the text"),
    (LIBRARY + "handles: [{name: Box, native: 'box *'}]\n", 2, 11, "is a pointer and has no `drop`", "name the function"),
    (LIBRARY + BOX.replace("drop", "parent: Bx, drop"), 2, 18, "the parent `Bx` of `Box` is no handle", "write `Box`"),
    (LIBRARY + BOX.replace("drop", "parent: Box, drop"), 2, 18, "is its own ancestor", "without one"),
    (LIBRARY + "handles: [{name: Box, native: 'Box'}]\n", 2, 31, "handle's own name", "write `::Box`"),
    (LIBRARY + "handles: [{name: Box, native: 'int; int'}]\n", 2, 31, "no C++ type", "write a type"),
    (LIBRARY + BOX + "methods: [{name: close, handle: Box, native: f}]\n", 3, 18, "has `close` already", "let `drop` name"),
    (LIBRARY + BOX + "methods: [{name: f, handle: Bix, native: f}]\n", 3, 29, "`Bix` is no handle", "write `Box`"),
    (LIBRARY + BOX + "methods: [{name: f, native: f}]\n", 3, 11, "has no `handle`", "add `handle:`"),
    (LIBRARY + BOX + "methods: [{name: n, handle: Box, kind: constructor, native: f}]\n", 3, 18, "does not give a Box", "let "),
    (LIBRARY + BOX + "functions: [{name: Box, native: f}]\n", 3, 20, "`Box` is taken by line 2", "a name of its own"),
    (LIBRARY + "functions: [{name: Error, native: f}]\n", 2, 20, "has a `Error` of its own", "another"),
    (LIBRARY + "enums: [{name: E, members: {}}]\n", 2, 28, "has no members", "NAME: NATIVE_NAME"),
    (LIBRARY + "errors: [{name: E}]\n", 2, 10, "has no `message`", "add `message:`"),
    (LIBRARY + F + "result: {type: Box, ownership: borrowed}}]\n" + BOX, 2, 20, "gets no handle", "a method"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "column", "message", "fix"), MISTAKES)
def test_a_mistake_is_told_at_its_place(
    tmp_path: Path, text: str, line: int, column: int, message: str, fix: str
) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    found = caught.value.problems
    assert any(message in problem.message and fix in problem.fix for problem in found), str(caught.value)
    problem = next(problem for problem in found if message in problem.message)
    assert (problem.position.file, problem.position.line, problem.position.column) == (
        str(path),
        line,
        column,
    )
    assert f"{path}:{line}:{column}: error: " in str(caught.value)


def test_all_mistakes_are_told_at_once(spec_file: Callable[[str], Path]) -> None:
    path = spec_file(
        "library: {name: t, headers: [t.h]}\nfunctions:\n" + "  - {name: f, native: f, bad: 1}\n" * 30
    )
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    assert len(caught.value.problems) == 30 and "and 10 more" in str(caught.value)


def test_messages_stay_short_and_point_at_the_place(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(f"{LIBRARY}functions: [{{name: f, native: f, doc: '{'x ' * 20_000}', result: i33}}]\n")
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    _, excerpt, caret, fix = str(caught.value).splitlines()
    assert (
        len(excerpt) < 200 and excerpt[caret.index("^") :].startswith("i33") and fix == "  fix: write `i32`"
    )
    for type_ in ("q" * 25_000, f"array[{'q' * 25_000}]"):
        path.write_text(f"{LIBRARY}functions: [{{name: f, native: f, result: '{type_}'}}]\n")
        with pytest.raises(SpecError) as caught:
            load_spec(path)
        assert len(str(caught.value)) < 800


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be read"):
        load_spec(tmp_path / "missing.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"library: \xff")
    with pytest.raises(SpecError, match="not UTF-8"):
        load_spec(tmp_path / "latin.yaml")


def test_values_are_what_is_written(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(
        "library: {name: t, headers: [t.h], version: 1.10}\n"
        "functions: [{name: on, native: f, params: [{name: n, type: text, default: no}]}]\n"
    )
    spec = load_spec(path)
    assert spec.library.version == "1.10"
    assert (spec.functions[0].name, spec.functions[0].params[0].default) == ("on", '"no"')
