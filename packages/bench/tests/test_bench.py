"""``gpucore bench``: what it checks, what it says, what it writes. Nothing here depends on how fast anything is."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

import gpucore as gc
from gpucore.cli.app import app
from gpucore.ir.bounds.analysis import analyse
from gpucore.launch.launch_conditions import LaunchBounds
from gpucore_bench import groups, kernels
from gpucore_bench.measure import measure
from gpucore_bench.model import MissingPeerError, Report, Row, Simple, difference, summarise
from gpucore_bench.peers import KNOWN, of_peer
from gpucore_bench.table import duration, table

sys.path.insert(0, str(Path(__file__).parent))

from contenders import Clock, everyone, work  # noqa: E402

PEERS_OF_THE_ISSUE = (
    "numpy", "numba", "cupy", "torch", "triton", "warp", "quadrants", "jax", "cuda.core", "cuda.bindings", "vulkan-cffi",
    "vkdispatch", "numba-vulkan",
)  # fmt: skip


def test_a_wrong_result_is_never_timed():
    right, wrong = Clock(1e-3, [1, 2, 3]), Clock(1e-3, [1, 2, 4])
    rows = measure(work(gpucore=right.maker, numpy=wrong.maker), None, everyone, quick=True)
    assert rows[0].median == pytest.approx(1e-3)
    assert rows[1].median is None
    assert "wrong result" in rows[1].error
    assert right.closed == wrong.closed == [True]


def test_ratios_compare_strict_with_strict_and_fast_with_fast():
    slow, quick, peer = Clock(4e-3, [1, 2, 3]), Clock(2e-3, [1, 2, 3]), Clock(6e-3, [1, 2, 3])
    makers = {
        "gpucore strict": slow.maker, "gpucore fast": quick.maker, "peer": peer.maker, "peer fastmath": peer.maker,
    }  # fmt: skip
    rows = measure(work(**makers), None, everyone, quick=True)
    assert rows[2].ratio == pytest.approx(1.5)
    assert rows[3].ratio == pytest.approx(3)
    assert rows[0].ratio is None


def test_a_peer_that_is_missing_or_fails_is_a_row_that_says_so():
    def missing(work: Any, inputs: Any, context: Any) -> Any:
        raise MissingPeerError("not installed")

    def broken(work: Any, inputs: Any, context: Any) -> Any:
        raise RuntimeError("no such device\nsecond line")

    def late(work: Any, inputs: Any, context: Any) -> Any:
        def once() -> None:
            raise ZeroDivisionError("in its first run")

        return Simple(once=once)

    rows = measure(work(a=missing, b=broken, c=late), None, everyone, quick=True)
    assert [r.error for r in rows] == [
        "not installed", "RuntimeError: no such device", "ZeroDivisionError: in its first run",
    ]  # fmt: skip
    assert [r.missing for r in rows] == [True, False, False]


def test_a_peer_that_fails_while_it_is_timed_leaves_the_others_their_figures():
    right, closed = Clock(1e-3, [1, 2, 3]), []

    def failing(work: Any, inputs: Any, context: Any) -> Any:
        def timed(repeats: int) -> float:
            raise RuntimeError("lost the device")

        answer = np.array([1.0, 2.0, 3.0])
        return Simple(
            once=lambda: None, fetch=lambda: answer, timed=timed, release=lambda: closed.append(True)
        )

    rows = measure(work(a=failing, b=right.maker), None, everyone, quick=True)
    assert rows[0].error == "RuntimeError: lost the device"
    assert rows[0].median is None
    assert closed == [True]
    assert rows[1].median == pytest.approx(1e-3)


def test_unwanted_contenders_are_not_even_made():
    def made(work: Any, inputs: Any, context: Any) -> Any:
        raise AssertionError("made")

    assert measure(work(torch=made), None, lambda c: c == "numpy", quick=True) == []


@pytest.mark.parametrize(
    ("found", "expected", "answer"),
    [
        ([1, 2], [1, 2], 0.0),
        ([1, 2.5], [1, 2], 0.25),
        ([1, np.nan], [1, 2], np.inf),
        ([1, np.inf], [1, 2], np.inf),
        ([1, 2, 3], [1, 2], np.inf),
        ([], [], 0.0),
    ],
)
def test_difference_is_relative_to_the_largest_magnitude(found: Any, expected: Any, answer: float):
    assert difference(np.array(found), np.array(expected)) == answer


def test_difference_sees_the_last_of_many_pieces():
    a = np.ones(600_000, np.float32)
    b = a.copy()
    b[-1] = 3
    assert difference(b, a) == 2
    b[-1] = np.nan
    assert difference(b, a) == np.inf
    b[-1], b[0] = 1, np.nan
    assert difference(b, a) == np.inf


def test_summary_is_median_and_quartiles():
    row = Row("g", "w", 1, "c")
    summarise(row, [5.0, 1.0, 2.0, 3.0, 4.0])
    assert (row.low, row.median, row.high, row.samples) == (2, 3, 4, 5)


@pytest.mark.parametrize(
    ("seconds", "text"), [(2.5, "2.5 s"), (0.0125, "12.5 ms"), (3.1e-6, "3.1 us"), (5e-9, "5 ns")]
)
def test_durations_take_the_unit_that_reads_best(seconds: float, text: str):
    assert duration(seconds) == text


def test_the_table_fits_a_hundred_columns_and_names_every_contender():
    rows = [
        Row(
            "stream",
            "copy",
            1 << 22,
            "gpucore strict",
            8e-4,
            7e-4,
            9e-4,
            5,
            1 << 25,
            limit="bandwidth",
            fraction=0.9,
        ),
        Row("stream", "copy", 1 << 22, "numba parallel fastmath", 9e-4, 8e-4, 1e-3, 5, 1 << 25, ratio=1.125),
        Row("stream", "copy", 1 << 22, "cupy", error="not installed", missing=True),
        Row("stream", "copy", 1 << 22, "jax", error="not installed", missing=True),
        Row("stream", "copy", 1 << 22, "torch", error="RuntimeError: [Errno 5] broken"),
    ]
    flops = 1 << 40
    rows.append(Row("launch", "enqueue, 16 arguments", 256, "cuda.bindings prepacked", 8.1, 7.0, 9.0, 5))
    rows.append(
        Row(
            "compute",
            "n-body",
            1,
            "cupy",
            7.123,
            7,
            9,
            5,
            flops=flops,
            limit="arithmetic",
            fraction=1.5,
            ratio=125.0,
        )
    )
    report = Report(
        {"backend": "b", "device": "d"}, {"bytes_per_second": 4e10, "flops_per_second": 1e11}, rows
    )
    for width in (80, 96, 110):
        console = Console(width=width)
        with console.capture() as captured:
            console.print(table(report, width))
        text = captured.get()
        assert max(len(line) for line in text.splitlines()) <= width
        assert text.splitlines()[-1].strip()
        words = " ".join(text.split())
        for needed in ("limit", "ratio", "1.12", "90%", "125.00", "not installed", "[Errno"):
            assert needed in words, (width, needed)
        assert (
            any("not installed" in line and "cupy, jax" in line for line in text.splitlines()) or width == 80
        )
        assert ("Gflop/s │" in words) == (width > 80)
        assert ("rates take a terminal of" in " ".join(text.replace("│", " ").split())) == (width == 80)
        # one line a peer that is not there, however many works it would have taken part in
        assert words.count("jax") == 1


def test_every_peer_of_the_promise_is_known():
    assert set(PEERS_OF_THE_ISSUE) <= set(KNOWN)


def test_every_peer_of_the_promise_takes_part_somewhere_on_a_gpu():
    device = SimpleNamespace(
        kind="discrete", memory_info=lambda: SimpleNamespace(free=8 << 30), name="d", uuid="u"
    )
    context = SimpleNamespace(device=device)
    labels = {
        label
        for group in groups.NAMES
        for each in groups.works(group, context, True)
        for label in each.makers
    }
    for peer in PEERS_OF_THE_ISSUE:
        assert any(of_peer(label, peer) for label in labels), peer
    for label in labels:
        assert any(of_peer(label, peer) for peer in ("gpucore", *KNOWN)), label


def test_asking_for_one_peer_does_not_bring_another_of_a_like_name():
    assert of_peer("numba parallel fastmath", "numba")
    assert not of_peer("numba-vulkan", "numba")
    assert of_peer("cuda.core", "cuda.core")


def test_vulkan_by_hand_does_the_work_of_gpucore():
    import gpucore as gc

    try:
        opened = gc.Context("vulkan")
    except gc.GpucoreError as error:
        pytest.skip(f"no Vulkan device: {error}")
    with opened as context:
        ran = 0
        for each in groups.works("launch", context, True):
            if "vulkan-cffi" in each.makers:
                runner = each.makers["vulkan-cffi"](each, {}, context)
                assert runner.run(70) > 0
                np.testing.assert_array_equal(runner.result(), each.expected({}))
                runner.close()
                ran += 1
        assert ran == 5
        elsewhere = SimpleNamespace(device=SimpleNamespace(kind="discrete", uuid="no such device"))
        with pytest.raises(MissingPeerError, match="does not show"):
            each.makers["vulkan-cffi"](each, {}, elsewhere)


def test_an_unknown_peer_or_benchmark_is_refused_by_name():
    answer = CliRunner().invoke(app, ["bench", "launch", "--backend", "cpu", "--peers", "nunpy"])
    assert answer.exit_code == 1
    assert "nunpy" in answer.output
    assert "numpy" in answer.output
    answer = CliRunner().invoke(app, ["bench", "lunch", "--backend", "cpu"])
    assert answer.exit_code == 1
    assert "lunch" in answer.output
    assert "launch" in answer.output


def test_a_folder_that_is_not_there_is_refused_before_anything_runs(tmp_path: Path):
    answer = CliRunner().invoke(app, ["bench", "launch", "--json", str(tmp_path / "no" / "f.json")])
    assert answer.exit_code == 1
    assert "does not exist" in answer.output


def test_the_report_says_what_was_measured_and_what_was_not(tmp_path: Path):
    path = tmp_path / "report.json"
    arguments = [
        "bench",
        "bound, 1 argument",
        "--backend",
        "cpu",
        "--quick",
        "--peers",
        "jax",
        "--json",
        str(path),
    ]
    answer = CliRunner().invoke(app, arguments)
    assert answer.exit_code == 0, answer.output
    assert "jax" in answer.output
    document = json.loads(path.read_text("utf-8"))
    assert set(document) == {"schema", "machine", "limits", "absent_peers", "rows"}
    assert document["absent_peers"] == ["jax"]
    machine = document["machine"]
    assert {"backend", "device", "driver", "versions", "date", "source_sha256", "environment"} <= set(machine)
    assert machine["backend"] == "cpu"
    (row,) = document["rows"]
    assert row["contender"] == "gpucore"
    assert 0 < row["low"] <= row["median"] <= row["high"]


def test_the_plot_is_a_picture(tmp_path: Path):
    pytest.importorskip("matplotlib")
    from gpucore_bench.plot import draw

    rows = [Row("stream", "copy", 8, name, 1e-3, 1e-3, 1e-3, 5).as_json() for name in ("gpucore", "numpy")]
    draw({"machine": {"backend": "b", "device": "d"}, "rows": rows}, tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def context() -> Any:
    import gpucore as gc

    try:
        opened = gc.Context("cpu")
    except gc.GpucoreError as error:
        pytest.skip(f"no CPU backend: {error}")
    with opened as ctx:
        yield ctx


@pytest.mark.parametrize("group", ["launch", "stream", "compute", "transfer", "graph", "pipeline", "memory"])
def test_every_work_of_gpucore_gives_numpys_result(group: str, context: Any, monkeypatch: pytest.MonkeyPatch):
    from gpucore_bench.groups import compute, stream

    monkeypatch.setattr(stream, "sizes", lambda context, quick: [1 << 12])
    small = {"_nbody": 256, "_stencil": 64, "_black_scholes": 1000, "_matmul": 64}
    for name, n in small.items():
        monkeypatch.setattr(
            compute, name, lambda _, *given, make=getattr(compute, name), n=n: make(n, *given)
        )
    monkeypatch.setattr(compute, "_mandelbrot", lambda _, *given, make=compute._mandelbrot: make(32, *given))
    monkeypatch.setattr(compute, "_math", lambda name, _, make=compute._math: make(name, 1000))
    checked = 0
    for each in groups.works(group, context, True):
        inputs = each.inputs()
        expected = each.expected(inputs) if each.expected else None
        for contender, make in each.makers.items():
            if contender.startswith("gpucore"):
                runner = make(each, inputs, context)
                found = runner.result()
                assert runner.run(2) > 0
                runner.close()
                checked += 1
                if expected is not None:
                    assert difference(found, expected) <= each.tolerance, (each.name, contender)
    assert checked > 0


def test_the_reduction_adds_in_one_order_whatever_runs_it(context: Any):
    from gpucore_bench import kernels

    x = np.random.default_rng(3).random(2 * 2048 + 77, dtype=np.float32)
    told = np.zeros(3, np.float32)
    kernels.reduce_blocks.interpret((1, 3), (16, 16), x, told, 1)
    partial = context.zeros(3, np.float32)
    kernels.reduce_blocks[(1, 3), (16, 16)](context.array(x), partial, 1)
    assert partial.numpy().tobytes() == told.tobytes()
    assert told.sum() == pytest.approx(x.sum(dtype=np.float64), rel=1e-6)


@pytest.mark.parametrize(("rows", "columns"), [(64, 32), (45, 70), (1, 33)])
def test_the_transposition_that_gpus_take_gives_numpys_result(rows: int, columns: int, context: Any):
    from gpucore_bench import kernels

    x = np.random.default_rng(4).random((rows, columns), dtype=np.float32)
    y = context.zeros((columns, rows), np.float32)
    kernels.transpose_wide[(-(-rows // 32), -(-columns // 32)), (8, 32)](context.array(x), y)
    np.testing.assert_array_equal(y.numpy(), x.T)


@pytest.mark.parametrize(
    "kernel, of_block, stride", [(kernels.matmul, 64, 16), (kernels.matmul_wide, 128, 8)], ids=str
)
def test_products_of_whole_tiles_run_without_checks(kernel, of_block, stride):
    matrices = [gc.Array[gc.f32, 2]] * 3
    bounds = LaunchBounds(
        analyse(kernel.ir(*matrices, ndim=2), is_range=False, small=True, block=(16, 16)), "auto", "k"
    )
    rows, columns = 2 * of_block, 3 * of_block
    for depth in (stride, 512, 512 + stride, 512 - 1, 512 + stride // 2):
        for short in (0, 1):
            shapes = {"a": (rows, depth), "b": (depth - short, columns), "c": (rows, columns)}
            reads = tuple(shapes[term.name][term.axis] for term in bounds.terms)
            launch = SimpleNamespace(shape=None, grid=(2, 3), block=(16, 16))
            assert (bounds.level(launch, reads) is False) == (depth % stride == short == 0)
