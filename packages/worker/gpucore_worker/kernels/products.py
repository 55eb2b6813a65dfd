"""Products of weights with activations, and rows of weights as floats.

The order of a sum is the same for any number of tokens and on any device: a row is cut into ``SEGMENTS`` pieces of as many
runs, each is summed from the left, and so are their sums. Devices with many threads give each segment a thread of its own.
On processors a thread has a whole row, and several tokens: it unpacks a weight once for all of them.
"""

from __future__ import annotations

from functools import cache

import gpucore as gc
from gpucore_worker.kernels.blocks import block_functions
from gpucore_worker.kernels.dots import dot_functions
from gpucore_worker.quantisation import QUANTISATIONS

__all__ = ["SEGMENTS", "TOKENS", "gather", "product", "repack", "repack_groups", "repack_words", "row_sums"]

SEGMENTS = 8
"""Pieces that a row is summed in."""
TOKENS = 8
"""Tokens that a thread of a row multiplies a weight with, once it is unpacked."""
_BY_NAME = {q.name: q for q in QUANTISATIONS.values()}


@gc.kernel
def repack(
    source: gc.Array[gc.u8, 1],
    pieces: gc.Array[gc.i32, 2],
    words: gc.Array[gc.u32, 1],
    first: gc.i64,
    rows: gc.i32,
    blocks: gc.i32,
    nbytes: gc.i32,
    lanes: gc.constexpr,
) -> None:
    """Put rows of a file into words: ``source`` holds ``rows`` rows, the first of which is row ``first`` of the tensor."""
    row, block, word = gc.global_ids(3)
    if row < rows:
        begin = (gc.i64(row) * blocks + block) * nbytes + pieces[word, 0]
        found = gc.u32(source[begin]) | (gc.u32(source[begin + 1]) << 8)
        if pieces[word, 1] == 4:
            found = found | (gc.u32(source[begin + 2]) << 16) | (gc.u32(source[begin + 3]) << 24)
        place = first + row
        group = place // lanes
        lane = place % lanes
        words[((group * blocks + block) * pieces.shape[0] + word) * lanes + lane] = found


@gc.kernel
def repack_groups(
    source: gc.Array[gc.u16, 1],
    words: gc.Array[gc.u32, 1],
    rows: gc.i32,
    blocks: gc.i32,
    halves: gc.constexpr,
    size: gc.constexpr,
    short: gc.constexpr,
    lanes: gc.constexpr,
) -> None:
    """The same for processors: a thread takes a block of ``halves`` 16-bit numbers, its neighbours those of rows side by side.

    ``short`` is the word that holds one of them, where there is such a word.
    """
    group, block, lane = gc.global_ids(3)
    row = group * lanes + lane
    if row < rows:
        begin = (gc.i64(row) * blocks + block) * halves
        base = (group * blocks + block) * size * lanes + lane
        for word in range(size):
            at = begin + 2 * word
            if short >= 0 and word > short:
                at -= 1
            found = gc.u32(source[at])
            if word != short:
                found = found | (gc.u32(source[at + 1]) << 16)
            words[base + word * lanes] = found


@gc.kernel
def repack_words(
    source: gc.Array[gc.u32, 1],
    words: gc.Array[gc.u32, 1],
    rows: gc.i32,
    blocks: gc.i32,
    size: gc.constexpr,
    lanes: gc.constexpr,
) -> None:
    """The same for blocks of whole words."""
    group, block, lane = gc.global_ids(3)
    row = group * lanes + lane
    if row < rows:
        begin = (gc.i64(row) * blocks + block) * size
        base = (group * blocks + block) * size * lanes + lane
        for word in range(size):
            words[base + word * lanes] = source[begin + word]


@gc.kernel
def row_sums(
    words: gc.Array[gc.u32, 1], sums: gc.Array[gc.u32, 1], blocks: gc.i32, size: gc.i32, lanes: gc.constexpr
) -> None:
    """For each row the sum of its words, each times an odd number of its own, modulo 2**32."""
    row = gc.global_id(0)
    base = (row // lanes) * blocks * size * lanes + row % lanes
    total = gc.u32(0)
    for k in range(blocks * size):
        total += words[base + k * lanes] * gc.u32(2 * k + 1)
    sums[row] = total


@cache
def gather(name: str, learned: bool, lanes: int) -> gc.Kernel:
    """The kernel that dequantises rows of weights: ``out[t, k]``.

    Parameters
    ----------
    learned : bool
        Whether it adds the row of a token's position, ``ids[0] + t``, to ``out``; else it gives the row ``ids[1 + t]``.
    """
    value = block_functions(lanes).values[name]
    weights = _BY_NAME[name].weights
    size = _BY_NAME[name].words

    @gc.kernel
    def gather_rows(
        words: gc.Array[gc.u32, 1],
        ids: gc.Array[gc.i32, 1],
        out: gc.Array[gc.f32, 2],
        factor: gc.f32,
    ) -> None:
        t, k = gc.global_ids(2)
        row = gc.index(ids[0] + t) if learned else gc.index(ids[1 + t])
        blocks = out.shape[1] // weights
        base = ((row // lanes * blocks + k // weights) * size) * lanes + row % lanes
        found = value(words, base, gc.i32(k % weights)) * factor
        if learned:
            found += out[t, k]
        out[t, k] = found

    return gather_rows


@cache
def product(name: str, split: bool, quick: bool, lanes: int, tokens: int) -> gc.Kernel:
    """The kernel of ``out[t, at + r] (+)= sum over k of weights[r, k] * x[t, k]``, for ``tokens`` tokens a block.

    Parameters
    ----------
    name : str
        Of the quantisation.
    split : bool
        Whether each segment of a row has a thread of its own; the block is then ``(SEGMENTS, lanes)``, else ``(1, lanes)``.
    quick : bool
        Whether activations are taken as 8-bit integers: a run's product with weights that are integers is exact, and scaled once.
    lanes : int
        Rows whose words lie side by side.
    tokens : int
        What a thread multiplies a weight with, once it is unpacked; 1 where segments have threads of their own.
    """
    if quick and name not in dot_functions(lanes):
        return product(name, split, False, lanes, tokens)  # floats are multiplied as they are
    blocks_of = block_functions(lanes)
    code = blocks_of.codes[name]
    four = (blocks_of.fours if split else blocks_of.host_fours)[name]
    scales = blocks_of.scales[name] if split else blocks_of.host_scales[name]
    integers = quick
    dot = dot_functions(lanes, split)[name] if integers else None
    runs = _BY_NAME[name].runs
    size = _BY_NAME[name].words

    @gc.func
    def segment(words, group, lane, x, sums, codes, steps, t, number):
        """The sum over a segment, for one token."""
        all_runs = x.shape[1] // 32
        length = gc.cdiv(all_runs, SEGMENTS)
        blocks = all_runs // runs
        total = gc.f32(0)
        for run in range(number * length, min((number + 1) * length, all_runs)):
            base = ((group * blocks + run // runs) * size) * lanes + lane
            sub = gc.i32(run % runs)
            scale, least = scales(words, base, sub)
            part = gc.f32(0)
            if integers:
                part = (scale * steps[t, run]) * gc.f32(dot(words, base, sub, codes, t, run * 8))
            else:
                # four sums at once: one alone would wait for each of its additions
                p = gc.f32(0)
                q = gc.f32(0)
                r = gc.f32(0)
                s = gc.f32(0)
                for j in gc.static_range(8):
                    a, b, c, d = four(words, base, sub, j)
                    at = run * 32 + 4 * j
                    p += a * x[t, at]
                    q += b * x[t, at + 1]
                    r += c * x[t, at + 2]
                    s += d * x[t, at + 3]
                part = scale * ((p + q) + (r + s))
            total += part + least * sums[t, run]
        return total

    if split:

        @gc.kernel
        def product_of_segments(
            words: gc.Array[gc.u32, 1], x: gc.Array[gc.f32, 2], sums: gc.Array[gc.f32, 2], codes: gc.Array[gc.u32, 2],
            steps: gc.Array[gc.f32, 2], out: gc.Array[gc.f32, 2], rows: gc.i32, at: gc.i32, add: gc.constexpr,
        ) -> None:  # fmt: skip
            parts = gc.shared((SEGMENTS, lanes), gc.f32)
            t = gc.block_id(0)
            group = gc.block_id(1)
            lane = gc.thread_id(1)
            number = gc.thread_id(0)
            parts[number, lane] = segment(words, group, lane, x, sums, codes, steps, t, number)
            gc.barrier()
            row = group * lanes + lane
            if number == 0 and row < rows:
                whole = gc.f32(0)
                for s in gc.static_range(SEGMENTS):
                    whole += parts[s, lane]
                if add:
                    whole += out[t, at + row]
                out[t, at + row] = whole

        return product_of_segments

    @gc.kernel
    def product_of_rows(
        words: gc.Array[gc.u32, 1], x: gc.Array[gc.f32, 2], sums: gc.Array[gc.f32, 2], codes: gc.Array[gc.u32, 2],
        steps: gc.Array[gc.f32, 2], out: gc.Array[gc.f32, 2], rows: gc.i32, at: gc.i32, add: gc.constexpr,
    ) -> None:  # fmt: skip
        first = gc.block_id(0) * tokens
        group = gc.block_id(1)
        lane = gc.thread_id(1)
        last = x.shape[0] - 1
        all_runs = x.shape[1] // 32
        length = gc.cdiv(all_runs, SEGMENTS)
        blocks = all_runs // runs
        whole = gc.local((tokens,), gc.f32)
        for number in range(SEGMENTS):
            totals = gc.local((tokens,), gc.f32)
            for run in range(number * length, min((number + 1) * length, all_runs)):
                base = ((group * blocks + run // runs) * size) * lanes + lane
                sub = gc.i32(run % runs)
                scale, least = scales(words, base, sub)
                parts = gc.local((4, tokens), gc.f32)
                if integers:
                    for i in gc.static_range(tokens):
                        t = min(first + i, last)
                        parts[0, i] = (scale * steps[t, run]) * gc.f32(
                            dot(words, base, sub, codes, t, run * 8)
                        )
                elif tokens == 1:
                    # the four sums side by side: each would wait for its additions alone
                    p, q, r, s = four(words, base, sub, 0)
                    t = min(first, last)
                    at_run = run * 32
                    p *= x[t, at_run]
                    q *= x[t, at_run + 1]
                    r *= x[t, at_run + 2]
                    s *= x[t, at_run + 3]
                    for j in gc.static_range(1, 8):
                        a, b, c, d = four(words, base, sub, j)
                        k = at_run + 4 * j
                        p += a * x[t, k]
                        q += b * x[t, k + 1]
                        r += c * x[t, k + 2]
                        s += d * x[t, k + 3]
                    parts[0, 0] = scale * ((p + q) + (r + s))
                else:
                    for c in gc.static_range(4):
                        for j in gc.static_range(8):
                            weight = code(words, base, sub, 4 * j + c)
                            for i in gc.static_range(tokens):
                                one = weight * x[min(first + i, last), run * 32 + 4 * j + c]
                                parts[c, i] = one if j == 0 else parts[c, i] + one
                    for i in gc.static_range(tokens):
                        parts[0, i] = scale * ((parts[0, i] + parts[1, i]) + (parts[2, i] + parts[3, i]))
                for i in gc.static_range(tokens):
                    totals[i] += parts[0, i] + least * sums[min(first + i, last), run]
            for i in gc.static_range(tokens):
                whole[i] += totals[i]
        row = group * lanes + lane
        if row < rows:
            for i in gc.static_range(tokens):
                if first + i <= last:
                    if add:
                        out[first + i, at + row] += whole[i]
                    else:
                        out[first + i, at + row] = whole[i]

    return product_of_rows
