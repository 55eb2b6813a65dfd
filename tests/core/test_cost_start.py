"""What a start costs, counted: modules imported, entry points read, files opened."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import pytest

FOREIGN = {
    "click", "cuda", "gpucore_cpu", "gpucore_cuda", "gpucore_vulkan", "llvmlite", "matplotlib", "ml_dtypes", "numba",
    "PIL", "platformdirs", "pytest", "rich", "typer", "vulkan",
}  # fmt: skip

KERNEL = """
import gpucore as gc

@gc.kernel
def double(x: gc.Array[gc.f32]):
    i = gc.global_id(0)
    if i < x.shape[0]:
        x[i] = gc.sqrt(x[i]) * 2.0
"""


@pytest.fixture
def run(tmp_path):
    """Run code in a fresh interpreter; what it leaves in ``result``."""
    (tmp_path / "kernels.py").write_text(KERNEL)

    def runner(code: str):
        script = f"{textwrap.dedent(code)}\nimport json\nprint(json.dumps(result))\n"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GPUCORE_")}
        environment |= {
            "GPUCORE_CACHE_DIR": str(tmp_path / "cache"),
            "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)]),
        }
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, env=environment, cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return runner


IMPORTED = """
import sys
before = set(sys.modules)
{}
result = sorted({{name.split(".")[0] for name in set(sys.modules) - before}})
"""


def test_importing_gpucore_imports_nothing_but_itself_and_python(run):
    found = set(run(IMPORTED.format("import gpucore")))
    assert "gpucore" in found
    assert not found & (FOREIGN | {"numpy", "pluggy", "packaging"})
    assert found - {"gpucore"} <= set(sys.stdlib_module_names)


def test_a_decorated_kernel_imports_no_backend_and_no_command_line(run):
    found = set(run(IMPORTED.format("import kernels")))
    assert {"gpucore", "kernels"} <= found
    assert not found & FOREIGN


def test_a_context_and_a_launch_import_one_backend_and_no_command_line(run):
    code = """
    from gpucore.backends import discovery
    from gpucore.testing import null
    import kernels
    with discovery.register("null", null), gc.Context("null") as context:
        kernels.double.over(4)(context.ones(4, gc.f32))
        context.synchronize()
    """
    found = set(run(IMPORTED.format("import gpucore as gc" + textwrap.dedent(code))))
    assert not found & FOREIGN


def test_entry_points_are_read_once_a_group_whatever_the_number_of_contexts(run):
    result = run("""
    import collections, importlib.metadata
    result, original = collections.Counter(), importlib.metadata.entry_points

    def counted(**selection):
        result[selection.get("group", "all")] += 1
        return original(**selection)

    importlib.metadata.entry_points = counted
    import gpucore as gc
    from gpucore.backends import discovery
    from gpucore.testing import null
    with discovery.register("null", null):
        for _ in range(3):
            with gc.Context("null"):
                gc.backends()
    """)
    assert result
    assert set(result.values()) == {1}, result


def test_a_warm_kernel_is_one_file_read_and_nothing_written(run):
    code = """
    import os, sys
    import gpucore as gc
    from gpucore.backends import discovery
    from gpucore.testing import null
    import kernels
    result, place = [], os.path.realpath(os.environ["GPUCORE_CACHE_DIR"])

    def note(event, args):
        if event == "open" and isinstance(args[0], str) and os.path.realpath(args[0]).startswith(place):
            result.append("write" if args[2] & (os.O_WRONLY | os.O_RDWR) else "read")
        elif event in ("os.rename", "os.remove", "os.mkdir", "os.scandir", "os.listdir") and args and (
            isinstance(args[0], str) and os.path.realpath(args[0]).startswith(place)
        ):
            result.append(event)

    with discovery.register("null", null), gc.Context("null") as context:
        x = context.ones(4, gc.f32)
        sys.addaudithook(note)
        kernels.double.over(4)(x)
        assert (x.numpy() == 2).all()
        kernels.double.over(4)(x)
        kernels.double.over(5)(context.ones(5, gc.f32))
    """
    cold = run(code)
    assert "write" in cold
    assert run(code) == ["read"]
