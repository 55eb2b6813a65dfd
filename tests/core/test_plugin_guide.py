"""The backend of the plugin guide, as the guide prints it."""

from __future__ import annotations

import re
import types
from pathlib import Path

import numpy as np
import pytest

import gpucore as gc
from gpucore.backends import discovery

GUIDE = Path(__file__).parents[2] / "docs" / "plugin-authors.md"


@pytest.fixture
def first():
    """The module of the guide, registered."""
    if not GUIDE.is_file():
        pytest.skip("the documents are not beside the tests")
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)
    module = types.ModuleType("gpucore_first")
    exec(compile(blocks[0], str(GUIDE), "exec"), module.__dict__)
    with discovery.register("first", module):
        yield module, blocks[1]


def test_the_guides_backend_runs_the_guides_kernel(first, monkeypatch, capsys, tmp_path):
    module, program = first
    monkeypatch.setitem(__import__("sys").modules, "gpucore_first", module)
    file = tmp_path / "program.py"
    file.write_text(program.replace('with plugins.register("first", gpucore_first), gc', "with gc"), "utf-8")
    exec(compile(program.replace('plugins.register("first", gpucore_first), ', ""), str(file), "exec"), {})
    assert capsys.readouterr().out.strip() == "[0. 2. 4. 6.]"


def test_the_guides_backend_keeps_memory_atomics_and_math(first):
    @gc.kernel
    def count(x: gc.Array[gc.f32], out: gc.Array[gc.i32], y: gc.Array[gc.f64]) -> None:
        i = gc.global_id(0)
        gc.atomic_add(out, 0, gc.i32(x[i] > 2.5))
        y[i] = gc.exp(gc.f64(x[i]))

    with gc.Context("first") as ctx:
        x = np.arange(8, dtype=np.float32)
        out, y = ctx.zeros(1, gc.i32), ctx.zeros(8, gc.f64)
        count.over(8)(ctx.array(x), out, y)
        assert out.numpy()[0] == 5
        np.testing.assert_allclose(y.numpy(), np.exp(x.astype(np.float64)), rtol=1e-15)
        with pytest.raises(gc.NotSupportedError):
            ctx.pinned(4, gc.f32)
