"""Every notebook runs from its first cell to its last."""

from __future__ import annotations

from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "docs" / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_runs(path: Path, gpucore_context, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient = pytest.importorskip(
        "nbclient", reason="notebooks are run where nbclient and ipykernel are installed"
    )
    nbformat = pytest.importorskip(
        "nbformat", reason="notebooks are run where nbclient and ipykernel are installed"
    )
    monkeypatch.setenv("GPUCORE_BACKEND", gpucore_context.backend)
    monkeypatch.delenv("MPLBACKEND", raising=False)  # the kernel takes the one that shows pictures in cells
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    outputs = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
    assert any(outputs)
    if "matplotlib" in path.read_text("utf-8"):
        assert any("image/png" in output.get("data", ()) for cell in outputs for output in cell)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_is_kept_without_outputs(path: Path) -> None:
    text = path.read_text("utf-8")
    assert '"output_type"' not in text
    assert '"execution_count": null' in text


def test_there_are_notebooks() -> None:
    assert len(NOTEBOOKS) >= 2
