"""A matrix product on tensor cores where the device has them: f16, bf16 and i8, checked against NumPy.

``python tile_matmul.py 8192`` measures matrices of that size.
"""

import sys
from typing import Any

import numpy as np

import gpucore as gc


@gc.kernel
def matmul(
    a: gc.Array2[gc.u32],
    bt: gc.Array2[gc.u32],
    c: gc.Array2[gc.f32],
    kind: gc.constexpr,
    sums: gc.constexpr,
    block: gc.constexpr,
    group: gc.constexpr,
    wide: gc.constexpr,
    step: gc.constexpr,
    per: gc.constexpr,
) -> None:
    """``c = a @ bt.T`` of matrices whose rows are words of several elements.

    A block of ``step * wide`` threads makes ``block`` elements of ``c``, each group of 32 threads ``group`` of them. While it
    works on ``wide`` words of each row in shared memory, the next ones are on their way.
    """
    rows = gc.shared((2, block[0], wide + 4), gc.u32)
    columns = gc.shared((2, block[1], wide + 4), gc.u32)
    t = gc.thread_id(1)
    i, j = t // 32 // (block[1] // group[1]) * group[0], t // 32 % (block[1] // group[1]) * group[1]
    top, left = gc.block_id(0) * block[0], gc.block_id(1) * block[1]
    r, q = t // wide, t % wide
    x, y = gc.local(block[0] // step, gc.u32), gc.local(block[1] // step, gc.u32)
    for e in gc.static_range(block[0] // step):
        rows[0, r + e * step, q] = a[top + r + e * step, q]
    for e in gc.static_range(block[1] // step):
        columns[0, r + e * step, q] = bt[left + r + e * step, q]
    gc.barrier()
    total = gc.tile.zeros(group, sums)
    for n in range(a.shape[1] // wide):
        now, following = n % 2, (n + 1) * wide
        if following < a.shape[1]:
            for e in gc.static_range(block[0] // step):
                x[e] = a[top + r + e * step, following + q]
            for e in gc.static_range(block[1] // step):
                y[e] = bt[left + r + e * step, following + q]
        for s in gc.static_range(wide // 8):
            factor = gc.tile.load_a(rows[now, :, :], (i, 8 * s), (group[0], 8 * per), kind)
            total += factor @ gc.tile.load_b(columns[now, :, :].T, (8 * s, j), (8 * per, group[1]), kind)
        if following < a.shape[1]:
            for e in gc.static_range(block[0] // step):
                rows[1 - now, r + e * step, q] = x[e]
            for e in gc.static_range(block[1] // step):
                columns[1 - now, r + e * step, q] = y[e]
        gc.barrier()
    gc.tile.store(c, (top + i, left + j), total)


def random_words(rng: np.random.Generator, kind: Any, shape: tuple[int, int]) -> tuple[Any, Any]:
    """Small integers, whose products no order of sums rounds, as numbers and as words of the dtype."""
    most = 128 if kind is gc.i8 else 4
    numbers = rng.integers(-most, most, shape).astype(np.int8)
    if kind is gc.bf16:  # the upper half of an f32
        stored = (numbers.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    else:
        stored = numbers.astype(np.float16 if kind is gc.f16 else np.int8)
    return numbers, stored.view(np.uint32)


def main(size: int = 128) -> None:
    rng = np.random.default_rng(1)
    wide = 16
    kinds: tuple[Any, ...] = (gc.f16, gc.bf16, gc.i8)
    for kind in kinds:
        per, sums = (4, gc.i32) if kind is gc.i8 else (2, gc.f32)
        with gc.Context() as ctx, ctx.stream() as stream:
            (a, words_a), (b, words_b) = (random_words(rng, kind, (size, size)) for _ in range(2))
            on_tensor_cores = ctx.device.capabilities.supports(kind, "tile") and size % 128 == 0
            block, group = ((128, 128), (64, 64)) if on_tensor_cores else ((64, 64), (32, 32))
            threads = block[0] // group[0] * (block[1] // group[1]) * 32
            given = ctx.array(words_a), ctx.array(words_b)
            c = ctx.zeros((size, size), gc.f32)
            grid = size // block[0], size // block[1]
            product = matmul[grid, (1, threads), stream]
            constants = (kind, sums, block, group, wide, threads // wide, per)
            product(*given, c, *constants)
            # some rows are enough to see what is wrong with a tile
            chosen = np.r_[0 : min(size, 256), size - 1]
            wanted = a[chosen].astype(np.float64) @ b.T.astype(np.float64)
            assert np.array_equal(c.numpy(stream=stream)[chosen], wanted), kind
            start = stream.record(ctx.event(timing=True))
            for _ in range(3):
                product(*given, c, *constants)
            end = stream.record(ctx.event(timing=True))
            end.synchronize()
            rate = 3 * 2 * size**3 / start.elapsed_time(end) / 1e9
            where = "tensor cores" if on_tensor_cores else "loops"
            print(f"{kind}: as NumPy; {rate:.3g} Tflop/s on {ctx.backend}, by {where}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
