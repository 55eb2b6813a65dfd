"""What ``gpucore bench`` writes, refuses to write, and keeps of a run that was ended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gpucore.cli.app import app
from gpucore_bench.model import Row


def test_no_panel_of_a_plot_has_a_single_bar():
    pytest.importorskip("matplotlib")
    from gpucore_bench.plot import panels

    def row(name: str, contender: str, median: float | None = 1e-3) -> dict[str, Any]:
        return Row("launch", name, 256, contender, median).as_json()

    both = [row("enqueue", "gpucore"), row("enqueue", "numba parallel"), row("enqueue", "cupy", None)]
    alone = [row("bound", "gpucore"), row("bound, 16", "gpucore"), row("bound, 16", "cupy", None)]
    drawn = panels(both + alone)
    assert [panel.names for panel in drawn] == [
        ["gpucore", "numba parallel"],
        ["bound, 256", "bound, 16, 256"],
    ]
    assert [panel.title for panel in drawn] == ["enqueue, 256", "gpucore alone"]
    assert panels(alone[:1]) == []
    assert len(panels(both + alone[:1])) == 1


def test_a_file_that_cannot_be_written_is_refused_before_anything_runs(tmp_path: Path):
    pytest.importorskip("matplotlib")
    folder = tmp_path / "made.json"
    folder.mkdir()
    unwritable = tmp_path / ("x" * 300 + ".json")
    for option, path, said in [
        ("--json", unwritable, "cannot be written"),
        ("--json", folder, "is a directory"),
        ("--plot", tmp_path / "plot.xyz", ".png"),
    ]:
        answer = CliRunner().invoke(app, ["bench", "no such benchmark", option, str(path)])
        assert answer.exit_code in (1, 2)
        assert said in answer.output
        assert "Traceback" not in answer.output
    assert [path.name for path in tmp_path.iterdir()] == ["made.json"]


def test_a_plot_without_a_suffix_is_a_png_of_that_name(tmp_path: Path):
    pytest.importorskip("matplotlib")
    from gpucore_bench.plot import draw

    rows = [Row("stream", "copy", 8, name, 1e-3, 1e-3, 1e-3, 5).as_json() for name in ("gpucore", "numpy")]
    draw({"machine": {"backend": "b", "device": "d"}, "rows": rows}, tmp_path / "plot")
    assert (tmp_path / "plot").read_bytes()[:4] == b"\x89PNG"


def test_a_misspelt_benchmark_is_told_what_it_is_like_and_where_each_name_ends():
    answer = CliRunner().invoke(app, ["bench", "sapxy", "--backend", "cpu"])
    assert "did you mean 'saxpy'?" in answer.output
    assert "'bound, 1 argument', 'bound, 16 arguments'" in answer.output


def test_an_interrupt_keeps_what_was_measured_and_says_that_it_is_not_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from gpucore_bench import run

    plain, left = run.measure, [2]

    def interrupted(*given: Any) -> list[Row]:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return plain(*given)

    monkeypatch.setattr(run, "measure", interrupted)
    path = tmp_path / "report.json"
    arguments = ["bench", "memory", "--backend", "cpu", "--quick", "--peers", "numpy", "--json", str(path)]
    answer = CliRunner().invoke(app, arguments)
    assert answer.exit_code == 130
    assert "interrupted after 2 of 4 benchmarks" in answer.output
    document = json.loads(path.read_text("utf-8"))
    assert document["interrupted"] is True
    assert [row["contender"] for row in document["rows"]] == ["gpucore", "gpucore"]
    # with nothing measured there is nothing to keep
    path.unlink()
    assert CliRunner().invoke(app, arguments).exit_code == 1
    assert not path.exists()
