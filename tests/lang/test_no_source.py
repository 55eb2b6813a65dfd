"""Functions whose source is nowhere: the error names every way out."""

import py_compile
import subprocess
import sys

import pytest

import gpucore as gc

CODE = """import gpucore as gc
@gc.kernel
def k(y: gc.Array[gc.f32]):
    y[0] = 1

"""


def test_a_kernel_piped_into_python_is_told_where_to_go():
    done = subprocess.run([sys.executable], input=CODE, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    for remedy in ("save it to a file", "IPython or Jupyter", "@gc.kernel(source=...)"):
        assert remedy in done.stderr


def test_a_text_that_defines_another_function_says_which():
    space = {"gc": gc}
    exec("def k(y: gc.Array[gc.f32]):\n    y[0] = 1\n", space)
    with pytest.raises(gc.KernelSyntaxError, match="holds no function of that name; it defines other"):
        gc.kernel(source="def other(y):\n    y[0] = 1\n")(space["k"])


def test_a_kernel_of_which_only_compiled_code_is_installed_is_told_what_to_install(tmp_path):
    source = tmp_path / "only_pyc.py"
    source.write_text(CODE, encoding="utf-8")
    py_compile.compile(str(source), cfile=str(tmp_path / "only_pyc.pyc"))
    source.unlink()
    done = subprocess.run(
        [sys.executable, "-c", "import only_pyc"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "install the .py file beside the .pyc" in done.stderr
