"""``gc.tile``: products of matrices on every backend, as NumPy computes them."""

import ml_dtypes
import numpy as np
import pytest

import gpucore as gc
from gpucore.errors import KernelBoundsError, LaunchError

FACTORS = [(gc.f16, np.float16), (gc.bf16, ml_dtypes.bfloat16), (gc.i8, np.int8)]


@gc.func
def step(total, left, right):
    total += left @ right


@gc.kernel
def matmul(
    a: gc.Array, b: gc.Array, c: gc.Array, rows: gc.constexpr, columns: gc.constexpr, deep: gc.constexpr
) -> None:
    """Each group of 32 threads has a tile of the result; a block has a row of groups."""
    i = gc.block_id(0) * rows
    j = (gc.block_id(1) * (gc.block_dim(0) * gc.block_dim(1) // 32) + gc.thread_id(0)) * columns
    total = gc.tile.zeros((rows, columns), c.dtype)
    for k in range(0, a.shape[1], deep):
        left = gc.tile.load_a(a, (i, k), (rows, deep))
        step(total, left, gc.tile.load_b(b, (k, j), (deep, columns)))
    gc.tile.store(c, (i, j), total)


def factors(kind, m, n, k, seed=0):
    """Matrices whose products no order of sums rounds."""
    rng = np.random.default_rng(seed)
    low, high = (-128, 128) if kind is np.int8 else (-8, 9)
    return (rng.integers(low, high, shape).astype(kind) for shape in ((m, k), (k, n)))


def exact(a, b):
    wide = np.int32 if a.dtype == np.int8 else np.float32
    return a.astype(wide) @ b.astype(wide)


@pytest.mark.parametrize(("dtype", "kind"), FACTORS)
@pytest.mark.parametrize("shape", [(16, 8, 16), (32, 16, 32), (16, 24, 48)])
def test_products_are_numpys(gpucore_context, dtype, kind, shape):
    rows, columns, deep = shape
    m, n, k = 2 * rows, 4 * columns, 2 * deep
    a, b = factors(kind, m, n, k)
    ctx = gpucore_context
    c = ctx.zeros((m, n), gc.i32 if kind is np.int8 else gc.f32)
    matmul[(2, 2), (2, 32)](ctx.array(a), ctx.array(b), c, rows, columns, deep)
    np.testing.assert_array_equal(c.numpy(), exact(a, b))


@pytest.mark.parametrize(("dtype", "kind"), FACTORS)
def test_the_interpreter_gives_the_same(dtype, kind):
    a, b = factors(kind, 16, 32, 48)
    c = np.zeros((16, 32), np.int32 if kind is np.int8 else np.float32)
    matmul.interpret((1, 2), (2, 32), a, b, c, 16, 8, 48)
    np.testing.assert_array_equal(c, exact(a, b))


@gc.kernel
def over_shared(
    a: gc.Array2[gc.f16], bt: gc.Array3[gc.f16], c: gc.Array2[gc.f16], start: gc.Array2[gc.f32]
) -> None:
    rows = gc.shared((32, 24), gc.f16)
    t = gc.thread_id(0)
    group = t // 32
    total = gc.tile.load_c(start, (group * 16, 0), (16, 16))
    for k in range(0, a.shape[1], 16):
        for e in range(t, 32 * 16, gc.block_dim(0)):
            rows[e // 16, e % 16] = a[e // 16, k + e % 16]
        gc.barrier()
        left = gc.tile.load_a(rows, (group * 16, 0), (16, 16))
        total += left @ gc.tile.load_b(bt[1].T, (k, 0), (16, 16))
        gc.barrier()
    gc.tile.store(c, (group * 16, 0), total)


def test_parts_of_arrays_shared_memory_and_sums_that_go_on(gpucore_context):
    a, b = factors(np.float16, 32, 16, 48, seed=1)
    start = np.random.default_rng(2).integers(0, 9, (32, 16)).astype(np.float32)
    ctx = gpucore_context
    bt = ctx.array(np.stack([np.zeros_like(b.T), b.T]))
    c = ctx.zeros((32, 16), gc.f16)
    over_shared[1, 64](ctx.array(a), bt, c, ctx.array(start))
    np.testing.assert_array_equal(c.numpy(), (exact(a, b) + start).astype(np.float16))


@gc.kernel
def words(
    a: gc.Array2[gc.u32],
    b: gc.Array,
    bt: gc.Array2[gc.u32],
    c: gc.Array,
    both: gc.Array,
    kind: gc.constexpr,
    deep: gc.constexpr,
) -> None:
    """Factors in words, and one of them in words."""
    held = gc.shared((16, 9), gc.u32)
    t = gc.thread_id(0)
    for e in range(t, 16 * a.shape[1], 32):
        held[e // a.shape[1], e % a.shape[1]] = a[e // a.shape[1], e % a.shape[1]]
    gc.barrier()
    total, other = gc.tile.zeros((16, 8), c.dtype), gc.tile.zeros((16, 8), c.dtype)
    left = gc.tile.load_a(held, (0, 0), (16, deep), kind)
    total += left @ gc.tile.load_b(b, (0, 0), (deep, 8))
    other += left @ gc.tile.load_b(bt.T, (0, 0), (deep, 8), kind)
    gc.tile.store(c, (0, 0), total)
    gc.tile.store(both, (0, 0), other)


@pytest.mark.parametrize(("dtype", "kind"), FACTORS)
def test_words_hold_elements_that_follow_one_another(gpucore_context, dtype, kind):
    ctx, per = gpucore_context, 4 // np.dtype(kind).itemsize
    deep = 8 * per
    a, b = factors(kind, 16, 8, deep, seed=4)
    c, both = (ctx.zeros((16, 8), gc.i32 if kind is np.int8 else gc.f32) for _ in range(2))
    left, right = (ctx.array(np.ascontiguousarray(x).view(np.uint32)) for x in (a, b.T))
    words[1, 32](left, ctx.array(b), right, c, both, dtype, deep)
    np.testing.assert_array_equal(c.numpy(), exact(a, b))
    np.testing.assert_array_equal(both.numpy(), exact(a, b))


@gc.kernel
def sums_of_bytes(a: gc.Array2[gc.i8], c: gc.Array2[gc.i32]) -> None:
    total = gc.tile.load_c(c, (0, 0), (16, 16))
    left, right = gc.tile.load_a(a, (0, 0), (16, 16)), gc.tile.load_b(a, (0, 0), (16, 16))
    for _ in range(3):
        total += left @ right
    gc.tile.store(c.T, (0, 0), total)


def test_sums_of_bytes_wrap(same):
    rng = np.random.default_rng(3)
    a = rng.integers(-128, 128, (16, 16)).astype(np.int8)
    c = rng.integers(-(2**31), 2**31, (16, 16)).astype(np.int32)
    c[0] = 2**31 - 1
    _, found = same(sums_of_bytes, 1, 32, a, c)
    wanted = c.astype(np.int64) + 3 * (a.astype(np.int64) @ a.astype(np.int64))
    np.testing.assert_array_equal(found, wanted.astype(np.int32).T)


@gc.kernel
def of_halves(a: gc.Array2[gc.bf16], b: gc.Array2[gc.bf16], c: gc.Array2[gc.f32]) -> None:
    total = gc.tile.load_c(c, (0, 0), (16, 8))
    total += gc.tile.load_a(a, (0, 0), (16, 48)) @ gc.tile.load_b(b, (0, 0), (48, 8))
    gc.tile.store(c, (0, 0), total)


def test_loops_round_as_the_interpreter_does(gpucore_context, same):
    if gpucore_context.device.capabilities.supports(gc.bf16, "tile"):
        pytest.skip("tensor cores round in their own way")
    rng = np.random.default_rng(5)
    a, b = (rng.standard_normal(shape).astype(ml_dtypes.bfloat16) for shape in ((16, 48), (48, 8)))
    same(of_halves, 1, 32, a, b, rng.standard_normal((16, 8)).astype(np.float32))


def test_products_of_bytes_are_portable_and_those_of_floats_are_not():
    assert sums_of_bytes.portable
    assert not over_shared.portable
    assert over_shared.portability_note.startswith(
        "tensor cores round sums of products of f16 in their own way (line "
    )


def test_a_block_has_whole_groups(gpucore_context):
    ctx = gpucore_context
    a, c = ctx.zeros((16, 16), gc.i8), ctx.zeros((16, 16), gc.i32)
    with pytest.raises(LaunchError, match=r"sums_of_bytes: .* a multiple of 32 threads; \(48,\) has 48"):
        sums_of_bytes[1, 48](a, c)
    with pytest.raises(LaunchError, match="a multiple of 32"):
        sums_of_bytes.interpret(1, 48, np.zeros((16, 16), np.int8), np.zeros((16, 16), np.int32))


def test_a_tile_past_the_end_is_an_error_at_its_line(gpucore_context):
    ctx = gpucore_context
    a, c = ctx.zeros((16, 12), gc.i8), ctx.zeros((16, 16), gc.i32)
    with pytest.raises(KernelBoundsError) as caught:
        sums_of_bytes[1, 32](a, c)
        ctx.synchronize()
    assert caught.value.array == "a"
    assert caught.value.shape == (16, 12)
