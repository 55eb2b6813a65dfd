"""Local memory from a few bytes to more than a thread's stack, and than the machine can give."""

import numpy as np
import pytest

pytest.importorskip("gpucore_cpu")

import gpucore as gc

THREADS = 64
STEPS = 200


@gc.kernel
def plain(out: gc.Array[gc.i32], size: gc.constexpr):
    i = gc.global_id(0)
    line = gc.local(size, gc.i32)
    for j in range(200):
        line[(j * 7919 + i) % size] += gc.i32(i) + j
    out[i] = line[size // 2] + line[0] + line[size - 1]


@gc.kernel
def over_a_barrier(out: gc.Array[gc.i32], size: gc.constexpr):
    i = gc.global_id(0)
    line = gc.local(size, gc.i32)
    for j in range(200):
        line[(j * 7919 + i) % size] += gc.i32(i) + j
    gc.barrier()
    out[i] = line[size // 2] + line[0] + line[size - 1]


@gc.kernel
def before_a_barrier(out: gc.Array[gc.i32], size: gc.constexpr):
    i = gc.global_id(0)
    line = gc.local(size, gc.i32)
    for j in range(200):
        line[(j * 7919 + i) % size] += gc.i32(i) + j
    found = line[size // 2] + line[0] + line[size - 1]
    gc.barrier()
    out[i] = found


def wanted(size):
    i = np.arange(THREADS, dtype=np.int64)[:, None]
    j = np.arange(STEPS, dtype=np.int64)
    places, values = (j * 7919 + i) % size, i + j
    return sum(np.where(places == place, values, 0).sum(1) for place in (size // 2, 0, size - 1))


@pytest.fixture(scope="module")
def ctx():
    with gc.Context("cpu") as context:
        yield context


@pytest.mark.parametrize("kernel", [plain, over_a_barrier, before_a_barrier], ids=lambda k: k.__name__)
@pytest.mark.parametrize(
    "nbytes, grid, block",
    [(1 << 10, 2, 40), (100 << 10, 2, 40), (1 << 20, 2, 40), (1 << 20, 4, 16), (16 << 20, 1, 16)],
)
def test_local_memory_of_any_size_holds_what_was_stored(ctx, kernel, nbytes, grid, block):
    threads = min(THREADS, grid * block)
    size = nbytes // 4
    out = ctx.zeros(THREADS * 2, gc.i32)
    kernel[grid, block](out, size)
    np.testing.assert_array_equal(out.numpy()[:threads], wanted(size)[:threads])


@gc.func
def inner(x: gc.i32):
    held = gc.local(20000, gc.i32)
    for j in range(10):
        held[(j * 1999 + x) % 20000] += x + j
    return held[x] + held[(1999 + x) % 20000]


@gc.func
def outer(x: gc.i32):
    held = gc.local(20000, gc.i32)
    held[(x * 37) % 20000] = x
    total = inner(x) + inner(x + 1)
    return total + held[(x * 37) % 20000]


@gc.kernel
def through_functions(out: gc.Array[gc.i32]):
    i = gc.global_id(0)
    mine = gc.local(30000, gc.i32)
    mine[29999] = gc.i32(i)
    mine[i] = outer(gc.i32(i)) + outer(3)
    out[i] = mine[i] * 2 + mine[29999]


def test_large_local_memories_of_functions_that_call_each_other_are_apart(ctx):
    out = ctx.zeros(THREADS, gc.i32)
    through_functions[2, 32](out)
    expected = out.numpy() * 0
    through_functions.interpret(2, 32, expected, detect_races=False)
    np.testing.assert_array_equal(out.numpy(), expected)


def test_more_local_memory_than_a_launch_may_have_is_an_error_and_the_context_lives_on(ctx):
    out = ctx.zeros(1024, gc.i32)
    with pytest.raises(gc.OutOfMemoryError, match="local memory") as caught:
        over_a_barrier[1, 1024](out, 1 << 22)
    assert caught.value.requested > caught.value.limit > 0
    over_a_barrier[1, 64](out, 256)
    np.testing.assert_array_equal(out.numpy()[:THREADS], wanted(256))
