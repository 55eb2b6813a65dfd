"""The programs of ``docs/worker.md``, run with a tiny model."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "worker.md"


@pytest.mark.skipif(not PAGE.is_file(), reason="no checkout: the page is not in the distribution")
def test_the_programs_of_the_page_run(tiny, tmp_path, monkeypatch, capsys, gpucore_context):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GPUCORE_BACKEND", gpucore_context.backend)
    tiny.write(tmp_path / "model.gguf")
    programs = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert len(programs) == 2
    for program in programs:
        exec(compile(program, str(PAGE), "exec"), {})
        assert capsys.readouterr().out
