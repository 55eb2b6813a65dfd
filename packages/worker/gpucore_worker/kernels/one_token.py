"""The kernels of one token on a GPU: a product with what comes before and after it, so that a block of a model is five launches.

One token has little work for a GPU; what takes time is that kernels wait for each other. So each block of threads computes anew
what it multiplies with (a norm, the joining of tiles of attention), and the thread that sums a row goes on with what follows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import gpucore as gc
from gpucore_worker.kernels.attention import LOWEST, TILE
from gpucore_worker.kernels.layers import NORM_THREADS, activation
from gpucore_worker.kernels.layouts import Layout, steps_of, sum_of_64, tiles_at_once
from gpucore_worker.kernels.products import SEGMENTS

__all__ = ["product_of_norm", "product_of_norm_kept", "product_of_tiles", "product_of_values"]


@cache
def _normed(layout: Layout, layer: bool) -> Callable[..., Any]:
    """The norm of a token, which each block of threads computes for itself, as ``norm`` does."""
    columns, threads = layout.columns, layout.threads
    each = gc.cdiv(columns, threads)

    @gc.func
    def normed(x, weight, bias, epsilon, xs, scratch, linear):
        own = gc.local((each,), gc.f32)
        factors = gc.local((each,), gc.f32)
        offsets = gc.local((each,), gc.f32)
        for e in gc.static_range(each):
            k = linear + e * threads
            if k < columns:
                own[e] = x[0, k]
                factors[e] = weight[k]
                if layer:
                    offsets[e] = bias[k]
                xs[k + k // 32] = own[e]
        gc.barrier()
        middle = gc.f32(0)
        if layer:
            whole = gc.f32(0)
            if linear < NORM_THREADS:
                for k in range(linear, columns, NORM_THREADS):
                    whole += xs[k + k // 32]
            middle = sum_of_64(whole, scratch, linear) / gc.f32(columns)
        total = gc.f32(0)
        if linear < NORM_THREADS:
            for k in range(linear, columns, NORM_THREADS):
                found = xs[k + k // 32]
                if layer:
                    total += (found - middle) * (found - middle)
                else:
                    total += found * found
        scale = 1.0 / gc.sqrt(sum_of_64(total, scratch, linear) / gc.f32(columns) + epsilon)
        for e in gc.static_range(each):
            k = linear + e * threads
            if k < columns:
                if layer:
                    xs[k + k // 32] = (own[e] - middle) * scale * factors[e] + offsets[e]
                else:
                    xs[k + k // 32] = own[e] * scale * factors[e]
        gc.barrier()

    return normed


@cache
def product_of_norm(layout: Layout, layer: bool, ending: str, gelu: bool, biased: bool) -> gc.Kernel:
    """A norm and a product: ``out[0, at + r] = sum over k of weights[r, k] * norm(x)[k]``, or what is made of that.

    Parameters
    ----------
    layer : bool
        Whether it is LayerNorm.
    ending : {"store", "gate", "activate"}
        "gate" takes rows ``r`` and ``rows + r`` for the gate and what it is multiplied with; "activate" has no gate.
    gelu : bool
        Which function it is.
    biased : bool
        Whether ``offsets`` are added first.
    """
    slots, runs, held_words = layout.slots, layout.runs, max(layout.held, 1)
    steps, normed, active = steps_of(layout), _normed(layout, layer), activation(gelu)
    fetch, quantise, multiply, whole_row = steps.fetch, steps.quantise, steps.multiply, steps.row
    gated = ending == "gate"
    alone = ending == "store"
    own_rows = slots // 2 if gated else slots
    coded = layout.columns // 4 if layout.integers else 1

    @gc.kernel
    def norm_and_product(
        words: gc.Array[gc.u32, 1], x: gc.Array[gc.f32, 2], weight: gc.Array[gc.f32, 1], bias: gc.Array[gc.f32, 1],
        out: gc.Array[gc.f32, 2], offsets: gc.Array[gc.f32, 1], rows: gc.i32, at: gc.i32, epsilon: gc.f32,
    ) -> None:  # fmt: skip
        xs = gc.shared((runs * 33,), gc.f32)
        scratch = gc.shared((72,), gc.f32)
        codes = gc.shared((1, coded), gc.u32)
        scales = gc.shared((runs,), gc.f32)
        parts = gc.shared((runs if runs > SEGMENTS else SEGMENTS, slots), gc.f32)
        number = gc.i32(gc.thread_id(0))
        slot = gc.i32(gc.thread_id(1))
        linear = number * slots + slot
        row = gc.i32(gc.block_id(1)) * own_rows + slot % own_rows
        place = row
        if gated:
            place = row + slot // own_rows * rows
        held = gc.local((held_words,), gc.u32)
        fetch(words, held, place, number)
        normed(x, weight, bias, epsilon, xs, scratch, linear)
        quantise(xs, codes, scales, linear)
        multiply(words, held, xs, codes, scales, parts, place, number, slot)
        if number == 0 and slot < own_rows and row < rows:
            found = whole_row(parts, slot)
            if biased:
                found += offsets[row]
            if not alone:
                found = active(found)
            if gated:
                found *= whole_row(parts, slot + own_rows)
            out[0, at + row] = found

    return norm_and_product


@cache
def product_of_norm_kept(
    layout: Layout, layer: bool, biased: bool, size: int, pairs: int, neighbours: bool
) -> gc.Kernel:
    """A norm, the product that gives queries, keys and values, and what ``rotate`` does with them."""
    slots, runs, held_words = layout.slots, layout.runs, max(layout.held, 1)
    steps, normed = steps_of(layout), _normed(layout, layer)
    fetch, quantise, multiply, whole_row = steps.fetch, steps.quantise, steps.multiply, steps.row
    side_by_side = neighbours or pairs == 0
    rotated = pairs > 0
    apart = 1 if side_by_side else pairs
    coded = layout.columns // 4 if layout.integers else 1

    @gc.kernel
    def norm_and_product_kept(
        words: gc.Array[gc.u32, 1], x: gc.Array[gc.f32, 2], weight: gc.Array[gc.f32, 1], bias: gc.Array[gc.f32, 1],
        qkv: gc.Array[gc.f32, 2], offsets: gc.Array[gc.f32, 1], table: gc.Array[gc.f32, 3],
        key_cache: gc.Array[gc.f32, 4], value_cache: gc.Array[gc.f32, 4], ids: gc.Array[gc.i32, 1], rows: gc.i32,
        at: gc.i32, heads: gc.i32, epsilon: gc.f32,
    ) -> None:  # fmt: skip
        xs = gc.shared((runs * 33,), gc.f32)
        scratch = gc.shared((72,), gc.f32)
        codes = gc.shared((1, coded), gc.u32)
        scales = gc.shared((runs,), gc.f32)
        parts = gc.shared((runs if runs > SEGMENTS else SEGMENTS, slots), gc.f32)
        number = gc.i32(gc.thread_id(0))
        slot = gc.i32(gc.thread_id(1))
        linear = number * slots + slot
        # two slots side by side have the rows of a pair
        row = gc.i32(gc.block_id(1)) * slots + slot
        if not side_by_side:
            pair = row // 2
            row = pair // pairs * size + pair % pairs + slot % 2 * pairs
        place = min(row, rows - 1)
        held = gc.local((held_words,), gc.u32)
        fetch(words, held, place, number)
        whose = (at + place) // size
        first = (at + place) % size
        i = first // 2 if side_by_side else first
        position = gc.i32(0)
        c = gc.f32(1)
        s = gc.f32(0)
        if number == 0:
            position = ids[0]
            if rotated:
                # of each pair the first
                c = table[position, min(i, pairs - 1), 0]
                s = table[position, min(i, pairs - 1), 1]
        normed(x, weight, bias, epsilon, xs, scratch, linear)
        quantise(xs, codes, scales, linear)
        multiply(words, held, xs, codes, scales, parts, place, number, slot)
        if number == 0 and slot % 2 == 0 and row < rows:
            a = whole_row(parts, slot)
            b = whole_row(parts, slot + 1)
            if biased:
                a += offsets[row]
                b += offsets[row + apart]
            shared_heads = key_cache.shape[1]
            tile = position // TILE
            inside = position % TILE
            if whose < heads + shared_heads:
                if rotated and i < pairs:
                    turned = a * c - b * s
                    b = a * s + b * c
                    a = turned
                if whose < heads:
                    qkv[0, at + row] = a
                    qkv[0, at + row + apart] = b
                else:
                    key_cache[tile, whose - heads, first, inside] = a
                    key_cache[tile, whose - heads, first + apart, inside] = b
            else:
                value_cache[tile, whose - heads - shared_heads, inside, first] = a
                value_cache[tile, whose - heads - shared_heads, inside, first + apart] = b

    return norm_and_product_kept


@cache
def product_of_values(layout: Layout, add: bool, biased: bool) -> gc.Kernel:
    """``out[0, at + r] (+)= sum over k of weights[r, k] * x[k]``."""
    columns, threads = layout.columns, layout.threads
    slots, runs, held_words = layout.slots, layout.runs, max(layout.held, 1)
    steps, each = steps_of(layout), gc.cdiv(layout.columns, layout.threads)
    fetch, quantise, multiply, whole_row = steps.fetch, steps.quantise, steps.multiply, steps.row
    coded = layout.columns // 4 if layout.integers else 1

    @gc.kernel
    def product_of_token(
        words: gc.Array[gc.u32, 1], x: gc.Array[gc.f32, 2], out: gc.Array[gc.f32, 2], offsets: gc.Array[gc.f32, 1],
        rows: gc.i32, at: gc.i32,
    ) -> None:  # fmt: skip
        xs = gc.shared((runs * 33,), gc.f32)
        codes = gc.shared((1, coded), gc.u32)
        scales = gc.shared((runs,), gc.f32)
        parts = gc.shared((runs if runs > SEGMENTS else SEGMENTS, slots), gc.f32)
        number = gc.i32(gc.thread_id(0))
        slot = gc.i32(gc.thread_id(1))
        linear = number * slots + slot
        row = gc.i32(gc.block_id(1)) * slots + slot
        held = gc.local((held_words,), gc.u32)
        fetch(words, held, row, number)
        before = gc.f32(0)
        if add and number == 0 and row < rows:
            before = out[0, at + row]
        for e in gc.static_range(each):
            k = linear + e * threads
            if k < columns:
                xs[k + k // 32] = x[0, k]
        gc.barrier()
        quantise(xs, codes, scales, linear)
        multiply(words, held, xs, codes, scales, parts, row, number, slot)
        if number == 0 and row < rows:
            found = whole_row(parts, slot)
            if add:
                found += before
            if biased:
                found += offsets[row]
            out[0, at + row] = found

    return product_of_token


@cache
def product_of_tiles(layout: Layout, add: bool, biased: bool, heads: int) -> gc.Kernel:
    """``product_of_values`` of what attention gives, whose tiles each block of threads joins for itself."""
    columns, threads = layout.columns, layout.threads
    slots, runs, held_words = layout.slots, layout.runs, max(layout.held, 1)
    steps, each = steps_of(layout), gc.cdiv(layout.columns, layout.threads)
    fetch, quantise, multiply, whole_row = steps.fetch, steps.quantise, steps.multiply, steps.row
    most = tiles_at_once(layout)
    size = columns // heads
    coded = layout.columns // 4 if layout.integers else 1

    @gc.func
    def joined(tile_sums, marks, tiles, ids, window, xs, marked, shares, largest, linear):
        last = ids[0]
        first = max(last + 1 - window, 0) // TILE
        count = last // TILE + 1 - first
        sums = gc.local((each,), gc.f32)
        masses = gc.local((each,), gc.f32)
        for chunk in range(0, count, most):
            many = min(most, count - chunk)
            own = gc.local((each * most,), gc.f32)
            for e in gc.static_range(each):
                k = linear + e * threads
                if k < columns:
                    begin = (k // size * tiles + first + chunk) * size + k % size
                    for j in gc.static_range(most):
                        if j < many:
                            own[e * most + j] = tile_sums[begin + j * size]
            for pair in range(linear, heads * most, threads):
                head = pair // most
                j = pair % most
                if j < many:
                    marked[0, head, j] = marks[0, head, first + chunk + j]
                    marked[1, head, j] = marks[1, head, first + chunk + j]
            gc.barrier()
            for pair in range(linear, heads * most, threads):
                head = pair // most
                j = pair % most
                if j < many:
                    before = gc.f32(LOWEST)
                    if chunk > 0:
                        before = largest[head]
                    for i in range(j):
                        before = max(before, marked[0, head, i])
                    grown = max(before, marked[0, head, j])
                    shares[0, head, j] = gc.exp(before - grown)
                    shares[1, head, j] = gc.exp(marked[0, head, j] - grown)
            gc.barrier()
            for e in gc.static_range(each):
                k = linear + e * threads
                if k < columns:
                    head = k // size
                    for j in gc.static_range(most):
                        if j < many:
                            fade = shares[0, head, j]
                            share = shares[1, head, j]
                            masses[e] = masses[e] * fade + marked[1, head, j] * share
                            sums[e] = sums[e] * fade + own[e * most + j] * share
            for head in range(linear, heads, threads):
                found = gc.f32(LOWEST)
                if chunk > 0:
                    found = largest[head]
                for i in range(many):
                    found = max(found, marked[0, head, i])
                largest[head] = found
            gc.barrier()
        for e in gc.static_range(each):
            k = linear + e * threads
            if k < columns:
                xs[k + k // 32] = sums[e] / masses[e]
        gc.barrier()

    @gc.kernel
    def tiles_and_product(
        words: gc.Array[gc.u32, 1], tile_sums: gc.Array[gc.f32, 1], marks: gc.Array[gc.f32, 3], ids: gc.Array[gc.i32, 1],
        out: gc.Array[gc.f32, 2], offsets: gc.Array[gc.f32, 1], rows: gc.i32, at: gc.i32, window: gc.i32,
    ) -> None:  # fmt: skip
        xs = gc.shared((runs * 33,), gc.f32)
        codes = gc.shared((1, coded), gc.u32)
        scales = gc.shared((runs,), gc.f32)
        parts = gc.shared((runs if runs > SEGMENTS else SEGMENTS, slots), gc.f32)
        marked = gc.shared((2, heads, most), gc.f32)
        shares = gc.shared((2, heads, most), gc.f32)
        largest = gc.shared((heads,), gc.f32)
        number = gc.i32(gc.thread_id(0))
        slot = gc.i32(gc.thread_id(1))
        linear = number * slots + slot
        row = gc.i32(gc.block_id(1)) * slots + slot
        held = gc.local((held_words,), gc.u32)
        fetch(words, held, row, number)
        before = gc.f32(0)
        if add and number == 0 and row < rows:
            before = out[0, at + row]
        joined(tile_sums, marks, marks.shape[2], ids, window, xs, marked, shares, largest, linear)
        quantise(xs, codes, scales, linear)
        multiply(words, held, xs, codes, scales, parts, row, number, slot)
        if number == 0 and row < rows:
            found = whole_row(parts, slot)
            if add:
                found += before
            if biased:
                found += offsets[row]
            out[0, at + row] = found

    return tiles_and_product
