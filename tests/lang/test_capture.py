"""Capture: where source comes from, what is refused at decoration, how annotations resolve."""

import gc as garbage
import linecache
import subprocess
import sys
import textwrap
import weakref

import numpy as np
import pytest
from lang_helpers import compiled, run

import gpucore as gc
from gpucore.errors import KernelSyntaxError, KernelTypeError
from gpucore.ir.dtypes import bool_, f32, f64, i32
from gpucore.lang import Parameter, capture

SOURCE = "def k(x, y):\n    y[0] = x[0] + 1\n"


def executed(code, filename="<string>", **names):
    space = {"gc": gc, **names}
    exec(compile(code, filename, "exec"), space)
    return space


@pytest.mark.parametrize("decorate", [capture, gc.kernel, gc.func])
def test_without_source_the_error_names_the_way_out(decorate):
    with pytest.raises(KernelSyntaxError, match=r"source="):
        decorate(executed(SOURCE)["k"])


def test_python_c_has_no_source():
    code = "import gpucore as gc\n@gc.kernel\ndef k(x):\n    x[0] = 1.0\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "gc.kernel(source=...)" in done.stderr


def test_source_that_is_given_is_used():
    space = executed("k = gc.kernel(source=text)(function)", text=SOURCE, function=executed(SOURCE)["k"])
    assert space["k"].__name__ == "k"
    x, y = np.array([4], np.int32), np.zeros(1, np.int32)
    space["k"].interpret(1, 1, x, y)
    assert y[0] == 5


def test_source_that_is_not_the_function_s_is_refused():
    with pytest.raises(KernelSyntaxError, match="not that of the function"):
        capture(executed(SOURCE)["k"], source="def k(a):\n    pass\n")
    with pytest.raises(KernelSyntaxError, match="no function of that name"):
        capture(executed(SOURCE)["k"], source="def other(x, y):\n    pass\n")


def test_notebooks_keep_their_cells_in_linecache():
    name = "<ipython-input-7-abc>"
    linecache.cache[name] = (len(SOURCE), None, SOURCE.splitlines(keepends=True), name)
    try:
        captured = capture(executed(SOURCE, name)["k"])
        assert captured.filename == name
        compiled(captured.function, i32, i32)
    finally:
        del linecache.cache[name]


def test_text_that_starts_further_left_does_not_disturb():
    def kernel(y):
        """A docstring
        whose lines start at the margin."""
        y[0] = 3

    y = np.zeros(1, np.int32)
    run(kernel, y)
    assert y[0] == 3


def test_name_file_and_docstring_are_kept():
    def kernel(x):
        """Adds nothing."""

    captured = capture(kernel)
    assert (captured.name, captured.filename, captured.__doc__) == ("kernel", __file__, "Adds nothing.")


class Holder:
    def method(self, x):
        x[0] = 1.0


async def asynchronous(x):
    x[0] = 1.0


def generator(x):
    yield x[0]


def starred(*x):
    x[0] = 1.0


def double_starred(**x):
    pass


def returning(x) -> gc.f32:
    return x[0]


def test_defaults_and_arguments_by_name_alone_are_part_of_the_parameters():
    def kernel(x, n: gc.i32 = 3, *, mode: gc.constexpr = "fast", scale):
        x[0] = n

    assert capture(kernel).parameters == (
        Parameter("x", "any"),
        Parameter("n", "scalar", i32, default=3),
        Parameter("mode", "constexpr", default="fast", keyword_only=True),
        Parameter("scale", "any", keyword_only=True),
    )


def an_array(x, y: gc.Array[gc.f32] = None):
    x[0] = 1.0


def no_number(x, n=()):
    x[0] = 1.0


@pytest.mark.parametrize(
    ("function", "rule"), [(an_array, "the array y has a default"), (no_number, "no number")]
)
def test_a_default_is_a_number_or_known_at_compile_time(function, rule):
    with pytest.raises(KernelTypeError, match=rule):
        capture(function).parameters  # noqa: B018 - read for its error


@pytest.mark.parametrize(
    ("function", "rule"),
    [
        (Holder.method, "a function, not a method"),
        (Holder().method, "plain functions"),
        (asynchronous, "async"),
        (generator, "generators"),
        (starred, "fixed list of parameters"),
        (double_starred, "fixed list of parameters"),
        (returning, "returns no value"),
        (lambda x: x, "lambda"),
        (Holder, "plain functions"),
        (len, "plain functions"),
        (3, "plain functions"),
    ],
    ids=lambda v: getattr(v, "__name__", None) or (v if isinstance(v, str) else type(v).__name__),
)
def test_what_is_no_kernel_is_refused_when_it_is_decorated(function, rule):
    with pytest.raises(KernelSyntaxError, match=rule) as found:
        gc.kernel(function)
    assert found.value.__cause__ is None


def test_a_kernel_is_decorated_once():
    def kernel(x):
        x[0] = 1.0

    with pytest.raises(KernelSyntaxError, match="Kernel"):
        gc.kernel(gc.kernel(kernel))


def test_parameters():
    def kernel(
        a: gc.Array[gc.f32],
        b: gc.Array[gc.f64, 3],
        c: gc.i32,
        d: bool,
        e: gc.constexpr,
        f,
        g: gc.Array,
        h: "gc.Array[gc.f32, 2]",
    ):
        pass

    assert capture(kernel, frame=sys._getframe()).parameters == (
        Parameter("a", "array", f32, 1),
        Parameter("b", "array", f64, 3),
        Parameter("c", "scalar", i32),
        Parameter("d", "scalar", bool_),
        Parameter("e", "constexpr"),
        Parameter("f", "any"),
        Parameter("g", "array"),
        Parameter("h", "array", f32, 2),
    )


def test_text_annotations_resolve_in_the_closure_and_the_frame():
    Element = gc.f64
    only_in_the_frame = gc.Array[gc.i32]

    def kernel(x: "gc.Array[Element]", y: "only_in_the_frame"):
        y[0] = gc.i32(Element(1))

    assert [p.dtype for p in capture(kernel, frame=sys._getframe()).parameters] == [f64, i32]


@pytest.mark.parametrize(
    ("annotation", "rule"),
    [("int", "says too little"), ("float", "says too little"), ("str", "no type"), ("list", "no type"),
     ("np.ndarray", "no type"), ("gc.Array[gc.f32, 9]", "1 to 8 axes"), ("gc.Array[str]", "dtype"),
     ("gc.Aray[gc.f32]", "cannot be resolved"), ("missing", "cannot be resolved")],
)  # fmt: skip
def test_annotations_that_mean_nothing_are_refused_at_their_place(annotation, rule, tmp_path):
    import importlib.util

    path = tmp_path / "annotated.py"
    path.write_text(
        f"from __future__ import annotations\nimport gpucore as gc, numpy as np\ndef k(x: {annotation}): pass\n"
    )
    spec = importlib.util.spec_from_file_location("annotated", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    captured = capture(module.k)
    with pytest.raises(KernelTypeError, match=rule) as found:
        _ = captured.parameters
    assert found.value.lineno == 3


def test_decorating_keeps_nothing_of_the_frame_alive():
    class Big:
        pass

    def make():
        big = Big()

        def kernel(x: gc.Array[gc.f32]):
            x[0] = 1.0

        return capture(kernel, frame=sys._getframe()), weakref.ref(big)

    captured, big = make()
    garbage.collect()
    assert big() is None
    assert captured.name == "kernel"


def test_importing_the_language_is_cheap():
    code = textwrap.dedent(
        """
        import sys, numpy
        import gpucore.lang
        heavy = {"gpucore.lang.frontend", "gpucore.lang.expressions", "gpucore.ir.interpreter", "rich", "click"}
        print(sorted(heavy & set(sys.modules)))
        """
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
