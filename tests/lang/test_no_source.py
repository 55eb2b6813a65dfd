"""Functions whose source is nowhere: the error names every way out."""

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
