"""What a newcomer's mistakes outside kernels say, and how errors look in tracebacks and in IPython."""

from __future__ import annotations

import inspect
import pickle
import pydoc
import subprocess
import sys
import traceback
import warnings

import numpy as np
import pytest

import gpucore as gc
from gpucore.compile import pipeline


@gc.kernel
def sums(x: gc.Array[gc.f32]) -> None:
    x[0] = sum(x)


@gc.kernel
def shifted(x: gc.Array[gc.f32]) -> None:
    i = gc.global_id(0)
    x[i + 1] = 1.0


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (
            lambda ctx: gc.Context("gpu"),
            r"no backend 'gpu'; Context\(\) without a name takes the best device",
        ),
        (
            lambda ctx: gc.Context(backend="cpu"),
            r"no option 'backend'; the device comes first: Context\('cpu'\)",
        ),
        (lambda ctx: gc.Context(device="cpu:0"), r"the device comes first: Context\('cpu:0'\)"),
        (lambda ctx: gc.Context("cpu", chek=True), "no option 'chek', did you mean 'check'"),
        (
            lambda ctx: ctx.zeros(3, gc.f32).to("cpu"),
            r"to\(\) takes a Context, not str: 'cpu'; write \.numpy\(\)",
        ),
        (
            lambda ctx: ctx.zeros(3, gc.f32).sum(),
            r"'sum'; .*compute in a kernel, or on the host with \.numpy\(\)",
        ),
        (lambda ctx: ctx.zeros(3, gc.f32).mean(), r"'mean'; .*on the host with \.numpy\(\)"),
        (lambda ctx: gc.random.rand(3), r"draws numbers in kernels and has no 'rand': .*come from NumPy"),
        (lambda ctx: gc.array([1, 2]), r"Did you mean 'Context\.array'\?$"),
        (lambda ctx: gc.local_id(0), r"Did you mean 'thread_id'\?$"),  # OpenCL's name
        (lambda ctx: gc.prange(3), r"Did you mean 'global_id'\?$"),  # Numba's
        (lambda ctx: gc.asarray([1, 2]), r"Did you mean 'Context\.array'\?$"),
        (lambda ctx: gc.synchronize(), r"Did you mean 'Context\.synchronize'\?$"),
        (lambda ctx: ctx.zeros(3, gc.f32).copy_to_host(), r"'copy_to_host'; write \.numpy\(\)"),
        (lambda ctx: ctx.asarray([1]), r"no attribute 'asarray'; write \.array\(data\)"),
        (lambda ctx: ctx.to_device([1]), r"no attribute 'to_device'; write \.array\(data\)"),
        (lambda ctx: ctx.linspace(0, 1), r"'linspace'; write \.array\(numpy\.linspace"),
        (
            lambda ctx: ctx.random.rand(3),
            r"'random'; draw in a kernel with gpucore\.random, or write \.array",
        ),
        (lambda ctx: ctx.zeros(3, 4), r"a shape of several axes as one tuple, such as \(2, 3\)"),
        (lambda ctx: ctx.zeros(3, 4, gc.f32), r"one tuple: write \(3, 4\) for 3, 4"),
        (lambda ctx: ctx.ones(3, 4, dtype=gc.f32), r"one tuple: write \(3, 4\) for 3, 4"),
        (lambda ctx: ctx.empty(3, 4, 5, gc.f32), r"one tuple: write \(3, 4, 5\) for 3, 4, 5"),
        (lambda ctx: sums.over(4, 6), r"a range of several axes is one tuple: \.over\(\(4, 6\)\)"),
        (lambda ctx: sums.over("10"), r"a range is an int or a tuple of ints, not '10'"),
        (lambda ctx: sums.over(1)(), r"takes 1 argument \(x\), but 0 were given"),
    ],
)
def test_what_is_wrong_and_what_to_write(ctx, wrong, told):
    with pytest.raises((AttributeError, TypeError, gc.GpucoreError), match=told):
        wrong(ctx)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda ctx: gc.array([1]),
        lambda ctx: gc.kernl,
        lambda ctx: ctx.zeros(3, gc.f32).shap,
        lambda ctx: ctx.zeross(3),
    ],
)
def test_a_traceback_asks_what_one_meant_once(ctx, wrong):
    with pytest.raises(AttributeError) as found:
        wrong(ctx)
    # Python adds a question of its own to errors that name an object
    assert "".join(traceback.format_exception(found.value)).count("Did you mean") == 1


def test_dir_shows_what_one_may_use_and_nothing_of_the_inside():
    def names(of):
        return [name for name in dir(of) if not name.startswith("_")]

    assert names(sums) == [
        "interpret", "ir", "math", "over", "parameters", "portability_note", "portable", "source", "subgroup",
    ]  # fmt: skip
    assert set(names(sums.over(3))) == {
        "bind", "block", "checks", "grid", "interpret", "ir", "kernel", "run", "shape", "source",
    }  # fmt: skip
    assert names(gc.random) == ["integers", "normal", "normal_f64", "philox", "uniform", "uniform_f64"]
    assert "hashlib" not in dir(gc.math)


@pytest.mark.parametrize(
    "make",
    [
        lambda ctx: ctx.array(np.array([1.5, 1e10]), gc.i32),
        lambda ctx: ctx.array(np.array([1e300]), gc.f32),
    ],
)
def test_a_warning_of_numpy_about_a_narrower_dtype_names_the_users_line(ctx, make):
    with pytest.warns(RuntimeWarning, match="encountered in cast") as found:
        make(ctx)
    assert [(w.filename, w.lineno) for w in found] == [(__file__, make.__code__.co_firstlineno)]
    with np.errstate(all="raise"), pytest.raises(FloatingPointError):
        make(ctx)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("error")
        make(ctx)


def test_help_of_a_dtype_is_about_the_dtype():
    shown = pydoc.render_doc(gc.f32, renderer=pydoc.plaintext)
    assert "The element type f32: a float of 32 bits, NumPy's float32." in shown
    assert "fromhex" not in shown and "as_integer_ratio" not in shown
    assert {"numpy", "itemsize"} <= set(dir(gc.u8)) and "to_bytes" not in dir(gc.u8)


def test_a_traceback_shows_the_line_and_one_caret(ctx):
    with pytest.raises(gc.KernelSyntaxError) as found:
        sums.over(1)(ctx.zeros(1, gc.f32))
    shown = "".join(traceback.format_exception_only(found.value)).splitlines()
    assert shown[1] == "    x[0] = sum(x)"
    assert shown[2].strip() == "^^^^^^"
    assert shown[2].index("^") == shown[1].index("sum")
    assert shown[3] == "gpucore.errors.KernelSyntaxError: sum is not part of the kernel language"
    again = pickle.loads(pickle.dumps(found.value))
    assert "".join(traceback.format_exception_only(again)).splitlines() == shown


def test_an_error_of_a_run_shows_the_source_line():
    with pytest.raises(gc.KernelBoundsError) as found:
        shifted.over(4).interpret(np.zeros(4, np.float32))
    assert found.value.__notes__ == ["    x[i + 1] = 1.0"]


def test_debuggers_start_at_the_line_of_the_kernel():
    with pytest.raises(gc.KernelBoundsError) as found:
        shifted.over(4).interpret(np.zeros(4, np.float32))
    trace = found.value.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    code = shifted.__wrapped__.__code__
    assert trace.tb_frame.f_code.co_filename == __file__
    assert (trace.tb_frame.f_code.co_firstlineno, trace.tb_lineno) == (
        code.co_firstlineno,
        code.co_firstlineno + 3,
    )


def test_a_slow_compilation_says_what_and_where(ctx, monkeypatch, caplog):
    monkeypatch.setattr(pipeline, "_SLOW", 0.0)

    @gc.kernel
    def slowly(x: gc.Array[gc.f32]) -> None:
        x[0] = 2.5

    with caplog.at_level("INFO", "gpucore"):
        slowly.over(1)(ctx.zeros(1, gc.f32))
    (told,) = [r.getMessage() for r in caplog.records if "slowly" in r.getMessage()]
    assert told.startswith("slowly took ") and "by the compiler" in told and ctx.backend in told


def test_help_shows_what_one_may_use():
    shown = pydoc.render_doc(gc.Array, renderer=pydoc.plaintext)
    assert "copy_from(self, source" in shown and "Overwrite with the contents" in shown
    assert "_no_operator" not in shown and " _block" not in shown
    assert "sums(x)" in pydoc.render_doc(sums, renderer=pydoc.plaintext)
    names = [name for name in dir(gc) if not name.startswith("__")]
    assert (
        all(not name.startswith("_") and hasattr(gc, name) for name in names) and "annotations" not in names
    )


def test_signatures_show_what_one_may_write_and_not_what_is_there_for_a_message():
    assert list(inspect.signature(type(sums).over).parameters) == ["self", "shape", "stream"]
    for name in ("empty", "zeros", "ones"):
        assert list(inspect.signature(getattr(gc.Context, name)).parameters) == ["self", "shape", "dtype"]
    assert not any(p.kind is p.VAR_KEYWORD for p in inspect.signature(gc.Context).parameters.values())


CELLS = [
    "import numpy as np, gpucore as gc\n@gc.kernel\ndef bad(x: gc.Array[gc.f32]) -> None:\n    x[0] = sum(x)\n"
    "@gc.kernel\ndef worse(x: gc.Array[gc.i32]) -> None:\n    x[0] = 1.5\n"
    "@gc.kernel\ndef far(x: gc.Array[gc.f32]) -> None:\n    x[gc.global_id(0) + 1] = 1.5\n"
    "@gc.kernel\ndef racing(x: gc.Array[gc.i32]) -> None:\n    x[x[gc.global_id(0)]] = 1\n",
    "bad.over(1).interpret(np.zeros(1, np.float32))",
    "worse.over(1).interpret(np.zeros(1, np.int32))",
    "far.over(1).interpret(np.zeros(1, np.float32))",
    "racing.ir(gc.Array[gc.i32])",
    "from gpucore import plugins\nfrom gpucore.testing import null\n"
    "with plugins.register('null', null):\n    far.over(1).run(on='null', x=np.zeros(1, np.float32))",
]


def test_ipython_shows_the_users_frames_and_the_number_of_the_cell():
    pytest.importorskip("IPython")
    program = (
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance(colors='nocolor')\n"
        f"for cell in {CELLS!r}:\n    print('=== cell')\n    shell.run_cell(cell, store_history=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    _, _, bad, worse, far, _, certain = done.stdout.split("=== cell\n")
    for shown in (bad, worse, far, certain):
        assert "gpucore/" not in shown and "interactiveshell" not in shown and "Cell In[" in shown, shown
    assert bad.count("^^^") + bad.count("^\n") == 1 and "Cell In[1], line 4" in bad
    assert "KernelTypeError: Cell In[1]:7:12: " in worse and worse.count("^^^") == 1
    assert "Cell In[1]:13: RaceWarning: racing: " in done.stderr and "ipython-input" not in done.stderr
    assert "  x[x[gc.global_id(0)]] = 1" in done.stderr
    assert "(1,) at Cell In[1], line 10, in thread" in certain and "ipython-input" not in certain
    assert (
        "Cell In[1], line 10, in far(x)" in far
        and "---> 10     x[gc.global_id(0) + 1]" in far
        and "_gc_" not in far
    )
    assert "Cell In[1]:10: index (1,) is out of bounds" in far and "    x[gc.global_id(0) + 1] = 1.5" in far
