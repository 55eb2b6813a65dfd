"""The layers between the products: norms, rotary positions, gates.

Every sum has one order, whatever the device and however a prompt is cut into pieces: a token's numbers come of its
own activations and of what the cache holds, never of its neighbours in a launch.

What a product takes is made here, too: beside the activations either the sum of each run of 32 of them (exact), or
each run as 8-bit integers, with its scale and its sum (quick).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import gpucore as gc
from gpucore_worker.kernels.operands import finish_run
from gpucore_worker.kernels.trees import THREADS, sum_of_rows

__all__ = [
    "NORM_THREADS",
    "activate",
    "activation",
    "add_bias",
    "add_norm",
    "norm",
    "norm_heads",
    "operand",
    "rotate",
]

NORM_THREADS = 64


@gc.func
def block_sum(x, thread):
    return gc.block_sum(x)


@gc.func
def sum_of_threads(x, thread):
    """The same, to the bit, for processors."""
    scratch = gc.shared((THREADS,), gc.f32)
    return sum_of_rows(x, scratch, thread)


@cache
def norm(layer: bool, quick: bool, split: bool) -> gc.Kernel:
    """The kernel of a norm, a block a token: RMSNorm (Zhang and Sennrich, 2019), or LayerNorm (Ba and others, 2016)."""

    all_of = block_sum if split else sum_of_threads

    @gc.kernel
    def norm_tokens(
        x: gc.Array[gc.f32, 2], weight: gc.Array[gc.f32, 1], bias: gc.Array[gc.f32, 1], out: gc.Array[gc.f32, 2],
        sums: gc.Array[gc.f32, 2], codes: gc.Array[gc.u32, 2], scales: gc.Array[gc.f32, 2], epsilon: gc.f32,
    ) -> None:  # fmt: skip
        t = gc.block_id(0)
        thread = gc.thread_id(0)
        size = x.shape[1]
        middle = gc.f32(0)
        if layer:
            whole = gc.f32(0)
            for k in range(thread, size, NORM_THREADS):
                whole += x[t, k]
            middle = all_of(whole, thread) / gc.f32(size)
        total = gc.f32(0)
        for k in range(thread, size, NORM_THREADS):
            if layer:
                total += (x[t, k] - middle) * (x[t, k] - middle)
            else:
                total += x[t, k] * x[t, k]
        scale = 1.0 / gc.sqrt(all_of(total, thread) / gc.f32(size) + epsilon)
        for k in range(thread, size, NORM_THREADS):
            if layer:
                out[t, k] = (x[t, k] - middle) * scale * weight[k] + bias[k]
            else:
                out[t, k] = x[t, k] * scale * weight[k]
        gc.barrier()
        for run in range(thread, size // 32, NORM_THREADS):
            finish_run(out, sums, codes, scales, t, run, quick)

    return norm_tokens


@gc.kernel
def add_norm(
    x: gc.Array[gc.f32, 2], weight: gc.Array[gc.f32, 1], out: gc.Array[gc.f32, 2], epsilon: gc.f32
) -> None:
    """``out += RMSNorm(x)``, a block a token."""
    t = gc.block_id(0)
    thread = gc.thread_id(0)
    size = x.shape[1]
    total = gc.f32(0)
    for k in range(thread, size, NORM_THREADS):
        total += x[t, k] * x[t, k]
    scale = 1.0 / gc.sqrt(gc.block_sum(total) / gc.f32(size) + epsilon)
    for k in range(thread, size, NORM_THREADS):
        out[t, k] += x[t, k] * scale * weight[k]


@gc.kernel
def norm_heads(
    x: gc.Array[gc.f32, 2], query_weight: gc.Array[gc.f32, 1], key_weight: gc.Array[gc.f32, 1], heads: gc.i32, epsilon: gc.f32
) -> None:  # fmt: skip
    """RMSNorm of each head of queries, and of the keys behind them, in place: a block for each token and head."""
    t = gc.block_id(0)
    head = gc.block_id(1)
    thread = gc.thread_id(1)
    size = query_weight.shape[0]
    total = gc.f32(0)
    for k in range(thread, size, NORM_THREADS):
        total += x[t, head * size + k] * x[t, head * size + k]
    scale = 1.0 / gc.sqrt(gc.block_sum(total) / gc.f32(size) + epsilon)
    for k in range(thread, size, NORM_THREADS):
        weight = query_weight[k] if head < heads else key_weight[k]
        x[t, head * size + k] = x[t, head * size + k] * scale * weight


@gc.kernel
def add_bias(x: gc.Array[gc.f32, 2], bias: gc.Array[gc.f32, 1], at: gc.i32) -> None:
    """``x[t, at + k] += bias[k]``."""
    t, k = gc.global_ids(2)
    x[t, at + k] += bias[k]


@cache
def rotate(neighbours: bool, tile_size: int) -> gc.Kernel:
    """The kernel that rotates queries and keys by their positions (Su et al., 2021), and puts keys and values into the cache.

    ``qkv`` holds a token's queries, keys and values side by side. The cache lies in tiles of ``tile_size`` positions: keys
    as ``[tile, head, element, position]``, values as ``[tile, head, position, element]``. ``ids[0]`` is the position of the first
    token.

    Parameters
    ----------
    neighbours : bool
        Whether a pair is two neighbours, as llama's weights are stored, or an element and the one half a head further.
    """

    @gc.kernel
    def rotate_and_keep(
        qkv: gc.Array[gc.f32, 2], table: gc.Array[gc.f32, 3], key_cache: gc.Array[gc.f32, 4], value_cache: gc.Array[gc.f32, 4],
        ids: gc.Array[gc.i32, 1], heads: gc.i32,
    ) -> None:  # fmt: skip
        t, head, i = gc.global_ids(3)
        position = ids[0] + t
        shared_heads = key_cache.shape[1]
        size = key_cache.shape[2]
        tile = position // tile_size
        place = position % tile_size
        pairs = table.shape[1]
        first = 2 * i if neighbours else i
        second = first + 1 if neighbours else i + pairs
        if i < pairs and head < heads + shared_heads:
            c = table[position, i, 0]
            s = table[position, i, 1]
            a = qkv[t, head * size + first]
            b = qkv[t, head * size + second]
            if head < heads:
                qkv[t, head * size + first] = a * c - b * s
                qkv[t, head * size + second] = a * s + b * c
            else:
                key_cache[tile, head - heads, first, place] = a * c - b * s
                key_cache[tile, head - heads, second, place] = a * s + b * c
        if i >= 2 * pairs and head >= heads and head < heads + shared_heads:
            # beyond the pairs a key is kept as it is
            key_cache[tile, head - heads, i, place] = qkv[t, head * size + i]
        if head >= heads + shared_heads:
            value_cache[tile, head - heads - shared_heads, place, i] = qkv[t, head * size + i]

    return rotate_and_keep


@cache
def activation(gelu: bool) -> Callable[..., Any]:
    """SiLU, or GELU by its approximation with tanh."""

    @gc.func
    def activated(g):
        found = gc.f32(0)
        if gelu:
            found = 0.5 * g * (1.0 + gc.tanh(0.7978845608028654 * (g + 0.044715 * g * g * g)))
        else:
            found = g / (1.0 + gc.exp(-g))
        return found

    return activated


@cache
def activate(gelu: bool, gated: bool, quick: bool) -> gc.Kernel:
    """The kernel of what lies between the products of a feed-forward network, a block for each token and run of 32.

    SwiGLU, GeGLU (Shazeer, 2020), with gates and what they are multiplied with side by side in ``x``, or GELU alone
    (Hendrycks and Gimpel, 2016), by its approximation with tanh.
    """

    active = activation(gelu)

    @gc.kernel
    def activate_runs(
        x: gc.Array[gc.f32, 2], out: gc.Array[gc.f32, 2], sums: gc.Array[gc.f32, 2], codes: gc.Array[gc.u32, 2],
        scales: gc.Array[gc.f32, 2],
    ) -> None:  # fmt: skip
        t = gc.block_id(0)
        run = gc.block_id(1)
        k = run * 32 + gc.thread_id(1)
        found = active(x[t, k])
        if gated:
            found *= x[t, out.shape[1] + k]
        out[t, k] = found
        gc.barrier()
        if gc.thread_id(1) == 0:
            finish_run(out, sums, codes, scales, t, run, quick)

    return activate_runs


@cache
def operand(quick: bool) -> gc.Kernel:
    """The kernel that makes of activations what a product takes, a thread a run."""

    @gc.kernel
    def finish_runs(
        x: gc.Array[gc.f32, 2],
        sums: gc.Array[gc.f32, 2],
        codes: gc.Array[gc.u32, 2],
        scales: gc.Array[gc.f32, 2],
    ) -> None:
        t, run = gc.global_ids(2)
        finish_run(x, sums, codes, scales, t, run, quick)

    return finish_runs
