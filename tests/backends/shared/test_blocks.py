"""Threads of a block that work together: named cases that random kernels found, and random kernels."""

from __future__ import annotations

import numpy as np
import pytest

import gpucore as gc
from gpucore_fuzz import launch as fuzz_launch


@gc.kernel
def filled_by_one(y: gc.Array[gc.i32], who: gc.i32, limit: gc.i32):
    tile = gc.shared(4, gc.i32)
    t = gc.thread_id(0)
    if t == who:
        for k in range(4):
            tile[k] = 5 + k
    gc.barrier()
    if limit > 100:
        y[t] = -1
        return
    y[t] = tile[t % 4]
    gc.barrier()
    y[t] += 1


@pytest.mark.parametrize("block", [9, 16, 40])
def test_threads_that_a_branch_keeps_out_go_on_where_the_block_might_return_later(same, block):
    for who in (1, block - 1):
        (found,) = same(filled_by_one, 1, block, np.zeros(block, np.int32), who, 1)
        np.testing.assert_array_equal(found, np.arange(block) % 4 + 6)
        (found,) = same(filled_by_one, 1, block, np.zeros(block, np.int32), who, 101)
        np.testing.assert_array_equal(found, np.full(block, -1))


@gc.kernel
def until_told(x: gc.Array[gc.i32], y: gc.Array[gc.i32]):
    tile = gc.shared(64, gc.i32)
    t = gc.thread_id(0)
    tile[t] = t
    at = 0
    gc.barrier()
    while tile[at] < 2:
        at += x[0]
        gc.barrier()
    y[t] = at
    turns = 0
    for _ in range(50):
        if x[at] == turns:
            gc.barrier()
            break
        turns += x[1]
        gc.barrier()
    y[t] += turns


@gc.kernel
def until_done(x: gc.Array[gc.i32], y: gc.Array[gc.i32]):
    t = gc.thread_id(0)
    s = t
    while s < 30:
        s += x[0]
    turns = 0
    while s < 40:
        s += x[1]
        turns += 1
    y[t] = s * 100 + turns


@pytest.mark.parametrize("block", [3, 8, 9, 17, 23, 40])
def test_loops_that_memory_ends_in_blocks_of_any_size(same, block):
    x = np.array([1, 1, 7], np.int32)
    _, found = same(until_told, 1, block, x, np.zeros(block, np.int32))
    np.testing.assert_array_equal(found, np.full(block, 9))
    _, found = same(until_done, 1, block, x, np.zeros(block, np.int32))
    start = np.maximum(np.arange(block), 30)
    np.testing.assert_array_equal(found, np.maximum(start, 40) * 100 + np.maximum(40 - start, 0))


@pytest.mark.parametrize("seed", range(0, 20, 4))
def test_random_kernels_of_threads_that_work_together_give_the_bits_of_the_interpreter(
    gpucore_context, gpucore_backend, seed
):
    checked = seed % 3 == 0
    context = gpucore_context.options(check=checked)
    for one in range(seed, seed + 4):
        found = fuzz_launch.differs(context, fuzz_launch.block_case(context, one))
        assert found is None, fuzz_launch.report(found, gpucore_backend, checked=checked)
