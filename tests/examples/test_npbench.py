"""Twelve kernels after NPBench: right as NumPy's, and at most 1.3 times as long as in Numba."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import gpucore as gc

OURS = Path(__file__).parents[2] / "examples" / "npbench.py"
NUMBA = Path(__file__).parent / "numba_npbench.py"
PORTS = {
    "arc_distance": ("arc_distance",), "mandelbrot": ("mandelbrot",), "jacobi_2d": ("relax_2d", "jacobi_2d"),
    "heat_3d": ("bend", "relax_3d", "heat_3d"), "mvt": ("dot", "mvt"), "floyd_warshall": ("shorten", "floyd_warshall"),
    "softmax": ("softmax",), "nbody": ("Body", "pull", "move", "nbody"), "spmv": ("spmv",), "fft": ("butterfly", "fft"),
    "conv2d": ("conv2d",), "azimint": ("azimint",),
}  # fmt: skip
"""The functions of each port; Numba's have the same names, as far as there are any."""


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"of_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def ours() -> ModuleType:
    return load(OURS)


def lines_of(path: Path) -> dict[str, int]:
    """Lines of code of each function and class of a file, decorators included, blank lines and comments not."""
    text = path.read_text(encoding="utf-8")
    rows = text.splitlines()
    found: dict[str, int] = {}
    for node in ast.parse(text).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            code = [row.strip() for row in rows[first - 1 : node.end_lineno]]
            found[node.name] = sum(1 for row in code if row and not row.startswith("#"))
    return found


@pytest.mark.parametrize("port", PORTS)
def test_a_port_is_at_most_1_3_times_as_long_as_in_numba(port: str) -> None:
    kernels, numba = lines_of(OURS), lines_of(NUMBA)
    here = sum(kernels[name] for name in PORTS[port])
    there = sum(numba.get(name, 0) for name in PORTS[port])
    assert there > 0
    assert here <= 1.3 * there, f"{port}: {here} lines, {there} in Numba"


# --- what NumPy makes of the same data -------------------------------------------------------------------
def random(*shape: int, seed: int = 0) -> npt.NDArray[np.float64]:
    return np.random.default_rng(seed).random(shape)


def distance_of(theta: npt.NDArray[Any], phi: npt.NDArray[Any]) -> npt.NDArray[Any]:
    turn = np.sin((phi[1] - phi[0]) / 2) ** 2
    between = np.sin((theta[1] - theta[0]) / 2) ** 2 + np.cos(theta[0]) * np.cos(theta[1]) * turn
    result: npt.NDArray[Any] = 2 * np.arctan2(np.sqrt(between), np.sqrt(1 - between))
    return result


def counts_of(shape: tuple[int, int], corner: complex, step: float, limit: int) -> npt.NDArray[Any]:
    y, x = np.indices(shape)
    c = corner + x * step + 1j * (y * step)
    z, counts = c.copy(), np.zeros(shape, np.int32)
    for _ in range(limit):
        inside = np.abs(z) <= 2
        counts += inside
        z = np.where(inside, z * z + c, z)
    return counts


def relaxed_2d(a: npt.NDArray[Any], b: npt.NDArray[Any], steps: int) -> None:
    for _ in range(steps):
        for x, y in ((a, b), (b, a)):
            y[1:-1, 1:-1] = 0.2 * (x[1:-1, 1:-1] + x[1:-1, :-2] + x[1:-1, 2:] + x[2:, 1:-1] + x[:-2, 1:-1])


def relaxed_3d(a: npt.NDArray[Any], b: npt.NDArray[Any], steps: int) -> None:
    for _ in range(steps):
        for x, y in ((a, b), (b, a)):
            inner = x[1:-1, 1:-1, 1:-1]
            bends = (
                x[2:, 1:-1, 1:-1] + x[:-2, 1:-1, 1:-1] + x[1:-1, 2:, 1:-1] + x[1:-1, :-2, 1:-1] + x[1:-1, 1:-1, 2:]
                + x[1:-1, 1:-1, :-2] - 6 * inner
            )  # fmt: skip
            y[1:-1, 1:-1, 1:-1] = 0.125 * bends + inner


def pulled(
    place: npt.NDArray[Any],
    speed: npt.NDArray[Any],
    mass: npt.NDArray[Any],
    dt: float,
    soft: float,
    steps: int,
) -> None:
    for _ in range(steps):
        d = place[None] - place[:, None]
        weight = mass[None] * ((d * d).sum(2) + soft * soft) ** -1.5
        speed += (d * weight[..., None]).sum(1) * dt
        place += speed * dt


def convolved(
    images: npt.NDArray[Any], weights: npt.NDArray[Any], bias: npt.NDArray[Any]
) -> npt.NDArray[Any]:
    windows = np.lib.stride_tricks.sliding_window_view(images, weights.shape[:2], axis=(1, 2))
    result: npt.NDArray[Any] = np.einsum("nyxkij,ijkc->nyxc", windows, weights) + bias
    return result


def sparse(
    rows: int, columns: int
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    dense = np.where(random(rows, columns, seed=1) < 0.2, random(rows, columns, seed=2), 0)
    starts = np.concatenate([[0], np.count_nonzero(dense, axis=1).cumsum()]).astype(np.int32)
    return starts, np.nonzero(dense)[1].astype(np.int32), dense[dense != 0], dense


def azimint_of(
    data: npt.NDArray[Any], radius: npt.NDArray[Any], width: float, rings: int
) -> npt.NDArray[Any]:
    inside = [(ring * width <= radius) & (radius < (ring + 1) * width) for ring in range(rings)]
    return np.array([data[mask].mean() for mask in inside])


THETA, PHI = random(2, 100), random(2, 100, seed=3)
GRID, CUBE = random(20, 30), random(8, 9, 10)
MATRIX, VECTORS = random(40, 40), random(4, 40, seed=1)
PATHS = np.random.default_rng(0).integers(1, 100, (30, 30)).astype(np.int32)
np.fill_diagonal(PATHS, 0)
FOUR = random(3, 2, 4, 16).astype(np.float32)
IMAGES, WEIGHTS, BIAS = (random(*s).astype(np.float32) for s in ((2, 8, 9, 3), (3, 3, 3, 4), (4,)))
WAVES = random(64) + 1j * random(64, seed=1)
RINGS = random(500, seed=5)


def shortest(path: npt.NDArray[Any]) -> npt.NDArray[Any]:
    found = path.copy()
    for k in range(len(found)):
        found = np.minimum(found, found[:, k, None] + found[None, k])
    return found


def exponentials(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    raised = np.exp(x - x.max(-1, keepdims=True))
    result: npt.NDArray[Any] = raised / raised.sum(-1, keepdims=True)
    return result


def check(found: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> None:
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=1e-5 if found.dtype == np.float32 else 1e-11)


def test_elementwise_and_complex(ours: ModuleType, gpucore_context: gc.Context) -> None:
    ctx = gpucore_context
    out, counts = ctx.zeros(100, gc.f64), ctx.zeros((20, 30), gc.i32)
    ours.arc_distance.over(100)(ctx.array(THETA), ctx.array(PHI), out)
    check(out.numpy(), distance_of(THETA, PHI))
    ours.mandelbrot.over((20, 30))(counts, -2 - 1j, 0.1, 50)
    np.testing.assert_array_equal(counts.numpy(), counts_of((20, 30), -2 - 1j, 0.1, 50))
    check(ours.fft(ctx.array(WAVES)).numpy(), np.fft.fft(WAVES))


def test_stencils(ours: ModuleType, gpucore_context: gc.Context) -> None:
    ctx = gpucore_context
    for data, ported, numpys in (
        (GRID, ours.jacobi_2d, relaxed_2d),
        (CUBE, ours.heat_3d, relaxed_3d),
    ):
        a, b = ctx.array(data), ctx.array(data)
        ported(a, b, 3)
        wanted = data.copy(), data.copy()
        numpys(*wanted, 3)
        check(a.numpy(), wanted[0])
        check(b.numpy(), wanted[1])


def test_matrices_and_paths(ours: ModuleType, gpucore_context: gc.Context) -> None:
    ctx = gpucore_context
    x = ctx.array(VECTORS[:2])
    ours.mvt.over(40)(ctx.array(MATRIX), x, ctx.array(VECTORS[2:]))
    check(x.numpy(), np.stack([VECTORS[0] + MATRIX @ VECTORS[2], VECTORS[1] + MATRIX.T @ VECTORS[3]]))
    starts, columns, values, dense = sparse(30, 40)
    y = ctx.zeros(30, gc.f64)
    ours.spmv.over(30)(*(ctx.array(v) for v in (starts, columns, values, VECTORS[0])), y)
    check(y.numpy(), dense @ VECTORS[0])
    path = ctx.array(PATHS)
    ours.floyd_warshall(path)
    np.testing.assert_array_equal(path.numpy(), shortest(PATHS))


def test_four_axes(ours: ModuleType, gpucore_context: gc.Context) -> None:
    ctx = gpucore_context
    out = ctx.zeros(FOUR.shape, gc.f32)
    ours.softmax.over(FOUR.shape[:3])(ctx.array(FOUR), out)
    check(out.numpy(), exponentials(FOUR))
    result = ctx.zeros((2, 6, 7, 4), gc.f32)
    ours.conv2d.over(result.shape)(ctx.array(IMAGES), ctx.array(WEIGHTS), ctx.array(BIAS), result)
    check(result.numpy(), convolved(IMAGES, WEIGHTS, BIAS))


def test_bodies_and_rings(ours: ModuleType, gpucore_context: gc.Context) -> None:
    ctx = gpucore_context
    bodies = np.zeros(16, ours.Body.numpy)
    bodies["place"], bodies["mass"] = random(16, 3), random(16, seed=1)
    place, speed = bodies["place"].copy(), bodies["speed"].copy()
    pulled(place, speed, bodies["mass"], 0.01, 0.1, 3)
    moved = ctx.array(bodies, ours.Body)
    ours.nbody(moved, 0.01, 0.1, 3)
    check(moved.numpy()["place"], place)
    check(moved.numpy()["speed"], speed)
    out = ctx.zeros(10, gc.f64)
    ours.azimint[10, 64](ctx.array(RINGS), ctx.array(random(500, seed=6)), 0.1, out)
    check(out.numpy(), azimint_of(RINGS, random(500, seed=6), 0.1, 10))


def test_numbas_versions_are_right_too() -> None:
    pytest.importorskip("numba", reason="Numba's versions need Numba: pip install numba")
    theirs = load(NUMBA)
    out = np.zeros(100)
    theirs.arc_distance(THETA, PHI, out)
    check(out, distance_of(THETA, PHI))
    counts = np.zeros((20, 30), np.int32)
    theirs.mandelbrot(counts, -2 - 1j, 0.1, 50)
    np.testing.assert_array_equal(counts, counts_of((20, 30), -2 - 1j, 0.1, 50))
    check(theirs.fft(WAVES.copy()), np.fft.fft(WAVES))
    for data, ported, numpys in ((GRID, theirs.jacobi_2d, relaxed_2d), (CUBE, theirs.heat_3d, relaxed_3d)):
        found, wanted = (data.copy(), data.copy()), (data.copy(), data.copy())
        ported(*found, 3)
        numpys(*wanted, 3)
        check(found[0], wanted[0])
        check(found[1], wanted[1])
    x = VECTORS[:2].copy()
    theirs.mvt(MATRIX, x, VECTORS[2:])
    check(x, np.stack([VECTORS[0] + MATRIX @ VECTORS[2], VECTORS[1] + MATRIX.T @ VECTORS[3]]))
    starts, columns, values, dense = sparse(30, 40)
    y = np.zeros(30)
    theirs.spmv(starts, columns, values, VECTORS[0], y)
    check(y, dense @ VECTORS[0])
    path = PATHS.copy()
    theirs.floyd_warshall(path)
    np.testing.assert_array_equal(path, shortest(PATHS))
    four = np.zeros_like(FOUR)
    theirs.softmax(FOUR, four)
    check(four, exponentials(FOUR))
    result = np.zeros((2, 6, 7, 4), np.float32)
    theirs.conv2d(IMAGES, WEIGHTS, BIAS, result)
    check(result, convolved(IMAGES, WEIGHTS, BIAS))
    place, speed, mass = random(16, 3), np.zeros((16, 3)), random(16, seed=1)
    wanted_place, wanted_speed = place.copy(), speed.copy()
    theirs.nbody(place, speed, mass, 0.01, 0.1, 3)
    pulled(wanted_place, wanted_speed, mass, 0.01, 0.1, 3)
    check(place, wanted_place)
    rings = np.zeros(10)
    theirs.azimint(RINGS, random(500, seed=6), 0.1, rings)
    check(rings, azimint_of(RINGS, random(500, seed=6), 0.1, 10))
