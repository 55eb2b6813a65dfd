"""Attention over a cache of keys and values."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import gpucore as gc
from gpucore_worker.kernels.trees import greatest_of_rows, sum_of_rows

__all__ = ["LOWEST", "TILE", "attention", "attention_of_tiles"]

TILE = 64
"""Positions that have a softmax of their own before they are joined with those before them."""
LOWEST = -3.0e38
"""Less than any score."""


@cache
def attention(size: int, split: bool) -> gc.Kernel:
    """The kernel of attention for heads of ``size`` elements: a block for each token and head, ``TILE`` threads in it.

    Each tile of positions has its own greatest score, sum of weights and weighted sum of values; tiles are joined one after the
    other from the first within the window on, by the rule of the online softmax (Milakov and Gimelshein, 2018). So the order
    depends on the position alone, and tiles may be computed beside each other (Dao and others, Flash-Decoding, 2023):
    ``attention_of_tiles`` and ``product_of_tiles`` give the same bits. ``ids[0]`` is the position of the first token.
    """
    wide = gc.cdiv(size, TILE)
    tile_of = _tile(size, split)

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
        largest = gc.f32(LOWEST)
        mass = gc.f32(0)
        sums = gc.local((wide,), gc.f32)
        for tile in range(begin // TILE, last // TILE + 1):
            greatest, tile_mass = tile_of(
                query, weights, key_cache, tile, shared_head, thread, begin, last, scale
            )
            grown = max(largest, greatest)
            fade, share = gc.exp(largest - grown), gc.exp(greatest - grown)
            mass = mass * fade + tile_mass * share
            for w in gc.static_range(wide):
                place = thread + w * TILE
                part = gc.f32(0)
                if place < size:
                    for k in range(min(TILE, last + 1 - tile * TILE)):
                        part += weights[k] * value_cache[tile, shared_head, k, place]
                sums[w] = sums[w] * fade + part * share
            largest = grown
            gc.barrier()
        for w in gc.static_range(wide):
            if thread + w * TILE < size:
                out[t, head * size + thread + w * TILE] = sums[w] / mass

    return attend


@cache
def attention_of_tiles(size: int) -> gc.Kernel:
    """For one token on a GPU: what each tile has by itself, a block for each head and tile; ``product_of_tiles`` joins it.

    ``parts`` (heads, tiles, size) takes the weighted sums of values, ``marks`` (2, heads, tiles) greatest scores and sums of
    weights. Tiles outside the window or after the token are left as they are. A thread reads what it needs of keys and values
    before it computes, and before it knows whether its tile is one of the token's: it waits for memory once.
    """
    wide = gc.cdiv(size, TILE)
    ahead = wide == 1
    kept_values = TILE if ahead else 1
    first_keys = min(size, TILE)

    @gc.kernel
    def attend_tiles(
        queries: gc.Array[gc.f32, 2], key_cache: gc.Array[gc.f32, 1], value_cache: gc.Array[gc.f32, 1],
        parts: gc.Array[gc.f32, 3], marks: gc.Array[gc.f32, 3], ids: gc.Array[gc.i32, 1], heads: gc.i32,
        shared_heads: gc.i32, scale: gc.f32, window: gc.i32,
    ) -> None:  # fmt: skip
        query = gc.shared((size,), gc.f32)
        weights = gc.shared((TILE,), gc.f32)
        head = gc.block_id(0)
        own = gc.block_id(2)
        thread = gc.thread_id(1)
        begin_of_tile = (own * shared_heads + head // (heads // shared_heads)) * (size * TILE)
        keys = gc.local((TILE,), gc.f32)
        values = gc.local((kept_values,), gc.f32)
        for k in gc.static_range(first_keys):
            keys[k] = key_cache[begin_of_tile + thread + k * TILE]
        if ahead and thread < size:
            for k in gc.static_range(TILE):
                values[k] = value_cache[begin_of_tile + thread + k * size]
        for w in gc.static_range(wide):
            if thread + w * TILE < size:
                query[thread + w * TILE] = queries[0, head * size + thread + w * TILE]
        last = ids[0]
        begin = max(last + 1 - window, 0)
        # one round or none
        for tile in range(max(own, begin // TILE), min(own, last // TILE) + 1):
            gc.barrier()
            score = gc.f32(0)
            for w in gc.static_range(wide):
                for k in gc.static_range(TILE):
                    if w > 0 and w * TILE + k < size:
                        keys[k] = key_cache[begin_of_tile + thread + (w * TILE + k) * TILE]
                for k in gc.static_range(TILE):
                    if w * TILE + k < size:
                        score += query[w * TILE + k] * keys[k]
            position = tile * TILE + thread
            seen = position >= begin and position <= last
            score = score * scale if seen else gc.f32(LOWEST)
            greatest = gc.block_max(score)
            weight = gc.f32(0)
            if seen:
                weight = gc.exp(score - greatest)
            weights[thread] = weight
            tile_mass = gc.block_sum(weight)
            gc.barrier()
            count = min(TILE, last + 1 - tile * TILE)
            for w in gc.static_range(wide):
                place = thread + w * TILE
                if place < size:
                    part = gc.f32(0)
                    if ahead:
                        for k in gc.static_range(TILE):
                            if k < count:
                                part += weights[k] * values[k]
                    else:
                        for k in range(count):
                            part += weights[k] * value_cache[begin_of_tile + place + k * size]
                    parts[head, tile, place] = part
            if thread == 0:
                marks[0, head, tile] = greatest
                marks[1, head, tile] = tile_mass

    return attend_tiles


@cache
def _tile(size: int, split: bool) -> Callable[..., Any]:
    """The greatest score of a tile and the sum of its weights, which are left in shared memory."""

    @gc.func
    def tile_of(query, weights, key_cache, tile, shared_head, thread, begin, last, scale):
        position = tile * TILE + thread
        score = gc.f32(LOWEST)
        if position >= begin and position <= last:
            score = gc.f32(0)
            for k in range(size):
                score += query[k] * key_cache[tile, shared_head, k, thread]
            score *= scale
        if split:
            greatest = gc.block_max(score)
        else:
            greatest = greatest_of_rows(score, weights, thread)
        weight = gc.f32(0)
        if position >= begin and position <= last:
            weight = gc.exp(score - greatest)
        if split:
            weights[thread] = weight
            tile_mass = gc.block_sum(weight)
        else:
            tile_mass = sum_of_rows(weight, weights, thread)
            weights[thread] = weight
        gc.barrier()
        return greatest, tile_mass

    return tile_of
