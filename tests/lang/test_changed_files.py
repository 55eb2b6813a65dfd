"""A file that is saved between its import and a launch: what is compiled is what was imported, or nothing is."""

import doctest
import importlib
import importlib.machinery
import importlib.util
import linecache
import os
import subprocess
import sys
import types
import zipfile

import numpy as np
import pytest

import gpucore as gc
from gpucore.errors import KernelSyntaxError

X = np.array([1.0, 2.0, 3.0, 4.0], np.float32)


@gc.kernel
def mapped(x: gc.Array[gc.f32], f: gc.constexpr):
    i = gc.global_id(0)
    x[i] = f(x[i])


def of(f):
    """What a kernel makes of X with a function."""
    x = X.copy()
    mapped.interpret(1, 4, x, f)
    return x.tolist()


def of_kernel(kernel):
    x = X.copy()
    kernel.interpret(1, 4, x)
    return x.tolist()


class File:
    """A file that is imported and then saved anew, as large and as old as before."""

    def __init__(self, folder):
        self.path = folder / "users_code.py"

    def save(self, text):
        self.path.write_text(text, encoding="utf-8")
        os.utime(self.path, (1e9, 1e9))

    def imported(self, text, loader=None):
        self.save(text)
        spec = importlib.util.spec_from_file_location("users_code", self.path, loader=loader)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    def changed(self, text, old="2.0", new="3.0"):
        """The module of a text whose file says something else by now."""
        module = self.imported(text)
        assert old in text
        self.save(text.replace(old, new))
        return module


@pytest.fixture
def file(tmp_path):
    return File(tmp_path)


PLAIN = {
    "def": "def f(v):\n    return v * 2.0\n",
    "operator": "def f(v):\n    w = 2.0\n    return v * w\n",
    "closure": "def make(k):\n    def f(v):\n        return v * k * 2.0\n    return f\nf = make(1.0)\n",
    "inner def": "def f(v):\n    def g(w):\n        return w * 2.0\n    return g(v)\n",
    "inner lambda": "def f(v):\n    return (lambda w: w * 2.0)(v)\n",
    "static": "class A:\n    @staticmethod\n    def f(v):\n        return v * 2.0\nf = A.f\n",
    "lambda": "f = lambda v: v * 2.0\n",
    "assert": "def f(v):\n    assert v > 0.0, 'positive'\n    return v * 2.0\n",
}
DOUBLE = (X * 2).tolist()


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("mark", [lambda f: f, gc.func], ids=["given", "gc.func"])
def test_a_function_whose_file_says_something_else_is_refused(file, name, mark):
    module = file.changed(PLAIN[name])
    line = module.f.__code__.co_firstlineno
    with pytest.raises(KernelSyntaxError, match="the file changed after it was imported") as caught:
        of(mark(module.f))
    assert (caught.value.filename, caught.value.lineno) == (str(file.path), line)
    assert f"users_code.py:{line}: the text found for" in str(caught.value)


@pytest.mark.parametrize("name", PLAIN)
def test_a_function_that_stands_elsewhere_by_now_is_found(file, name):
    text = PLAIN[name]
    module = file.imported(text)
    file.save("# a line\n\n" + PLAIN["def"].replace("2.0", "5.0").replace(" f(", " other(") + text)
    assert of(module.f) == DOUBLE


def test_an_operator_is_a_difference(file):
    module = file.changed(PLAIN["def"], "v * 2.0", "v + 2.0")
    with pytest.raises(KernelSyntaxError, match="file changed"):
        of(module.f)


def test_errors_of_a_function_that_moved_are_where_it_stands(file):
    module = file.imported("def f(v):\n    return v.upper()\n")
    file.save("\n\ndef f(v):\n    return v.upper()\n")
    with pytest.raises(KernelSyntaxError, match="has no attribute 'upper'") as caught:
        of(module.f)
    assert caught.value.lineno == 4


def test_of_several_with_a_name_the_one_with_the_code_is_taken(file):
    module = file.imported("def f(v):\n    return v * 2.0\ng = f\ndef f(v):\n    return v * 3.0\n")
    file.save(
        "def f(v):\n    return v * 7.0\n" + "def f(v):\n    return v * 3.0\ndef f(v):\n    return v * 2.0\n"
    )
    assert of(module.g) == DOUBLE
    assert of(module.f) == (X * 3).tolist()


KERNEL = """import gpucore as gc
@gc.func
def twice(v):
    return v * 2.0
@gc.struct
class Pair:
    a: gc.f32
    @gc.func
    def scaled(self):
        return self.a * 2.0
@gc.kernel
def k(x: gc.Array[gc.f32]):
    i = gc.global_id(0)
    x[i] = twice(x[i]) * Pair(2.0).scaled() / 4.0
def plain(v):
    w: gc.f32 = 2.0
    return v * w
line = lambda v: v * 2.0
"""


def test_kernels_and_functions_are_what_was_imported(file):
    module = file.changed(KERNEL)
    assert of_kernel(module.k) == DOUBLE
    assert of(module.twice) == DOUBLE


def test_plain_functions_beside_a_kernel_are_what_was_imported(file):
    module = file.changed(KERNEL)
    assert of(module.plain) == of(module.line) == DOUBLE
    assert of(gc.func(module.plain)) == DOUBLE


def test_an_annotation_within_a_function_beside_a_kernel_is_what_was_imported(file):
    """It leaves no trace in the code that Python keeps."""
    module = file.changed(KERNEL, "w: gc.f32 = 2.0", "w: gc.i32 = 2.0")
    assert of(module.plain) == DOUBLE
    module = file.imported(KERNEL.replace("w: gc.f32 = 2.0", "w: gc.i32 = 2"))
    assert "i32" in str(mapped.ir(X, module.plain))


def test_a_file_that_is_saved_while_it_is_imported(file):
    saves = "import pathlib\npathlib.Path(__file__).write_text(pathlib.Path(__file__).read_text().replace('2.' + '0', '3.0'))\n"
    with pytest.raises(KernelSyntaxError, match=r"users_code.py:4: .* file changed"):
        file.imported(saves + KERNEL)


def test_a_file_that_is_gone(file):
    module = file.imported(PLAIN["def"])
    file.path.unlink()
    with pytest.raises(KernelSyntaxError, match="cannot be read"):
        of(module.f)
    module = file.imported(KERNEL)
    file.path.unlink()
    assert of(module.plain) == DOUBLE


def test_another_name_at_its_line_and_a_file_that_is_no_python_any_more(file):
    module = file.imported("\n\n" + PLAIN["def"])
    for text in ("", "def g(v):\n    return v * 2.0\n", "def f(v:\n", "\n\n)\n", "\n\n   \n", "\n\n'''\n"):
        file.save(text)
        with pytest.raises(KernelSyntaxError, match="file changed|cannot be read"):
            of(module.f)


# --- what is the function's text, though tools or the place make other code of it
ODD = '''from __future__ import annotations
import contextlib, gpucore as gc, math
from types import SimpleNamespace
tools = SimpleNamespace(twice=gc.func(lambda v: v * 2.0))
def decorated(**more):
    return lambda f: f
class Outer:
    class _Inner:
        @decorated(key=lambda f: f)
        @decorated()
        def f(v: gc.f32, by: gc.f32 = (lambda: 2.0)(), *, more: gc.f32 = 0.0) -> gc.f32:
            """A docstring

        with lines."""
            w: gc.f32 = math.fabs(v)
            return tools.twice(w) * by / 2.0 + more + gc.floor(0.5)
'''


def test_decorators_classes_docstrings_imports_and_futures_do_not_disturb(file):
    module = file.imported(ODD)
    assert of(module.Outer._Inner.f) == DOUBLE
    file.save("\n" + ODD)
    assert of(module.Outer._Inner.f) == DOUBLE


def positive(v):
    assert v > 0.0, "positive"
    return v * 2.0


def test_asserts_that_pytest_wrote_anew_do_not_disturb():
    assert "@pytest_ar" in positive.__code__.co_names
    assert of(positive) == DOUBLE


@pytest.mark.parametrize("level", ["-O", "-OO"])
def test_asserts_and_docstrings_that_python_drops_do_not_disturb(file, level):
    text = KERNEL.replace("(v):\n", '(v):\n    "Text."\n    assert v > 0.0\n')
    text += f"with open({str(file.path)!r}, 'a') as f: f.write('# longer')\n"
    text += "import numpy as np\nx = np.ones(4, np.float32)\nk.interpret(1, 4, x)\nassert_ = x.tolist()\n"
    text += "@gc.kernel\ndef m(x: gc.Array[gc.f32], f: gc.constexpr):\n    x[0] = f(x[1])\n"
    text += "m.interpret(1, 1, x, plain)\nprint(x[0])\n"
    file.save(text)
    done = subprocess.run(
        [sys.executable, level, str(file.path)], capture_output=True, text=True, check=False
    )
    assert done.stdout == "4.0\n", done.stderr


def test_a_tracer_does_not_disturb(file):
    module = file.imported(PLAIN["def"])
    seen = []

    def look(frame, event, arg):
        seen.append(event)
        return look

    before = sys.gettrace()
    sys.settrace(look)
    try:
        assert module.f(1.0) == 2.0
        found = of(module.f)
    finally:
        sys.settrace(before)
    assert "line" in seen
    assert found == DOUBLE


class Rewriting(importlib.machinery.SourceFileLoader):
    """What tools do that write code anew when it is imported."""

    @staticmethod
    def source_to_code(data, path, *, _optimize=-1):
        gc.func(lambda v: v)  # as a tool or a finalizer may that has kernels of its own
        return compile(bytes(data).replace(b"# check", b"len('checked')"), path, "exec", dont_inherit=True)


def test_a_loader_that_adds_code_does_not_disturb(file):
    text = "def f(v):\n    # check\n    return v * 2.0\n"
    module = file.imported(text, Rewriting("users_code", str(file.path)))
    assert "len" in module.f.__code__.co_names
    assert of(module.f) == DOUBLE
    module = file.imported(text, Rewriting("users_code", str(file.path)))
    file.save(text.replace("2.0", "3.00"))
    with pytest.raises(KernelSyntaxError, match="file changed"):
        of(module.f)


def test_functions_of_an_archive(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        archive.writestr("of_an_archive.py", KERNEL)
    monkeypatch.syspath_prepend(tmp_path / "archive.zip")
    module = importlib.import_module("of_an_archive")
    del sys.modules["of_an_archive"]
    assert of_kernel(module.k) == of(module.plain) == DOUBLE


def test_cells_and_texts_in_linecache():
    name, text = "<ipython-input-3-changed>", KERNEL
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    try:
        space = {"__name__": "__main__"}
        exec(compile(text, name, "exec"), space)
        assert of_kernel(space["k"]) == of(space["plain"]) == DOUBLE
        exec(compile(PLAIN["def"], name, "exec"), space)
        with pytest.raises(KernelSyntaxError, match="file changed"):
            of(space["f"])  # a cell under the name of another
    finally:
        del linecache.cache[name]


def test_functions_of_doctests():
    """Their text is given by a function that doctest puts in the place of linecache's."""
    module = types.ModuleType("with_doctest")
    module.of = of
    module.__doc__ = ">>> def f(v):\n...     return v * 2.0\n>>> of(f)\n[2.0, 4.0, 6.0, 8.0]\n"
    assert doctest.testmod(module) == (0, 2)
