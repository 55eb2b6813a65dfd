"""The layers between the products: norms, rotary positions, attention, gates.

Every sum has one order, whatever the device and however a prompt is cut into pieces: a token's numbers come of its
own activations and
of what the cache holds, never of its neighbours in a launch.
"""

from __future__ import annotations

from functools import cache

import gpucore as gc

__all__ = ["NORM_THREADS", "TILE", "add_bias", "attention", "gate", "norm", "rotate"]

TILE = 64
"""Positions whose weights are found before the sums are scaled anew, in attention."""
NORM_THREADS = 64


@gc.kernel
def norm(
    x: gc.Array[gc.f32, 2], weight: gc.Array[gc.f32, 1], out: gc.Array[gc.f32, 2], sums: gc.Array[gc.f32, 2],
    epsilon: gc.f32,
) -> None:  # fmt: skip
    """RMSNorm (Zhang and Sennrich, 2019), a block a token, and the sums of 32 neighbours of what it gives."""
    t = gc.block_id(0)
    thread = gc.thread_id(0)
    size = x.shape[1]
    total = gc.f32(0)
    for k in range(thread, size, NORM_THREADS):
        total += x[t, k] * x[t, k]
    scale = 1.0 / gc.sqrt(gc.block_sum(total) / gc.f32(size) + epsilon)
    for k in range(thread, size, NORM_THREADS):
        out[t, k] = x[t, k] * scale * weight[k]
    gc.barrier()
    for run in range(thread, size // 32, NORM_THREADS):
        part = gc.f32(0)
        for k in range(32):
            part += out[t, run * 32 + k]
        sums[t, run] = part


@gc.kernel
def add_bias(x: gc.Array[gc.f32, 2], bias: gc.Array[gc.f32, 1]) -> None:
    """``x[t, k] += bias[k]``."""
    t, k = gc.global_ids(2)
    x[t, k] += bias[k]


@cache
def rotate(neighbours: bool) -> gc.Kernel:
    """The kernel that rotates queries and keys by their positions (Su et al., 2021), and puts keys and values into the cache.

    The cache lies in tiles of ``TILE`` positions: keys as ``[tile, head, element, position]``, values as ``[tile, head,
    position, element]``.

    Parameters
    ----------
    neighbours : bool
        Whether a pair is two neighbours, as llama's weights are stored, or an element and the one half a head further.
    """

    @gc.kernel
    def rotate_and_keep(
        queries: gc.Array[gc.f32, 2], keys: gc.Array[gc.f32, 2], values: gc.Array[gc.f32, 2],
        table: gc.Array[gc.f32, 3],
        key_cache: gc.Array[gc.f32, 4], value_cache: gc.Array[gc.f32, 4], heads: gc.i32, start: gc.i32,
    ) -> None:  # fmt: skip
        t, head, i = gc.global_ids(3)
        position = start + t
        shared_heads = key_cache.shape[1]
        size = key_cache.shape[2]
        tile = position // TILE
        place = position % TILE
        pairs = table.shape[1]
        first = 2 * i if neighbours else i
        second = first + 1 if neighbours else i + pairs
        if i < pairs and head < heads + shared_heads:
            c = table[position, i, 0]
            s = table[position, i, 1]
            if head < heads:
                a = queries[t, head * size + first]
                b = queries[t, head * size + second]
                queries[t, head * size + first] = a * c - b * s
                queries[t, head * size + second] = a * s + b * c
            else:
                h = head - heads
                a = keys[t, h * size + first]
                b = keys[t, h * size + second]
                key_cache[tile, h, first, place] = a * c - b * s
                key_cache[tile, h, second, place] = a * s + b * c
        if i >= 2 * pairs and head >= heads and head < heads + shared_heads:
            # beyond the pairs a key is kept as it is
            key_cache[tile, head - heads, i, place] = keys[t, (head - heads) * size + i]
        if head >= heads + shared_heads:
            h = head - heads - shared_heads
            value_cache[tile, h, place, i] = values[t, h * size + i]

    return rotate_and_keep


@cache
def attention(size: int) -> gc.Kernel:
    """The kernel of attention for heads of ``size`` elements: a block for each token and head, ``TILE`` threads in it.

    The softmax is online (Milakov and Gimelshein, 2018): tile after tile from position 0 on, so that its order depends on the
    position alone.
    """
    wide = gc.cdiv(size, TILE)

    @gc.kernel
    def attend(
        queries: gc.Array[gc.f32, 2], key_cache: gc.Array[gc.f32, 4], value_cache: gc.Array[gc.f32, 4],
        out: gc.Array[gc.f32, 2], heads: gc.i32, scale: gc.f32, window: gc.i32, start: gc.i32,
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
        last = start + t
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
            greatest = max(largest, gc.block_max(score))
            fade = gc.exp(largest - greatest)
            weight = gc.f32(0)
            if position >= begin and position <= last:
                weight = gc.exp(score - greatest)
            weights[thread] = weight
            mass = mass * fade + gc.block_sum(weight)
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


@gc.kernel
def gate(gates: gc.Array[gc.f32, 2], ups: gc.Array[gc.f32, 2]) -> None:
    """SwiGLU (Shazeer, 2020): ``gates = silu(gates) * ups``."""
    t, k = gc.global_ids(2)
    g = gates[t, k]
    gates[t, k] = g / (1.0 + gc.exp(-g)) * ups[t, k]
