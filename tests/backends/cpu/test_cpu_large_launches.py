"""Launches too large for the caches write whole vectors past them: the results are the same."""

from __future__ import annotations

import numpy as np
import pytest

import gpucore as gc
from gpucore_cpu.runtime import launch


@gc.kernel
def triad(x: gc.Array[gc.f32], y: gc.Array[gc.f32], z: gc.Array[gc.f32], a: gc.f32):
    i = gc.global_id(0)
    if i < z.shape[0]:
        z[i] = x[i] + a * y[i]


@gc.kernel
def widen(x: gc.Array[gc.u8], y: gc.Array[gc.f64]):
    i = gc.global_id(0)
    if i < y.shape[0]:
        y[i] = gc.f64(x[i])


@gc.kernel
def rows(x: gc.Array[gc.f32, 2], y: gc.Array[gc.f32, 2]):
    r, c = gc.global_id(0), gc.global_id(1)
    if r < y.shape[0] and c < y.shape[1]:
        y[r, c] = -x[r, c]


@gc.kernel
def accumulate(x: gc.Array[gc.f32], y: gc.Array[gc.f32]):
    i = gc.global_id(0)
    if i < y.shape[0]:
        y[i] = y[i] + x[i]


@pytest.fixture(params=["large", "small"])
def context(request, monkeypatch):
    """A context for which every launch is large, or small, whatever its size."""
    monkeypatch.setattr(launch, "last_level_cache", lambda: 0 if request.param == "large" else 1 << 60)
    with gc.Context("cpu") as opened:
        yield opened


@pytest.mark.parametrize("first", [0, 1, 15, 16])
@pytest.mark.parametrize("size", [1, 16, 64, 1000, 100_003])
def test_every_element_is_written_wherever_the_array_begins_and_ends(context, first, size):
    numbers = np.arange(size, dtype=np.float32)
    x, y = context.array(numbers), context.array(numbers[::-1].copy())
    whole = context.full(first + size + 40, -1.0, gc.f32)
    triad.over(size)(x, y, whole[first : first + size], 0.5)
    result = whole.numpy()
    np.testing.assert_array_equal(result[first : first + size], numbers + np.float32(0.5) * numbers[::-1])
    assert (result[:first] == -1).all() and (result[first + size :] == -1).all()


def test_elements_of_other_widths(context):
    numbers = np.arange(70_001).astype(np.uint8)
    y = context.zeros(numbers.size, gc.f64)
    widen.over(numbers.size)(context.array(numbers), y)
    np.testing.assert_array_equal(y.numpy(), numbers.astype(np.float64))


@pytest.mark.parametrize("columns", [48, 67])
def test_rows_that_begin_anywhere(context, columns):
    numbers = np.arange(50 * columns, dtype=np.float32).reshape(50, columns)
    y = context.zeros(numbers.shape, gc.f32)
    rows.over(numbers.shape)(context.array(numbers), y)
    np.testing.assert_array_equal(y.numpy(), -numbers)


def test_what_one_launch_writes_the_next_reads(context):
    x, y, z = (context.ones(300_000, gc.f32) for _ in range(3))
    for _ in range(5):
        triad.over(z.size)(x, y, z, 1.0)
        accumulate.over(z.size)(z, y)
    np.testing.assert_array_equal(y.numpy(), np.full(300_000, 63, np.float32))
