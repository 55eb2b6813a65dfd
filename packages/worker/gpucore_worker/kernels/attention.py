"""Attention over a cache of keys and values."""

from __future__ import annotations

from functools import cache

import gpucore as gc
from gpucore_worker.kernels.trees import greatest_of_rows, sum_of_rows

__all__ = ["TILE", "attention"]

TILE = 64
"""Positions whose weights are found before the sums are scaled anew."""


@cache
def attention(size: int, split: bool) -> gc.Kernel:
    """The kernel of attention for heads of ``size`` elements: a block for each token and head, ``TILE`` threads in it.

    The softmax is online (Milakov and Gimelshein, 2018): tile after tile from the first one within the window on, so that its
    order depends on the position alone. ``ids[0]`` is the position of the first token.
    """
    wide = gc.cdiv(size, TILE)

    @gc.kernel
    def attend(
        queries: gc.Array[gc.f32, 2], key_cache: gc.Array[gc.f32, 4], value_cache: gc.Array[gc.f32, 4],
        out: gc.Array[gc.f32, 2], ids: gc.Array[gc.i32, 1], heads: gc.i32, scale: gc.f32, window: gc.i32,
    ) -> None:  # fmt: skip
        query = gc.shared((size,), gc.f32)
        weights = gc.shared((TILE,), gc.f32)
        t = gc.block_id(0)
        head = gc.block_id(1)
        thread = gc.thread_id(1)
        shared_head = head // (heads // key_cache.shape[1])
        for w in gc.static_range(wide):
            if thread + w * TILE < size:
                query[thread + w * TILE] = queries[t, head * size + thread + w * TILE]
        gc.barrier()
        last = ids[0] + t
        begin = max(last + 1 - window, 0)
        largest = gc.f32(-3.0e38)
        mass = gc.f32(0)
        sums = gc.local((wide,), gc.f32)
        for tile in range(begin // TILE, last // TILE + 1):
            position = tile * TILE + thread
            score = gc.f32(-3.0e38)
            if position >= begin and position <= last:
                score = gc.f32(0)
                for k in range(size):
                    score += query[k] * key_cache[tile, shared_head, k, thread]
                score *= scale
            if split:
                greatest = max(largest, gc.block_max(score))
            else:
                greatest = max(largest, greatest_of_rows(score, weights, thread))
            fade = gc.exp(largest - greatest)
            weight = gc.f32(0)
            if position >= begin and position <= last:
                weight = gc.exp(score - greatest)
            if split:
                weights[thread] = weight
                mass = mass * fade + gc.block_sum(weight)
            else:
                mass = mass * fade + sum_of_rows(weight, weights, thread)
                weights[thread] = weight
                gc.barrier()
            for w in gc.static_range(wide):
                place = thread + w * TILE
                part = sums[w] * fade
                if place < size:
                    for k in range(min(TILE, last + 1 - tile * TILE)):
                        part += weights[k] * value_cache[tile, shared_head, k, place]
                sums[w] = part
            largest = greatest
            gc.barrier()
        for w in gc.static_range(wide):
            if thread + w * TILE < size:
                out[t, head * size + thread + w * TILE] = sums[w] / mass

    return attend
